//! Telemetry (`spec/device.md` 9.2).

use axum::response::Response;
use hyper::body::Incoming;
use iothub_protocol::{ClientId, Error};

use crate::http::call::Call;
use crate::http::error;

/// `POST /devices/{id}/messages/events`
pub(super) async fn send(
    call: &Call<'_>,
    _client: &ClientId,
    _body: Incoming,
) -> Result<Response, Error> {
    Err(error::not_emulated(
        call.handle(),
        "POST /devices/{id}/messages/events",
    ))
}
