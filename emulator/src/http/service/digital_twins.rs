//! Digital twins and their commands (`spec/service.md` 9).

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http::header::{ETAG, HeaderName, HeaderValue, LOCATION};
use hyper::body::Incoming;
use iothub_protocol::Error;
use iothub_protocol::digital_twin::DigitalTwinPatch;
use iothub_protocol::method::MethodRequest;

use crate::activity::OperationKind;
use crate::http::call::{Call, about, known};
use crate::http::route::{Command, Target};
use crate::http::{answer, body, spelling};

/// The only carrier of what the device answered: the response itself is 200 always.
const COMMAND_STATUS: HeaderName = HeaderName::from_static("x-ms-command-statuscode");

/// `GET /digitaltwins/{id}`
pub(super) async fn get(call: &Call<'_>, device: &str) -> Result<Response, Error> {
    let client = Target::device(device).client();
    let operation = about(OperationKind::GetDigitalTwin, &client);
    let (twin, etag) = call
        .perform(operation, |hub, _, caller| {
            hub.digital_twin(caller, &known(&client)?.device)
        })
        .await?;
    let mut response = answer::entity(&twin, &etag);
    spelling::spell(&mut response);
    Ok(response)
}

/// `PATCH /digitaltwins/{id}`: 202 without a body, since the device has yet to do what is asked.
pub(super) async fn patch(
    call: &Call<'_>,
    device: &str,
    body: Incoming,
) -> Result<Response, Error> {
    let client = Target::device(device).client();
    let patch = call
        .read(body, body::ENTITY)
        .await
        .and_then(|body| DigitalTwinPatch::parse(&body));
    let operation = about(OperationKind::PatchDigitalTwin, &client);
    let etag = call
        .perform(operation, |hub, cx, caller| {
            let device = &known(&client)?.device;
            hub.patch_digital_twin(cx, caller, device, &patch?, &call.if_match())
        })
        .await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    let location = format!("https://{}/digitaltwins/{device}", call.host());
    for (name, value) in [(ETAG, format!("\"{etag}\"")), (LOCATION, location)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    spelling::spell(&mut response);
    Ok(response)
}

/// `POST /digitaltwins/{id}[/components/{c}]/commands/{name}`: a direct method whose request and
/// response are payloads alone. When the caller goes away, so does the call.
pub(super) async fn invoke(
    call: &Call<'_>,
    command: Command<'_>,
    body: Incoming,
) -> Result<Response, Error> {
    let client = Target::device(command.device).client();
    let request = call.read(body, body::ENTITY).await.and_then(|body| {
        MethodRequest::command(
            command.component,
            command.name,
            &body,
            call.parameter("connectTimeoutInSeconds").as_deref(),
            call.parameter("responseTimeoutInSeconds").as_deref(),
        )
    });
    let (client, request) = match (client, request) {
        (Ok(client), Ok(request)) => (client, request),
        (Err(fault), _) | (_, Err(fault)) => {
            // Who is not authorized is told so, and nothing about the request.
            let operation = OperationKind::InvokeCommand.hub_wide();
            return call.perform(operation, |_, _, _| Err(fault)).await;
        }
    };
    let answered = call
        .handle()
        .invoke_command(&client, request, |hub, now| call.authenticate(hub, now))
        .await?;
    let payload = if answered.payload.is_empty() {
        Bytes::from_static(b"null")
    } else {
        answered.payload
    };
    let mut response = answer::json(StatusCode::OK, payload);
    response
        .headers_mut()
        .insert(COMMAND_STATUS, answered.status.into());
    Ok(response)
}
