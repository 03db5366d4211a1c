//! New keys (`spec/service.md` 2.4).

use axum::response::Response;
use hyper::body::Incoming;
use iothub_protocol::Error;

use crate::http::call::Call;
use crate::http::error;

/// `POST /devices/keys/regenerate`
pub(super) async fn regenerate(call: &Call<'_>, _body: Incoming) -> Result<Response, Error> {
    Err(error::not_emulated(
        call.handle(),
        "POST /devices/keys/regenerate",
    ))
}
