//! Configurations (`spec/service.md` 7).

use axum::response::Response;
use hyper::body::Incoming;
use iothub_protocol::Error;

use crate::http::call::Call;
use crate::http::error;

/// `GET /configurations`
pub(super) async fn list(call: &Call<'_>) -> Result<Response, Error> {
    Err(error::not_emulated(call.handle(), "GET /configurations"))
}

/// `POST /configurations/testQueries`
pub(super) async fn test_queries(call: &Call<'_>, _body: Incoming) -> Result<Response, Error> {
    Err(error::not_emulated(
        call.handle(),
        "POST /configurations/testQueries",
    ))
}

/// `GET /configurations/{id}`
pub(super) async fn get(call: &Call<'_>, _id: &str) -> Result<Response, Error> {
    Err(error::not_emulated(
        call.handle(),
        "GET /configurations/{id}",
    ))
}

/// `PUT /configurations/{id}`
pub(super) async fn put(call: &Call<'_>, _id: &str, _body: Incoming) -> Result<Response, Error> {
    Err(error::not_emulated(
        call.handle(),
        "PUT /configurations/{id}",
    ))
}

/// `DELETE /configurations/{id}`
pub(super) async fn delete(call: &Call<'_>, _id: &str) -> Result<Response, Error> {
    Err(error::not_emulated(
        call.handle(),
        "DELETE /configurations/{id}",
    ))
}

/// `POST /devices/{id}/applyConfigurationContent`
pub(super) async fn apply(
    call: &Call<'_>,
    _device: &str,
    _body: Incoming,
) -> Result<Response, Error> {
    Err(error::not_emulated(
        call.handle(),
        "POST /devices/{id}/applyConfigurationContent",
    ))
}
