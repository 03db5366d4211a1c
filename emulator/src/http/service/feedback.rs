//! Feedback (`spec/service.md` 8).

use axum::response::Response;
use http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue};
use iothub_hub::{LockToken, Settlement};
use iothub_protocol::Error;
use iothub_protocol::feedback::FEEDBACK_CONTENT_TYPE;

use crate::activity::OperationKind;
use crate::http::call::Call;
use crate::http::route::Receiver;
use crate::http::{answer, message};

const ENQUEUED_TIME: HeaderName = HeaderName::from_static("iothub-enqueuedtime");
const USER_ID: HeaderName = HeaderName::from_static("iothub-userid");

/// `GET /messages/serviceBound/feedback`, `DELETE …/{lockToken}`, `POST …/{lockToken}/abandon`
pub(super) async fn perform(call: &Call<'_>, wanted: Receiver<'_>) -> Result<Response, Error> {
    match wanted {
        Receiver::Receive => receive(call).await,
        Receiver::Complete(lock) => settle(call, lock, Settlement::Complete).await,
        Receiver::Abandon(lock) => settle(call, lock, Settlement::Abandon).await,
    }
}

async fn receive(call: &Call<'_>) -> Result<Response, Error> {
    let operation = OperationKind::ReceiveFeedback.hub_wide();
    let received = call
        .perform(operation, |hub, cx, caller| {
            let batch = hub.receive_feedback(cx, caller)?;
            Ok(batch.map(|batch| (batch, hub.config().name.clone())))
        })
        .await?;
    let Some((batch, hub_name)) = received else {
        return Ok(answer::no_content());
    };
    let mut response = answer::value(&batch.to_json());
    let headers = response.headers_mut();
    let media_type = HeaderValue::from_static(FEEDBACK_CONTENT_TYPE);
    headers.insert(CONTENT_TYPE, media_type);
    let etag = format!("\"{}\"", batch.lock);
    headers.insert(ETAG, message::header_value(&etag));
    let enqueued = batch.enqueued.to_general();
    headers.insert(ENQUEUED_TIME, message::header_value(&enqueued));
    headers.insert(USER_ID, message::header_value(&hub_name));
    Ok(response)
}

async fn settle(call: &Call<'_>, lock: &str, settlement: Settlement) -> Result<Response, Error> {
    let operation = OperationKind::SettleFeedback.hub_wide();
    call.perform(operation, |hub, cx, caller| {
        hub.settle_feedback(cx, caller, LockToken::parse(lock), settlement)
    })
    .await?;
    Ok(answer::no_content())
}
