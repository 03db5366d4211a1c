//! File uploads (`spec/device.md` 8).

use axum::response::Response;
use hyper::body::Incoming;
use iothub_protocol::{ClientId, Error};

use crate::http::call::Call;
use crate::http::error;

/// `POST /devices/{id}/files`
pub(super) async fn start(
    call: &Call<'_>,
    _client: &ClientId,
    _body: Incoming,
) -> Result<Response, Error> {
    Err(error::not_emulated(
        call.handle(),
        "POST /devices/{id}/files",
    ))
}

/// `POST /devices/{id}/files/notifications`
pub(super) async fn finish(
    call: &Call<'_>,
    _client: &ClientId,
    _id: Option<&str>,
    _body: Incoming,
) -> Result<Response, Error> {
    Err(error::not_emulated(
        call.handle(),
        "POST /devices/{id}/files/notifications",
    ))
}
