//! Jobs that import and export the registry (`spec/service.md` 6.5).

use axum::response::Response;
use hyper::body::Incoming;
use iothub_protocol::Error;

use crate::http::call::Call;
use crate::http::error;

/// `GET /jobs`
pub(super) async fn list(call: &Call<'_>) -> Result<Response, Error> {
    Err(error::not_emulated(call.handle(), "GET /jobs"))
}

/// `POST /jobs/create`
pub(super) async fn create(call: &Call<'_>, _body: Incoming) -> Result<Response, Error> {
    Err(error::not_emulated(call.handle(), "POST /jobs/create"))
}

/// `GET /jobs/{id}`
pub(super) async fn get(call: &Call<'_>, _id: &str) -> Result<Response, Error> {
    Err(error::not_emulated(call.handle(), "GET /jobs/{id}"))
}

/// `DELETE /jobs/{id}`
pub(super) async fn cancel(call: &Call<'_>, _id: &str) -> Result<Response, Error> {
    Err(error::not_emulated(call.handle(), "DELETE /jobs/{id}"))
}
