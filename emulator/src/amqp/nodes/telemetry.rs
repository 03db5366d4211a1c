//! A client's messages (`spec/amqp.md` 7.2).

use iothub_protocol::amqp::AmqpError;
use iothub_protocol::amqp::connection::Delivery;
use iothub_protocol::amqp::error::condition;

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

    /// A delivery came in.
    pub(super) async fn delivery(&mut self, shared: &mut Shared, delivery: Delivery) {
        let _ = (shared, delivery);
    }

    /// The link is over.
    pub(super) async fn close(self, shared: &mut Shared) {
        let _ = shared;
    }
}
