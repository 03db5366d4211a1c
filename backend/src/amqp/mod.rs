//! AMQP 1.0 as a back end speaks it (`spec/amqp.md`).
//!
//! `endpoint` knows the way, `wire` owns the stream of one connection, `link` and `request` use it,
//! `connector` makes another when it is lost and keeps its token fresh. What is sent and received
//! is the business of `events`, `c2d`, `feedback` and `file_notifications`.

mod connector;
mod endpoint;
mod link;
mod queue;
mod refusal;
mod request;
mod retry;
mod websocket;
mod wire;

pub(crate) use connector::{Connector, Session};
pub(crate) use endpoint::{AMQPS_PORT, EVENTS_PATH, Endpoint, HUB_PATH};
pub(crate) use link::{Inbound, Link};
pub(crate) use queue::{QueueReader, is_passing, may_come_back};
pub(crate) use refusal::{of_link, unless_accepted, unreadable};
pub(crate) use request::Requester;
pub(crate) use retry::Failures;
pub use retry::RetryPolicy;
pub(crate) use wire::LinkEnd;
