//! Scheduled jobs (`spec/service.md` 6.1).

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::HeaderValue;
use hyper::body::Incoming;
use iothub_hub::JobFilter;
use iothub_protocol::Error;
use iothub_protocol::http::{X_MS_CONTINUATION, X_MS_ITEM_TYPE};
use iothub_protocol::job::{ITEM_TYPE, JobRequest, JobStatus, JobType};

use super::query::page_request;
use crate::activity::OperationKind;
use crate::http::call::Call;
use crate::http::{answer, body};

/// Jobs of a page when the request does not say, and at most (`spec/service.md` 5.1).
const PAGE: usize = 100;

/// `GET /jobs/v2/query`: an array, whatever the published description says (`spec/service.md` 16,
/// trap 14).
pub(super) async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let operation = OperationKind::ListJobs.hub_wide();
    let wanted = filter(call).and_then(|filter| {
        let page = page_request(call)?;
        let token = page.continuation;
        let after = token.map(|token| after(&token, filter)).transpose()?;
        Ok((filter, page.size.unwrap_or(PAGE).min(PAGE), after))
    });
    let (jobs, token) = call
        .perform(operation, |hub, _, caller| {
            let (filter, max, after) = wanted?;
            let (jobs, more) = hub.jobs_page(caller, filter, after.as_deref(), max)?;
            Ok((jobs, more.map(|last| token(filter, &last))))
        })
        .await?;
    let mut response = answer::value(&jobs.into());
    let headers = response.headers_mut();
    headers.insert(X_MS_ITEM_TYPE, HeaderValue::from_static(ITEM_TYPE));
    // Absent on the last page: Node goes on for ever when it is empty (trap 3).
    if let Some(token) = token.and_then(|token| HeaderValue::try_from(token).ok()) {
        headers.insert(X_MS_CONTINUATION, token);
    }
    Ok(response)
}

/// `GET /jobs/v2/{id}`
pub(super) async fn get(call: &Call<'_>, id: &str) -> Result<Response, Error> {
    let operation = OperationKind::GetJob.hub_wide();
    let job = call
        .perform(operation, |hub, _, caller| hub.job(caller, id))
        .await?;
    Ok(answer::value(&job))
}

/// `PUT /jobs/v2/{id}`
pub(super) async fn put(call: &Call<'_>, id: &str, body: Incoming) -> Result<Response, Error> {
    let request = call
        .read(body, body::ENTITY)
        .await
        .and_then(|body| JobRequest::parse(id, &body));
    let operation = OperationKind::PutJob.hub_wide();
    let job = call
        .perform(operation, |hub, cx, caller| {
            let (request, sent) = request?;
            hub.put_job(cx, caller, request, &sent)
        })
        .await?;
    Ok(answer::value(&job))
}

/// `POST /jobs/v2/{id}/cancel`
pub(super) async fn cancel(call: &Call<'_>, id: &str) -> Result<Response, Error> {
    let operation = OperationKind::CancelJob.hub_wide();
    let job = call
        .perform(operation, |hub, cx, caller| hub.cancel_job(cx, caller, id))
        .await?;
    Ok(answer::value(&job))
}

/// Words in any case; absent or empty: no filter.
fn filter(call: &Call<'_>) -> Result<JobFilter, Error> {
    let word = |name| call.parameter(name).filter(|word| !word.is_empty());
    Ok(JobFilter {
        kind: word("jobType")
            .map(|word| JobType::parse(&word))
            .transpose()?,
        status: word("jobStatus")
            .map(|word| JobStatus::parse(&word))
            .transpose()?,
    })
}

/// Where the page begins: after the job that a token of this filter names.
fn after(token: &str, filter: JobFilter) -> Result<String, Error> {
    let text = URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    text.and_then(|text| text.strip_prefix(&prefix(filter)).map(str::to_owned))
        .ok_or_else(|| Error::argument_invalid("The continuation token is not one of this list"))
}

fn token(filter: JobFilter, last: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}{last}", prefix(filter)))
}

fn prefix(filter: JobFilter) -> String {
    let kind = filter.kind.map_or("", JobType::name);
    let status = filter.status.map_or("", JobStatus::name);
    format!("jobs/{kind}/{status}/")
}
