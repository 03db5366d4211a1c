//! Reading a partition: positions, credit, settling, retention.

use std::time::Duration;

use iothub_emulator::config::Storage;
use iothub_hub::{Hub, RoutingSpec};
use iothub_protocol::amqp::Symbol;
use iothub_protocol::amqp::performative::SenderSettleMode;
use iothub_protocol::amqp::selector::SELECTOR;
use serde_json::json;

use super::*;

#[tokio::test]
async fn events_come_in_order_each_with_its_place_and_then_as_they_are_sent() {
    let emulator = emulator_with_events(&["a", "b", "c"]).await;
    let mut client = Client::reader(&emulator).await;

    let link = client.partition();
    let (link, attach) = client.attach(link).await.unwrap();
    let (first, message) = client.receive(link).await;

    assert!(!first.settled);
    assert_eq!(first.tag.len(), 16);
    assert_eq!(attach.initial_delivery_count, Some(0));
    assert_eq!(
        annotation(&message, "x-opt-sequence-number"),
        &Value::Long(0)
    );
    assert_eq!(annotation(&message, "x-opt-offset"), &Value::from("0"));
    let time = Value::Timestamp(noon().unix_millis());
    assert_eq!(annotation(&message, "x-opt-enqueued-time"), &time);
    assert_eq!(body(&message), "a");
    assert_eq!(client.bodies(link, 2).await, ["b", "c"]);
    for word in ["d", "e"] {
        send(&emulator, "d1", [word]).await;
        assert_eq!(client.bodies(link, 1).await, [word]);
    }
}

#[tokio::test]
async fn a_reader_begins_where_it_says_and_its_filter_is_echoed() {
    let emulator = emulator().await;
    register(&emulator, "d1").await;
    for word in ["a", "b", "c", "d"] {
        send(&emulator, "d1", [word]).await;
        emulator.handle().advance(Duration::from_secs(1)).await;
    }
    let mut client = Client::reader(&emulator).await;
    let all = client.read_from(EventPosition::Earliest).await;
    let offsets: Vec<String> = client
        .messages(all, 4)
        .await
        .iter()
        .map(|message| {
            annotation(message, "x-opt-offset")
                .as_text()
                .unwrap()
                .to_owned()
        })
        .collect();
    let millis = noon().unix_millis();

    for (selector, rest) in [
        ("x-opt-offset > '-1'".to_owned(), "abcd"),
        (format!("x-opt-offset > '{}'", offsets[1]), "cd"),
        (format!("x-opt-offset >= '{}'", offsets[1]), "bcd"),
        ("x-opt-sequence-number > '1'".to_owned(), "cd"),
        ("x-opt-sequence-number >= '1'".to_owned(), "bcd"),
        (format!("x-opt-enqueued-time > '{millis}'"), "bcd"),
        (format!("x-opt-enqueued-time >= '{millis}'"), "abcd"),
        (format!("x-opt-enqueuedtimeutc > {}", millis + 2500), "d"),
    ] {
        let mut link = client.partition();
        let text = format!("amqp.annotation.{selector}");
        let descriptor = Value::Symbol(Symbol::of(SELECTOR));
        let value = Value::Described(Box::new((descriptor, text.into())));
        link.source.filter = vec![(Value::Symbol(Symbol::of(SELECTOR)), value)];
        let sent = link.source.filter.clone();

        let (link, attach) = client.attach(link).await.unwrap();
        let read = client.bodies(link, rest.len()).await.concat();

        assert_eq!(read, rest, "{selector}");
        assert_eq!(attach.source.unwrap().filter, sent, "{selector}");
        client.detach(link).await;
    }
}

#[tokio::test]
async fn a_selector_that_makes_no_sense_is_refused() {
    let emulator = emulator_with_events(&[]).await;
    let mut client = Client::reader(&emulator).await;
    let mut link = client.partition();
    link.source.filter = EventPosition::Latest.to_filter();
    let Value::Described(described) = &mut link.source.filter[0].1 else {
        panic!("a selector is described");
    };
    described.1 = "color = 'red'".into();

    let error = client.refused(link).await;

    assert_eq!(error.condition.as_str(), "amqp:invalid-field");
}

