//! Twins (`spec/amqp.md` 7.5).

use bytes::Bytes;
use iothub_emulator::Emulator;
use iothub_emulator::activity::OperationKind;
use iothub_hub::Principal;
use iothub_protocol::ClientId;
use iothub_protocol::amqp::connection::AttachLink;
use iothub_protocol::amqp::message::{AmqpMessage, Body, Properties};
use iothub_protocol::amqp::performative::SenderSettleMode;
use iothub_protocol::amqp::value::lookup;
use iothub_protocol::amqp::{LinkId, Symbol, Value};
use iothub_protocol::registry::IfMatch;
use iothub_protocol::twin::TwinPatch;
use serde_json::json;

use crate::client::Client;
use crate::hub::emulator;

const ADDRESS: &str = "/devices/d1/twin";
const REPORTED: &str = "/properties/reported";
const NOTIFICATIONS: &str = "/notifications/twin/properties/desired";

fn symbol(name: &'static str) -> Value {
    Value::Symbol(Symbol::of(name))
}

/// A pair of links that share a channel, as SDKs attach them.
async fn pair(device: &mut Client, channel: &str) -> (LinkId, LinkId) {
    let properties = vec![(
        symbol("com.microsoft:channel-correlation-id"),
        format!("twin:{channel}").as_str().into(),
    )];
    let sender = AttachLink {
        snd_settle_mode: SenderSettleMode::Settled,
        properties: properties.clone(),
        ..device.sender(ADDRESS)
    };
    let receiver = AttachLink {
        snd_settle_mode: SenderSettleMode::Settled,
        properties,
        ..device.receiver(ADDRESS, 10)
    };
    let (sender, _) = device.attach(sender).await.unwrap();
    let (receiver, _) = device.attach(receiver).await.unwrap();
    (sender, receiver)
}

fn request(operation: &'static str, resource: Option<&'static str>, id: Value) -> AmqpMessage {
    let mut annotations = vec![(symbol("operation"), operation.into())];
    annotations.extend(resource.map(|it| (symbol("resource"), it.into())));
    annotations.push((symbol("version"), Value::Null));
    AmqpMessage {
        message_annotations: annotations,
        properties: Properties {
            correlation_id: Some(id),
            ..Properties::default()
        },
        body: Body::Data(vec![Bytes::from_static(b" ")]),
        ..AmqpMessage::default()
    }
}

fn patch(id: Value, body: &str) -> AmqpMessage {
    AmqpMessage {
        body: Body::Data(vec![Bytes::copy_from_slice(body.as_bytes())]),
        ..request("PATCH", Some(REPORTED), id)
    }
}

/// Asks, and answers the reply.
async fn ask(device: &mut Client, links: (LinkId, LinkId), request: &AmqpMessage) -> AmqpMessage {
    device.send_settled(links.0, request).await;
    let (delivery, reply) = device.receive(links.1).await;
    // Neither side waits for an outcome.
    assert!(delivery.settled);
    assert_eq!(delivery.tag.len(), 16);
    let id = &request.properties.correlation_id;
    assert_eq!(&reply.properties.correlation_id, id, "of the same type");
    reply
}

fn status(reply: &AmqpMessage) -> Option<&Value> {
    lookup(&reply.message_annotations, "status")
}

fn json_of(message: &AmqpMessage) -> serde_json::Value {
    serde_json::from_slice(&message.data().unwrap()).unwrap()
}

