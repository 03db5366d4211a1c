//! One AMQP connection, either peer's half, without IO: bytes in, events out; calls in, bytes out
//! (AMQP 1.0 part 2; `spec/amqp.md` 2 and 4).
//!
//! It keeps the protocol's own rules: headers and SASL frames in their order, channels and handles,
//! windows and credit, multi-frame deliveries, heartbeats, an ordered end. Who may do what, and what
//! a delivery means, is its owner's business.
//!
//! The owner calls [`Connection::receive`] with what it read, takes every [`Event`] with
//! [`Connection::next_event`], answers by the other methods, and writes each chunk of
//! [`Connection::next_output`] by itself. Events of links that the owner has detached meanwhile may
//! still be queued; calls about links and deliveries that are gone are ignored.

use std::time::Duration;

use bytes::Bytes;

use super::error::AmqpError;
use super::performative::{
    Attach, Flow, Open, ReceiverSettleMode, Role, SenderSettleMode, Source, Target,
};
use super::sasl::SaslCode;
use super::state::DeliveryState;
use super::value::{Map, Symbol};
use crate::Timestamp;

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

/// What happened, for the owner to answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Server: the peer wants to authenticate. To be answered by [`Connection::sasl_outcome`];
    /// nothing else is read before.
    SaslInit {
        /// The mechanism, one of those offered.
        mechanism: Symbol,
        /// Its first message.
        initial_response: Option<Bytes>,
        /// The host that the client believes to speak to.
        hostname: Option<String>,
    },
    /// Client: the security layer's exchange has ended.
    SaslEnded(SaslCode),
    /// The peer has opened. A server has answered already.
    Opened(Box<Open>),
    /// The peer has begun a session, or has answered ours. A server has answered already.
    SessionBegun(SessionId),
    /// A session is over, its links with it (each has had its [`Event::LinkDetached`]).
    SessionEnded(SessionId, Option<AmqpError>),
    /// The peer attaches a link: to be answered by [`Connection::accept_link`] or
    /// [`Connection::refuse_link`]. Or it has answered ours; one that it refuses is detached next.
    LinkAttached {
        /// The link.
        link: LinkId,
        /// Its session.
        session: SessionId,
        /// Whether it was attached from here.
        ours: bool,
        /// What the peer said. Its role is the peer's.
        attach: Box<Attach>,
    },
    /// The link is over: the peer detached it, or its session or connection ended. Answered already.
    LinkDetached {
        /// The link.
        link: LinkId,
        /// Whether for good; a link that is only suspended is over here, too.
        closed: bool,
        /// Why.
        error: Option<AmqpError>,
    },
    /// A whole delivery has come in. Unless settled, to be answered by [`Connection::settle`].
    Delivery(Delivery),
    /// The receiver of a link has changed its credit, or the session's window has opened: see
    /// [`Connection::sendable`]. When `drain` is set, the owner sends what it has at once and then
    /// calls [`Connection::drained`].
    Credit {
        /// The link.
        link: LinkId,
        /// Whether unused credit is to lapse.
        drain: bool,
        /// What the flow said.
        flow: Box<Flow>,
    },
    /// The peer tells what became of a delivery of ours. When it has not settled, the owner does by
    /// [`Connection::settle_sent`] once it has acted on the state.
    Outcome {
        /// The link.
        link: LinkId,
        /// The delivery.
        delivery: DeliveryId,
        /// What became of it; `None`: settled without a word.
        state: Option<DeliveryState>,
        /// Whether the peer has settled.
        settled: bool,
    },
    /// The connection is over; the last event. What is to be written still is.
    Closed(Option<AmqpError>),
}

/// A delivery that has come in.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The link.
    pub link: LinkId,
    /// Names it on the link.
    pub id: DeliveryId,
    /// The sender's name for it.
    pub tag: Bytes,
    /// The message's format.
    pub format: u32,
    /// Whether the sender has settled.
    pub settled: bool,
    /// The message.
    pub payload: Bytes,
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

/// One connection.
#[derive(Debug)]
pub struct Connection {
    config: ConnectionConfig,
}

impl Connection {
    /// A server's half, which waits for the peer's header.
    pub fn server(config: ConnectionConfig, now: Timestamp) -> Self {
        let _ = now;
        Self { config }
    }

