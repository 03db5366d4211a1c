//! What back ends do over AMQP: cloud-to-device messages, feedback, file notifications, on every way
//! that there is.

use std::time::Duration;

use iothub_backend::{Ack, Backend, ErrorCode, ErrorKind, FeedbackStatus};
use iothub_emulator::config::Port;
use iothub_testkit::TestHub;

use super::identities::register;
use crate::support::secs;

/// A hub that tells feedback at once.
async fn hub() -> TestHub {
    TestHub::builder()
        .configure(|config| config.limits.feedback_delay = Duration::ZERO)
        .start()
        .await
}

/// Back ends that reach the hub in each of the ways.
fn ways(hub: &TestHub) -> Vec<(&'static str, Backend)> {
    let ports = hub.ports();
    let builder = || {
        Backend::builder(&hub.policy_connection_string("iothubowner"))
            .ca_pem(hub.ca_pem())
            .clock(hub.clock().shared())
    };
    [
        (
            "plain",
            builder().amqp_address(format!("localhost:{}", ports.amqp)),
        ),
        (
            "TLS",
            builder().amqps_address(format!("localhost:{}", ports.amqps)),
        ),
        (
            "WebSocket",
            builder().http_address(format!("127.0.0.1:{}", ports.http)),
        ),
        (
            "secure WebSocket",
            builder().https_address(format!("localhost:{}", ports.https)),
        ),
    ]
    .into_iter()
    .map(|(name, builder)| (name, builder.build().unwrap()))
    .collect()
}

#[tokio::test]
async fn message_and_its_feedback_travel_on_every_way() {
    let hub = hub().await;
    let device = hub.device("d1").await;
    let mut messages = device.messages().await.unwrap();

    for (name, backend) in ways(&hub) {
        let mut receiver = backend.feedback().open().await.unwrap();
        let sent = backend.c2d().message("d1", name).message_id(name);
        sent.ack(Ack::Full).send().await.unwrap();
        assert_eq!(messages.next().await.unwrap().body, name);
        let batch = receiver.next().await.unwrap();
        receiver.complete(&batch.lock_token).await.unwrap();

        let record = &batch.records[0];
        assert_eq!(record.original_message_id, name);
        assert_eq!(record.status, FeedbackStatus::Success);
        assert_eq!(batch.user_id.as_deref(), Some("localhost"), "{name}");
        assert!(batch.enqueued_time.is_some(), "{name}");
        receiver.close().await;
        backend.close().await;
    }
}

#[tokio::test]
async fn events_are_read_on_every_way() {
    let hub = hub().await;
    register(&hub, &["d1"]).await;
    let message = iothub_backend::OutgoingMessage::new("hi").property("k", "v");
    let sender = hub.backend().on_behalf_of("d1");
    sender.send_event(message).await.unwrap();

    for (name, backend) in ways(&hub) {
        let reader = backend.events().from_earliest().stored_only();
        let mut reader = reader.open().await.unwrap();
        let event = reader.next().await.unwrap().unwrap();

        assert_eq!(
            (event.device_id(), &event.body[..]),
            ("d1", &b"hi"[..]),
            "{name}"
        );
        assert_eq!(reader.next().await.unwrap(), None, "{name}");
    }
}

#[tokio::test]
async fn what_the_hub_refuses_has_its_code() {
    let hub = hub().await;
    register(&hub, &["d1"]).await;
    let (_, backend) = ways(&hub).remove(0);
    let send = async |to: &str, body: Vec<u8>| {
        let sent = backend.c2d().message(to, body).send().await;
        sent.unwrap_err().code().unwrap()
    };

    assert_eq!(send("nobody", vec![]).await, ErrorCode::DeviceNotFound);
    assert_eq!(send("d1/m1", vec![]).await, ErrorCode::ModuleNotFound);
    assert_eq!(
        send("d1", vec![0; 70_000]).await,
        ErrorCode::MessageTooLarge
    );
    for _ in 0..50 {
        backend.c2d().message("d1", "x").send().await.unwrap();
    }
    let full = send("d1", vec![]).await;
    assert_eq!(full, ErrorCode::DeviceMaximumQueueDepthExceeded);
    let reader = hub.backend_as("registryRead");
    let error = reader.c2d().message("d1", "x").send().await.unwrap_err();
    let ErrorKind::Refused(refusal) = error.kind() else {
        panic!("{error}")
    };
    assert!(matches!(refusal.status, 401 | 403), "{error}");
}

