//! Cloud-to-device messages from a back end (`spec/amqp.md` 5.1).

use std::time::Duration;

use iothub_emulator::Emulator;
use iothub_protocol::amqp::message::{AmqpMessage, Body, Header, Properties};
use iothub_protocol::amqp::{DeliveryState, LinkId, Symbol, Value};
use iothub_protocol::mqtt::packet::{Publish, QoS, ServerPacket};
use iothub_protocol::sas::sign;
use iothub_protocol::{ClientId, Message};

use crate::client::{Client, condition_of, encoded};
use crate::hub::{self, device_token, emulator, frozen_emulator, noon, policy_token, register};
use crate::mqtt::{self, connect, subscribe};
use crate::rest::{header, request};

const TO: &str = "/devices/d1/messages/devicebound";

/// A message to d1 with this body.
fn message(body: &str) -> AmqpMessage {
    AmqpMessage {
        properties: Properties {
            to: Some(TO.to_owned()),
            ..Properties::default()
        },
        body: Body::Data(vec![body.to_owned().into()]),
        ..AmqpMessage::default()
    }
}

/// What Microsoft's SDKs can say about a message.
fn full_message() -> AmqpMessage {
    AmqpMessage {
        properties: Properties {
            message_id: Some("m1".into()),
            user_id: Some("u1".into()),
            to: Some(TO.to_owned()),
            correlation_id: Some("c1".into()),
            content_type: Some(Symbol::of("application/json")),
            content_encoding: Some(Symbol::of("utf-8")),
            absolute_expiry_time: Some(noon().unix_millis() + 600_000),
            ..Properties::default()
        },
        application_properties: vec![
            ("iothub-ack".into(), "full".into()),
            ("k1".into(), "v+ 1/%".into()),
            ("k2".into(), "".into()),
        ],
        body: Body::Data(vec!["{\"a\"".into(), ": 1}".into()]),
        ..AmqpMessage::default()
    }
}

async fn sender(emulator: &Emulator) -> (Client, LinkId) {
    let mut client = Client::service(emulator, "service").await;
    let link = client.attach_sender("/messages/devicebound").await.unwrap();
    (client, link)
}

/// What waits for a device or module.
fn waiting(emulator: &Emulator, client: &str) -> Vec<Message> {
    let client = ClientId::parse(client).unwrap();
    let waiting = emulator.handle().inspect(|hub| hub.waiting_c2d(&client));
    waiting.iter().map(|it| it.message.clone()).collect()
}

fn bodies(emulator: &Emulator, client: &str) -> Vec<String> {
    let text = |message: &Message| String::from_utf8_lossy(&message.body).into_owned();
    waiting(emulator, client).iter().map(text).collect()
}

#[tokio::test]
async fn a_message_is_the_same_from_amqp_and_from_rest() {
    let emulator = frozen_emulator().await;
    register(&emulator, "d1").await;
    let (mut client, link) = sender(&emulator).await;

    let outcome = client.send(link, &full_message()).await;
    let headers = [
        ("iothub-messageid", "m1"),
        ("iothub-userid", "u1"),
        ("iothub-to", TO),
        ("iothub-correlationid", "c1"),
        ("iothub-contenttype", "application/json"),
        ("iothub-contentencoding", "utf-8"),
        ("iothub-expiry", "2030-03-17T17:56:40.0000000Z"),
        ("iothub-ack", "full"),
        ("iothub-app-k1", "v+ 1/%"),
        ("iothub-app-k2", ""),
    ];
    let token = policy_token(&emulator, "service");
    let head = "POST /devices/d1/messages/deviceBound";
    let (answer, _) = request(&emulator, head, &token, &headers, "{\"a\": 1}").await;

    assert_eq!(outcome, DeliveryState::Accepted);
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    let waiting = waiting(&emulator, "d1");
    assert_eq!(waiting.len(), 2);
    assert_eq!(waiting[0], waiting[1]);
}

#[tokio::test]
async fn a_device_over_mqtt_receives_it() {
    let emulator = frozen_emulator().await;
    let key = register(&emulator, "d1").await;
    let token = device_token(&emulator, "d1", &key);
    let (mut device, _) = mqtt::Client::enter(&emulator, connect("d1", &token)).await;
    let filter = "devices/d1/messages/devicebound/#";
    device
        .send(&subscribe(1, &[(filter, QoS::AtLeastOnce)]))
        .await;
    device.next().await;
    let (mut client, link) = sender(&emulator).await;

    assert_eq!(
        client.send(link, &full_message()).await,
        DeliveryState::Accepted
    );

    let Some(ServerPacket::Publish(Publish { topic, payload, .. })) = device.next().await else {
        panic!("expected a PUBLISH");
    };
    assert_eq!(
        topic,
        "devices/d1/messages/devicebound/%24.mid=m1\
         &%24.exp=2030-03-17T17%3A56%3A40.0000000Z&%24.to=%2Fdevices%2Fd1%2Fmessages%2Fdevicebound\
         &%24.cid=c1&%24.uid=u1&iothub-ack=full&%24.ct=application%2Fjson&%24.ce=utf-8\
         &k1=v%2B%201%2F%25&k2="
    );
    assert_eq!(payload, "{\"a\": 1}");
}

