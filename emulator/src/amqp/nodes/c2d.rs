//! A client's cloud-to-device messages, and a module's inputs (`spec/amqp.md` 7.3).

use iothub_protocol::amqp::connection::DeliveryId;
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::{AmqpError, DeliveryState};

use super::Opening;
use crate::amqp::shared::Shared;

/// The node.
pub(in crate::amqp) struct Node {}

impl Node {
    /// Takes a link.
    pub(super) async fn open(
        shared: &mut Shared,
        opening: &Opening<'_>,
    ) -> Result<Self, AmqpError> {
        let _ = (shared, opening);
        Err(AmqpError::new(condition::NOT_IMPLEMENTED, "not emulated"))
    }

    /// The peer told what became of a delivery.
    pub(super) async fn outcome(
        &mut self,
        shared: &mut Shared,
        delivery: DeliveryId,
        state: Option<DeliveryState>,
        settled: bool,
    ) {
        let _ = (shared, delivery, state, settled);
    }

    /// There is credit, or something to send.
    pub(super) async fn credit(&mut self, shared: &mut Shared) {
        let _ = shared;
    }

    /// The link is over.
    pub(super) async fn close(self, shared: &mut Shared) {
        let _ = shared;
    }
}
