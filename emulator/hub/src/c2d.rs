//! Cloud-to-device messages: each client's queue (`spec/device.md` 5, `spec/service.md` 8).

use iothub_protocol::{ClientId, Message, Timestamp};

use crate::Hub;
use crate::cx::Cx;

/// A message that waits for its client.
#[derive(Clone, Debug, PartialEq)]
pub struct C2dMessage {
    /// Whom it is for.
    pub client: ClientId,
    /// Its place in the client's queue.
    pub sequence: u64,
    /// When the hub took it.
    pub enqueued: Timestamp,
    /// When it loses its value.
    pub expires: Timestamp,
    /// How often it was given back.
    pub delivery_count: u32,
    /// The generation of the identity that it was sent to.
    pub generation: std::sync::Arc<str>,
    /// What was sent; the wish for feedback is its property `iothub-ack`.
    pub message: Message,
}

/// What falls due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {}

#[derive(Clone, Default)]
pub(crate) struct Queues {}

impl Queues {
    pub(crate) fn put(&mut self, _message: std::sync::Arc<C2dMessage>) {}

    /// How many messages wait for a client.
    pub(crate) fn count(&self, _client: &ClientId) -> u64 {
        0
    }

    pub(crate) fn remove(&mut self, _client: &ClientId, _sequence: u64) {}
}

impl Hub {
    /// Sets the deadlines of what was restored or copied.
    pub(crate) fn c2d_rearm(&mut self) {}

    pub(crate) fn c2d_due(&mut self, _cx: &mut Cx<'_>, due: Due) {
        match due {}
    }
}
