//! Answers that are not refusals, with the headers that clients rely on (`spec/service.md` 0.4).

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue};
use iothub_protocol::http::JSON_CONTENT_TYPE;

/// Whether the client asks for server-sent events.
pub(super) fn wants_events(headers: &HeaderMap) -> bool {
    let accepted = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .any(|kind| kind.trim_start().starts_with("text/event-stream"))
}

/// A JSON body.
pub(super) fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    // The Node SDK reads a body only if this header says what it is.
    let json = HeaderValue::from_static(JSON_CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// 200 with a JSON value.
pub(super) fn value(value: &serde_json::Value) -> Response {
    json(StatusCode::OK, value.to_string())
}

/// 200 with an entity and its etag, which stands in quotes: .NET drops one that does not.
pub(super) fn entity(entity: &serde_json::Value, etag: &str) -> Response {
    let mut response = value(entity);
    if let Ok(quoted) = HeaderValue::try_from(format!("\"{etag}\"")) {
        response.headers_mut().insert(ETAG, quoted);
    }
    response
}

/// 204: done, and nothing to say.
pub(super) fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
