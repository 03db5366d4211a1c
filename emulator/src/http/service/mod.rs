//! What a back end asks for (`spec/service.md` 1 to 4): one file per group of operations, each
//! reads its request, calls the hub once, and prints the reply.

mod bulk;
mod call;
mod devices;
mod methods;
mod modules;
mod statistics;
mod twins;

use axum::response::Response;
use http::request::Parts;
use hyper::body::Incoming;
use iothub_protocol::http::ErrorFormat;
use iothub_protocol::{Clock, Error};

use self::call::Call;
use super::route::{Miss, Route, route};
use super::{auth, error};
use crate::handle::HubHandle;

/// Answers a request to the service endpoint.
pub(super) async fn answer(
    handle: &HubHandle,
    parts: &Parts,
    segments: &[String],
    body: Incoming,
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
    let call = Call::new(handle, parts, segments);
    match perform(&call, route, body).await {
        Ok(response) => response,
        Err(refused) => error::refusal(handle, &refused, format_of(route)),
    }
}

async fn perform(call: &Call<'_>, route: Route<'_>, body: Incoming) -> Result<Response, Error> {
    match route {
        Route::ListDevices => devices::list(call).await,
        Route::Bulk => bulk::change(call, body).await,
        Route::GetDevice(device) => devices::get(call, device).await,
        Route::PutDevice(device) => devices::put(call, device, body).await,
        Route::DeleteDevice(device) => devices::delete(call, device).await,
        Route::ListModules(device) => modules::list(call, device).await,
        Route::GetModule(target) => modules::get(call, target).await,
        Route::PutModule(target) => modules::put(call, target, body).await,
        Route::DeleteModule(target) => modules::delete(call, target).await,
        Route::GetTwin(target) => twins::get(call, target).await,
        Route::PatchTwin(target) => twins::patch(call, target, body).await,
        Route::ReplaceTwin(target) => twins::replace(call, target, body).await,
        Route::InvokeMethod(target) => methods::invoke(call, target, body).await,
        Route::DeviceStatistics => statistics::devices(call).await,
        Route::ServiceStatistics => statistics::service(call).await,
        Route::Unbuilt(what) => {
            let handle = call.handle();
            handle
                .inspect(|hub| call.authenticate(hub, handle.clock().now()))
                .inspect_err(|error| tracing::info!(operation = what, %error, "refused"))?;
            Err(error::not_emulated(handle, what))
        }
        Route::UnbuiltForDevices(what) => Err(error::not_emulated(call.handle(), what)),
    }
}

/// Direct methods and component commands have their own format (`spec/service.md` 0.6).
fn format_of(route: Route<'_>) -> ErrorFormat {
    if matches!(route, Route::InvokeMethod(_)) {
        ErrorFormat::Structured
    } else {
        ErrorFormat::Legacy
    }
}