#[tokio::test]
async fn who_begins_at_the_end_or_beyond_it_gets_what_comes() {
    let emulator = emulator_with_events(&["old", "older"]).await;
    let mut client = Client::reader(&emulator).await;
    let mut links = Vec::new();
    for position in [
        EventPosition::Latest,
        EventPosition::Sequence {
            sequence: 1,
            inclusive: false,
        },
        EventPosition::Sequence {
            sequence: 5000,
            inclusive: true,
        },
        EventPosition::Offset {
            offset: 1_000_000,
            inclusive: false,
        },
    ] {
        links.push(client.read_from(position).await);
    }

    send(&emulator, "d1", ["new"]).await;

    for link in links {
        let message = client.messages(link, 1).await.remove(0);
        assert_eq!(body(&message), "new");
        assert_eq!(sequences(&[message]), [2]);
    }
}

#[tokio::test]
async fn no_more_comes_than_there_is_credit() {
    let emulator = emulator_with_events(&["a", "b", "c"]).await;
    let mut client = Client::reader(&emulator).await;
    let link = AttachLink {
        credit: 0,
        ..client.partition()
    };
    let link = client.attached(link).await;

    client.grant(link, 2).await;
    assert_eq!(client.bodies(link, 2).await, ["a", "b"]);
    client.grant(link, 5).await;

    assert_eq!(client.bodies(link, 1).await, ["c"]);
    send(&emulator, "d1", ["d"]).await;
    assert_eq!(client.bodies(link, 1).await, ["d"]);
}

#[tokio::test]
async fn who_asks_for_settled_events_gets_them_so() {
    let emulator = emulator_with_events(&["a"]).await;
    let mut client = Client::reader(&emulator).await;
    let link = AttachLink {
        snd_settle_mode: SenderSettleMode::Settled,
        ..client.partition()
    };

    let link = client.attached(link).await;

    assert!(client.delivery(link).await.settled);
}

#[tokio::test]
async fn the_runtime_metric_tells_of_the_newest_event() {
    let emulator = emulator_with_events(&["a", "b", "c"]).await;
    let mut client = Client::reader(&emulator).await;
    let metric = Symbol::of("com.microsoft:enable-receiver-runtime-metric");
    let link = AttachLink {
        desired_capabilities: vec![metric.clone()],
        ..client.partition()
    };

    let (link, attach) = client.attach(link).await.unwrap();
    let messages = client.messages(link, 3).await;

    assert_eq!(attach.offered_capabilities, [metric]);
    let newest = annotation(&messages[2], "x-opt-offset");
    for message in &messages {
        let told = |name| lookup(&message.delivery_annotations, name).unwrap();
        assert_eq!(told("last_enqueued_sequence_number"), &Value::Long(2));
        assert_eq!(told("last_enqueued_offset"), newest);
        let now = Value::Timestamp(noon().unix_millis());
        assert_eq!(told("last_enqueued_time_utc"), &now);
        assert_eq!(told("runtime_info_retrieval_time_utc"), &now);
    }
}

#[tokio::test]
async fn a_large_event_comes_in_several_frames() {
    let emulator = emulator_with_events(&[]).await;
    let large: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
    send(&emulator, "d1", [large.clone(), b"small".to_vec()]).await;
    let mut client = Client::reader(&emulator).await;

    let link = client.read_from(EventPosition::Earliest).await;
    let messages = client.messages(link, 2).await;

    assert_eq!(messages[0].data().unwrap(), large);
    assert_eq!(body(&messages[1]), "small");
}

#[tokio::test]
async fn thousands_of_events_come_without_a_gap() {
    const COUNT: usize = 5000;
    let emulator = emulator_with_events(&[]).await;
    for first in (0..COUNT).step_by(700) {
        let bodies = (first..COUNT.min(first + 700)).map(|n| n.to_string());
        send(&emulator, "d1", bodies).await;
    }
    let mut client = Client::reader(&emulator).await;

    let link = client.read_from(EventPosition::Earliest).await;
    let messages = client.messages(link, COUNT).await;

    let expected: Vec<i64> = (0..COUNT as i64).collect();
    assert_eq!(sequences(&messages), expected);
    assert_eq!(body(&messages[COUNT - 1]), (COUNT - 1).to_string());
}

