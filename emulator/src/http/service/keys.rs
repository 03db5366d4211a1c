//! New keys (`spec/service.md` 2.4).

use axum::response::Response;
use http::StatusCode;
use hyper::body::Incoming;
use iothub_protocol::registry::{RegenerateRequest, regenerate_result_json};
use iothub_protocol::{Error, ErrorCode};

use crate::activity::OperationKind;
use crate::http::call::Call;
use crate::http::{answer, body, error};
use crate::throttling::Load;

/// `POST /devices/keys/regenerate`: 200 when every target has new keys, 207 when some have, 400
/// when none has; the same kind of body in all three.
pub(super) async fn regenerate(call: &Call<'_>, body: Incoming) -> Result<Response, Error> {
    let request = call
        .read(body, body::BULK)
        .await
        .and_then(|body| RegenerateRequest::parse(&body));
    let key = request.as_ref().ok().map(|request| request.key);
    let count = request.as_ref().map_or(1, |request| request.targets.len());
    let operation = OperationKind::RegenerateKeys
        .hub_wide()
        .weighing(Load::of(count));
    let (rotated, errors) = call
        .perform(operation, |hub, cx, caller| {
            hub.regenerate_keys(cx, caller, request?)
        })
        .await?;
    let key = key.expect("a request that was carried out names a key");
    let result = regenerate_result_json(key, &rotated, &errors);
    if errors.is_empty() {
        return Ok(answer::value(&result));
    }
    if !rotated.is_empty() {
        return Ok(answer::json(StatusCode::MULTI_STATUS, result.to_string()));
    }
    let mut response = answer::json(StatusCode::BAD_REQUEST, result.to_string());
    error::name(
        &mut response,
        ErrorCode::BulkRegenerateDeviceKeyOperationFailure,
    );
    Ok(response)
}
