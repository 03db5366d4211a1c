//! Messages of devices and modules (`spec/amqp.md` 7.2).

use bytes::Bytes;
use iothub_emulator::Emulator;
use iothub_hub::Event;
use iothub_protocol::ClientId;
use iothub_protocol::amqp::message::{AmqpMessage, BATCHED_FORMAT, Body, Properties};
use iothub_protocol::amqp::{DeliveryState, Symbol, Value};
use iothub_protocol::property_bag::SystemProperty;

use crate::client::{Client, encoded};
use crate::hub::emulator;

/// A message with this body and nothing else.
pub(crate) fn message(body: &str) -> AmqpMessage {
    AmqpMessage {
        body: Body::Data(vec![Bytes::copy_from_slice(body.as_bytes())]),
        ..AmqpMessage::default()
    }
}

/// What a device has sent, in the order of arrival.
pub(crate) fn events(emulator: &Emulator, client: &str) -> Vec<Event> {
    let device = ClientId::parse(client).unwrap().device;
    let handle = emulator.handle();
    let partition = handle.inspect(|hub| hub.partition_of(&device));
    let mut events = handle.read_events(partition, 0, 10_000).unwrap();
    events.retain(|event| event.origin.client.to_string() == client);
    events
}

fn bodies(events: &[Event]) -> Vec<String> {
    let body = |event: &Event| String::from_utf8(event.message.body.to_vec()).unwrap();
    events.iter().map(body).collect()
}

