//! What a connection tells its owner.

use bytes::Bytes;

use super::terms::{DeliveryId, LinkId, SessionId};
use crate::amqp::error::AmqpError;
use crate::amqp::performative::{Attach, Flow, Open};
use crate::amqp::sasl::SaslCode;
use crate::amqp::state::DeliveryState;
use crate::amqp::value::Symbol;

#[cfg(doc)]
use super::Connection;

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
    /// The link is over: the peer detached it or broke a rule on it, or its session or connection
    /// ended. Answered already. Not told of links that the owner has detached or refused.
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
