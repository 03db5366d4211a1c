//! Readers of events.

use iothub_backend::{ErrorKind, EventPosition};
use iothub_protocol::Timestamp;
use iothub_protocol::amqp::AmqpError;
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::message::AmqpMessage;
use iothub_protocol::amqp::value::{Symbol, Value, lookup};
use serde_json::json;

use crate::peer::{Peer, message, within};

fn event(number: i64) -> AmqpMessage {
    let mut event = message(&format!("{{\"n\":{number}}}"));
    let annotation = |name, value| (Value::Symbol(Symbol::of(name)), value);
    event.message_annotations = vec![
        annotation("x-opt-sequence-number", Value::Long(number)),
        annotation("x-opt-offset", Value::String((number * 100).to_string())),
        annotation("x-opt-enqueued-time", Value::Timestamp(1_767_225_600_123)),
        annotation(
            "iothub-connection-device-id",
            Value::String(format!("d{}", number % 2)),
        ),
        annotation("iothub-message-source", "Telemetry".into()),
    ];
    event.properties.message_id = Some("m1".into());
    event.properties.content_type = Some(Symbol::of("application/json"));
    event.application_properties = vec![("alert".into(), "true".into())];
    event
}

fn sequence(sequence: i64) -> EventPosition {
    EventPosition::Sequence {
        sequence,
        inclusive: false,
    }
}

#[tokio::test]
async fn event_is_read_by_way_of_the_redirect() {
    let peer = Peer::listen().await;
    peer.tell(|story| story.events = vec![event(0)]);
    let events = peer.backend().events();

    let reader = events
        .from_earliest()
        .consumer_group("analytics")
        .owner_level(7)
        .name("me");
    let mut reader = within(reader.open()).await.unwrap();
    let event = within(reader.next()).await.unwrap().unwrap();

    assert_eq!((event.partition, event.sequence_number), (0, 0));
    assert_eq!(event.offset, "0");
    assert_eq!(
        event.enqueued_time,
        Timestamp::from_unix_millis(1_767_225_600_123)
    );
    assert_eq!((event.device_id(), event.module_id()), ("d0", None));
    assert_eq!(event.message_source(), Some("Telemetry"));
    assert_eq!(event.json(), Some(json!({"n": 0})));
    assert_eq!(event.properties["message-id"], "m1");
    assert_eq!(event.properties["content-type"], "application/json");
    assert_eq!(event.application_properties["alert"], "true");
    assert_eq!(
        event.annotations["x-opt-enqueued-time"],
        1_767_225_600_123_i64
    );
    let attach = peer.story().attached.last().unwrap().clone();
    let address = attach.source.unwrap().address.unwrap();
    assert_eq!(address, "entity/ConsumerGroups/analytics/Partitions/0");
    let property = |name| lookup(&attach.properties, name).cloned();
    assert_eq!(property("com.microsoft:epoch"), Some(Value::Long(7)));
    assert_eq!(property("com.microsoft:receiver-name"), Some("me".into()));
}

