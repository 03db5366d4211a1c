//! Cloud-to-device messages (`spec/service.md` 2.3, 8).

use axum::response::Response;
use hyper::body::Incoming;
use iothub_protocol::{Error, Message};
use serde_json::json;

use crate::activity::OperationKind;
use crate::http::call::{Call, about, known};
use crate::http::route::Target;
use crate::http::{answer, body, message};
use crate::throttling::Load;

/// `POST /devices/{id}[/modules/{mid}]/messages/deviceBound`: the body is the message's, as it is.
pub(super) async fn send(
    call: &Call<'_>,
    target: Target<'_>,
    body: Incoming,
) -> Result<Response, Error> {
    let client = target.client();
    let body = call.read(body, body::ENTITY).await;
    let properties = message::properties(call.headers());
    let operation = about(OperationKind::SendC2d, &client);
    let operation = match (call.handle().message_size(), &body) {
        (Some(unit), Ok(body)) => {
            operation.weighing(Load::of_messages(unit, std::iter::once(body.len())))
        }
        _ => operation,
    };
    call.perform(operation, |hub, cx, caller| {
        let body = body?;
        hub.send_c2d(cx, caller, known(&client)?, Message { properties, body })
    })
    .await?;
    Ok(answer::no_content())
}

/// `DELETE /devices/{id}[/modules/{mid}]/commands`
pub(super) async fn purge(call: &Call<'_>, target: Target<'_>) -> Result<Response, Error> {
    let client = target.client();
    let operation = about(OperationKind::PurgeC2d, &client);
    let purged = call
        .perform(operation, |hub, cx, caller| {
            hub.purge_c2d(cx, caller, known(&client)?)
        })
        .await?;
    Ok(answer::value(&json!({
        "totalMessagesPurged": purged,
        "deviceId": target.device,
        "moduleId": target.module,
    })))
}
