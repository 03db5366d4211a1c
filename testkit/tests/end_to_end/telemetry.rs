//! Device-to-cloud messages (`spec/device.md` 4).

use iothub_protocol::property_bag::SystemProperty;
use iothub_testkit::{TestHub, json_message};
use serde_json::json;

#[tokio::test]
async fn message_arrives_with_all_its_properties() {
    let hub = TestHub::start().await;
    let device = hub.device("d1").await;
    let mut message = json_message(&json!({"temperature": 21.5}));
    message.properties.push("alert", "true");
    message.properties.push("umlaut & more", "ä=1/2?");
    message
        .properties
        .push_system(SystemProperty::MessageId, "m-1");
    message
        .properties
        .push_system(SystemProperty::CorrelationId, "c-1");

    device.send_telemetry(message).await.unwrap();

    let events = hub.telemetry_from("d1").so_far();
    let [event] = &events[..] else {
        panic!("acknowledged means stored, once: {events:?}")
    };
    assert_eq!(event.json(), json!({"temperature": 21.5}));
    assert_eq!(event.property("umlaut & more").unwrap(), "ä=1/2?");
    assert_eq!(event.properties().len(), 2);
    assert_eq!(event.system(SystemProperty::MessageId).unwrap(), "m-1");
    assert_eq!(
        event.system(SystemProperty::ContentType).unwrap(),
        "application/json"
    );
}

#[tokio::test]
async fn back_end_reads_what_arrives_as_it_arrives() {
    let hub = TestHub::start().await;
    let device = hub.device("d1").await;
    let other = hub.device("d2").await;
    device
        .send_telemetry(json_message(&json!("before")))
        .await
        .unwrap();
    let mut stream = hub
        .backend()
        .events()
        .from_latest()
        .device("d1")
        .open()
        .await
        .unwrap();

    other
        .send_telemetry(json_message(&json!("not for this reader")))
        .await
        .unwrap();
    let mut message = json_message(&json!("after"));
    message.properties.push("k", "v");
    device.send_telemetry(message).await.unwrap();

    let event = stream.next().await.unwrap().unwrap();
    assert_eq!(event.json(), Some(json!("after")));
    assert_eq!((event.device_id(), event.module_id()), ("d1", None));
    assert_eq!(event.application_properties["k"], "v");
    assert_eq!(event.properties["content-type"], "application/json");

    let from_start = hub
        .backend()
        .events()
        .from_earliest()
        .device("d1")
        .stored_only()
        .open()
        .await;
    let mut from_start = from_start.unwrap();
    let mut bodies = Vec::new();
    while let Some(event) = from_start.next().await.unwrap() {
        bodies.push(event.json().unwrap());
    }
    assert_eq!(bodies, [json!("before"), json!("after")]);
}

#[tokio::test]
async fn messages_of_a_device_keep_their_order() {
    const MESSAGES: usize = 500;
    let hub = TestHub::start().await;
    let mut device = hub.scripted_device("d1").await;
    let other = hub.device("d2").await;

    for n in 0..MESSAGES {
        device
            .publish("devices/d1/messages/events/", format!("{n}"))
            .await;
        if n % 100 == 0 {
            other.send_telemetry(json_message(&json!(n))).await.unwrap();
        }
    }
    device.send_telemetry("d1", "", "end").await;

    let events = hub.telemetry_from("d1").so_far();
    assert_eq!(events.len(), MESSAGES + 1);
    for (n, event) in events[..MESSAGES].iter().enumerate() {
        assert_eq!(event.body(), n.to_string().as_bytes());
    }
    assert!(
        events
            .windows(2)
            .all(|pair| pair[0].sequence < pair[1].sequence)
    );
    assert_eq!(hub.telemetry_from("d2").so_far().len(), 5);
}

#[tokio::test]
async fn module_sends_in_its_own_name() {
    let hub = TestHub::start().await;
    let module = hub.module("d1/m1").await;

    module
        .send_to_output("alerts", json_message(&json!(1)))
        .await
        .unwrap();

    let events = hub.telemetry_from("d1/m1").so_far();
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0].system(SystemProperty::OutputName).unwrap(),
        "alerts"
    );
    assert!(hub.telemetry_from("d1").so_far().is_empty());
}

#[tokio::test]
async fn body_is_kept_byte_for_byte() {
    let hub = TestHub::start().await;
    let mut device = hub.scripted_device("d1").await;
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();

    device.send_telemetry("d1", "a=b", bytes.clone()).await;
    device.send_telemetry("d1", "", "").await;

    let events = hub.telemetry_from("d1").so_far();
    assert_eq!(events[0].body(), bytes);
    assert_eq!(events[1].body(), b"");
}