async fn set_desired(emulator: &Emulator, desired: serde_json::Value) {
    let client = ClientId::parse("d1").unwrap();
    let operator = Principal::operator();
    let body = json!({"properties": {"desired": desired}});
    let patch = TwinPatch::from_value(&body).unwrap();
    emulator
        .handle()
        .call(OperationKind::PatchTwin.on(&client), |hub, cx| {
            hub.patch_twin(cx, &operator, &client, patch, &IfMatch::Absent)
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_device_gets_its_twin_and_reports() {
    let emulator = emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    let links = pair(&mut device, "1").await;

    let reply = ask(&mut device, links, &request("GET", None, "Get-1".into())).await;
    assert_eq!(status(&reply), Some(&Value::Int(200)));
    assert_eq!(
        reply.data().unwrap(),
        r#"{"desired":{"$version":1},"reported":{"$version":1}}"#
    );

    // Ids of every type come back as they were.
    let id = Value::Uuid([7; 16]);
    let reply = ask(&mut device, links, &patch(id, r#"{"fw":"1.2"}"#)).await;
    assert_eq!(status(&reply), Some(&Value::Int(204)));
    let version = lookup(&reply.message_annotations, "version");
    assert_eq!(version, Some(&Value::Long(2)));
    assert_eq!(reply.data().unwrap(), "");

    let reply = ask(&mut device, links, &request("GET", None, Value::Ulong(3))).await;
    assert_eq!(
        json_of(&reply)["reported"],
        json!({"fw": "1.2", "$version": 2})
    );
}

#[tokio::test]
async fn what_is_wrong_is_answered_with_a_status_and_a_reason() {
    let emulator = emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    let links = pair(&mut device, "1").await;
    let outdated = AmqpMessage {
        message_annotations: vec![
            (symbol("operation"), "PATCH".into()),
            (symbol("resource"), REPORTED.into()),
            (symbol("version"), Value::Long(9)),
        ],
        ..patch("p".into(), r#"{"a":1}"#)
    };

    for (request, expected, code) in [
        (patch("p".into(), "{"), 400, 400_006),
        (patch("p".into(), r#"{"a.b":1}"#), 400, 400_004),
        (outdated, 412, 412_001),
        (request("DELETE", Some(REPORTED), "p".into()), 400, 400_004),
        (request("", None, "p".into()), 400, 400_004),
    ] {
        let reply = ask(&mut device, links, &request).await;

        assert_eq!(status(&reply), Some(&Value::Int(expected)));
        assert_eq!(json_of(&reply)["errorCode"], code);
        assert!(json_of(&reply)["message"].is_string());
    }
}

#[tokio::test]
async fn changes_are_told_from_the_subscription_on_until_its_end() {
    let emulator = emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    let links = pair(&mut device, "1").await;
    set_desired(&emulator, json!({"a": 1})).await;
    assert_eq!(device.pending(links.1).await, None);

    let put = request("PUT", Some(NOTIFICATIONS), "put".into());
    assert_eq!(
        status(&ask(&mut device, links, &put).await),
        Some(&Value::Int(200))
    );
    set_desired(&emulator, json!({"b": {"c": 2}})).await;

    let (delivery, change) = device.receive(links.1).await;
    assert!(delivery.settled);
    assert_eq!(change.properties.correlation_id, None);
    let annotations = &change.message_annotations;
    let resource = lookup(annotations, "resource");
    assert_eq!(resource, Some(&"/properties/desired".into()));
    assert_eq!(lookup(annotations, "version"), Some(&Value::Long(3)));
    assert_eq!(json_of(&change), json!({"b": {"c": 2}, "$version": 3}));

    let delete = request("DELETE", Some(NOTIFICATIONS), "delete".into());
    assert_eq!(
        status(&ask(&mut device, links, &delete).await),
        Some(&Value::Int(200))
    );
    set_desired(&emulator, json!({"d": 4})).await;
    assert_eq!(device.pending(links.1).await, None);
}

#[tokio::test]
async fn answers_go_to_the_link_of_the_same_channel() {
    let emulator = emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    let one = pair(&mut device, "1").await;
    let two = pair(&mut device, "2").await;

    ask(&mut device, one, &request("GET", None, "of one".into())).await;
    ask(&mut device, two, &request("GET", None, "of two".into())).await;

    assert_eq!(device.pending(one.1).await, None);
    assert_eq!(device.pending(two.1).await, None);
    device.detach(two.1).await;
    device.expect_alive().await;
}

#[tokio::test]
async fn an_answer_waits_for_credit_and_a_request_without_an_id_gets_none() {
    let emulator = emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    let sender = device.attach_sender(ADDRESS).await.unwrap();
    let receiver = device.attach_receiver(ADDRESS, 0).await.unwrap();
    let nameless = AmqpMessage {
        properties: Properties::default(),
        ..patch(Value::Null, r#"{"a":1}"#)
    };

    device.send(sender, &nameless).await;
    device.send(sender, &request("GET", None, "g".into())).await;
    assert_eq!(device.pending(receiver).await, None);
    device.grant(receiver, 5).await;

    let (_, reply) = device.receive(receiver).await;
    assert_eq!(reply.properties.correlation_id, Some("g".into()));
    assert_eq!(json_of(&reply)["reported"]["a"], 1);
    assert_eq!(device.pending(receiver).await, None);
}

#[tokio::test]
async fn a_link_that_takes_no_answers_is_detached_and_its_device_stays() {
    let emulator = emulator().await;
    let mut device = Client::device(&emulator, "d1").await;
    let sender = device.attach_sender(ADDRESS).await.unwrap();
    let receiver = device.attach_receiver(ADDRESS, 0).await.unwrap();
    let get = request("GET", None, "g".into());

    for _ in 0..1001 {
        device.send_settled(sender, &get).await;
    }

    let error = device.expect_detach(receiver).await.unwrap();
    assert_eq!(error.condition.as_str(), "amqp:resource-limit-exceeded");
    let receiver = device.attach_receiver(ADDRESS, 1).await.unwrap();
    let reply = ask(&mut device, (sender, receiver), &get).await;
    assert_eq!(status(&reply), Some(&Value::Int(200)));
}
