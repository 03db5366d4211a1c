//! Jobs that import and export the registry (`spec/service.md` 6.5).

use axum::response::Response;
use hyper::body::Incoming;
use iothub_protocol::registry::{Direction, RegistryJobSpec};
use iothub_protocol::{Clock, Error, ErrorCode};
use serde_json::Value;

use crate::activity::OperationKind;
use crate::http::call::Call;
use crate::http::{answer, body};
use crate::registry_jobs::{Access, Location};

/// `GET /jobs`
pub(super) async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let operation = OperationKind::ListRegistryJobs.hub_wide();
    let jobs = call
        .perform(operation, |hub, _, caller| hub.registry_jobs(caller))
        .await?;
    let jobs: Vec<Value> = jobs.iter().map(|job| job.to_json()).collect();
    Ok(answer::value(&jobs.into()))
}

/// `POST /jobs/create`
pub(super) async fn create(call: &Call<'_>, body: Incoming) -> Result<Response, Error> {
    let spec = call
        .read(body, body::ENTITY)
        .await
        .and_then(|body| RegistryJobSpec::parse(&body));
    // Who is not authorized does not get files looked at.
    let now = call.handle().clock().now();
    let authorized = call
        .handle()
        .inspect(|hub| call.authenticate(hub, now).is_ok());
    let spec = spec.and_then(|spec| {
        if authorized {
            check_containers(call, &spec)?;
        }
        Ok(spec)
    });
    let operation = OperationKind::PutRegistryJob.hub_wide();
    let job = call
        .perform(operation, |hub, cx, caller| {
            hub.create_registry_job(cx, caller, spec?)
        })
        .await?;
    Ok(answer::value(&job.to_json()))
}

/// `GET /jobs/{id}`
pub(super) async fn get(call: &Call<'_>, id: &str) -> Result<Response, Error> {
    let operation = OperationKind::GetRegistryJob.hub_wide();
    let job = call
        .perform(operation, |hub, _, caller| hub.registry_job(caller, id))
        .await?;
    Ok(answer::value(&job.to_json()))
}

/// `DELETE /jobs/{id}`. The .NET SDK sends the id as an `If-Match`, which says nothing.
pub(super) async fn cancel(call: &Call<'_>, id: &str) -> Result<Response, Error> {
    let operation = OperationKind::CancelRegistryJob.hub_wide();
    call.perform(operation, |hub, cx, caller| {
        hub.cancel_registry_job(cx, caller, id)
    })
    .await?;
    Ok(answer::no_content())
}

/// A job whose containers cannot be used is not even created.
fn check_containers(call: &Call<'_>, spec: &RegistryJobSpec) -> Result<(), Error> {
    let blobs = call.handle().blobs();
    let now = call.handle().clock().now();
    let resolve = |uri: &str, permissions| {
        let access = Access::Needs {
            permissions,
            identity_based: spec.identity_based,
            host: call.host(),
            now,
        };
        Location::resolve(uri, blobs, access)
    };
    if spec.direction == Direction::Import {
        let input = resolve(spec.input_container.as_deref().unwrap_or_default(), "r")?;
        if input.open(blobs, &spec.input_blob).is_err() {
            return Err(Error::new(
                ErrorCode::BlobContainerValidationError,
                "Failed to read devices blob from the input container.",
            ));
        }
    }
    let output = resolve(&spec.output_container, "cw")?;
    if output.exists(blobs) {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::BlobContainerValidationError,
        "Failed to write to the output container.",
    ))
}