#[tokio::test]
async fn wrong_key_is_refused() {
    let hub = hub().await;
    let key = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";
    let string = format!("HostName=localhost;SharedAccessKeyName=service;SharedAccessKey={key}");
    let backend = Backend::builder(&string)
        .amqp_address(format!("127.0.0.1:{}", hub.ports().amqp))
        .build()
        .unwrap();

    let error = backend.c2d().message("d1", "x").send().await.unwrap_err();

    let ErrorKind::Refused(refusal) = error.kind() else {
        panic!("{error}")
    };
    assert_eq!(refusal.status, 401, "{error}");
}

#[tokio::test]
async fn abandoned_feedback_comes_again_and_rejected_does_not() {
    let hub = hub().await;
    register(&hub, &["d1"]).await;
    let backend = hub.backend();
    let message = backend.c2d().message("d1", "x").message_id("m1");
    message.ack(Ack::Full).send().await.unwrap();
    backend.c2d().purge("d1").await.unwrap();

    let mut receiver = backend.feedback().open().await.unwrap();
    let first = receiver.next().await.unwrap();
    receiver.abandon(&first.lock_token).await.unwrap();
    let again = receiver.next().await.unwrap();
    receiver.reject(&again.lock_token).await.unwrap();
    receiver.close().await;

    assert_eq!(again.records, first.records);
    assert_eq!(first.records[0].status, FeedbackStatus::Purged);
    let lost = backend.feedback().receive().await.unwrap();
    assert_eq!(lost, None);
}

#[tokio::test]
async fn testkit_waits_for_feedback() {
    let hub = TestHub::builder().virtual_clock().start().await;
    register(&hub, &["d1"]).await;
    let backend = hub.backend();
    for id in ["m0", "m1"] {
        let message = backend.c2d().message("d1", "x").message_id(id);
        message.ack(Ack::Full).send().await.unwrap();
    }
    backend.c2d().purge("d1").await.unwrap();

    let (record, ()) = tokio::join!(hub.wait_for_feedback("m1"), hub.clock().advance(secs(15)));

    assert_eq!(record.status, FeedbackStatus::Purged);
}

#[tokio::test]
async fn token_is_renewed_while_time_is_moved() {
    let hub = TestHub::builder().virtual_clock().start().await;
    register(&hub, &["d1"]).await;
    let backend = hub.backend();
    let mut events = backend.events().from_earliest().open().await.unwrap();

    // Two lives of a token, in steps that no connection takes for its peer's end.
    for step in 0..36 {
        hub.clock().advance(secs(200)).await;
        let body = step.to_string();
        let sender = backend.on_behalf_of("d1");
        let message = iothub_backend::OutgoingMessage::new(body.clone());
        sender.send_event(message).await.unwrap();
        let event = events.next().await.unwrap().unwrap();
        assert_eq!(event.body, body);
        if step < 50 {
            backend.c2d().message("d1", "x").send().await.unwrap();
        }
        backend.c2d().purge("d1").await.unwrap();
    }
}

#[tokio::test]
async fn back_ends_come_back_to_a_hub_that_was_restarted() {
    let dir = tempfile::tempdir().unwrap();
    let start = |port: u16| {
        let path = dir.path().to_owned();
        TestHub::builder()
            .configure(move |config| {
                config.limits.feedback_delay = Duration::ZERO;
                config.listen.amqp = Port {
                    number: port,
                    fallback: None,
                };
                config.storage = iothub_emulator::config::Storage::Directory {
                    path,
                    durability: iothub_emulator::config::Durability::Periodic,
                    retention_bytes: 1 << 20,
                };
            })
            .start()
    };
    let hub = start(0).await;
    register(&hub, &["d1"]).await;
    let backend = hub.backend().clone();
    let send = async |hub: &TestHub, body: &str| {
        let message = iothub_backend::OutgoingMessage::new(body.to_owned());
        let backend = hub.backend().clone();
        backend
            .on_behalf_of("d1")
            .send_event(message)
            .await
            .unwrap();
    };
    let mut events = backend.events().from_latest().open().await.unwrap();
    let mut feedback = backend.feedback().open().await.unwrap();
    send(&hub, "before").await;
    assert_eq!(events.next().await.unwrap().unwrap().body, "before");

    let port = hub.ports().amqp;
    hub.shutdown().await;
    let hub = start(port).await;
    send(&hub, "after").await;
    let event = events.next().await.unwrap().unwrap();
    let message = hub.backend().c2d().message("d1", "x").message_id("m1");
    message.ack(Ack::Full).send().await.unwrap();
    hub.backend().c2d().purge("d1").await.unwrap();
    let batch = feedback.next().await.unwrap();

    assert_eq!((&event.body[..], event.sequence_number), (&b"after"[..], 1));
    assert_eq!(batch.records[0].original_message_id, "m1");
    backend.c2d().message("d1", "again").send().await.unwrap();
}