#[tokio::test]
async fn an_accepted_message_is_stored_with_its_properties() {
    let emulator = emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    let link = device
        .attach_sender("/devices/d1/messages/events")
        .await
        .unwrap();
    let symbol = |name: &'static str| Value::Symbol(Symbol::of(name));
    let message = AmqpMessage {
        message_annotations: vec![
            (symbol("iothub-interface-id"), "urn:x".into()),
            (symbol("dt-subject"), "thermostat1".into()),
        ],
        properties: Properties {
            message_id: Some("m1".into()),
            content_type: Some("application/json".into()),
            content_encoding: Some("utf-8".into()),
            to: Some("/devices/d1/messages/events".into()),
            ..Properties::default()
        },
        application_properties: vec![("a b".into(), "c".into()), ("n".into(), Value::Int(5))],
        ..message(r#"{"x":1}"#)
    };

    assert_eq!(device.send(link, &message).await, DeliveryState::Accepted);

    let events = events(&emulator, "d1");
    assert_eq!(bodies(&events), [r#"{"x":1}"#]);
    let bag = &events[0].message.properties;
    for (property, value) in [
        (SystemProperty::MessageId, "m1"),
        (SystemProperty::ContentType, "application/json"),
        (SystemProperty::ContentEncoding, "utf-8"),
        (SystemProperty::InterfaceId, "urn:x"),
        (SystemProperty::Component, "thermostat1"),
    ] {
        assert_eq!(bag.system(property).as_deref(), Some(value), "{property:?}");
    }
    let application: Vec<_> = bag.application();
    assert_eq!(
        application,
        [("a b".into(), "c".into()), ("n".into(), "5".into())]
    );
    assert_eq!(
        events[0].origin.auth_method.to_json(),
        r#"{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#
    );
}

#[tokio::test]
async fn messages_are_stored_in_the_order_in_which_they_were_sent() {
    let emulator = emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    // In every spelling of the address (`spec/amqp.md` 4).
    let first = device
        .attach_sender("amqps://localhost:5671/devices/d1/messages/events")
        .await
        .unwrap();
    let second = device
        .attach_sender("devices/d1/messages/Events")
        .await
        .unwrap();
    let expected: Vec<_> = (0..200).map(|number| number.to_string()).collect();

    let mut last = None;
    for (number, body) in expected.iter().enumerate() {
        let link = if number % 3 == 0 { second } else { first };
        let payload = encoded(&message(body));
        let settled = number % 2 == 0;
        let delivery = device.transfer(link, 0, payload, settled).await;
        if !settled {
            last = Some((link, delivery));
        }
    }
    let (link, delivery) = last.unwrap();
    assert_eq!(
        device.outcome(link, delivery).await,
        DeliveryState::Accepted
    );

    assert_eq!(bodies(&events(&emulator, "d1")), expected);
}

#[tokio::test]
async fn a_batch_is_several_events() {
    let emulator = emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    let link = device
        .attach_sender("/devices/d1/messages/events")
        .await
        .unwrap();
    let within: Vec<_> = ["1", "2", "3"].map(|it| encoded(&message(it))).to_vec();
    let batch = AmqpMessage {
        body: Body::Data(within),
        ..AmqpMessage::default()
    };

    let payload = encoded(&batch);
    let delivery = device.transfer(link, BATCHED_FORMAT, payload, false).await;

    let state = device.outcome(link, delivery).await;
    assert_eq!(state, DeliveryState::Accepted);
    assert_eq!(bodies(&events(&emulator, "d1")), ["1", "2", "3"]);
}

#[tokio::test]
async fn what_cannot_be_taken_is_rejected_by_itself() {
    let emulator = emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    let link = device
        .attach_sender("/devices/d1/messages/events")
        .await
        .unwrap();
    let sequence = AmqpMessage {
        body: Body::Sequence(vec![vec![Value::Int(1)]]),
        ..AmqpMessage::default()
    };
    let many = AmqpMessage {
        body: Body::Data(vec![encoded(&message("x")); 501]),
        ..AmqpMessage::default()
    };

    let bad = [
        (0, encoded(&sequence), "amqp:invalid-field"),
        (0, Bytes::from_static(b"\x00\x53"), "amqp:decode-error"),
        (BATCHED_FORMAT, encoded(&message("x")), "amqp:decode-error"),
        (
            BATCHED_FORMAT,
            encoded(&many),
            "amqp:link:message-size-exceeded",
        ),
    ];
    for (format, payload, condition) in bad {
        let delivery = device.transfer(link, format, payload, false).await;
        match device.outcome(link, delivery).await {
            DeliveryState::Rejected(Some(error)) => {
                assert_eq!(error.condition.as_str(), condition);
            }
            other => panic!("{condition} expected, {other:?} came"),
        }
    }

    assert_eq!(
        device.send(link, &message("good")).await,
        DeliveryState::Accepted
    );
    assert_eq!(bodies(&events(&emulator, "d1")), ["good"]);
}

#[tokio::test]
async fn a_module_sends_to_an_output() {
    let emulator = emulator().await;
    crate::hub::register(&emulator, "d1").await;
    let mut module = Client::device(&emulator, "d1/m1").await;
    let link = module
        .attach_sender("/devices/d1/modules/m1/messages/events")
        .await
        .unwrap();
    let message = AmqpMessage {
        application_properties: vec![("iothub-outputname".into(), "out".into())],
        ..message("x")
    };

    assert_eq!(module.send(link, &message).await, DeliveryState::Accepted);

    let events = events(&emulator, "d1/m1");
    let bag = &events[0].message.properties;
    let output = bag.system(SystemProperty::OutputName);
    assert_eq!(output.as_deref(), Some("out"));
    assert_eq!(bag.application(), []);
}

#[tokio::test]
async fn a_message_over_the_limit_detaches_the_link() {
    let emulator = emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    let wanted = device.sender("/devices/d1/messages/events");
    let (link, answer) = device.attach(wanted).await.unwrap();
    assert_eq!(answer.max_message_size, Some(256 * 1024));

    let long = "x".repeat(256 * 1024);
    device
        .transfer(link, 0, encoded(&message(&long)), false)
        .await;

    let error = device.expect_detach(link).await.unwrap();
    assert_eq!(error.condition.as_str(), "amqp:link:message-size-exceeded");
    assert_eq!(events(&emulator, "d1").len(), 0);
    device.expect_alive().await;
}