    /// A client's half; its header is the first output.
    pub fn client(config: ConnectionConfig, sasl: ClientSasl, now: Timestamp) -> Self {
        let _ = (sasl, now);
        Self { config }
    }

    /// Takes what was read. Bytes that break the protocol end the connection, with the error told
    /// to the peer and as [`Event::Closed`].
    pub fn receive(&mut self, now: Timestamp, input: &[u8]) {
        let _ = (now, input);
        todo!()
    }

    /// The next thing that happened.
    pub fn next_event(&mut self) -> Option<Event> {
        todo!()
    }

    /// The next bytes to write, each chunk in a write of its own (`spec/amqp.md` 4, refusal).
    pub fn next_output(&mut self) -> Option<Bytes> {
        todo!()
    }

    /// When [`Connection::tick`] is to be called next.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        todo!()
    }

    /// Sends a sign of life if one is due; ends the connection of a peer that gave none.
    pub fn tick(&mut self, now: Timestamp) {
        let _ = now;
        todo!()
    }

    /// Whether the connection is over: once the output is written, the stream is to be closed.
    pub fn is_closed(&self) -> bool {
        todo!()
    }

    /// Server: whether the peer is let in.
    pub fn sasl_outcome(&mut self, code: SaslCode) {
        let _ = code;
        todo!()
    }

    /// Begins a session.
    pub fn begin(&mut self) -> SessionId {
        todo!()
    }

    /// Attaches a link.
    pub fn attach(&mut self, session: SessionId, link: AttachLink) -> LinkId {
        let _ = (session, link);
        todo!()
    }

    /// Takes a link of the peer's.
    pub fn accept_link(&mut self, link: LinkId, answer: AcceptLink) {
        let _ = (link, answer);
        todo!()
    }

    /// Refuses a link of the peer's: an answer, and in a write of its own the detach.
    pub fn refuse_link(&mut self, link: LinkId, error: AmqpError) {
        let _ = (link, error);
        todo!()
    }

    /// When we receive: the deliveries that the peer may send from now on.
    pub fn grant(&mut self, link: LinkId, credit: u32) {
        let _ = (link, credit);
        todo!()
    }

    /// When we send: how many deliveries can be sent now. 0 while the session's window is shut or
    /// earlier deliveries wait for it.
    pub fn sendable(&self, link: LinkId) -> u32 {
        let _ = link;
        todo!()
    }

    /// When we send: the credit that the receiver has granted and that is not used, whatever the
    /// session's window.
    pub fn credit(&self, link: LinkId) -> u32 {
        let _ = link;
        todo!()
    }

    /// Sends a delivery under this tag; its parts follow as the window allows.
    pub fn send(
        &mut self,
        link: LinkId,
        tag: &[u8],
        format: u32,
        payload: Bytes,
        settled: bool,
    ) -> Result<DeliveryId, SendError> {
        let _ = (link, tag, format, payload, settled);
        todo!()
    }

    /// When we send: nothing is left for a drain; unused credit lapses.
    pub fn drained(&mut self, link: LinkId) {
        let _ = link;
        todo!()
    }

    /// When we receive: settles a delivery. Runs of the same state leave as one disposition.
    pub fn settle(&mut self, link: LinkId, delivery: DeliveryId, state: DeliveryState) {
        let _ = (link, delivery, state);
        todo!()
    }

    /// When we receive, with the settle mode second: tells a state without settling.
    pub fn tell(&mut self, link: LinkId, delivery: DeliveryId, state: DeliveryState) {
        let _ = (link, delivery, state);
        todo!()
    }

    /// When we send: settles a delivery whose outcome the peer has told unsettled.
    pub fn settle_sent(&mut self, link: LinkId, delivery: DeliveryId, state: DeliveryState) {
        let _ = (link, delivery, state);
        todo!()
    }

    /// Detaches a link for good.
    pub fn detach(&mut self, link: LinkId, error: Option<AmqpError>) {
        let _ = (link, error);
        todo!()
    }

    /// Ends a session and its links.
    pub fn end(&mut self, session: SessionId, error: Option<AmqpError>) {
        let _ = (session, error);
        todo!()
    }

    /// Closes the connection.
    pub fn close(&mut self, error: Option<AmqpError>) {
        let _ = error;
        todo!()
    }

    /// Its numbers.
    pub fn config(&self) -> &ConnectionConfig {
        &self.config
    }
}
