//! Cloud-to-device messages (`spec/device.md` 9.3 and 9.4).

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::HeaderMap;
use http::header::{ETAG, HeaderName};
use iothub_hub::{LockToken, Received, Settlement};
use iothub_protocol::registry::IfMatch;
use iothub_protocol::{ClientId, Error, ErrorCode};

use crate::activity::OperationKind;
use crate::http::call::Call;
use crate::http::{answer, message};

const LOCK_TIMEOUT: &str = "iothub-messagelocktimeout";
const SEQUENCE_NUMBER: HeaderName = HeaderName::from_static("iothub-sequencenumber");
const ENQUEUED_TIME: HeaderName = HeaderName::from_static("iothub-enqueuedtime");
const DELIVERY_COUNT: HeaderName = HeaderName::from_static("iothub-deliverycount");

/// `GET /devices/{id}[/modules/{mid}]/messages/deviceBound`
pub(super) async fn receive(call: &Call<'_>, client: &ClientId) -> Result<Response, Error> {
    let timeout = lock_timeout(call.headers());
    let operation = OperationKind::ReceiveC2d.on(client);
    let received = call
        .perform_as(operation, client, |hub, cx, caller| {
            hub.receive_c2d(cx, caller, client, timeout?)
        })
        .await?;
    Ok(received.map_or_else(answer::no_content, |received| print(&received)))
}

/// `DELETE /devices/{id}[/modules/{mid}]/messages/deviceBound/{lockToken}[?reject]`
pub(super) async fn complete(
    call: &Call<'_>,
    client: &ClientId,
    lock: &str,
) -> Result<Response, Error> {
    // Node, C and C# send a flag, Java a value.
    let settlement = match call.parameter("reject") {
        Some(value) if !value.eq_ignore_ascii_case("false") => Settlement::Reject,
        Some(_) | None => Settlement::Complete,
    };
    settle(call, client, lock, settlement).await
}

/// `POST /devices/{id}[/modules/{mid}]/messages/deviceBound/{lockToken}/abandon`
pub(super) async fn abandon(
    call: &Call<'_>,
    client: &ClientId,
    lock: &str,
) -> Result<Response, Error> {
    settle(call, client, lock, Settlement::Abandon).await
}

async fn settle(
    call: &Call<'_>,
    client: &ClientId,
    lock: &str,
    settlement: Settlement,
) -> Result<Response, Error> {
    let operation = OperationKind::SettleC2d.on(client);
    call.perform_as(operation, client, |hub, cx, caller| {
        let token = LockToken::parse(lock);
        // Clients name the lock again, some in quotes, some without (T43).
        if let IfMatch::ETag(other) = call.if_match()
            && LockToken::parse(&other) != token
        {
            let detail = "If-Match names another lock than the path";
            return Err(Error::new(ErrorCode::DeviceMessageLockLost, detail));
        }
        hub.settle_c2d(cx, caller, client, token, settlement)
    })
    .await?;
    Ok(answer::no_content())
}

/// The time that a client wants its lock to last, in seconds.
fn lock_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Error> {
    let Some(value) = headers.get(LOCK_TIMEOUT) else {
        return Ok(None);
    };
    let seconds = value.to_str().ok().and_then(|text| text.parse().ok());
    seconds.map(Duration::from_secs).map(Some).ok_or_else(|| {
        Error::argument_invalid(format!("{LOCK_TIMEOUT} must be a number of seconds"))
    })
}

fn print(received: &Received) -> Response {
    let message = &received.message;
    let mut response = Response::new(Body::from(message.message.body.clone()));
    let headers = response.headers_mut();
    message::write(&message.message.properties, headers);
    // The C SDK takes no etag without quotes (T43).
    let etag = format!("\"{}\"", received.lock);
    headers.insert(ETAG, message::header_value(&etag));
    headers.insert(SEQUENCE_NUMBER, message.sequence.into());
    let enqueued = message.enqueued.to_general();
    headers.insert(ENQUEUED_TIME, message::header_value(&enqueued));
    headers.insert(DELIVERY_COUNT, message.delivery_count.into());
    response
}
