//! The words of a connection's owner: names, limits, how links are attached and answered.

use std::time::Duration;

use bytes::Bytes;

use crate::amqp::performative::{ReceiverSettleMode, Role, SenderSettleMode, Source, Target};
use crate::amqp::value::{Map, Symbol};

/// Names a session of this connection; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u32);

/// Names a link of this connection; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// Names a delivery of a link, in its direction; never used twice by a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub u64);

/// Numbers of a connection; each is a bound on memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// Names this container.
    pub container_id: String,
    /// The host that a client believes to speak to.
    pub hostname: Option<String>,
    /// Bytes of a frame that are taken.
    pub max_frame_size: u32,
    /// Sessions that are taken at the same time.
    pub max_sessions: u16,
    /// Links that are taken at the same time, in all sessions together.
    pub max_links: u32,
    /// Transfers of a session that are taken before its window is opened again.
    pub incoming_window: u32,
    /// Silence of the peer after which it is given up; half of it is told to the peer as its limit,
    /// so that twice as long passes before anybody is dropped.
    pub idle_timeout: Option<Duration>,
    /// Mechanisms that a server offers.
    pub sasl_mechanisms: Vec<Symbol>,
    /// Bytes of unfinished deliveries of all links together.
    pub max_unfinished: usize,
}

/// How a client begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientSasl {
    /// Without a security layer.
    None,
    /// With this mechanism.
    Mechanism {
        /// The mechanism.
        name: Symbol,
        /// Its first message.
        initial_response: Option<Bytes>,
    },
}

/// How a link of the peer's is answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AcceptLink {
    /// The source to name; `None`: the peer's own.
    pub source: Option<Source>,
    /// The target to name; `None`: the peer's own.
    pub target: Option<Target>,
    /// When we receive: deliveries that the peer may send; topped up at half as they are settled.
    /// 0: the owner grants them itself.
    pub credit: u32,
    /// When we receive: bytes of a message; longer ones detach the link. `None`: any that fit in
    /// [`ConnectionConfig::max_unfinished`].
    pub max_message_size: Option<u64>,
    /// What to tell of the link.
    pub properties: Map,
    /// Extensions that are used.
    pub offered_capabilities: Vec<Symbol>,
}

/// A link to attach from here.
#[derive(Clone, Debug, PartialEq)]
pub struct AttachLink {
    /// Names it.
    pub name: String,
    /// What we do.
    pub role: Role,
    /// Where deliveries come from.
    pub source: Source,
    /// Where they go.
    pub target: Target,
    /// How deliveries are settled.
    pub snd_settle_mode: SenderSettleMode,
    /// How deliveries are settled.
    pub rcv_settle_mode: ReceiverSettleMode,
    /// As [`AcceptLink::credit`].
    pub credit: u32,
    /// As [`AcceptLink::max_message_size`].
    pub max_message_size: Option<u64>,
    /// What to tell of the link.
    pub properties: Map,
    /// Extensions that are wanted.
    pub desired_capabilities: Vec<Symbol>,
}

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The link is gone, or not one that we send on.
    #[error("there is no such link")]
    NoLink,
    /// The receiver takes no delivery now.
    #[error("the link has no credit")]
    NoCredit,
}
