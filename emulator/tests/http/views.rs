//! Lists that are scrolled through.

use serde_json::{Value, json};

use super::client::Reply;
use super::hub::TestHub;

/// Devices `D000`, `D001`, …; each second one on site A.
async fn registered(count: usize) -> TestHub {
    let hub = TestHub::new();
    let devices: Vec<Value> = (0..count)
        .map(|n| {
            let site = if n % 2 == 0 { "A" } else { "B" };
            json!({"deviceId": format!("D{n:03}"), "tags": {"site": site}})
        })
        .collect();
    let seeded = hub
        .control("POST seed", &json!({ "devices": devices }).to_string())
        .await;
    assert_eq!(seeded.status, 200, "{seeded:?}");
    hub
}

async fn made(hub: &TestHub, wish: Value) -> Value {
    let reply = hub.control("POST views", &wish.to_string()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

async fn read(hub: &TestHub, view: &Value, range: &str) -> Value {
    let reply = get(hub, view, range).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

async fn get(hub: &TestHub, view: &Value, range: &str) -> Reply {
    let id = view["id"].as_str().unwrap();
    hub.control(&format!("GET views/{id}{range}"), "").await
}

fn ids(page: &Value) -> Vec<&str> {
    let rows = page["rows"].as_array().unwrap();
    rows.iter()
        .map(|row| row["deviceId"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn all_devices_are_listed_in_order_and_read_by_offset() {
    let hub = registered(120).await;

    let view = made(&hub, json!({})).await;
    let middle = read(&hub, &view, "?offset=50&count=3").await;
    let first = read(&hub, &view, "").await;
    let end = read(&hub, &view, "?offset=119&count=500").await;
    let beyond = read(&hub, &view, "?offset=99999").await;

    assert_eq!(
        (&view["count"], &view["of"]),
        (&json!(120), &json!("devices"))
    );
    assert!(view["elapsed_ms"].as_f64().is_some(), "{view}");
    assert_eq!(ids(&middle), ["D050", "D051", "D052"]);
    assert_eq!(
        (&middle["count"], &middle["offset"]),
        (&json!(120), &json!(50))
    );
    assert_eq!(ids(&first).len(), 100);
    assert_eq!(ids(&end), ["D119"]);
    assert_eq!(ids(&beyond), Vec::<&str>::new());
}

#[tokio::test]
async fn a_filter_finds_a_part_of_the_name_whatever_its_case() {
    let hub = registered(30).await;

    for (filter, expected) in [
        ("d02", 10),
        ("D02", 10),
        (" 007 ", 1),
        ("x", 0),
        ("D0000000", 0),
        ("", 30),
    ] {
        let view = made(&hub, json!({ "filter": filter })).await;

        assert_eq!(view["count"], expected, "{filter}");
    }
}

#[tokio::test]
async fn a_query_for_devices_or_modules_gives_their_current_values() {
    let hub = registered(4).await;
    hub.create("D001/m1").await;

    let devices = made(
        &hub,
        json!({"query": "SELECT * FROM devices WHERE tags.site = 'A'"}),
    )
    .await;
    let modules = made(&hub, json!({"query": "SELECT * FROM devices.modules"})).await;
    let _device = hub.attach("D002").await;
    hub.owner("DELETE /devices/D000", "").await;
    let devices = read(&hub, &devices, "").await;
    let modules = read(&hub, &modules, "").await;

    assert_eq!(
        devices["rows"],
        json!([
            {"deviceId": "D000", "gone": true},
            {
                "deviceId": "D002",
                "status": "enabled",
                "connectionState": "Connected",
                "connection": {"protocol": "mqtt", "since": "2024-03-14T09:54:49.6536567Z"},
                "lastActivityTime": "2024-03-14T09:54:49.6536567Z",
                "authentication": "sas",
                "cloudToDeviceMessageCount": 0,
                "edge": false,
                "tags": {"site": "A"},
            },
        ])
    );
    assert_eq!(modules["of"], "modules");
    assert_eq!(
        modules["rows"],
        json!([{
            "deviceId": "D001",
            "moduleId": "m1",
            "connectionState": "Disconnected",
            "lastActivityTime": "0001-01-01T00:00:00Z",
            "authentication": "sas",
            "cloudToDeviceMessageCount": 0,
        }])
    );
}

#[tokio::test]
async fn projections_and_aggregates_are_kept_as_rows() {
    let hub = registered(5).await;

    let grouped = made(
        &hub,
        json!({"query": "SELECT tags.site AS site, COUNT() AS n FROM devices GROUP BY tags.site"}),
    )
    .await;
    let top = made(&hub, json!({"query": "SELECT TOP 2 deviceId FROM devices"})).await;
    let grouped_rows = read(&hub, &grouped, "").await;
    let top_rows = read(&hub, &top, "?offset=1").await;

    assert_eq!(
        (&grouped["of"], &grouped["columns"]),
        (&json!("rows"), &json!(["site", "n"]))
    );
    assert_eq!(
        grouped_rows["rows"],
        json!([{"site": "A", "n": 3}, {"site": "B", "n": 2}])
    );
    assert_eq!(top["count"], 2);
    assert_eq!(top_rows["rows"], json!([{"deviceId": "D001"}]));
}

#[tokio::test]
async fn rows_of_jobs_have_the_columns_of_their_documents() {
    let hub = registered(2).await;
    let job = r#"{"jobId":"j1","type":"scheduleUpdateTwin","queryCondition":"tags.site = 'A'",
        "updateTwin":{"etag":"*","tags":{"b":1}}}"#;
    let put = hub.owner("PUT /jobs/v2/j1", job).await;
    assert_eq!(put.status, 200, "{put:?}");
    hub.control("POST clock/advance", r#"{"seconds":60}"#).await;

    let view = made(&hub, json!({"query": "SELECT * FROM devices.jobs"})).await;
    let rows = read(&hub, &view, "").await;

    assert_eq!((&view["of"], &view["count"]), (&json!("rows"), &json!(1)));
    let columns: Vec<_> = rows["rows"][0].as_object().unwrap().keys().collect();
    assert_eq!(view["columns"], json!(columns));
    assert!(columns.iter().any(|it| *it == "jobId"), "{columns:?}");
}

#[tokio::test]
async fn more_rows_than_are_kept_are_counted() {
    let hub = registered(10_003).await;

    let view = made(&hub, json!({"query": "SELECT deviceId FROM devices"})).await;

    assert_eq!(
        (&view["count"], &view["left_out"]),
        (&json!(10_000), &json!(3))
    );
}

#[tokio::test]
async fn a_query_that_cannot_be_read_is_refused_with_its_place() {
    let hub = registered(1).await;

    let wrong = hub
        .control("POST views", r#"{"query":"SELECT * FROM devices WHERE ?"}"#)
        .await;

    assert_eq!(
        (wrong.status, wrong.header("iothub-errorcode")),
        (400, Some("ArgumentInvalid"))
    );
    assert_eq!(wrong.json()["position"], 29);
    let message = wrong.json()["Message"].as_str().unwrap().to_owned();
    assert!(message.contains("position 29"), "{message}");
}

#[tokio::test]
async fn what_is_no_view_or_no_range_is_refused() {
    let hub = registered(1).await;
    let view = made(&hub, json!({})).await;

    for wish in [
        r#"{"query":"SELECT * FROM devices","filter":"d"}"#,
        r#"{"quiry":"SELECT * FROM devices"}"#,
        r#"{"query":1}"#,
        "[]",
        "",
    ] {
        let refused = hub.control("POST views", wish).await;
        assert_eq!(refused.status, 400, "{wish}: {refused:?}");
    }
    for range in ["?count=501", "?offset=-1", "?offset=x"] {
        assert_eq!(get(&hub, &view, range).await.status, 400, "{range}");
    }
    let unknown = hub.control("GET views/nothing", "").await;
    assert_eq!(
        (unknown.status, unknown.header("iothub-errorcode")),
        (404, Some("GenericNotFound"))
    );
}

#[tokio::test]
async fn the_view_that_was_not_read_for_longest_leaves() {
    let hub = registered(1).await;
    let first = made(&hub, json!({})).await;
    let second = made(&hub, json!({})).await;
    for _ in 0..6 {
        made(&hub, json!({})).await;
    }

    let read_again = get(&hub, &first, "").await;
    made(&hub, json!({})).await;

    assert_eq!(read_again.status, 200);
    assert_eq!(get(&hub, &first, "").await.status, 200);
    assert_eq!(get(&hub, &second, "").await.status, 404);
}
