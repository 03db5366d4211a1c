//! Scheduled jobs (`spec/service.md` 6.1).

use axum::response::Response;
use hyper::body::Incoming;
use iothub_protocol::Error;

use crate::http::call::Call;
use crate::http::error;

/// `GET /jobs/v2/query`
pub(super) async fn list(call: &Call<'_>) -> Result<Response, Error> {
    Err(error::not_emulated(call.handle(), "GET /jobs/v2/query"))
}

/// `GET /jobs/v2/{id}`
pub(super) async fn get(call: &Call<'_>, _id: &str) -> Result<Response, Error> {
    Err(error::not_emulated(call.handle(), "GET /jobs/v2/{id}"))
}

/// `PUT /jobs/v2/{id}`
pub(super) async fn put(call: &Call<'_>, _id: &str, _body: Incoming) -> Result<Response, Error> {
    Err(error::not_emulated(call.handle(), "PUT /jobs/v2/{id}"))
}

/// `POST /jobs/v2/{id}/cancel`
pub(super) async fn cancel(call: &Call<'_>, _id: &str) -> Result<Response, Error> {
    Err(error::not_emulated(
        call.handle(),
        "POST /jobs/v2/{id}/cancel",
    ))
}
