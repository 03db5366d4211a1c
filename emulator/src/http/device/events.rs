//! Telemetry (`spec/device.md` 9.2).

use axum::response::Response;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use hyper::body::Incoming;
use iothub_protocol::http::{is_batch, parse_batch, push_header};
use iothub_protocol::message::MAX_TELEMETRY_SIZE;
use iothub_protocol::{ClientId, Error, Message};

use crate::activity::OperationKind;
use crate::http::answer;
use crate::http::call::Call;
use crate::throttling::Load;

/// `POST /devices/{id}[/modules/{mid}]/messages/events`: one message, or a batch when the content
/// type says so.
pub(super) async fn send(
    call: &Call<'_>,
    client: &ClientId,
    body: Incoming,
) -> Result<Response, Error> {
    let messages = call
        .read(body, MAX_TELEMETRY_SIZE)
        .await
        .and_then(|body| messages(call, body));
    let operation = OperationKind::SendTelemetry
        .on(client)
        .of(messages.as_ref().map_or(1, Vec::len));
    let operation = match (call.handle().message_size(), &messages) {
        (Some(unit), Ok(messages)) => {
            let sizes = messages.iter().map(Message::size);
            operation.weighing(Load::of_messages(unit, sizes))
        }
        _ => operation,
    };
    call.perform_as(operation, client, |hub, cx, caller| {
        hub.ingest_from(cx, caller, client, messages?)
    })
    .await?;
    Ok(answer::no_content())
}

fn messages(call: &Call<'_>, body: Bytes) -> Result<Vec<Message>, Error> {
    let content_type = call.headers().get(CONTENT_TYPE);
    let content_type = content_type.and_then(|kind| kind.to_str().ok());
    if is_batch(content_type.unwrap_or_default()) {
        return parse_batch(&body);
    }
    let mut message = Message {
        body,
        ..Message::default()
    };
    for (name, value) in call.headers() {
        push_header(&mut message.properties, name.as_str(), value.as_bytes())?;
    }
    Ok(vec![message])
}
