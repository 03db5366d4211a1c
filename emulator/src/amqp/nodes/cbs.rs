//! `$cbs`: tokens are put here (`spec/amqp.md` 3).

use iothub_hub::Reach;
use iothub_protocol::Clock;
use iothub_protocol::amqp::Value;
use iothub_protocol::amqp::cbs::{PutToken, SAS_KINDS, response};
use iothub_protocol::amqp::connection::Delivery;

use super::Opening;
use crate::amqp::shared::{Shared, shown};
use crate::amqp::{devices, responder};
use crate::timeline::client_of_path;

/// The node.
pub(in crate::amqp) struct Node {}

impl Node {
    /// Takes a link: one with requests, or one for answers.
    pub(super) fn open(shared: &mut Shared, opening: &Opening<'_>) -> Self {
        let machine = &mut shared.machine;
        shared.cbs.accept(machine, opening.link, opening.attach);
        Self {}
    }

    /// A request came in.
    pub(super) async fn delivery(&mut self, shared: &mut Shared, delivery: Delivery) {
        let Some(message) = responder::request(&mut shared.machine, delivery) else {
            return;
        };
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
            let client = client_of_path(&request.audience);
            shared.handle.refuse_connect(client.as_ref(), &error);
            (401, error.detail)
        }
    }
}
