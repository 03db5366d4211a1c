//! `/messages/devicebound`: messages to devices (`spec/amqp.md` 5.1).

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
}
