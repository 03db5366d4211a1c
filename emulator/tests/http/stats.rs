//! What the emulator does, in numbers.

use iothub_protocol::Message;
use serde_json::{Value, json};

use super::client::Client;
use super::hub::TestHub;

/// Opens a stream of samples; dropping the client ends it.
async fn watch(hub: &TestHub, query: &str) -> Client {
    let (mut client, _served) = hub.connect();
    client
        .write(format!(
            "GET /_emulator/stats{query} HTTP/1.1\r\nHost: hub\r\nAccept: text/event-stream\r\n\r\n"
        ))
        .await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    client
}

/// The number and the document of the next sample.
async fn sample(client: &mut Client) -> (u64, Value) {
    let chunk = client.chunk().await.unwrap();
    let (id, data) = chunk
        .strip_prefix("id: ")
        .and_then(|text| text.split_once("\ndata: "))
        .unwrap_or_else(|| panic!("{chunk}"));
    let data = data.strip_suffix("\n\n").unwrap();
    (id.parse().unwrap(), serde_json::from_str(data).unwrap())
}

fn message(body: &str) -> Message {
    Message {
        body: body.to_owned().into(),
        ..Message::default()
    }
}

#[tokio::test]
async fn a_single_question_is_answered_with_totals() {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.create("d1/m1").await;
    let device = hub.attach("d1").await;
    hub.ingest(&device, message("hello")).await;
    assert_eq!(hub.owner("GET /devices/none", "").await.status, 404);

    let told = hub.control("GET stats", "").await.json();

    assert_eq!(told["at"], "2024-03-14T09:54:49.6536567Z");
    assert_eq!(told["frozen"], true);
    assert_eq!(told["connections"], json!({"total": 1, "mqtt": 1}));
    assert_eq!((&told["devices"], &told["modules"]), (&json!(1), &json!(1)));
    let totals = &told["totals"];
    assert_eq!(
        (&totals["telemetry"], &totals["refused"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        told["operations"]["getDevice"],
        json!({"succeeded": 0, "refused": 1, "items": 0})
    );
    assert_eq!(told["latency"]["sendTelemetry"]["count"], 1);
    assert_eq!(told["quota"], Value::Null);
    assert!(told.get("rates").is_none(), "{told}");
}

#[tokio::test]
async fn a_stream_tells_at_once_and_then_what_happened_in_between() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let device = hub.attach("d1").await;
    let mut client = watch(&hub, "?interval=100").await;

    let (first, now) = sample(&mut client).await;
    for _ in 0..50 {
        hub.ingest(&device, message("hello")).await;
    }
    let (second, later) = sample(&mut client).await;

    assert_eq!((first, second), (0, 1));
    assert_eq!(now["rates"]["telemetry"], 0.0);
    let seconds = later["interval_ms"].as_f64().unwrap() / 1000.0;
    assert!(seconds >= 0.099, "{seconds}");
    let sent = later["rates"]["telemetry"].as_f64().unwrap() * seconds;
    assert!((48.0..52.0).contains(&sent), "{later}");
    assert_eq!(later["latency"]["sendTelemetry"]["count"], 50);
    assert!(later["latency"].get("connect").is_none(), "{later}");
    assert_eq!(later["watchers"], 1);
    assert!(later.get("busiest").is_none(), "{later}");
}

#[tokio::test]
async fn who_asks_for_a_ranking_is_told_who_is_busy_and_what_is_slow() {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.create("d2").await;
    let one = hub.attach("d1").await;
    let two = hub.attach("d2").await;
    let mut client = watch(&hub, "?interval=100&rank=1").await;
    sample(&mut client).await;
    for _ in 0..5 {
        hub.ingest(&two, message("hello")).await;
    }
    hub.ingest(&one, message("hello")).await;

    let (_, told) = sample(&mut client).await;

    let busiest = told["busiest"].as_array().unwrap();
    assert_eq!((busiest.len(), &busiest[0]["client"]), (1, &json!("d2")));
    let slowest = told["slowest"].as_array().unwrap();
    assert_eq!(
        (slowest.len(), &slowest[0]["operation"]),
        (1, &json!("sendTelemetry"))
    );
    assert_eq!(slowest[0]["at"], "2024-03-14T09:54:49.6536567Z");
}

#[tokio::test]
async fn all_who_watch_alike_share_the_samples_and_who_leaves_is_not_counted() {
    let hub = TestHub::new();
    let mut one = watch(&hub, "?interval=100").await;
    sample(&mut one).await;
    let (first, told) = sample(&mut one).await;

    let mut two = watch(&hub, "?interval=130").await;
    let (shared, _) = sample(&mut two).await;
    assert!(shared >= first, "{shared} {first}");
    assert_eq!(told["watchers"], 1);
    drop(one);

    while hub.control("GET stats", "").await.json()["watchers"] != 1 {
        sample(&mut two).await;
    }
}

#[tokio::test]
async fn a_stream_ends_when_the_emulator_stops() {
    let hub = TestHub::new();
    let mut client = watch(&hub, "").await;
    sample(&mut client).await;

    hub.stop.cancel();

    assert_eq!(client.chunk().await, None);
}

#[tokio::test]
async fn a_wish_that_is_no_number_is_refused() {
    let hub = TestHub::new();

    let reply = hub.control("GET stats?interval=often", "").await;

    assert!(
        reply.refusal().starts_with("400 ArgumentInvalid"),
        "{reply:?}"
    );
}
