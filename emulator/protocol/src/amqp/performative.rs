//! The nine performatives of a connection, and the ends of links (AMQP 1.0 parts 2 and 3).
//!
//! Encoded at full length always: a client indexes fields by position (`spec/amqp.md` 2.3).

mod decode;
pub(super) mod descriptor;
mod encode;

use bytes::Bytes;

use super::error::AmqpError;
use super::state::DeliveryState;
use super::value::{Map, Symbol};

/// Whether an end of a link sends or receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends deliveries.
    Sender,
    /// Receives them.
    Receiver,
}

/// How a sender settles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SenderSettleMode {
    /// Every delivery unsettled.
    Unsettled,
    /// Every delivery settled.
    Settled,
    /// Either.
    #[default]
    Mixed,
}

/// How a receiver settles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceiverSettleMode {
    /// At once.
    #[default]
    First,
    /// After the sender has.
    Second,
}

/// A performative.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each names its own type")]
pub enum Performative {
    Open(Open),
    Begin(Begin),
    Attach(Box<Attach>),
    Flow(Flow),
    Transfer(Transfer),
    Disposition(Disposition),
    Detach(Detach),
    End(End),
    Close(Close),
}

/// Opens a connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Open {
    /// Names the peer.
    pub container_id: String,
    /// The host that the client believes to speak to.
    pub hostname: Option<String>,
    /// Bytes of a frame that the peer takes; at least 512.
    pub max_frame_size: u32,
    /// The highest channel that the peer takes.
    pub channel_max: u16,
    /// Milliseconds of silence after which the peer gives up.
    pub idle_time_out: Option<u32>,
    /// Locales of texts, by preference.
    pub outgoing_locales: Vec<Symbol>,
    /// Locales of texts, by preference.
    pub incoming_locales: Vec<Symbol>,
    /// Extensions that the peer has.
    pub offered_capabilities: Vec<Symbol>,
    /// Extensions that the peer would use.
    pub desired_capabilities: Vec<Symbol>,
    /// More about the peer.
    pub properties: Map,
}

/// Begins a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Begin {
    /// The channel of the begin that this one answers.
    pub remote_channel: Option<u16>,
    /// The number of the next transfer.
    pub next_outgoing_id: u32,
    /// Transfers that the peer takes.
    pub incoming_window: u32,
    /// Transfers that the peer may send.
    pub outgoing_window: u32,
    /// The highest handle that the peer takes.
    pub handle_max: u32,
    /// Extensions that the peer has.
    pub offered_capabilities: Vec<Symbol>,
    /// Extensions that the peer would use.
    pub desired_capabilities: Vec<Symbol>,
    /// More about the session.
    pub properties: Map,
}

/// Attaches a link.
#[derive(Clone, Debug, PartialEq)]
pub struct Attach {
    /// Names the link between the two containers.
    pub name: String,
    /// Names it within the session, in this direction.
    pub handle: u32,
    /// The attaching peer's role.
    pub role: Role,
    /// How deliveries are settled.
    pub snd_settle_mode: SenderSettleMode,
    /// How deliveries are settled.
    pub rcv_settle_mode: ReceiverSettleMode,
    /// Where deliveries come from.
    pub source: Option<Source>,
    /// Where they go.
    pub target: Option<Target>,
    /// Deliveries of an earlier attachment.
    pub unsettled: Map,
    /// Whether there are more of them.
    pub incomplete_unsettled: bool,
    /// A sender's count of deliveries so far.
    pub initial_delivery_count: Option<u32>,
    /// Bytes of a message that the peer takes; `None` or 0: any.
    pub max_message_size: Option<u64>,
    /// Extensions that the peer has.
    pub offered_capabilities: Vec<Symbol>,
    /// Extensions that the peer would use.
    pub desired_capabilities: Vec<Symbol>,
    /// More about the link; keys are symbols.
    pub properties: Map,
}

