//! Queries (`spec/service.md` 5).

use axum::response::Response;
use hyper::body::Incoming;
use iothub_protocol::Error;

use crate::http::call::Call;
use crate::http::error;

/// `POST /devices/query`
pub(super) async fn run(call: &Call<'_>, _body: Incoming) -> Result<Response, Error> {
    Err(error::not_emulated(call.handle(), "POST /devices/query"))
}
