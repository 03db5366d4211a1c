//! Reading the built-in endpoint: partitions, positions, groups, owner levels.

use std::collections::BTreeMap;

use iothub_backend::{Backend, ErrorCode, ErrorKind, Events, OutgoingMessage};
use iothub_testkit::{EventPosition, TestHub};

use crate::support::secs;

async fn register(hub: &TestHub, devices: &[&str]) {
    for device in devices {
        hub.device_connection_string(device).await;
    }
}

async fn send(backend: &Backend, device: &str, body: &str) {
    let message = OutgoingMessage::new(body.to_owned());
    let sender = backend.on_behalf_of(device);
    sender.send_event(message).await.unwrap();
}

/// The bodies of what is stored, from this position on.
async fn stored(events: &Events, partition: u32, position: EventPosition) -> Vec<String> {
    let reader = events.from_position(position).partition(partition);
    let mut reader = reader.stored_only().open().await.unwrap();
    let mut bodies = Vec::new();
    while let Some(event) = reader.next().await.unwrap() {
        bodies.push(String::from_utf8(event.body.to_vec()).unwrap());
    }
    bodies
}

#[tokio::test]
async fn a_device_stays_in_its_partition_and_all_are_read() {
    let hub = TestHub::start().await;
    let devices = ["d1", "d2", "d3", "d4", "d5", "d6"];
    register(&hub, &devices).await;
    for round in 0..3 {
        for device in devices {
            send(hub.backend(), device, &format!("{device}-{round}")).await;
        }
    }

    let events = hub.events();
    let properties = events.properties().await.unwrap();
    let mut reader = events.from_earliest().stored_only().open().await.unwrap();
    let mut by_device = BTreeMap::<String, Vec<(u32, String)>>::new();
    while let Some(event) = reader.next().await.unwrap() {
        let body = String::from_utf8(event.body.to_vec()).unwrap();
        let seen = by_device.entry(event.device_id().to_owned()).or_default();
        seen.push((event.partition, body));
    }

    assert_eq!(properties.partition_ids, [0, 1, 2, 3]);
    assert_eq!(by_device.len(), devices.len());
    for (device, seen) in by_device {
        let partition = seen[0].0;
        let expected: Vec<_> = (0..3)
            .map(|round| (partition, format!("{device}-{round}")))
            .collect();
        assert_eq!(seen, expected);
    }
    let mut total = 0;
    for id in properties.partition_ids {
        let partition = events.partition_properties(id).await.unwrap();
        assert_eq!(
            partition.is_empty,
            partition.last_enqueued_sequence_number == -1
        );
        total += partition.last_enqueued_sequence_number + 1;
    }
    assert_eq!(total, 18);
}

#[tokio::test]
async fn readers_start_where_they_are_told_to() {
    let hub = TestHub::builder().virtual_clock().start().await;
    register(&hub, &["d1"]).await;
    let mut times = Vec::new();
    for body in ["a", "b", "c", "d"] {
        hub.clock().advance(secs(10)).await;
        times.push(hub.clock().now());
        send(hub.backend(), "d1", body).await;
    }
    let events = hub.events();
    let mut all = events.from_earliest().stored_only().open().await.unwrap();
    let mut first = Vec::new();
    while let Some(event) = all.next().await.unwrap() {
        first.push(event);
    }
    let partition = first[0].partition;
    let sequence = |sequence, inclusive| EventPosition::Sequence {
        sequence,
        inclusive,
    };
    let offset = first[1].offset.parse().unwrap();
    let offset = |inclusive| EventPosition::Offset { offset, inclusive };
    let enqueued = |index: usize, inclusive| EventPosition::Enqueued {
        time: times[index],
        inclusive,
    };

    for (position, expected) in [
        (EventPosition::Earliest, "abcd"),
        (EventPosition::Latest, ""),
        (sequence(1, true), "bcd"),
        (sequence(1, false), "cd"),
        (sequence(3, false), ""),
        (offset(true), "bcd"),
        (offset(false), "cd"),
        (enqueued(2, true), "cd"),
        (enqueued(2, false), "d"),
    ] {
        let bodies = stored(&events, partition, position.clone()).await;
        assert_eq!(bodies.concat(), expected, "{position:?}");
    }
    assert_eq!(first[2].enqueued_time, times[2]);
}

