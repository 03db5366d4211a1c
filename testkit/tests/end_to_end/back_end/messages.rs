//! Cloud-to-device messages with their feedback, and what is done in a device's name.

use std::time::Duration;

use iothub_backend::{Ack, Backend, ErrorCode, FeedbackBatch, FeedbackStatus, OutgoingMessage};
use iothub_testkit::TestHub;

use super::identities::register;
use crate::support::secs;

/// Feedback waits a while for more of its kind.
async fn feedback(hub: &TestHub) -> FeedbackBatch {
    hub.clock().advance(secs(15)).await;
    hub.backend()
        .feedback()
        .receive()
        .await
        .unwrap()
        .expect("there is feedback")
}

/// Returns when the device has acknowledged what was delivered to it.
async fn wait_until_empty(hub: &TestHub) {
    for _ in 0..10_000 {
        if hub
            .backend()
            .registry()
            .device("d1")
            .await
            .unwrap()
            .c2d_count
            == 0
        {
            return;
        }
    }
    panic!("the message stays in the queue\n{}", hub.timeline());
}

async fn send(backend: &Backend, id: &str, ack: Ack) {
    let message = backend.c2d().message("d1", format!("body of {id}"));
    message.message_id(id).ack(ack).send().await.unwrap();
}

#[tokio::test]
async fn message_reaches_a_device_over_mqtt_and_feedback_says_so() {
    let hub = TestHub::builder().virtual_clock().start().await;
    let device = hub.device("d1").await;
    let mut messages = device.messages().await.unwrap();

    let sent = hub
        .backend()
        .c2d()
        .message("d1", "hi")
        .message_id("m1")
        .correlation_id("c1")
        .content_type("text/plain")
        .property("level", "high")
        .ack(Ack::Full);
    sent.send().await.unwrap();
    let message = messages.next().await.unwrap();
    wait_until_empty(&hub).await;
    let batch = feedback(&hub).await;

    assert_eq!(message.body, "hi");
    assert_eq!(batch.records.len(), 1);
    assert_eq!(batch.records[0].original_message_id, "m1");
    assert_eq!(batch.records[0].status, FeedbackStatus::Success);
    assert_eq!(batch.records[0].device_id, "d1");
    hub.backend()
        .feedback()
        .complete(&batch.lock_token)
        .await
        .unwrap();
    hub.clock().advance(secs(120)).await;
    assert_eq!(hub.backend().feedback().receive().await.unwrap(), None);
}

#[tokio::test]
async fn messages_are_settled_in_a_devices_name_and_purged() {
    let hub = TestHub::builder().virtual_clock().start().await;
    register(&hub, &["d1"]).await;
    let backend = hub.backend();
    let device = backend.on_behalf_of("d1");
    for id in ["m1", "m2", "m3"] {
        send(backend, id, Ack::Full).await;
    }

    let first = device.receive_c2d(None).await.unwrap().unwrap();
    device.abandon_c2d(&first.lock_token).await.unwrap();
    let again = device
        .receive_c2d(Some(Duration::from_secs(60)))
        .await
        .unwrap()
        .unwrap();
    let lost = device.complete_c2d(&first.lock_token).await.unwrap_err();
    device.reject_c2d(&again.lock_token).await.unwrap();
    let second = device.receive_c2d(None).await.unwrap().unwrap();
    device.complete_c2d(&second.lock_token).await.unwrap();
    let purged = backend.c2d().purge("d1").await.unwrap();
    let batch = feedback(&hub).await;

    assert_eq!(
        (first.body, again.body),
        ("body of m1".into(), "body of m1".into())
    );
    assert_eq!(second.system_property("messageid"), Some("m2"));
    assert_eq!(lost.code(), Some(ErrorCode::DeviceMessageLockLost));
    assert_eq!(purged, 1);
    let ends: Vec<_> = batch
        .records
        .iter()
        .map(|record| (record.original_message_id.as_str(), record.status.clone()))
        .collect();
    assert_eq!(
        ends,
        [
            ("m1", FeedbackStatus::Rejected),
            ("m2", FeedbackStatus::Success),
            ("m3", FeedbackStatus::Purged),
        ]
    );
}

#[tokio::test]
async fn message_expires_and_a_full_queue_refuses() {
    let hub = TestHub::builder().virtual_clock().start().await;
    register(&hub, &["d1"]).await;
    let backend = hub.backend();

    let expiry = hub.clock().now() + secs(60);
    let message = backend.c2d().message("d1", "short-lived").message_id("m0");
    message
        .expiry(expiry)
        .ack(Ack::Negative)
        .send()
        .await
        .unwrap();
    for _ in 1..50 {
        send(backend, "m1", Ack::None).await;
    }
    let full = backend.c2d().message("d1", "").send().await.unwrap_err();
    hub.clock().advance(secs(61)).await;
    let batch = feedback(&hub).await;

    assert_eq!(
        full.code(),
        Some(ErrorCode::DeviceMaximumQueueDepthExceeded)
    );
    assert_eq!(batch.records[0].original_message_id, "m0");
    assert_eq!(batch.records[0].status, FeedbackStatus::Expired);
    backend.feedback().abandon(&batch.lock_token).await.unwrap();
    let again = backend.feedback().receive().await.unwrap().unwrap();
    assert_eq!(again.records, batch.records);
}

#[tokio::test]
async fn telemetry_is_sent_in_a_devices_name() {
    let hub = TestHub::start().await;
    register(&hub, &["d1"]).await;

    let message = OutgoingMessage::new("{\"a\":1}")
        .content_type("application/json")
        .property("alert", "true");
    hub.backend()
        .on_behalf_of("d1")
        .send_event(message)
        .await
        .unwrap();
    let mut events = hub.backend().events().from_earliest().open().await.unwrap();
    let event = events.next().await.unwrap().unwrap();

    assert_eq!(
        (event.device_id(), &event.body[..]),
        ("d1", &b"{\"a\":1}"[..])
    );
    assert_eq!(event.application_properties["alert"], "true");
    assert_eq!(event.properties["content-type"], "application/json");
}
