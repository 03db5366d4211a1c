//! What a connection has proved: tokens it has put, a login, a certificate (`spec/amqp.md` 2.2, 3).

use iothub_hub::{Credentials, Permission, Principal};
use iothub_protocol::ClientId;
use iothub_protocol::amqp::AmqpError;
use iothub_protocol::amqp::error::condition;

/// What a connection has proved.
#[derive(Debug, Default)]
pub(super) struct Authority {}

impl Authority {
    /// Someone with this permission on the hub as a whole, or on the event hub of this name.
    ///
    /// Refuses with `amqp:unauthorized-access`.
    pub(super) fn service(
        &self,
        permission: Permission,
        entity: Option<&str>,
    ) -> Result<&Principal, AmqpError> {
        let _ = (permission, entity);
        Err(AmqpError::new(
            condition::UNAUTHORIZED_ACCESS,
            "nothing has been proved",
        ))
    }

    /// What to authenticate a client with.
    ///
    /// Refuses with `amqp:unauthorized-access` when nothing put so far could be for it.
    pub(super) fn credentials(&self, client: &ClientId) -> Result<Credentials<'_>, AmqpError> {
        let _ = client;
        Err(AmqpError::new(
            condition::UNAUTHORIZED_ACCESS,
            "nothing has been proved",
        ))
    }

    /// Whether the proof is for the hub itself, not for an event hub: readers of `messages/events`
    /// are then sent elsewhere (`spec/amqp.md` 6.1).
    pub(super) fn is_for_hub(&self) -> bool {
        false
    }
}
