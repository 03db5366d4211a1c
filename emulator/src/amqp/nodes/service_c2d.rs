//! `/messages/devicebound`: messages to devices come in from a back end (`spec/amqp.md` 5.1).

use std::time::Duration;

use bytes::Bytes;
use iothub_hub::Permission;
use iothub_protocol::amqp::address::Address;
use iothub_protocol::amqp::connection::{AcceptLink, Delivery};
use iothub_protocol::amqp::mapping::from_amqp;
use iothub_protocol::amqp::message::AmqpMessage;
use iothub_protocol::amqp::{AmqpError, DeliveryState};
use iothub_protocol::message::MAX_C2D_SIZE;
use iothub_protocol::property_bag::SystemProperty;
use iothub_protocol::{ClientId, Error, ErrorCode, Message, Timestamp};

use super::Opening;
use crate::activity::OperationKind;
use crate::amqp::authority::DEVICE_BOUND;
use crate::amqp::shared::Shared;
use crate::throttling::Load;

/// Messages that a back end may send before earlier ones are settled.
const CREDIT: u32 = 1000;
/// Bytes of a delivery that are taken. The hub's limit is on the message alone, not on what AMQP
/// adds: between the two, a message is refused and the link stays.
const MAX_MESSAGE_SIZE: u64 = 4 * MAX_C2D_SIZE as u64;

/// The node.
pub(in crate::amqp) struct Node {}

impl Node {
    /// Takes a link of somebody who may send.
    pub(super) fn open(shared: &mut Shared, opening: &Opening<'_>) -> Result<Self, AmqpError> {
        shared
            .authority
            .service(Permission::ServiceConnect, Some(DEVICE_BOUND))?;
        let answer = AcceptLink {
            credit: CREDIT,
            max_message_size: Some(MAX_MESSAGE_SIZE),
            ..AcceptLink::default()
        };
        shared.machine.accept_link(opening.link, answer);
        Ok(Self {})
    }

    /// A message came in. It is accepted once the hub has it for good; a refusal is about the one
    /// message, never about the link.
    pub(super) async fn delivery(&mut self, shared: &mut Shared, delivery: Delivery) {
        let outcome = match AmqpMessage::decode(delivery.payload) {
            Ok(message) => enqueue(shared, &message).await,
            Err(error) => Err(AmqpError::from(&error)),
        };
        if !delivery.settled {
            let state = match outcome {
                Ok(()) => DeliveryState::Accepted,
                Err(error) => DeliveryState::Rejected(Some(error)),
            };
            shared.machine.settle(delivery.link, delivery.id, state);
        }
    }
}

async fn enqueue(shared: &Shared, message: &AmqpMessage) -> Result<(), AmqpError> {
    let caller = shared
        .authority
        .service(Permission::ServiceConnect, Some(DEVICE_BOUND))?;
    let client = recipient(message.properties.to.as_deref());
    let ttl = message.header.ttl;
    let read = from_amqp(message).map_err(|error| Error::argument_invalid(error.to_string()));
    let operation = match &client {
        Ok(client) => OperationKind::SendC2d.on(client),
        Err(_) => OperationKind::SendC2d.hub_wide(),
    };
    let operation = match (shared.handle.message_size(), &read) {
        (Some(unit), Ok(read)) => {
            operation.weighing(Load::of_messages(unit, std::iter::once(read.body.len())))
        }
        _ => operation,
    };
    let sent = shared
        .handle
        .call(operation, |hub, cx| {
            let client = client.as_ref().map_err(Clone::clone)?;
            let mut message = with_expiry(read?, ttl, cx.now());
            // It may wait for days, and does not hold on to the read buffer.
            message.body = Bytes::copy_from_slice(&message.body);
            hub.send_c2d(cx, caller, client, message)
        })
        .await;
    sent.map(drop).map_err(|error| shared.refusal(&error))
}

/// Whom a message is for.
fn recipient(to: Option<&str>) -> Result<ClientId, Error> {
    let Some(to) = to else {
        let detail = "the message has no property `to`";
        return Err(Error::new(ErrorCode::ArgumentNull, detail));
    };
    match Address::parse(to) {
        Address::C2d(client) => Ok(client),
        _ => Err(Error::new(
            ErrorCode::AmqpAddressNotFound,
            format!("`to` is {to}, expected /devices/{{id}}/messages/devicebound"),
        )),
    }
}

/// The header's time to live, which C# sets, is an expiry like the property that others set.
fn with_expiry(mut message: Message, ttl: Option<u32>, now: Timestamp) -> Message {
    if let Some(ttl) = ttl.filter(|ttl| *ttl > 0)
        && message.properties.system(SystemProperty::Expiry).is_none()
    {
        let expires = now + Duration::from_millis(ttl.into());
        let properties = &mut message.properties;
        properties.push_system(SystemProperty::Expiry, &expires.to_iso());
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_is_an_expiry_unless_there_is_one() {
        let now = Timestamp::UNIX_EPOCH;
        let expiry = |message: Message, ttl| {
            let message = with_expiry(message, ttl, now);
            let expiry = message.properties.system(SystemProperty::Expiry);
            expiry.map(|it| it.into_owned())
        };
        let mut own = Message::default();
        own.properties.push_system(SystemProperty::Expiry, "own");

        assert_eq!(
            expiry(Message::default(), Some(1500)).as_deref(),
            Some("1970-01-01T00:00:01.5000000Z")
        );
        assert_eq!(expiry(Message::default(), Some(0)), None);
        assert_eq!(expiry(Message::default(), None), None);
        assert_eq!(expiry(own, Some(1500)).as_deref(), Some("own"));
    }

    #[test]
    fn a_message_says_whom_it_is_for() {
        let module = ClientId::parse("d#1/m1").ok();
        let to = "/devices/d%231/modules/m1/messages/devicebound";
        assert_eq!(recipient(Some(to)).ok(), module);
        for (to, code) in [
            (None, ErrorCode::ArgumentNull),
            (
                Some("/messages/devicebound"),
                ErrorCode::AmqpAddressNotFound,
            ),
            (Some("/devices/d1"), ErrorCode::AmqpAddressNotFound),
        ] {
            assert_eq!(recipient(to).unwrap_err().code, code);
        }
    }
}
