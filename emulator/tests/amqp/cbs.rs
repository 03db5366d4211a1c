//! `$cbs` (`spec/amqp.md` 3).

use std::time::Duration;

use bytes::Bytes;
use iothub_protocol::amqp::cbs::PutToken;
use iothub_protocol::amqp::connection::AttachLink;
use iothub_protocol::amqp::message::{AmqpMessage, Body};
use iothub_protocol::amqp::performative::{ReceiverSettleMode, Source, Target};
use iothub_protocol::amqp::{DeliveryState, Value};
use iothub_protocol::sas::{SymmetricKey, sign};

use crate::client::{Client, condition_of, encoded};
use crate::hub::{
    HOST, device_token, emulator, events_resource, events_token, frozen_emulator, in_an_hour, noon,
    policy_key, policy_token, register, resource,
};

#[tokio::test]
async fn every_clients_spelling_of_an_audience_is_taken() {
    let emulator = emulator().await;
    let key = register(&emulator, "d1").await;
    let mut client = Client::connect(&emulator).await;
    let hub = policy_token(&emulator, "service");
    let device = device_token(&emulator, "d1", &key);
    let events = events_token(&emulator, "service");
    for (audience, token) in [
        ("https://localhost", &hub),
        ("localhost", &hub),
        ("localhost%2Fdevices%2Fd1", &device),
        ("localhost/devices/d1", &device),
        ("amqps://localhost:5671/", &hub),
        ("sb://localhost/localhost", &events),
        ("sb://localhost/localhost/consumergroups/$Default", &events),
        ("sb://localhost/localhost/$management", &events),
        (
            "sb://localhost/localhost/ConsumerGroups/$Default/Partitions/0",
            &events,
        ),
        ("SB://LocalHost:5671/localhost/", &events),
    ] {
        let answer = client.put_token(audience, token).await;

        assert_eq!(answer, (200, "OK".to_owned()), "{audience}");
    }
    let answer = client.put("azure-devices.net:sastoken", HOST, &hub).await;
    assert_eq!(answer.0, 200);
}

#[tokio::test]
async fn a_token_that_is_not_good_is_answered_401_and_says_why() {
    let emulator = emulator().await;
    let key = register(&emulator, "d1").await;
    let other = register(&emulator, "d2").await;
    let mut client = Client::connect(&emulator).await;
    let later = in_an_hour(&emulator);
    let service = policy_key("service");
    for (audience, token, why) in [
        ("localhost", "nonsense".to_owned(), "unreadable token"),
        (
            "localhost",
            sign(
                HOST,
                noon() - Duration::from_secs(1_000_000_000),
                Some("service"),
                &service,
            ),
            "token expired",
        ),
        (
            "localhost",
            sign(HOST, later, Some("nobody"), &service),
            "there is no policy nobody",
        ),
        (
            "localhost",
            sign(HOST, later, Some("device"), &service),
            "matches neither key",
        ),
        (
            "otherhost",
            sign(HOST, later, Some("service"), &service),
            "does not cover",
        ),
        (
            "localhost/devices/d2",
            sign(&resource("d2"), later, None, &key),
            "matches neither key",
        ),
        (
            "localhost/devices/d2",
            device_token(&emulator, "d1", &key),
            "does not cover",
        ),
        (
            "localhost/devices/d3",
            sign(&resource("d3"), later, None, &other),
            "not registered",
        ),
    ] {
        let (status, description) = client.put_token(audience, &token).await;

        assert_eq!(status, 401, "{audience}: {description}");
        assert!(description.contains(why), "{audience}: {description}");
    }
    let (status, description) = client.put("jwt", HOST, "eyJ0").await;
    assert_eq!(status, 401);
    assert!(description.contains("not emulated"), "{description}");
    // What was not good has opened nothing.
    let refused = client
        .attach_receiver("/messages/serviceBound/feedback", 1)
        .await;
    assert_eq!(
        condition_of(&refused.unwrap_err()),
        "amqp:unauthorized-access"
    );
}