#[tokio::test]
async fn reader_of_latest_sees_what_comes_after_it_opened() {
    let hub = TestHub::start().await;
    register(&hub, &["d1"]).await;
    send(hub.backend(), "d1", "before").await;

    let mut reader = hub.backend().events().from_latest().open().await.unwrap();
    send(hub.backend(), "d1", "after").await;

    assert_eq!(reader.next().await.unwrap().unwrap().body, "after");
}

#[tokio::test]
async fn groups_read_by_themselves_and_unknown_ones_are_refused() {
    let hub = TestHub::start().await;
    register(&hub, &["d1"]).await;
    send(hub.backend(), "d1", "x").await;
    let events = hub.events();

    for _ in 0..2 {
        let group = events.from_earliest().consumer_group("$default");
        let mut reader = group.open().await.unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap().body, "x");
    }
    let missing = events.from_earliest().consumer_group("nobody-made-this");
    let error = missing.open().await.unwrap().next().await.unwrap_err();
    let nowhere = events.partition_properties(99).await.unwrap_err();

    for error in [error, nowhere] {
        let ErrorKind::Refused(refusal) = error.kind() else {
            panic!("{error}")
        };
        assert_eq!(refusal.status, 404, "{error}");
    }
}

#[tokio::test]
async fn higher_owner_level_displaces_and_a_lower_one_is_refused() {
    let hub = TestHub::start().await;
    register(&hub, &["d1"]).await;
    let events = hub.events();
    let reader = |level: Option<i64>| {
        let reader = events.from_latest();
        match level {
            Some(level) => reader.owner_level(level),
            None => reader,
        }
        .open()
    };
    let is_displaced = |result: Result<Option<iothub_backend::Event>, iothub_backend::Error>| {
        let error = result.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Displaced(_)), "{error}");
    };

    let mut without = reader(None).await.unwrap();
    let mut first = reader(Some(1)).await.unwrap();
    is_displaced(without.next().await);
    let mut second = reader(Some(2)).await.unwrap();
    is_displaced(first.next().await);
    let mut lower = reader(Some(1)).await.unwrap();
    is_displaced(lower.next().await);
    let mut none = reader(None).await.unwrap();
    is_displaced(none.next().await);

    send(hub.backend(), "d1", "x").await;
    assert_eq!(second.next().await.unwrap().unwrap().body, "x");
}

#[tokio::test]
async fn sixth_reader_of_a_partition_is_refused() {
    let hub = TestHub::start().await;
    register(&hub, &["d1"]).await;
    send(hub.backend(), "d1", "x").await;
    let events = hub.events();

    let mut readers = Vec::new();
    for _ in 0..6 {
        readers.push(events.from_earliest().open().await.unwrap());
    }
    let mut refused = 0;
    for reader in &mut readers {
        match reader.next().await {
            Ok(event) => assert_eq!(event.unwrap().body, "x"),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Refused(_)), "{error}");
                refused += 1;
            }
        }
    }

    assert_eq!(refused, 1);
}

#[tokio::test]
async fn either_connection_string_reads_and_a_wrong_one_does_not() {
    let hub = TestHub::start().await;
    register(&hub, &["d1"]).await;
    send(hub.backend(), "d1", "x").await;
    let plain = hub.plain_events_connection_string();
    let tls = hub.events_connection_string();

    for (string, port) in [(&plain, hub.ports().amqp), (&tls, hub.ports().amqps)] {
        let over_tcp = Events::builder(string).address(format!("localhost:{port}"));
        let events = over_tcp.ca_pem(hub.ca_pem()).build().unwrap();
        let mut reader = events.from_earliest().open().await.unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap().body, "x");
    }
    let wrong = plain.replace("SharedAccessKey=", "SharedAccessKey=x");
    let events = Events::builder(&wrong)
        .address(format!("127.0.0.1:{}", hub.ports().amqp))
        .build()
        .unwrap();
    let refused = events.properties().await.unwrap_err();
    let unauthorized = [401, 403].map(ErrorCode::generic);
    let ErrorKind::Refused(refusal) = refused.kind() else {
        panic!("{refused}")
    };
    assert_eq!(refusal.status, unauthorized[0].http_status(), "{refused}");
}
