//! Direct methods (`spec/service.md` 4).

use axum::response::Response;
use http::StatusCode;
use hyper::body::Incoming;
use iothub_protocol::Error;
use iothub_protocol::method::MethodRequest;

use crate::activity::OperationKind;
use crate::http::call::Call;
use crate::http::route::Target;
use crate::http::{answer, body};

/// `POST /twins/{id}[/modules/{mid}]/methods`. When the caller goes away, so does the call.
pub(super) async fn invoke(
    call: &Call<'_>,
    target: Target<'_>,
    body: Incoming,
) -> Result<Response, Error> {
    let client = target.client();
    let request = call
        .read(body, body::ENTITY)
        .await
        .and_then(|body| MethodRequest::parse(&body));
    let (client, request) = match (client, request) {
        (Ok(client), Ok(request)) => (client, request),
        (Err(fault), _) | (_, Err(fault)) => {
            // Who is not authorized is told so, and nothing about the request.
            let operation = OperationKind::InvokeMethod.hub_wide();
            return call.perform(operation, |_, _, _| Err(fault)).await;
        }
    };
    let answered = call
        .handle()
        .invoke_method(&client, request, |hub, now| call.authenticate(hub, now))
        .await?;
    Ok(answer::json(StatusCode::OK, answered.to_json()))
}