#[tokio::test]
async fn the_answers_correlation_id_has_the_type_of_the_message_id() {
    let emulator = emulator().await;
    let mut client = Client::connect(&emulator).await;
    for message_id in [
        Value::Ulong(7),
        Value::Uuid([7; 16]),
        Value::String("seven".into()),
        Value::Binary(Bytes::from_static(b"seven")),
    ] {
        let request = PutToken {
            kind: "servicebus.windows.net:sastoken".into(),
            audience: HOST.into(),
            token: policy_token(&emulator, "service"),
            message_id: message_id.clone(),
            reply_to: Some("cbs".into()),
        };

        let (answer, correlation_id) = client.ask_cbs(&request.to_message()).await;

        assert_eq!(answer.0, 200);
        assert_eq!(correlation_id, Some(message_id));
    }
}

#[tokio::test]
async fn a_request_that_is_none_is_answered_400() {
    let emulator = emulator().await;
    let mut client = Client::connect(&emulator).await;
    let mut message = AmqpMessage {
        body: Body::Value(Value::String("token".into())),
        ..AmqpMessage::default()
    };
    message.properties.message_id = Some(Value::Ulong(1));

    let ((status, description), correlation_id) = client.ask_cbs(&message).await;

    assert_eq!(status, 400, "{description}");
    assert_eq!(correlation_id, Some(Value::Ulong(1)));
}

#[tokio::test]
async fn bytes_that_are_no_message_are_rejected() {
    let emulator = emulator().await;
    let mut client = Client::connect(&emulator).await;
    let link = client.attach_sender("$cbs").await.unwrap();

    let payload = Bytes::from_static(b"\x00\x53\x73\xff");
    let delivery = client.transfer(link, 0, payload, false).await;

    let DeliveryState::Rejected(Some(error)) = client.outcome(link, delivery).await else {
        panic!("not rejected");
    };
    assert_eq!(condition_of(&error), "amqp:decode-error");
}

#[tokio::test]
async fn answers_wait_for_a_link_and_its_credit_and_go_where_they_are_wanted() {
    let emulator = emulator().await;
    let mut client = Client::connect(&emulator).await;
    let requests = client.attach_sender("$cbs").await.unwrap();
    let request = |id: u64, reply_to: Option<&str>| PutToken {
        kind: "servicebus.windows.net:sastoken".into(),
        audience: HOST.into(),
        token: policy_token(&emulator, "service"),
        message_id: Value::Ulong(id),
        reply_to: reply_to.map(str::to_owned),
    };

    client.send(requests, &request(1, None).to_message()).await;
    let first = client.attach_receiver("$cbs", 0).await.unwrap();
    client.send(requests, &request(2, None).to_message()).await;
    assert_eq!(client.pending(first).await, None);
    client.grant(first, 10).await;
    let one = client.receive(first).await.1;
    let two = client.receive(first).await.1;
    let named = AttachLink {
        name: "answers-here".into(),
        ..client.receiver("$cbs", 10)
    };
    let (second, _) = client.attach(named).await.unwrap();
    client
        .send(requests, &request(3, Some("answers-here")).to_message())
        .await;
    let three = client.receive(second).await.1;
    client
        .send(requests, &request(4, Some("cbs")).to_message())
        .await;
    let four = client.receive(first).await.1;

    let ids = [one, two, three, four].map(|it| it.properties.correlation_id.unwrap());
    assert_eq!(ids, [1, 2, 3, 4].map(Value::Ulong));
}

#[tokio::test]
async fn who_never_takes_answers_is_still_answered_afterwards() {
    let emulator = emulator().await;
    let mut client = Client::connect(&emulator).await;
    let requests = client.attach_sender("$cbs").await.unwrap();
    for id in 0..600 {
        let request = PutToken {
            kind: "jwt".into(),
            audience: HOST.into(),
            token: String::new(),
            message_id: Value::Ulong(id),
            reply_to: None,
        };
        client
            .transfer(requests, 0, encoded(&request.to_message()), true)
            .await;
    }

    let answers = client.attach_receiver("$cbs", 1000).await.unwrap();

    // Of more than are kept the oldest are forgotten.
    let first = client.receive(answers).await.1;
    let Some(Value::Ulong(id)) = first.properties.correlation_id else {
        panic!("{first:?}");
    };
    assert!((300..600).contains(&id), "{id}");
}