#[tokio::test]
async fn what_was_forgotten_meanwhile_is_passed_over() {
    let emulator = emulator_with(|config| {
        config.storage = Storage::Memory {
            retention_bytes: 4096,
        };
    })
    .await;
    register(&emulator, "d1").await;
    send(&emulator, "d1", (0..100).map(|n| n.to_string())).await;
    let mut client = Client::reader(&emulator).await;
    let link = AttachLink {
        credit: 0,
        ..client.partition()
    };
    let mut link = link;
    let early = EventPosition::Sequence {
        sequence: 3,
        inclusive: true,
    };
    link.source.filter = early.to_filter();
    let link = client.attached(link).await;
    send(&emulator, "d1", (100..200).map(|n| n.to_string())).await;

    client.grant(link, 1000).await;
    let first = sequences(&client.messages(link, 1).await)[0];
    let rest = client.messages(link, (199 - first) as usize).await;

    assert!((101..199).contains(&first), "{first}");
    let expected: Vec<i64> = (first + 1..200).collect();
    assert_eq!(sequences(&rest), expected);
}

#[tokio::test]
async fn after_a_reset_readers_go_on_with_the_first_event() {
    let emulator = emulator_with_events(&["a", "b", "c"]).await;
    let mut client = Client::reader(&emulator).await;
    let link = client.read_from(EventPosition::Earliest).await;
    assert_eq!(client.bodies(link, 3).await, ["a", "b", "c"]);

    let operation = OperationKind::Control.hub_wide();
    let reset = emulator.handle().call(operation, |hub, cx| {
        Hub::reset(hub, cx);
        Ok(())
    });
    reset.await.unwrap();
    register(&emulator, "d1").await;
    send(&emulator, "d1", ["again"]).await;

    let message = client.messages(link, 1).await.remove(0);
    assert_eq!(body(&message), "again");
    assert_eq!(sequences(&[message]), [0]);
}

#[tokio::test]
async fn events_of_the_hub_itself_are_read_too() {
    let emulator = emulator().await;
    let routes: Vec<_> = ["DeviceLifecycleEvents", "TwinChangeEvents"]
        .into_iter()
        .map(|source| {
            json!({
                "name": source, "source": source, "condition": "true",
                "endpointNames": ["events"], "isEnabled": true,
            })
        })
        .collect();
    let spec = RoutingSpec::parse(&json!({"routes": routes})).unwrap();
    let operation = OperationKind::Control.hub_wide();
    let put = emulator.handle().call(operation, |hub, cx| {
        hub.put_routing(cx, &Principal::operator(), spec)
    });
    put.await.unwrap();
    register(&emulator, "d1").await;
    let mut client = Client::reader(&emulator).await;

    let link = client.read_from(EventPosition::Earliest).await;
    let message = client.messages(link, 1).await.remove(0);

    assert_eq!(
        annotation(&message, "iothub-message-source"),
        &Value::from("deviceLifecycleEvents")
    );
    let properties = &message.properties;
    assert_eq!(
        properties.content_type,
        Some(Symbol::of("application/json"))
    );
    assert_eq!(properties.content_encoding, Some(Symbol::of("utf-8")));
    assert_eq!(properties.user_id.as_deref(), Some(ENTITY.as_bytes()));
    let application = |name| lookup(&message.application_properties, name).unwrap();
    assert_eq!(application("opType"), &Value::from("createDeviceIdentity"));
    assert_eq!(application("hubName"), &Value::from(ENTITY));
    assert_eq!(application("deviceId"), &Value::from("d1"));
}

#[tokio::test]
async fn a_device_has_one_partition_and_a_reader_only_its_own() {
    let emulator = emulator_with(|config| config.partitions = 4).await;
    let of = |device: &str| {
        let id = ClientId::parse(device).unwrap().device;
        emulator.handle().inspect(|hub| hub.partition_of(&id))
    };
    for device in ["d1", "d2", "d3", "d4", "d5"] {
        register(&emulator, device).await;
        send(&emulator, device, [device.to_owned()]).await;
    }
    let mut client = Client::reader(&emulator).await;

    for device in ["d1", "d5"] {
        let node = format!("{ENTITY}/consumergroups/$default/partitions/{}", of(device));
        let link = client.receiver(&node, 10);
        let link = client.attached(link).await;
        let mut found = false;
        while !found {
            let message = client.messages(link, 1).await.remove(0);
            assert_eq!(of(&body(&message)), of(device));
            found = body(&message) == device;
        }
    }
}
