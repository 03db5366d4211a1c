//! Refusals as responses: status, `iothub-errorcode`, and one of the two bodies
//! (`spec/service.md` 0.6).

use axum::response::Response;
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use iothub_protocol::http::{ErrorFormat, IOTHUB_ERRORCODE, error_body};
use iothub_protocol::{Clock, Error, ErrorCode};
use serde_json::{Map, Value};

use super::answer;
use crate::handle::HubHandle;

const ERRORCODE: HeaderName = HeaderName::from_static(IOTHUB_ERRORCODE);

/// The response for a refusal. `format` is that of the route; failures to authenticate look the
/// same on every route.
pub(super) fn refusal(handle: &HubHandle, error: &Error, format: ErrorFormat) -> Response {
    let status =
        StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let format = match error.code {
        _ if status == StatusCode::UNAUTHORIZED => ErrorFormat::Legacy,
        // As captured, on a route that otherwise has the other format (`spec/device.md` 8.4).
        ErrorCode::DeviceMaximumActiveFileUploadLimitExceeded => ErrorFormat::Structured,
        _ => format,
    };
    let body = error_body(error, format, &handle.tracking_id(), handle.clock().now());
    let mut response = answer::json(status, body);
    name(&mut response, error.code);
    response
}

/// As [`refusal`], with one more member in the body, for those who read it by program.
pub(super) fn refusal_with(
    handle: &HubHandle,
    error: &Error,
    format: ErrorFormat,
    member: &str,
    value: impl Into<Value>,
) -> Response {
    let body = error_body(error, format, &handle.tracking_id(), handle.clock().now());
    let mut body: Map<String, Value> = serde_json::from_str(&body).unwrap_or_default();
    body.insert(member.to_owned(), value.into());
    let status =
        StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = answer::json(status, Value::Object(body).to_string());
    name(&mut response, error.code);
    response
}

/// Says which refusal a response is: .NET compares the header with the body
/// (`spec/service.md` 16, trap 7).
pub(super) fn name(response: &mut Response, code: ErrorCode) {
    response
        .headers_mut()
        .insert(ERRORCODE, HeaderValue::from_static(code.name()));
}

/// The refusal of what the real hub can do and this one cannot: as of an unknown operation, and
/// counted.
pub(super) fn not_emulated(handle: &HubHandle, what: &str) -> Error {
    handle.activity().record_not_emulated(what);
    Error::new(ErrorCode::GenericNotFound, format!("not emulated: {what}"))
}

/// The refusal of a path that means nothing.
pub(super) fn unknown_path(handle: &HubHandle, method: &Method, path: &str) -> Error {
    not_emulated(handle, &format!("{method} {}", readable(path)))
}

/// The refusal of a verb that a path does not know.
pub(super) fn wrong_verb(handle: &HubHandle, method: &Method, path: &str) -> Error {
    let what = format!("{method} {}", readable(path));
    handle.activity().record_not_emulated(&what);
    Error::new(
        ErrorCode::GenericMethodNotAllowed,
        format!("{what} is not allowed"),
    )
}

/// A path as it may stand in a log: of bounded length, without control characters.
fn readable(path: &str) -> String {
    const LONGEST: usize = 120;
    path.chars()
        .filter(|c| !c.is_control())
        .take(LONGEST)
        .collect()
}
