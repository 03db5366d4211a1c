//! Cloud-to-device messages (`spec/device.md` 9.3 and 9.4).

use axum::response::Response;
use iothub_protocol::{ClientId, Error};

use crate::http::call::Call;
use crate::http::error;

/// `GET /devices/{id}/messages/deviceBound`
pub(super) async fn receive(call: &Call<'_>, _client: &ClientId) -> Result<Response, Error> {
    Err(error::not_emulated(
        call.handle(),
        "GET /devices/{id}/messages/deviceBound",
    ))
}

/// `DELETE /devices/{id}/messages/deviceBound/{lockToken}`
pub(super) async fn complete(
    call: &Call<'_>,
    _client: &ClientId,
    _lock: &str,
) -> Result<Response, Error> {
    Err(error::not_emulated(
        call.handle(),
        "DELETE /devices/{id}/messages/deviceBound/{lockToken}",
    ))
}

/// `POST /devices/{id}/messages/deviceBound/{lockToken}/abandon`
pub(super) async fn abandon(
    call: &Call<'_>,
    _client: &ClientId,
    _lock: &str,
) -> Result<Response, Error> {
    Err(error::not_emulated(
        call.handle(),
        "POST /devices/{id}/messages/deviceBound/{lockToken}/abandon",
    ))
}