/// Where a link's deliveries come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// The node.
    pub address: Option<String>,
    /// What outlives the link: 0 nothing, 1 its settings, 2 its deliveries too.
    pub durable: u32,
    /// When the node's rest expires.
    pub expiry_policy: Option<Symbol>,
    /// Seconds until then.
    pub timeout: u32,
    /// Whether the node is to be made for this link.
    pub dynamic: bool,
    /// Its properties.
    pub dynamic_node_properties: Map,
    /// `move` or `copy`.
    pub distribution_mode: Option<Symbol>,
    /// Which messages; keys are symbols, values are described.
    pub filter: Map,
    /// The outcome of what is never settled.
    pub default_outcome: Option<Box<DeliveryState>>,
    /// Outcomes that may occur.
    pub outcomes: Vec<Symbol>,
    /// Extensions.
    pub capabilities: Vec<Symbol>,
}

/// Where a link's deliveries go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// The node.
    pub address: Option<String>,
    /// What outlives the link: 0 nothing, 1 its settings, 2 its deliveries too.
    pub durable: u32,
    /// When the node's rest expires.
    pub expiry_policy: Option<Symbol>,
    /// Seconds until then.
    pub timeout: u32,
    /// Whether the node is to be made for this link.
    pub dynamic: bool,
    /// Its properties.
    pub dynamic_node_properties: Map,
    /// Extensions.
    pub capabilities: Vec<Symbol>,
    /// Whether it is no node but a coordinator of transactions, which nobody here has.
    pub coordinator: bool,
}

/// Tells the state of a session and, with a handle, of a link.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flow {
    /// The number of the next transfer that the peer expects; absent before it knows of a session.
    pub next_incoming_id: Option<u32>,
    /// Transfers that the peer takes.
    pub incoming_window: u32,
    /// The number of the peer's next transfer.
    pub next_outgoing_id: u32,
    /// Transfers that the peer may send.
    pub outgoing_window: u32,
    /// The link.
    pub handle: Option<u32>,
    /// The sender's count of deliveries.
    pub delivery_count: Option<u32>,
    /// Deliveries that the receiver takes.
    pub link_credit: Option<u32>,
    /// Deliveries that wait at the sender.
    pub available: Option<u32>,
    /// Whether the sender is to use the credit up or let it lapse.
    pub drain: bool,
    /// Whether an answer is wanted.
    pub echo: bool,
    /// More about the link.
    pub properties: Map,
}

/// A delivery or a part of one; the payload follows it in the frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transfer {
    /// The link.
    pub handle: u32,
    /// Numbers the delivery within the session; in its first part.
    pub delivery_id: Option<u32>,
    /// Names the delivery within the link; in its first part.
    pub delivery_tag: Option<Bytes>,
    /// 0: an AMQP message; in the first part.
    pub message_format: Option<u32>,
    /// Whether the sender has settled.
    pub settled: Option<bool>,
    /// Whether another part follows.
    pub more: bool,
    /// How the receiver is to settle.
    pub rcv_settle_mode: Option<ReceiverSettleMode>,
    /// The delivery's state at the sender.
    pub state: Option<DeliveryState>,
    /// Whether it continues an earlier attachment's delivery.
    pub resume: bool,
    /// Whether what has been sent of it is void.
    pub aborted: bool,
    /// Whether its disposition may wait for others.
    pub batchable: bool,
}

/// Tells what became of deliveries.
#[derive(Clone, Debug, PartialEq)]
pub struct Disposition {
    /// The role of the peer that tells it.
    pub role: Role,
    /// The first delivery.
    pub first: u32,
    /// The last; `None`: the first.
    pub last: Option<u32>,
    /// Whether the peer has settled.
    pub settled: bool,
    /// What became of them.
    pub state: Option<DeliveryState>,
    /// Whether the answer may wait for others.
    pub batchable: bool,
}

/// Detaches a link.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Detach {
    /// The link.
    pub handle: u32,
    /// Whether nothing of it is to be kept.
    pub closed: bool,
    /// Why.
    pub error: Option<AmqpError>,
}

/// Ends a session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct End {
    /// Why.
    pub error: Option<AmqpError>,
}

/// Closes a connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Close {
    /// Why.
    pub error: Option<AmqpError>,
}

#[cfg(test)]
mod tests;
