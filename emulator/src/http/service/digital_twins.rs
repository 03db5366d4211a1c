//! Digital twins (`spec/service.md` 9).

use axum::response::Response;
use hyper::body::Incoming;
use iothub_protocol::Error;

use crate::http::call::Call;
use crate::http::error;
use crate::http::route::Command;

/// `GET /digitaltwins/{id}`
pub(super) async fn get(call: &Call<'_>, _device: &str) -> Result<Response, Error> {
    Err(error::not_emulated(call.handle(), "GET /digitaltwins/{id}"))
}

/// `PATCH /digitaltwins/{id}`
pub(super) async fn patch(
    call: &Call<'_>,
    _device: &str,
    _body: Incoming,
) -> Result<Response, Error> {
    Err(error::not_emulated(
        call.handle(),
        "PATCH /digitaltwins/{id}",
    ))
}

/// `POST /digitaltwins/{id}/commands/{name}`
pub(super) async fn invoke(
    call: &Call<'_>,
    _command: Command<'_>,
    _body: Incoming,
) -> Result<Response, Error> {
    Err(error::not_emulated(
        call.handle(),
        "POST /digitaltwins/{id}/commands/{name}",
    ))
}
