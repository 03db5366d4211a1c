//! What happened, through the control API.

use std::time::Duration;

use bytes::Bytes;
use iothub_protocol::Message;
use iothub_protocol::property_bag::PropertyBag;
use serde_json::{Value, json};

use super::client::Client;
use super::hub::TestHub;

async fn lines(hub: &TestHub, query: &str) -> Vec<Value> {
    let reply = hub.control(&format!("GET timeline{query}"), "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    parsed(&reply.body)
}

fn parsed(body: &str) -> Vec<Value> {
    body.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn events(lines: &[Value]) -> Vec<&str> {
    lines
        .iter()
        .filter_map(|line| line["event"].as_str())
        .collect()
}

async fn open(hub: &TestHub, query: &str, headers: &str) -> (Client, tokio::task::JoinHandle<()>) {
    let (mut client, served) = hub.connect();
    client
        .write(format!(
            "GET /_emulator/timeline{query} HTTP/1.1\r\nHost: hub\r\n{headers}\r\n"
        ))
        .await;
    client.head().await;
    (client, served)
}

fn message(body: &'static str) -> Message {
    Message {
        properties: PropertyBag::new(),
        body: Bytes::from_static(body.as_bytes()),
    }
}

#[tokio::test]
async fn what_happened_to_a_device_is_told_in_order() {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.create("d2").await;
    let device = hub.attach("d1").await;
    hub.owner(
        "PATCH /twins/d1",
        r#"{"tags":{"a":1},"properties":{"desired":{"b":2}}}"#,
    )
    .await;
    let session = device.presence.connected.session;
    hub.handle
        .disconnect(session, &device.client, iothub_hub::End::Lost);

    let told = lines(&hub, "?client=d1&kinds=notice").await;

    assert_eq!(
        events(&told),
        [
            "identityChanged",
            "connected",
            "twinChanged",
            "disconnected"
        ]
    );
    assert_eq!(told[0]["change"], "created");
    assert_eq!(told[1]["protocol"], "mqtt");
    assert_eq!(told[2]["tags"], json!({"a": 1}));
    assert_eq!(told[2]["desired"], json!({"b": 2, "$version": 2}));
    assert_eq!(told[2]["reported"], Value::Null);
    assert!(told.iter().all(|line| line["client"] == "d1"));
    assert!(told.is_sorted_by_key(|line| line["seq"].as_u64()));
}

#[tokio::test]
async fn a_call_is_told_with_its_payload_and_its_end() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let request = r#"{"methodName":"reboot","payload":{"in":1},"responseTimeoutInSeconds":5}"#;

    hub.owner("POST /twins/d1/methods", request).await;
    let _device = hub.attach("d1").await;
    let asking = hub.owner("POST /twins/d1/methods", request);
    let answering = async {
        loop {
            if lines(&hub, "?kinds=notice&events=methodInvoked")
                .await
                .len()
                == 1
            {
                break hub.handle.advance(Duration::from_secs(6)).await;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(asking, answering);

    let told = lines(
        &hub,
        "?client=d1&kinds=notice&events=methodInvoked,methodEnded",
    )
    .await;
    let last = &told[told.len() - 2..];
    assert_eq!(events(last), ["methodInvoked", "methodEnded"]);
    assert_eq!(last[0]["method"], "reboot");
    assert_eq!(last[0]["payload"], json!({"in": 1}));
    assert_eq!(last[0]["call"], last[1]["call"]);
    assert_eq!(last[1]["error"]["code"], "GatewayTimeout");
}

#[tokio::test]
async fn a_refusal_is_told_with_its_reason() {
    let hub = TestHub::new();

    hub.owner("GET /devices/nobody", "").await;

    let told = lines(&hub, "?kinds=operation").await;
    let refused = told.last().unwrap();
    assert_eq!(refused["operation"], "getDevice");
    assert_eq!(refused["client"], "nobody");
    assert_eq!(refused["refusal"]["code"], "DeviceNotFound");
    // What went through is told only to who asked before.
    assert!(
        told.iter().all(|line| line["refusal"].is_object()),
        "{told:?}"
    );
}

#[tokio::test]
async fn who_follows_sees_what_is_made_for_nobody_else() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let device = hub.attach("d1").await;
    hub.ingest(&device, message("unseen")).await;
    let (mut client, served) = open(
        &hub,
        "?after=latest&follow=true&kinds=notice,operation&client=d1",
        "",
    )
    .await;

    hub.ingest(&device, message(r#"{"t":1}"#)).await;

    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(parsed(&client.chunk().await.unwrap()));
    }
    assert_eq!(told[0]["event"], "telemetryStored");
    assert_eq!(told[0]["lastBody"], json!({"t": 1}));
    assert_eq!(told[1]["operation"], "sendTelemetry");
    hub.stop.cancel();
    assert_eq!(client.chunk().await, None);
    served.await.unwrap();
}

#[tokio::test]
async fn a_follower_of_server_sent_events_goes_on_where_it_was() {
    let hub = TestHub::new();
    for device in ["d1", "d2", "d3"] {
        hub.create(device).await;
    }
    let headers = "Accept: text/event-stream\r\n";
    let (mut first, _) = open(&hub, "?kinds=notice", headers).await;
    let piece = first.chunk().await.unwrap();
    let ids: Vec<&str> = piece
        .lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .collect();
    assert_eq!(ids.len(), 3, "{piece}");

    let headers = format!("{headers}Last-Event-ID: {}\r\n", ids[1]);
    let (mut again, _) = open(&hub, "?kinds=notice", &headers).await;

    let piece = again.chunk().await.unwrap();
    assert!(
        piece.starts_with(&format!("id: {}\ndata: {{", ids[2])),
        "{piece}"
    );
    assert_eq!(piece.matches("id: ").count(), 1);
}

#[tokio::test]
async fn a_follower_is_told_how_much_it_missed() {
    let hub = TestHub::new();
    let (mut client, _served) = open(&hub, "?after=latest", "Accept: text/event-stream\r\n").await;

    for _ in 0..9000 {
        let nobody = iothub_emulator::activity::OperationKind::GetDevice.hub_wide();
        let refused = iothub_protocol::Error::argument_invalid("x");
        let result: Result<(), _> = hub.handle.call(nobody, |_, _| Err(refused)).await;
        result.unwrap_err();
    }

    let mut told = String::new();
    while !told.contains("event: missed\ndata: {\"count\":") {
        told += &client.chunk().await.unwrap();
    }
}

#[tokio::test]
async fn the_newest_are_told_unless_a_place_is_named() {
    let hub = TestHub::new();
    for device in ["d1", "d2", "d3"] {
        hub.create(device).await;
    }

    let newest = lines(&hub, "?kinds=notice&max=1").await;
    let oldest = lines(&hub, "?kinds=notice&after=0&max=1").await;
    let none = lines(&hub, "?kinds=notice&after=latest").await;

    assert_eq!(newest[0]["client"], "d3");
    assert_eq!(oldest[0]["client"], "d1");
    assert!(none.is_empty());
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused() {
    let hub = TestHub::new();

    for query in ["?kinds=all", "?after=yesterday", "?client=a/b/c", "?max=-1"] {
        let reply = hub.control(&format!("GET timeline{query}"), "").await;
        assert_eq!(reply.status, 400, "{query}: {reply:?}");
    }
}

#[tokio::test]
async fn requests_are_taken_down_but_not_the_dashboards() {
    let hub = TestHub::new();
    let reply = hub
        .control("PUT timeline/recording", r#"{"wire":true}"#)
        .await;
    assert_eq!(reply.status, 200);
    hub.create("d1").await;
    hub.control("GET hub/devices/d1", "").await;
    hub.owner("GET /devices/nobody", "").await;
    hub.control("PUT timeline/recording", r#"{"wire":false}"#)
        .await;
    hub.owner("GET /devices/d1", "").await;

    let told = lines(&hub, "?kinds=wire&after=0&hex=4").await;
    let of_one = lines(&hub, "?kinds=wire&after=0&client=d1").await;

    let summaries: Vec<_> = told
        .iter()
        .map(|line| {
            line["summary"]
                .as_str()
                .unwrap()
                .split(" · ")
                .next()
                .unwrap()
        })
        .collect();
    assert_eq!(
        summaries,
        [
            "PUT /devices/d1?api-version=2021-04-12",
            "200 OK to PUT /devices/d1?api-version=2021-04-12",
            "GET /devices/nobody?api-version=2021-04-12",
            "404 Not Found to GET /devices/nobody?api-version=2021-04-12",
        ]
    );
    assert_eq!(told[0]["packet"]["body"], json!({}));
    assert_eq!(
        told[0]["packet"]["headers"]["authorization"]["policy"],
        "iothubowner"
    );
    assert_eq!(told[0]["hex"], "50555420");
    assert_eq!(told[1]["client"], "d1");
    assert_eq!(told[1]["packet"]["body"]["deviceId"], "d1");
    assert_eq!(of_one.len(), 2);
    assert_eq!(
        hub.control("GET timeline/recording", "").await.json(),
        json!({"wire": false})
    );
}

#[tokio::test]
async fn the_wire_is_a_file_for_wireshark() {
    let hub = TestHub::new();
    hub.control("PUT timeline/recording", r#"{"wire":true}"#)
        .await;
    hub.create("d1").await;

    let (mut client, _) = open(&hub, "?format=pcapng", "Connection: close\r\n").await;
    let file = client.rest().await;
    let other = hub.control("GET timeline?format=pcap", "").await;

    // Behind the size of the first chunk.
    let begin = file.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    assert_eq!(&file[begin..begin + 4], b"\n\r\r\n");
    let request = b"PUT /devices/d1?api-version";
    assert!(file.windows(request.len()).any(|window| window == request));
    assert_eq!(other.status, 400);
}
