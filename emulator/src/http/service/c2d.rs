//! Cloud-to-device messages (`spec/service.md` 8).

use axum::response::Response;
use hyper::body::Incoming;
use iothub_protocol::Error;

use crate::http::call::Call;
use crate::http::error;
use crate::http::route::Target;

/// `POST /devices/{id}/messages/deviceBound`
pub(super) async fn send(
    call: &Call<'_>,
    _target: Target<'_>,
    _body: Incoming,
) -> Result<Response, Error> {
    Err(error::not_emulated(
        call.handle(),
        "POST /devices/{id}/messages/deviceBound",
    ))
}

/// `DELETE /devices/{id}/commands`
pub(super) async fn purge(call: &Call<'_>, _target: Target<'_>) -> Result<Response, Error> {
    Err(error::not_emulated(
        call.handle(),
        "DELETE /devices/{id}/commands",
    ))
}
