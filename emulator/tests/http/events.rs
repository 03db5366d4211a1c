//! Telemetry through the control API.

use std::time::Duration;

use bytes::Bytes;
use iothub_protocol::Message;
use iothub_protocol::property_bag::PropertyBag;
use serde_json::{Value, json};

use super::client::Client;
use super::hub::{FakeDevice, TestHub};

fn message(body: &str) -> Message {
    Message {
        properties: PropertyBag::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

/// Devices whose events are in different partitions.
async fn fixture() -> (TestHub, Vec<FakeDevice>) {
    let hub = TestHub::new();
    let mut devices = Vec::new();
    for partition in 0..2 {
        let names = (0..).map(|n| format!("d{n}"));
        let of_partition = |name: &String| {
            let id = iothub_protocol::DeviceId::parse(name).unwrap();
            hub.handle.inspect(|hub| hub.partition_of(&id)) == partition
        };
        let name = names.into_iter().find(of_partition).unwrap();
        hub.create(&name).await;
        devices.push(hub.attach(&name).await);
    }
    (hub, devices)
}

/// Sends the bodies `0`, `1`, … a second apart, from the devices in turn.
async fn send(hub: &TestHub, devices: &[FakeDevice], bodies: std::ops::Range<usize>) {
    for n in bodies {
        hub.ingest(&devices[n % devices.len()], message(&n.to_string()))
            .await;
        hub.handle.advance(Duration::from_secs(1)).await;
    }
}

async fn lines(hub: &TestHub, query: &str) -> Vec<Value> {
    let reply = hub.control(&format!("GET events{query}"), "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    reply
        .body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn bodies(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["body"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn an_event_tells_everything() {
    let (hub, devices) = fixture().await;
    let bag = "%24.mid=m-1&%24.cid=c&%24.ct=application%2Fjson&%24.ce=utf-8&%24.sub=thermo&k=v%20w";
    let properties = PropertyBag::from_encoded(bag).unwrap();
    let body = Bytes::from_static(br#"{"t":1}"#);
    hub.ingest(&devices[1], Message { properties, body }).await;
    let raw = Message {
        properties: PropertyBag::new(),
        body: Bytes::from_static(b"\xff\x00"),
    };
    hub.ingest(&devices[1], raw).await;

    let events = lines(&hub, "").await;

    let mut first = events[0].clone();
    let annotations = first["annotations"].as_object_mut().unwrap();
    let generation = annotations
        .remove("iothub-connection-auth-generation-id")
        .unwrap();
    assert!(generation.as_str().unwrap().len() >= 18);
    assert_eq!(
        first,
        json!({
            "partition": 1,
            "sequenceNumber": 0,
            "offset": "0",
            "enqueuedTime": "2024-03-14T09:54:49.6536567Z",
            "cursor": "0.1",
            "annotations": {
                "iothub-connection-device-id": devices[1].client.to_string(),
                "iothub-connection-auth-method":
                    r#"{"scope":"hub","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#,
                "iothub-enqueuedtime": "2024-03-14T09:54:49.6536567Z",
                "iothub-message-source": "Telemetry",
                "dt-subject": "thermo",
            },
            "properties": {
                "message-id": "m-1", "correlation-id": "c", "content-type": "application/json",
                "content-encoding": "utf-8",
            },
            "applicationProperties": {"k": "v w"},
            "body": "{\"t\":1}",
            "bodyEncoding": "utf-8",
        })
    );
    assert_eq!(
        (&events[1]["body"], &events[1]["bodyEncoding"]),
        (&json!("/wA="), &json!("base64"))
    );
}

#[tokio::test]
async fn partitions_are_merged_by_time() {
    let (hub, devices) = fixture().await;
    send(&hub, &devices, 0..7).await;

    let all = lines(&hub, "").await;

    assert_eq!(bodies(&all), ["0", "1", "2", "3", "4", "5", "6"]);
    assert_eq!(bodies(&lines(&hub, "?from=earliest").await), bodies(&all));
    assert_eq!(
        bodies(&lines(&hub, "?from=earliest&max=2").await),
        ["0", "1"]
    );
    assert_eq!(bodies(&lines(&hub, "?max=3").await), ["4", "5", "6"]);
    assert_eq!(bodies(&lines(&hub, "?max=0").await), [""; 0]);
    assert_eq!(bodies(&lines(&hub, "?from=latest").await), [""; 0]);
    for (index, event) in all.iter().enumerate() {
        let after = lines(
            &hub,
            &format!("?from={}", event["cursor"].as_str().unwrap()),
        )
        .await;
        assert_eq!(after, all[index + 1..]);
    }
}

#[tokio::test]
async fn the_newest_ten_thousand_are_the_default() {
    let (hub, devices) = fixture().await;
    for n in 0..10_050 {
        hub.ingest(&devices[n % 2], message(&n.to_string())).await;
    }

    let newest = lines(&hub, "").await;
    let of_one = lines(&hub, &format!("?device={}&max=3", devices[0].client)).await;
    let earliest = lines(&hub, "?from=earliest").await;

    assert_eq!(newest.len(), 10_000);
    assert!(earliest.len() > newest.len());
    assert_eq!(bodies(&of_one), ["10044", "10046", "10048"]);
}

#[tokio::test]
async fn only_one_device_may_be_wanted() {
    let (hub, devices) = fixture().await;
    send(&hub, &devices, 0..6).await;

    let second = devices[1].client.to_string();
    let events = lines(&hub, &format!("?device={second}")).await;
    let nobody = lines(&hub, "?device=nobody").await;

    assert_eq!(bodies(&events), ["1", "3", "5"]);
    assert_eq!(nobody, [Value::Null; 0]);
    assert_eq!(
        bodies(&lines(&hub, &format!("?device={second}&max=1")).await),
        ["5"]
    );
}

#[tokio::test]
async fn wishes_that_make_no_sense_are_refused() {
    let (hub, _devices) = fixture().await;

    for query in [
        "?from=yesterday",
        "?from=1.2.3",
        "?max=many",
        "?device=a%20b",
        "?follow=perhaps",
        "?sample=0",
        "?sample=1000000",
    ] {
        let reply = hub.control(&format!("GET events{query}"), "").await;
        assert!(
            reply.refusal().starts_with("400 ArgumentInvalid"),
            "{query}: {reply:?}"
        );
    }
}

async fn open(
    hub: &TestHub,
    query: &str,
    headers: &str,
) -> (Client, String, tokio::task::JoinHandle<()>) {
    let (mut client, served) = hub.connect();
    client
        .write(format!(
            "GET /_emulator/events{query} HTTP/1.1\r\nHost: hub\r\n{headers}\r\n"
        ))
        .await;
    let head = client.head().await;
    (client, head, served)
}

#[tokio::test]
async fn a_follower_misses_nothing_and_ends_with_the_emulator() {
    let (hub, devices) = fixture().await;
    send(&hub, &devices, 0..2).await;

    let (mut client, _, served) = open(&hub, "?from=latest&follow=true", "").await;
    for n in 2..5 {
        send(&hub, &devices, n..n + 1).await;
        let line = client.chunk().await.unwrap();
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["body"], n.to_string());
    }
    hub.stop.cancel();

    assert_eq!(client.chunk().await, None);
    served.await.unwrap();
}

#[tokio::test]
async fn a_follower_may_leave_while_nothing_happens() {
    let (hub, _devices) = fixture().await;
    let (client, _, served) = open(&hub, "?follow=true", "").await;

    drop(client);

    served.await.unwrap();
}

#[tokio::test]
async fn a_reader_who_does_not_read_holds_up_nobody() {
    let (hub, devices) = fixture().await;
    let large = "x".repeat(50_000);
    for _ in 0..20 {
        hub.ingest(&devices[0], message(&large)).await;
    }
    let (mut client, _, _served) = open(&hub, "?from=earliest", "").await;

    send(&hub, &devices, 0..3).await;
    assert_eq!(lines(&hub, "").await.len(), 23);

    let mut seen = String::new();
    while let Some(chunk) = client.chunk().await {
        seen.push_str(&chunk);
    }
    assert_eq!(seen.lines().count(), 20);
}

#[tokio::test]
async fn a_follower_goes_on_after_a_reset() {
    let (hub, devices) = fixture().await;
    send(&hub, &devices, 0..4).await;
    let (mut client, _, _served) = open(&hub, "?from=latest&follow=true", "").await;

    hub.control("POST reset", "").await;
    let name = devices[0].client.to_string();
    hub.create(&name).await;
    let device = hub.attach(&name).await;
    hub.ingest(&device, message("again")).await;

    let event: Value = serde_json::from_str(&client.chunk().await.unwrap()).unwrap();
    assert_eq!(
        (&event["body"], &event["sequenceNumber"]),
        (&json!("again"), &json!(0))
    );
}

#[tokio::test]
async fn server_sent_events_resume_where_they_were() {
    let (hub, devices) = fixture().await;
    send(&hub, &devices, 0..3).await;
    let accept = "Accept: text/event-stream\r\n";

    let (mut client, head, _served) = open(&hub, "", accept).await;
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    let chunk = client.chunk().await.unwrap();
    let ids: Vec<_> = chunk
        .lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .collect();
    assert_eq!((ids.len(), chunk.matches("\n\n").count()), (3, 3));

    let headers = format!("{accept}Last-Event-ID: {}\r\n", ids[1]);
    let (mut client, _, _served) = open(&hub, "", &headers).await;
    let chunk = client.chunk().await.unwrap();
    assert!(
        chunk.starts_with(&format!("id: {}\ndata: {{", ids[2])),
        "{chunk}"
    );
    assert_eq!(chunk.matches("data: ").count(), 1);
}

#[tokio::test]
async fn reading_begins_at_a_time() {
    let (hub, devices) = fixture().await;
    send(&hub, &devices, 0..6).await;
    let all = lines(&hub, "").await;

    let third = all[2]["enqueuedTime"].as_str().unwrap();
    let from_third = lines(&hub, &format!("?from={third}")).await;

    assert_eq!(bodies(&from_third), ["2", "3", "4", "5"]);
    assert_eq!(
        bodies(&lines(&hub, "?from=2020-01-01T00:00:00Z").await).len(),
        6
    );
    assert_eq!(
        bodies(&lines(&hub, "?from=2100-01-01T00:00:00Z").await).len(),
        0
    );
}

#[tokio::test]
async fn a_sample_is_the_newest_and_tells_what_was_skipped() {
    let (hub, devices) = fixture().await;
    send(&hub, &devices, 0..9).await;

    let of_all = lines(&hub, "?from=earliest&sample=10").await;
    let second = devices[1].client.to_string();
    let of_one = lines(&hub, &format!("?from=earliest&device={second}&sample=1")).await;
    let of_few = lines(&hub, "?from=earliest&sample=100").await;

    assert_eq!(of_all[0], json!({"skipped": 7}));
    assert_eq!(bodies(&of_all[1..]), ["7", "8"]);
    assert_eq!(of_one[0], json!({"skipped": 3}));
    assert_eq!(bodies(&of_one[1..]), ["7"]);
    assert_eq!(bodies(&of_few).len(), 9);
}

#[tokio::test]
async fn a_follower_of_a_sample_is_told_what_it_missed() {
    let (hub, devices) = fixture().await;
    let accept = "Accept: text/event-stream\r\n";
    let (mut client, _, served) = open(&hub, "?from=latest&sample=25", accept).await;

    send(&hub, &devices, 0..1).await;
    assert!(client.chunk().await.unwrap().contains(r#""body":"0""#));
    // Within the rest after the first piece, or spread over several: none is lost unnoticed.
    send(&hub, &devices, 1..40).await;
    let (mut seen, mut skipped) = (0, 0);
    while seen + skipped < 39 {
        for line in client.chunk().await.unwrap().lines() {
            let Some(data) = line.strip_prefix("data: ") else {
                continue;
            };
            let data: Value = serde_json::from_str(data).unwrap();
            match data["skipped"].as_u64() {
                Some(count) => skipped += count,
                None => seen += 1,
            }
        }
    }
    assert_eq!(seen + skipped, 39);
    hub.stop.cancel();

    assert_eq!(client.chunk().await, None);
    served.await.unwrap();
}
