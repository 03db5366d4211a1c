//! File-upload notifications (`spec/service.md` 8).

use axum::response::Response;
use iothub_hub::{LockToken, Settlement};
use iothub_protocol::Error;

use crate::activity::OperationKind;
use crate::http::answer;
use crate::http::call::Call;
use crate::http::route::Receiver;

/// `GET /messages/serviceBound/filenotifications`, and what settles what it answered: `DELETE
/// …/{lockToken}`, `POST …/{lockToken}/abandon`.
pub(super) async fn perform(call: &Call<'_>, wanted: Receiver<'_>) -> Result<Response, Error> {
    match wanted {
        Receiver::Receive => receive(call).await,
        Receiver::Complete(lock) => settle(call, lock, Settlement::Complete).await,
        Receiver::Abandon(lock) => settle(call, lock, Settlement::Abandon).await,
    }
}

/// The record of one file: each notification is a message of its own, unlike feedback.
async fn receive(call: &Call<'_>) -> Result<Response, Error> {
    let operation = OperationKind::ReceiveFileNotification.hub_wide();
    let received = call
        .perform(operation, |hub, cx, caller| {
            hub.receive_file_notification(cx, caller)
        })
        .await?;
    Ok(match received {
        None => answer::no_content(),
        Some(received) => {
            answer::entity(&received.notification.to_json(), &received.lock.to_string())
        }
    })
}

async fn settle(call: &Call<'_>, lock: &str, settlement: Settlement) -> Result<Response, Error> {
    let operation = OperationKind::SettleFileNotification.hub_wide();
    call.perform(operation, |hub, cx, caller| {
        hub.settle_file_notification(cx, caller, LockToken::parse(lock), settlement)
    })
    .await?;
    Ok(answer::no_content())
}
