//! File-upload notifications (`spec/service.md` 8).

use axum::response::Response;
use iothub_protocol::Error;

use crate::activity::OperationKind;
use crate::http::answer;
use crate::http::call::Call;
use crate::http::route::Receiver;

/// `GET /messages/serviceBound/filenotifications`, and what settles what it answered: `DELETE
/// …/{lockToken}`, `POST …/{lockToken}/abandon`.
pub(super) async fn perform(call: &Call<'_>, wanted: Receiver<'_>) -> Result<Response, Error> {
    let settle = OperationKind::SettleFileNotification.hub_wide();
    match wanted {
        Receiver::Receive => receive(call).await,
        Receiver::Complete(lock) => call
            .perform(settle, |hub, cx, caller| {
                hub.complete_file_notification(cx, caller, lock)
            })
            .await
            .map(|()| answer::no_content()),
        Receiver::Abandon(lock) => call
            .perform(settle, |hub, cx, caller| {
                hub.abandon_file_notification(cx, caller, lock)
            })
            .await
            .map(|()| answer::no_content()),
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
        Some(received) => answer::entity(&received.notification.to_json(), &received.lock_token),
    })
}
