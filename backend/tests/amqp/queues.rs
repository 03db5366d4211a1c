//! Feedback and file notifications.

use iothub_backend::{ErrorCode, FeedbackStatus};
use iothub_protocol::Timestamp;
use iothub_protocol::amqp::DeliveryState;
use iothub_protocol::amqp::message::AmqpMessage;
use iothub_protocol::amqp::value::{Symbol, Value};

use crate::peer::{Peer, message, within};

fn feedback(id: &str) -> AmqpMessage {
    let body = format!(
        r#"[{{"originalMessageId":"{id}","enqueuedTimeUtc":"2026-01-02T03:04:05.6Z",
            "statusCode":"Success","description":"Success","deviceId":"d1",
            "deviceGenerationId":"7"}}]"#
    );
    let mut message = message(&body);
    message.properties.user_id = Some("hub".into());
    message.message_annotations = vec![(
        Symbol::of("iothub-enqueuedtime").into(),
        Value::Timestamp(1_767_225_600_000),
    )];
    message
}

#[tokio::test]
async fn feedback_is_received_and_settled_in_each_way() {
    let peer = Peer::listen().await;
    peer.tell(|story| story.queue = vec![feedback("m1")]);
    let backend = peer.backend();

    let mut receiver = within(backend.feedback().open()).await.unwrap();
    let batch = within(receiver.next()).await.unwrap();
    receiver.complete(&batch.lock_token).await.unwrap();
    let twice = receiver.complete(&batch.lock_token).await;
    peer.tell(|story| story.queue.push(feedback("m2")));
    let second = within(receiver.next()).await.unwrap();
    receiver.abandon(&second.lock_token).await.unwrap();
    peer.tell(|story| story.queue.push(feedback("m3")));
    let third = within(receiver.next()).await.unwrap();
    receiver.reject(&third.lock_token).await.unwrap();

    let settled = peer
        .until(|story| (story.settled.len() == 3).then(|| story.settled.clone()))
        .await;
    let expected = [
        DeliveryState::Accepted,
        DeliveryState::Released,
        DeliveryState::Rejected(None),
    ];
    assert_eq!(settled, expected);
    let code = Some(ErrorCode::DeviceMessageLockLost);
    assert_eq!(twice.unwrap_err().code(), code);
    assert_eq!(batch.user_id.as_deref(), Some("hub"));
    let time = Timestamp::from_unix_seconds(1_767_225_600);
    assert_eq!(batch.enqueued_time, Some(time));
    let record = &batch.records[0];
    assert_eq!(record.original_message_id, "m1");
    assert_eq!(record.status, FeedbackStatus::Success);
    assert_eq!(
        record.enqueued_time,
        Timestamp::parse_iso("2026-01-02T03:04:05.6Z")
    );
}

#[tokio::test]
async fn lost_connection_loses_the_locks_and_is_made_again() {
    let peer = Peer::listen().await;
    peer.tell(|story| story.queue = vec![feedback("m1")]);
    let backend = peer.backend();

    let mut receiver = within(backend.feedback().open()).await.unwrap();
    let first = within(receiver.next()).await.unwrap();
    peer.tell(|story| story.cut += 1);
    let again = within(receiver.next()).await.unwrap();

    // The peer gives each delivery the same tag.
    assert_eq!(again.records, first.records);
    assert_eq!(peer.story().connections, 2);
    receiver.complete(&again.lock_token).await.unwrap();
    peer.until(|story| (story.settled == [DeliveryState::Accepted]).then_some(()))
        .await;
}

#[tokio::test]
async fn file_notification_is_received_and_completed() {
    let peer = Peer::listen().await;
    let body = r#"{"deviceId":"d1","blobUri":"https://h/c/d1/f.txt","blobName":"d1/f.txt",
        "lastUpdatedTime":"2026-01-02T03:04:05+00:00","blobSizeInBytes":9,
        "enqueuedTimeUtc":"2026-01-02T03:04:06Z"}"#;
    peer.tell(|story| story.queue = vec![message(body)]);
    let backend = peer.backend();

    let mut receiver = within(backend.file_notifications().open()).await.unwrap();
    let notification = within(receiver.next()).await.unwrap();
    receiver.complete(&notification.lock_token).await.unwrap();

    assert_eq!(notification.device_id, "d1");
    assert_eq!(notification.blob_size_in_bytes, 9);
    peer.until(|story| (story.settled == [DeliveryState::Accepted]).then_some(()))
        .await;
    let address = peer
        .story()
        .attached
        .last()
        .unwrap()
        .source
        .clone()
        .unwrap();
    let expected = "/messages/serviceBound/filenotifications";
    assert_eq!(address.address.as_deref(), Some(expected));
}
