//! Bulk changes of the registry (`spec/service.md` 2.7).

use axum::response::Response;
use http::StatusCode;
use hyper::body::Incoming;
use iothub_protocol::registry::{BulkItem, bulk_result_json};
use iothub_protocol::{Error, ErrorCode};

use crate::activity::OperationKind;
use crate::http::call::Call;
use crate::http::{answer, body, error};
use crate::throttling::Load;

/// `POST /devices`: 200 when every item succeeded, otherwise 400 with the same kind of body, which
/// .NET reads only if the header names the reason.
pub(super) async fn change(call: &Call<'_>, body: Incoming) -> Result<Response, Error> {
    let items = call
        .read(body, body::BULK)
        .await
        .and_then(|body| BulkItem::parse_all(&body));
    let count = items.as_ref().map_or(1, Vec::len);
    let operation = OperationKind::BulkRegistry
        .hub_wide()
        .weighing(Load::of(count));
    let errors = call
        .perform(operation, |hub, cx, caller| hub.bulk(cx, caller, items?))
        .await?;
    let result = bulk_result_json(&errors);
    if errors.is_empty() {
        return Ok(answer::value(&result));
    }
    let mut response = answer::json(StatusCode::BAD_REQUEST, result.to_string());
    error::name(&mut response, ErrorCode::BulkRegistryOperationFailure);
    Ok(response)
}