#[tokio::test]
async fn termini_that_are_not_needed_may_be_absent_and_second_is_answered_with_first() {
    let emulator = emulator().await;
    let mut client = Client::connect(&emulator).await;
    let sender = AttachLink {
        source: Source::default(),
        rcv_settle_mode: ReceiverSettleMode::Second,
        ..client.sender("$cbs")
    };
    let receiver = AttachLink {
        target: Target::default(),
        ..client.receiver("$CBS", 1)
    };

    let (_, answer) = client.attach(sender).await.unwrap();
    let (_, other) = client.attach(receiver).await.unwrap();

    assert_eq!(answer.rcv_settle_mode, ReceiverSettleMode::First);
    let target = answer.target.unwrap();
    assert_eq!(target.address.as_deref(), Some("$cbs"));
    assert!(answer.source.is_some());
    assert!(other.source.is_some() && other.target.is_some());
}

#[tokio::test]
async fn a_connection_ends_with_the_token_that_its_links_rest_on() {
    let emulator = frozen_emulator().await;
    let mut client = Client::connect(&emulator).await;
    let mut renewed = Client::connect(&emulator).await;
    let mut left = Client::connect(&emulator).await;
    let minute = |minutes: u64| {
        let until = noon() + Duration::from_secs(60 * minutes);
        sign(HOST, until, Some("service"), &policy_key("service"))
    };
    for client in [&mut client, &mut renewed, &mut left] {
        assert_eq!(client.put_token(HOST, &minute(1)).await.0, 200);
        let address = "/messages/serviceBound/feedback";
        let link = client.attach_receiver(address, 1).await.unwrap();
        client.expect_alive().await;
        let _ = link;
    }
    assert_eq!(renewed.put_token(HOST, &minute(100)).await.0, 200);
    let other = left
        .attach_receiver("/messages/serviceBound/feedback", 0)
        .await;
    let _ = other.unwrap();

    // A minute, and what clocks may differ by.
    emulator.handle().advance(Duration::from_secs(359)).await;
    client.expect_alive().await;
    renewed.expect_alive().await;
    emulator.handle().advance(Duration::from_secs(2)).await;

    let error = client.expect_close().await.unwrap();
    assert_eq!(condition_of(&error), "amqp:unauthorized-access");
    renewed.expect_alive().await;
    let address = "/messages/devicebound";
    renewed.attach_sender(address).await.unwrap();
}

#[tokio::test]
async fn a_token_that_nothing_rests_on_may_expire() {
    let emulator = frozen_emulator().await;
    let mut client = Client::connect(&emulator).await;
    let until = noon() + Duration::from_secs(60);
    let token = sign(HOST, until, Some("service"), &policy_key("service"));
    client.put_token(HOST, &token).await;

    emulator.handle().advance(Duration::from_secs(400)).await;

    let refused = client.attach_sender("/messages/devicebound").await;
    assert_eq!(
        condition_of(&refused.unwrap_err()),
        "amqp:unauthorized-access"
    );
    client.expect_alive().await;
}

#[tokio::test]
async fn the_key_of_a_device_is_no_key_of_the_event_hub() {
    let emulator = emulator().await;
    let key = register(&emulator, "d1").await;
    let mut client = Client::connect(&emulator).await;
    let wrong = SymmetricKey::from_bytes(key.to_base64().as_bytes());
    let token = sign(
        &events_resource(),
        in_an_hour(&emulator),
        Some("service"),
        &wrong,
    );

    let (status, _) = client.put_token(&events_resource(), &token).await;

    assert_eq!(status, 401);
}