#[tokio::test]
async fn a_device_over_https_receives_it() {
    let emulator = frozen_emulator().await;
    let key = register(&emulator, "d1").await;
    let (mut client, link) = sender(&emulator).await;
    client.send(link, &full_message()).await;

    let token = device_token(&emulator, "d1", &key);
    let path = "GET /devices/d1/messages/devicebound";
    let (head, body) = request(&emulator, path, &token, &[], "").await;

    assert_eq!(body, "{\"a\": 1}");
    for (name, value) in [
        ("iothub-messageid", "m1"),
        ("iothub-to", TO),
        ("iothub-correlationid", "c1"),
        ("iothub-userid", "u1"),
        ("iothub-ack", "full"),
        ("iothub-contenttype", "application/json"),
        ("iothub-contentencoding", "utf-8"),
        ("iothub-app-k1", "v+ 1/%25"),
    ] {
        let shown = header(&head, name).map(|value| value.replace("/%25", "/%"));
        assert_eq!(shown, Some(value.replace("/%25", "/%")), "{name}: {head}");
    }
}

#[tokio::test]
async fn the_recipient_has_several_spellings() {
    let emulator = emulator().await;
    for client in ["d1", "d1/m1", "d#1"] {
        register(&emulator, client).await;
    }
    let (mut client, link) = sender(&emulator).await;
    for (to, id) in [
        ("/devices/d1/messages/devicebound", "d1"),
        ("devices/d1/messages/deviceBound", "d1"),
        (
            "amqps://localhost:5671/devices/d1/messages/devicebound",
            "d1",
        ),
        ("/devices/d1/modules/m1/messages/devicebound", "d1/m1"),
        ("/devices/d%231/messages/devicebound", "d#1"),
    ] {
        let before = waiting(&emulator, id).len();
        let mut message = message("x");
        message.properties.to = Some(to.to_owned());

        assert_eq!(
            client.send(link, &message).await,
            DeliveryState::Accepted,
            "{to}"
        );

        let waiting = waiting(&emulator, id);
        assert_eq!(waiting.len(), before + 1, "{to}");
        let bag = &waiting[before].properties;
        let kept = bag.system(iothub_protocol::property_bag::SystemProperty::To);
        assert_eq!(kept.as_deref(), Some(to));
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_message_is_told_about_that_message_alone() {
    let emulator = frozen_emulator().await;
    register(&emulator, "d1").await;
    let (mut client, link) = sender(&emulator).await;
    let to = |to: &str| {
        let mut message = message("x");
        message.properties.to = Some(to.to_owned());
        message
    };
    let expiring = |millis: i64| {
        let mut message = message("x");
        message.properties.absolute_expiry_time = Some(noon().unix_millis() + millis);
        message
    };
    let with = |name: &str, value: Value| {
        let mut message = message("x");
        message.application_properties.push((name.into(), value));
        message
    };
    let argument = "com.microsoft:argument-error";
    let of_body = |body| AmqpMessage {
        body,
        ..message("")
    };
    for (message, condition) in [
        (to("/devices/zz/messages/devicebound"), "amqp:not-found"),
        (
            to("/devices/d1/modules/zz/messages/devicebound"),
            "amqp:not-found",
        ),
        (to("/devices/d1/twin"), "amqp:not-found"),
        (to("d1"), "amqp:not-found"),
        (AmqpMessage::default(), argument),
        (expiring(-1), argument),
        (expiring(49 * 3_600_000), argument),
        (with("iothub-ack", "maybe".into()), argument),
        (with("k", Value::List(Vec::new())), argument),
        (of_body(Body::Value(Value::Int(1))), argument),
        (of_body(Body::Sequence(vec![vec![Value::Int(1)]])), argument),
        (
            message(&"x".repeat(65_537)),
            "amqp:link:message-size-exceeded",
        ),
    ] {
        let outcome = client.send(link, &message).await;

        let DeliveryState::Rejected(Some(error)) = outcome else {
            panic!("{message:?}: {outcome:?}");
        };
        assert_eq!(condition_of(&error), condition, "{error:?}");
        let (key, id) = &error.info[0];
        assert_eq!(key.as_text(), Some("com.microsoft:tracking-id"));
        assert!(id.as_text().is_some_and(|id| !id.is_empty()));
    }
    let garbage = client.transfer(link, 0, "\0garbage".into(), false).await;
    let DeliveryState::Rejected(Some(error)) = client.outcome(link, garbage).await else {
        panic!("garbage is taken");
    };
    assert_eq!(condition_of(&error), "amqp:decode-error");

    assert_eq!(waiting(&emulator, "d1"), []);
    assert_eq!(
        client.send(link, &message("good")).await,
        DeliveryState::Accepted
    );
    assert_eq!(bodies(&emulator, "d1"), ["good"]);
}

#[tokio::test]
async fn the_largest_message_is_taken_and_a_far_too_large_one_ends_its_link() {
    let emulator = emulator().await;
    register(&emulator, "d1").await;
    let (mut client, link) = sender(&emulator).await;

    // What the properties need counts, too.
    let largest = message(&"x".repeat(65_536 - TO.len()));
    assert_eq!(client.send(link, &largest).await, DeliveryState::Accepted);

    let payload = encoded(&message(&"x".repeat(300_000)));
    client.transfer(link, 0, payload, false).await;
    let error = client.expect_detach(link).await.unwrap();
    assert_eq!(condition_of(&error), "amqp:link:message-size-exceeded");
    client.expect_alive().await;
    assert_eq!(waiting(&emulator, "d1").len(), 1);
}

#[tokio::test]
async fn a_full_queue_takes_no_more() {
    let emulator = emulator().await;
    register(&emulator, "d1").await;
    let (mut client, link) = sender(&emulator).await;
    // Sent without waiting: all of a burst are answered.
    let mut deliveries = Vec::new();
    for n in 0..52 {
        let payload = encoded(&message(&n.to_string()));
        deliveries.push(client.transfer(link, 0, payload, false).await);
    }

    for (n, delivery) in deliveries.into_iter().enumerate() {
        match client.outcome(link, delivery).await {
            DeliveryState::Accepted => assert!(n < 50),
            DeliveryState::Rejected(Some(error)) => {
                assert!(n >= 50);
                assert_eq!(condition_of(&error), "amqp:resource-limit-exceeded");
            }
            other => panic!("{other:?}"),
        }
    }
    let expected: Vec<_> = (0..50).map(|n| n.to_string()).collect();
    assert_eq!(bodies(&emulator, "d1"), expected);
}

#[tokio::test]
async fn settled_messages_are_taken_without_an_answer() {
    let emulator = emulator().await;
    register(&emulator, "d1").await;
    let (mut client, link) = sender(&emulator).await;

    client.send_settled(link, &message("a")).await;
    client.send_settled(link, &AmqpMessage::default()).await;
    assert_eq!(
        client.send(link, &message("b")).await,
        DeliveryState::Accepted
    );

    assert_eq!(bodies(&emulator, "d1"), ["a", "b"]);
}

#[tokio::test]
async fn a_time_to_live_is_an_expiry() {
    let emulator = frozen_emulator().await;
    register(&emulator, "d1").await;
    let (mut client, link) = sender(&emulator).await;
    let mut short = message("short");
    short.header = Header {
        ttl: Some(60_000),
        ..Header::default()
    };
    client.send(link, &short).await;
    client.send(link, &message("long")).await;

    emulator.handle().advance(Duration::from_secs(60)).await;
    assert_eq!(bodies(&emulator, "d1"), ["long"]);
    emulator.handle().advance(Duration::from_secs(3540)).await;
    assert_eq!(bodies(&emulator, "d1"), [""; 0]);
}

#[tokio::test]
async fn many_messages_keep_their_order_and_credit_is_given_again() {
    let emulator = emulator().await;
    let ids: Vec<_> = (0..50).map(|n| format!("d{n}")).collect();
    for id in &ids {
        hub::register(&emulator, id).await;
    }
    let (mut client, link) = sender(&emulator).await;

    for n in 0..1500 {
        let mut message = message(&n.to_string());
        let to = format!("/devices/{}/messages/devicebound", ids[n % 50]);
        message.properties.to = Some(to);
        client.send_settled(link, &message).await;
    }
    client.round_trip().await;

    let expected: Vec<_> = (0..30).map(|n| (7 + n * 50).to_string()).collect();
    assert_eq!(bodies(&emulator, "d7"), expected);
}

#[tokio::test]
async fn a_token_for_the_path_of_a_node_opens_this_node() {
    let emulator = emulator().await;
    for (path, sends, hears) in [
        ("messages/devicebound", true, false),
        ("messages/deviceBound", true, false),
        ("messages/servicebound/feedback", false, true),
        ("messages", true, true),
        ("messages/events", false, false),
    ] {
        let mut client = Client::connect(&emulator).await;
        let resource = format!("{}/{path}", hub::HOST);
        let expiry = hub::in_an_hour(&emulator);
        let key = hub::policy_key("service");
        let token = sign(&resource, expiry, Some("service"), &key);

        assert_eq!(client.put_token(&resource, &token).await.0, 200, "{path}");

        let sender = client.attach_sender("/messages/devicebound").await;
        assert_eq!(sender.is_ok(), sends, "{path}");
        let address = "/messages/serviceBound/feedback";
        let receiver = client.attach_receiver(address, 1).await;
        assert_eq!(receiver.is_ok(), hears, "{path}");
    }
}
