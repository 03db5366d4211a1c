//! Twins (`spec/service.md` 3.2).

use axum::response::Response;
use hyper::body::Incoming;
use iothub_protocol::Error;
use iothub_protocol::twin::TwinPatch;

use crate::activity::OperationKind;
use crate::http::call::{Call, about, known};
use crate::http::route::Target;
use crate::http::{answer, body};

/// `GET /twins/{id}[/modules/{mid}]`
pub(super) async fn get(call: &Call<'_>, target: Target<'_>) -> Result<Response, Error> {
    let client = target.client();
    let operation = about(OperationKind::GetTwin, &client);
    let (twin, etag) = call
        .perform(operation, |hub, _, caller| {
            hub.twin(caller, known(&client)?)
        })
        .await?;
    Ok(answer::entity(&twin, &etag))
}

/// `PATCH /twins/{id}[/modules/{mid}]`: merges.
pub(super) async fn patch(
    call: &Call<'_>,
    target: Target<'_>,
    body: Incoming,
) -> Result<Response, Error> {
    let client = target.client();
    let patch = read(call, body).await;
    let operation = about(OperationKind::PatchTwin, &client);
    let (twin, etag) = call
        .perform(operation, |hub, cx, caller| {
            hub.patch_twin(cx, caller, known(&client)?, patch?, &call.if_match())
        })
        .await?;
    Ok(answer::entity(&twin, &etag))
}

/// `PUT /twins/{id}[/modules/{mid}]`: replaces the sections that are given.
pub(super) async fn replace(
    call: &Call<'_>,
    target: Target<'_>,
    body: Incoming,
) -> Result<Response, Error> {
    let client = target.client();
    let twin = read(call, body).await;
    let operation = about(OperationKind::ReplaceTwin, &client);
    let (twin, etag) = call
        .perform(operation, |hub, cx, caller| {
            hub.replace_twin(cx, caller, known(&client)?, twin?, &call.if_match())
        })
        .await?;
    Ok(answer::entity(&twin, &etag))
}

async fn read(call: &Call<'_>, body: Incoming) -> Result<TwinPatch, Error> {
    call.read(body, body::ENTITY)
        .await
        .and_then(|body| TwinPatch::parse(&body))
}