#[tokio::test]
async fn reader_goes_on_behind_the_last_event_it_gave() {
    let peer = Peer::listen().await;
    peer.tell(|story| story.events = (0..10).map(event).collect());
    let events = peer.backend().events();

    let mut reader = within(events.from_earliest().open()).await.unwrap();
    let mut numbers = Vec::new();
    for count in 0..30 {
        if count == 10 || count == 20 {
            peer.tell(|story| {
                story.cut += 1;
                let known = i64::try_from(story.events.len()).unwrap();
                story.events.extend((known..known + 10).map(event));
            });
        }
        numbers.push(
            within(reader.next())
                .await
                .unwrap()
                .unwrap()
                .sequence_number,
        );
    }

    assert_eq!(numbers, (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn reader_from_latest_misses_nothing_when_the_connection_is_lost() {
    let peer = Peer::listen().await;
    peer.tell(|story| story.events = (0..5).map(event).collect());
    let events = peer.backend().events();

    let mut reader = within(events.from_latest().open()).await.unwrap();
    peer.tell(|story| {
        story.cut += 1;
        story.events.push(event(5));
    });

    let event = within(reader.next()).await.unwrap().unwrap();
    assert_eq!(event.sequence_number, 5);
}

#[tokio::test]
async fn hub_that_numbers_anew_is_read_from_its_beginning() {
    let peer = Peer::listen().await;
    peer.tell(|story| {
        story.first = 100;
        story.events = vec![event(100)];
    });
    let events = peer.backend().events();

    let mut reader = within(events.from_earliest().open()).await.unwrap();
    within(reader.next()).await.unwrap().unwrap();
    peer.tell(|story| {
        story.cut += 1;
        story.first = 0;
        story.events = vec![event(0), event(1)];
    });

    let event = within(reader.next()).await.unwrap().unwrap();
    assert_eq!(event.sequence_number, 0);
}

#[tokio::test]
async fn displaced_reader_is_told_and_ends() {
    let peer = Peer::listen().await;
    peer.tell(|story| story.events = vec![event(0)]);
    let events = peer.backend().events();

    let mut reader = within(events.from_earliest().open()).await.unwrap();
    within(reader.next()).await.unwrap().unwrap();
    let stolen = AmqpError::new(condition::LINK_STOLEN, "a higher epoch");
    peer.tell(|story| story.detach = Some(stolen));
    let error = within(reader.next()).await.unwrap_err();

    assert_eq!(error.kind(), &ErrorKind::Displaced("a higher epoch".into()));
    assert_eq!(within(reader.next()).await.unwrap(), None);
}

#[tokio::test]
async fn refused_reader_is_told_why() {
    let peer = Peer::listen().await;
    let missing = AmqpError::new(condition::NOT_FOUND, "no such consumer group");
    peer.tell(|story| story.detach = Some(missing));
    let events = peer.backend().events();

    let mut reader = within(events.from_earliest().open()).await.unwrap();
    let error = within(reader.next()).await.unwrap_err();

    assert!(
        error.to_string().contains("no such consumer group"),
        "{error}"
    );
}

#[tokio::test]
async fn reader_that_was_detached_for_no_fault_comes_back() {
    let peer = Peer::listen().await;
    peer.tell(|story| story.detach = Some(AmqpError::new(condition::DETACH_FORCED, "later")));
    let events = peer.backend().events();

    let mut reader = within(events.from_earliest().open()).await.unwrap();
    let reading = tokio::spawn(async move { reader.next().await });
    let readers = |story: &crate::peer::Story| {
        let is_reader =
            |it: &&iothub_protocol::amqp::performative::Attach| it.name.contains("reader");
        story.attached.iter().filter(is_reader).count()
    };
    peer.until(|story| (readers(story) > 1).then_some(())).await;
    peer.tell(|story| {
        story.detach = None;
        story.events.push(event(0));
    });

    let event = within(reading).await.unwrap().unwrap().unwrap();
    assert_eq!(event.sequence_number, 0);
    assert_eq!(
        peer.story().connections,
        2,
        "one to the hub, one to the event hub"
    );
}

#[tokio::test]
async fn reader_ends_where_it_was_told_to() {
    let peer = Peer::listen().await;
    peer.tell(|story| story.events = (0..10).map(event).collect());
    let events = peer.backend().events();
    let read = async |reader: iothub_backend::EventReaderBuilder| {
        let mut reader = within(reader.open()).await.unwrap();
        let mut numbers = Vec::new();
        while let Some(event) = within(reader.next()).await.unwrap() {
            numbers.push(event.sequence_number);
        }
        reader.close().await;
        numbers
    };

    let odd = read(events.from_earliest().device("d1").stored_only()).await;
    let two = read(events.from_position(sequence(3)).max(2).prefetch(1)).await;
    let own = read(
        events
            .from_latest()
            .partition_from(0, sequence(7))
            .stored_only(),
    )
    .await;
    let none = read(events.from_latest().partition(0).stored_only()).await;

    assert_eq!(odd, [1, 3, 5, 7, 9]);
    assert_eq!(two, [4, 5]);
    assert_eq!(own, [8, 9]);
    assert_eq!(none, [0_u64; 0]);
}

#[tokio::test]
async fn many_events_come_through_a_small_window() {
    let peer = Peer::listen().await;
    peer.tell(|story| story.events = (0..2000).map(event).collect());
    let events = peer.backend().events();

    let mut reader = within(events.from_earliest().prefetch(7).open())
        .await
        .unwrap();
    for number in 0..2000 {
        let event = within(reader.next()).await.unwrap().unwrap();
        assert_eq!(event.sequence_number, number);
    }
}

#[tokio::test]
async fn partition_properties_tell_what_is_stored() {
    let peer = Peer::listen().await;
    peer.tell(|story| story.events = (0..3).map(event).collect());

    let partition = within(peer.backend().events().partition_properties(0)).await;

    let partition = partition.unwrap();
    assert_eq!((partition.id, &*partition.event_hub_name), (0, "entity"));
    assert_eq!(partition.last_enqueued_sequence_number, 2);
    assert_eq!(partition.last_enqueued_offset, "2");
    assert!(!partition.is_empty);
}
