//! `$management` (`spec/amqp.md` 6.2).

use iothub_protocol::Timestamp;
use iothub_protocol::amqp::Symbol;
use iothub_protocol::amqp::cbs::status_of;
use iothub_protocol::amqp::management::{
    EventHubProperties, PartitionProperties, ReadRequest, Subject,
};
use iothub_protocol::amqp::message::Body;

use super::*;

fn request(entity: &str, partition: Option<&str>, token: Option<String>) -> AmqpMessage {
    let request = ReadRequest {
        subject: match partition {
            None => Subject::EventHub,
            Some(partition) => Subject::Partition(partition.to_owned()),
        },
        entity: entity.into(),
        security_token: token,
        message_id: Value::Uuid([7; 16]),
        reply_to: None,
    };
    request.to_message()
}

fn value(answer: &AmqpMessage) -> &Value {
    assert_eq!(status_of(answer).map(|it| it.0), Some(200), "{answer:?}");
    match &answer.body {
        Body::Value(value) => value,
        other => panic!("{other:?}"),
    }
}

/// A token for the event hub, as its SDKs put it into each request.
fn own_token(emulator: &Emulator) -> Option<String> {
    Some(token(emulator, &format!("sb://localhost/{ENTITY}")))
}

#[tokio::test]
async fn the_event_hub_tells_its_partitions() {
    let emulator = emulator_with(|config| config.partitions = 3).await;
    let mut client = Client::reader(&emulator).await;

    for (node, token) in [
        ("$management", None),
        ("localhost/$management", own_token(&emulator)),
    ] {
        let answer = client.ask(node, &request(ENTITY, None, token)).await;

        assert_eq!(answer.properties.correlation_id, Some(Value::Uuid([7; 16])));
        assert_eq!(
            EventHubProperties::from_value(value(&answer)),
            Some(EventHubProperties {
                name: ENTITY.into(),
                created_at: noon(),
                partition_ids: vec!["0".into(), "1".into(), "2".into()],
            })
        );
    }
}

#[tokio::test]
async fn a_partition_tells_where_it_begins_and_ends() {
    let emulator = emulator_with_events(&["a", "b", "c"]).await;
    let mut client = Client::reader(&emulator).await;
    let link = client.read_from(EventPosition::Earliest).await;
    let events = client.messages(link, 3).await;
    let last = annotation(&events[2], "x-opt-offset").as_text().unwrap();

    let answer = client
        .ask("$management", &request(ENTITY, Some("0"), None))
        .await;

    assert_eq!(
        PartitionProperties::from_value(value(&answer)),
        Some(PartitionProperties {
            name: ENTITY.into(),
            partition: "0".into(),
            begin_sequence_number: 0,
            last_enqueued_sequence_number: 2,
            last_enqueued_offset: last.into(),
            last_enqueued_time: Some(noon()),
            is_empty: false,
        })
    );
}

#[tokio::test]
async fn an_empty_partition_says_so() {
    let emulator = emulator_with_events(&[]).await;
    let mut client = Client::reader(&emulator).await;

    let answer = client
        .ask("$management", &request(ENTITY, Some("0"), None))
        .await;

    let Value::Map(map) = value(&answer) else {
        panic!("{answer:?}");
    };
    let year_one = Value::Timestamp(Timestamp::NEVER.unix_millis());
    for (name, expected) in [
        ("begin_sequence_number", Value::Long(0)),
        ("last_enqueued_sequence_number", Value::Long(-1)),
        ("last_enqueued_offset", Value::from("-1")),
        ("last_enqueued_time_utc", year_one),
        ("is_partition_empty", Value::Bool(true)),
    ] {
        assert_eq!(lookup(map, name), Some(&expected), "{name}");
    }
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_is_refused_with_a_condition() {
    let emulator = emulator_with_events(&[]).await;
    let mut client = Client::reader(&emulator).await;
    let other = |entity: &str| Some(token(&emulator, &format!("sb://localhost/{entity}")));

    for (request, status, condition) in [
        (request(ENTITY, Some("1"), None), 404, "amqp:not-found"),
        (
            request("other", None, other("other")),
            404,
            "amqp:not-found",
        ),
        (
            request("other", None, None),
            401,
            "amqp:unauthorized-access",
        ),
        (
            request(ENTITY, None, Some("nonsense".into())),
            401,
            "amqp:unauthorized-access",
        ),
        (
            request(ENTITY, None, other("other")),
            401,
            "amqp:unauthorized-access",
        ),
    ] {
        let answer = client.ask("$management", &request).await;

        assert_eq!(
            status_of(&answer).map(|it| it.0),
            Some(status),
            "{request:?}"
        );
        assert_eq!(
            lookup(&answer.application_properties, "error-condition"),
            Some(&Value::Symbol(Symbol::of(condition))),
        );
    }
}

impl Client {
    /// Asks a node that answers: by a link there and one back.
    async fn ask(&mut self, node: &str, request: &AmqpMessage) -> AmqpMessage {
        let back = self.receiver(node, 10);
        let mut request = request.clone();
        request.properties.reply_to = Some(back.name.clone());
        let back = self.attached(back).await;
        let there = self.attach_sender(node).await.unwrap();
        assert_eq!(self.send(there, &request).await, DeliveryState::Accepted);
        self.receive(back).await.1
    }
}
