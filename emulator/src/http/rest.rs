//! Who answers a request to the service or device endpoint, and in which format it is refused.

use axum::response::Response;
use http::request::Parts;
use hyper::body::Incoming;
use iothub_protocol::Error;
use iothub_protocol::http::{ErrorFormat, TRACEPARENT, TraceParent};

use super::call::{Call, Caller};
use super::recorded::Recorded;
use super::route::{Miss, Route, route};
use super::{auth, device, error, service};
use crate::activity::caused_by;
use crate::handle::HubHandle;

/// Answers a request.
pub(super) async fn answer(
    handle: &HubHandle,
    caller: Caller<'_>,
    parts: &Parts,
    segments: &[String],
    body: Incoming,
    recorded: &Recorded<'_>,
) -> Response {
    let method = auth::method(parts);
    let route = match route(&method, segments) {
        Ok(route) => route,
        Err(miss) => {
            let path = segments.join("/");
            let refused = match miss {
                Miss::UnknownPath => error::unknown_path(handle, &method, &format!("/{path}")),
                Miss::WrongVerb => error::wrong_verb(handle, &method, &format!("/{path}")),
            };
            return error::refusal(handle, &refused, ErrorFormat::Legacy);
        }
    };
    let call = Call::new(handle, parts, segments, caller, recorded);
    let answering = async {
        match route {
            Route::Device(target, wanted) => device::perform(&call, target, wanted, body).await,
            route => service::perform(&call, route, body).await,
        }
    };
    let answered = caused_by(parent(handle, parts), answering).await;
    answered.unwrap_or_else(|refused: Error| error::refusal(handle, &refused, format_of(route)))
}

/// The span of the caller's that the request belongs to, where that is of interest.
fn parent(handle: &HubHandle, parts: &Parts) -> Option<TraceParent> {
    if !handle.activity().exports_spans() {
        return None;
    }
    TraceParent::parse(parts.headers.get(TRACEPARENT)?.to_str().ok()?)
}

/// Direct methods and commands have their own format (`spec/service.md` 0.6).
fn format_of(route: Route<'_>) -> ErrorFormat {
    if matches!(route, Route::InvokeMethod(_) | Route::InvokeCommand(_)) {
        ErrorFormat::Structured
    } else {
        ErrorFormat::Legacy
    }
}
