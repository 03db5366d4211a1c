//! Queries (`spec/service.md` 5).

use axum::response::Response;
use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use hyper::body::Incoming;
use iothub_hub::{Page, PageRequest, Query};
use iothub_protocol::http::{X_MS_CONTINUATION, X_MS_ITEM_TYPE, X_MS_MAX_ITEM_COUNT};
use iothub_protocol::{Error, ErrorCode, json};

use crate::activity::OperationKind;
use crate::http::call::Call;
use crate::http::{answer, body};
use crate::workers::Threads;

const CONTINUATION: HeaderName = HeaderName::from_static(X_MS_CONTINUATION);
const ITEM_TYPE: HeaderName = HeaderName::from_static(X_MS_ITEM_TYPE);

/// `POST /devices/query`: one page. The query runs on a snapshot, on a thread of its own with helpers,
/// so that nobody waits for it but its caller.
pub(super) async fn run(call: &Call<'_>, body: Incoming) -> Result<Response, Error> {
    let asked = call
        .read(body, body::BULK)
        .await
        .and_then(|body| Ok((text(&body)?, page_request(call)?)));
    let operation = OperationKind::Query.hub_wide();
    let page = call
        .perform_then(
            operation,
            |hub, _, caller| {
                hub.may_query(caller)?;
                let (text, request) = asked?;
                let query = Query::parse(&text, hub.config().limits.strict_queries)?;
                let snapshot = hub.snapshot_for(caller, &query)?;
                Ok((query, request, snapshot))
            },
            |(query, request, snapshot)| async move {
                let tells_presence = !query.asks_who_is_connected();
                let answered = tokio::task::spawn_blocking(move || {
                    query.run_by(&Threads, &snapshot, &request)
                });
                let mut page = answered
                    .await
                    .map_err(|error| Error::new(ErrorCode::ServerError, error.to_string()))??;
                if tells_presence {
                    call.handle().inspect(|hub| hub.tell_presence(&mut page));
                }
                Ok(page)
            },
        )
        .await?;
    Ok(respond(page.item_type.name(), &page))
}

fn respond(item_type: &'static str, page: &Page) -> Response {
    let body = serde_json::to_string(&page.items).unwrap_or_default();
    let mut response = answer::json(http::StatusCode::OK, body);
    let headers = response.headers_mut();
    headers.insert(ITEM_TYPE, HeaderValue::from_static(item_type));
    // The last page has no such header: an empty one makes the Node SDK ask for ever.
    if let Some(token) = &page.continuation
        && let Ok(token) = HeaderValue::from_str(token)
    {
        headers.insert(CONTINUATION, token);
    }
    response
}

fn text(body: &Bytes) -> Result<String, Error> {
    let members = json::parse_object(body)?;
    match json::string(&members, "query")? {
        Some(text) if !text.trim().is_empty() => Ok(text.to_owned()),
        Some(_) | None => {
            let code = ErrorCode::ArgumentNull;
            Err(Error::new(code, code.default_message()))
        }
    }
}

/// Page size and token, which stand in headers.
pub(super) fn page_request(call: &Call<'_>) -> Result<PageRequest, Error> {
    let header = |name: &str| {
        let value = call.headers().get(name)?;
        Some(value.to_str().unwrap_or("?").trim())
    };
    let size = match header(X_MS_MAX_ITEM_COUNT).filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => match size(text) {
            Some(size) => Some(size),
            None => {
                return Err(Error::argument_invalid(format!(
                    "{X_MS_MAX_ITEM_COUNT} must be a number from 1, not {text}"
                )));
            }
        },
    };
    let continuation = header(X_MS_CONTINUATION).filter(|token| !token.is_empty());
    Ok(PageRequest {
        size,
        continuation: continuation.map(str::to_owned),
    })
}

/// Any number from 1: what is more than a page can hold is a large page.
fn size(text: &str) -> Option<usize> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let size = is_number.then(|| text.parse().unwrap_or(usize::MAX));
    size.filter(|&size| size > 0)
}
