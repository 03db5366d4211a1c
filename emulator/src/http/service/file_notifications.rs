//! File-upload notifications (`spec/service.md` 8).

use axum::response::Response;
use iothub_protocol::Error;

use crate::http::call::Call;
use crate::http::error;
use crate::http::route::Receiver;

/// `GET /messages/serviceBound/filenotifications`
pub(super) async fn perform(call: &Call<'_>, _wanted: Receiver<'_>) -> Result<Response, Error> {
    Err(error::not_emulated(
        call.handle(),
        "GET /messages/serviceBound/filenotifications",
    ))
}
