//! `$cbs`: tokens are put here (`spec/amqp.md` 3).

use iothub_hub::Reach;
use iothub_protocol::Clock;
use iothub_protocol::amqp::cbs::{PutToken, SAS_KINDS, response};
use iothub_protocol::amqp::connection::{AcceptLink, Delivery};
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::message::AmqpMessage;
use iothub_protocol::amqp::performative::{Attach, Role};
use iothub_protocol::amqp::{AmqpError, DeliveryState, Value};

use super::Opening;
use crate::amqp::devices;
use crate::amqp::shared::{Shared, shown};

/// Requests that may wait; each is answered as it comes.
const CREDIT: u32 = 100;
/// Bytes of a request: a token is some hundred.
const MAX_REQUEST: u64 = 64 * 1024;

/// The node.
pub(in crate::amqp) struct Node {}

impl Node {
    /// Takes a link: one with requests, or one for answers.
    pub(super) fn open(shared: &mut Shared, opening: &Opening<'_>) -> Self {
        shared.machine.accept_link(
            opening.link,
            AcceptLink {
                credit: CREDIT,
                max_message_size: Some(MAX_REQUEST),
                ..AcceptLink::default()
            },
        );
        if opening.attach.role == Role::Receiver {
            shared.cbs.add(opening.link, names(opening.attach));
        }
        Self {}
    }

    /// A request came in.
    pub(super) async fn delivery(&mut self, shared: &mut Shared, delivery: Delivery) {
        let message = match AmqpMessage::decode(delivery.payload) {
            Ok(message) => message,
            Err(error) => {
                let error = AmqpError::new(condition::DECODE_ERROR, error.to_string());
                let state = DeliveryState::Rejected(Some(error));
                shared.machine.settle(delivery.link, delivery.id, state);
                return;
            }
        };
        shared
            .machine
            .settle(delivery.link, delivery.id, DeliveryState::Accepted);
        let (status, description) = match PutToken::from_message(&message) {
            Ok(request) => put(shared, &request).await,
            Err(reason) => (400, reason),
        };
        let correlation_id = message.properties.message_id.unwrap_or(Value::Null);
        let answer = response(&correlation_id, status, &description, Value::Null);
        let reply_to = message.properties.reply_to.as_deref();
        shared.cbs.answer(&mut shared.machine, reply_to, &answer);
    }
}

/// What a link that receives answers may be called in a request: its own name, or its target's.
pub(super) fn names(attach: &Attach) -> Vec<String> {
    let target = attach.target.as_ref();
    let address = target.and_then(|target| target.address.clone());
    [Some(attach.name.clone()), address]
        .into_iter()
        .flatten()
        .collect()
}

/// Takes a token, or says why not.
async fn put(shared: &mut Shared, request: &PutToken) -> (i32, String) {
    let kind = request.kind.as_str();
    if !SAS_KINDS
        .iter()
        .any(|known| known.eq_ignore_ascii_case(kind))
    {
        let what = format!("tokens of the type {}", shown(kind));
        shared.handle.activity().record_not_emulated(&what);
        return (401, format!("not emulated: {what}"));
    }
    let now = shared.handle.clock().now();
    let authority = &mut shared.authority;
    let taken = shared
        .handle
        .inspect(|hub| authority.put(hub, now, &request.audience, &request.token));
    match taken {
        Ok(reach) => {
            tracing::debug!(peer = %shared.peer.address, ?reach, "a token was put");
            match reach {
                Reach::Client(client) => devices::renewed(shared, Some(&client)).await,
                Reach::Hub | Reach::Devices => devices::renewed(shared, None).await,
                Reach::Path(_) => {}
            }
            (200, "OK".to_owned())
        }
        Err(error) => {
            tracing::info!(
                peer = %shared.peer.address,
                audience = shown(&request.audience),
                reason = error.detail,
                "token refused"
            );
            (401, error.detail)
        }
    }
}
