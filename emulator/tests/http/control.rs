//! The control API.

use iothub_protocol::Message;
use iothub_protocol::property_bag::PropertyBag;
use serde_json::json;

use super::hub::TestHub;

#[tokio::test]
async fn health_is_good_only_when_every_listener_accepts() {
    let hub = TestHub::new();

    let ready = hub.control("GET health", "").await;
    hub.info.set_ready(false);
    let starting = hub.control("GET health", "").await;

    assert_eq!(
        (ready.status, &ready.json()["status"]),
        (200, &json!("ready"))
    );
    assert_eq!(
        (starting.status, &starting.json()["status"]),
        (503, &json!("starting"))
    );
}

#[tokio::test]
async fn info_tells_where_everything_is() {
    let hub = TestHub::new();

    let info = hub.control("GET info", "").await.json();

    assert_eq!(info["hostname"], "hub");
    assert_eq!(info["pid"], std::process::id());
    assert_eq!(
        info["ports"],
        json!({"mqtts": 1, "mqtt": 2, "amqps": 5, "amqp": 6, "https": 3, "http": 4})
    );
    assert_eq!(info["connection_strings"]["iothubowner"], "HostName=hub");
}

#[tokio::test]
async fn the_clock_is_shown_and_moved() {
    let hub = TestHub::new();

    let shown = hub.control("GET clock", "").await.json();
    let moved = hub
        .control("POST clock/advance", r#"{"seconds":90.5}"#)
        .await
        .json();
    let backwards = hub.control("POST clock/advance", r#"{"seconds":-1}"#).await;
    let running = hub.control("POST clock/resume", "").await.json();
    let frozen = hub.control("POST clock/freeze", "").await.json();

    assert_eq!(
        shown,
        json!({"now": "2024-03-14T09:54:49.6536567Z", "mode": "virtual", "frozen": true})
    );
    assert_eq!(moved["now"], "2024-03-14T09:56:20.1536567Z");
    assert_eq!(
        (backwards.status, backwards.header("iothub-errorcode")),
        (400, Some("ArgumentInvalid"))
    );
    assert_eq!(
        (&running["frozen"], &running["mode"]),
        (&json!(false), &json!("system"))
    );
    assert_eq!(frozen["frozen"], true);
}

#[tokio::test]
async fn a_fixture_makes_devices_with_modules_and_twins() {
    let hub = TestHub::new();
    let fixture = r#"{"devices":[
        {"deviceId":"d1","status":"disabled","tags":{"a":1},"desired":{"b":2},
         "modules":[{"moduleId":"m1","desired":{"c":3}}]},
        {"deviceId":"d2"}]}"#;

    let seeded = hub.control("POST seed", fixture).await;
    let again = hub.control("POST seed", fixture).await;
    let replaced = hub.control("POST seed?replace=true", fixture).await;

    assert_eq!(
        (seeded.status, seeded.json()),
        (200, json!({"devices": 2, "modules": 1}))
    );
    assert_eq!(
        (again.status, again.header("iothub-errorcode")),
        (409, Some("DeviceAlreadyExists"))
    );
    assert_eq!(replaced.status, 200, "{replaced:?}");
    let twin = hub.owner("GET /twins/d1", "").await.json();
    assert_eq!(
        (&twin["status"], &twin["tags"]),
        (&json!("disabled"), &json!({"a": 1}))
    );
    assert_eq!(twin["properties"]["desired"]["b"], 2);
    let module = hub.owner("GET /twins/d1/modules/m1", "").await.json();
    assert_eq!(module["properties"]["desired"]["c"], 3);
}

#[tokio::test]
async fn a_reset_forgets_everything() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let device = hub.attach("d1").await;

    let reset = hub.control("POST reset", "").await;

    assert_eq!(reset.status, 204);
    assert_eq!(hub.owner("GET /devices", "").await.body, "[]");
    assert!(device.presence.mailbox.closed().is_some());
}

#[tokio::test]
async fn connections_are_listed_and_dropped() {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.create("d1/m1").await;
    let device = hub.attach("d1").await;
    let module = hub.attach("d1/m1").await;

    let listed = hub.control("GET connections", "").await.json();
    let dropped = hub.control("DELETE connections/d1/m1", "").await;
    let again = hub.control("DELETE connections/d1/m1", "").await;

    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(
        (&listed[0]["client"], &listed[1]["client"]),
        (&json!("d1"), &json!("d1/m1"))
    );
    assert_eq!(listed[0]["protocol"], "mqtt");
    assert_eq!(listed[0]["subscriptions"][0], "methods");
    assert_eq!((dropped.status, again.status), (204, 404));
    assert!(module.presence.mailbox.closed().is_some());
    assert!(device.presence.mailbox.closed().is_none());
    assert_eq!(hub.control("DELETE connections/d1", "").await.status, 204);
    assert!(device.presence.mailbox.closed().is_some());
}

#[tokio::test]
async fn a_fault_fires_on_the_operation_it_names() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let rule = r#"{"fault":"fail","operation":"getTwin","code":"ThrottlingException","nth":2}"#;

    let armed = hub.control("POST faults", rule).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(hub.owner("GET /twins/d1", "").await.status);
    }
    let listed = hub.control("GET faults", "").await.json();
    let cleared = hub.control("DELETE faults", "").await;

    assert_eq!((armed.status, &armed.json()["fired"]), (201, &json!(0)));
    assert_eq!(statuses, [200, 429, 200]);
    assert_eq!(
        (&listed[0]["seen"], &listed[0]["fired"]),
        (&json!(3), &json!(1))
    );
    assert_eq!(cleared.status, 204);
    assert_eq!(hub.control("GET faults", "").await.body, "[]");
    let choices = hub.control("GET faults/choices", "").await.json();
    assert_eq!(choices["operations"][0], "connect");
    let codes = choices["codes"].as_array().unwrap();
    assert!(codes.iter().any(|code| code["number"] == 429_001));
}

#[tokio::test]
async fn rules_are_so_many_and_no_more() {
    let hub = TestHub::new();
    let rule = r#"{"fault":"delay","operation":"getTwin","millis":0}"#;

    for _ in 0..1000 {
        assert_eq!(hub.control("POST faults", rule).await.status, 201);
    }

    assert_eq!(hub.control("POST faults", rule).await.status, 400);
}

#[tokio::test]
async fn partitions_tell_what_they_hold() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let device = hub.attach("d1").await;
    hub.ingest(
        &device,
        Message {
            properties: PropertyBag::new(),
            body: "hello".into(),
        },
    )
    .await;

    let partitions = hub.control("GET partitions", "").await.json();

    let all = partitions.as_array().unwrap();
    assert_eq!(all.len(), 2);
    let holding: Vec<_> = all.iter().filter(|one| one["events"] != 0).collect();
    assert_eq!(holding.len(), 1, "{partitions}");
    assert_eq!(
        (&holding[0]["first"], &holding[0]["newest"]),
        (&json!(0), &json!("2024-03-14T09:54:49.6536567Z"))
    );
}

#[tokio::test]
async fn what_the_control_api_does_not_know_is_refused() {
    let hub = TestHub::new();

    let path = hub.control("GET nothing", "").await;
    let verb = hub.control("DELETE health", "").await;

    assert_eq!(
        (path.status, path.header("iothub-errorcode")),
        (404, Some("GenericNotFound"))
    );
    assert_eq!(
        (verb.status, verb.header("iothub-errorcode")),
        (405, Some("GenericMethodNotAllowed"))
    );
}

#[tokio::test]
async fn people_who_ask_for_health_are_told_more_in_words() {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.attach("d1").await;
    assert_eq!(
        hub.owner("GET /devices/no%3Cb%3Ebody", "").await.status,
        400
    );
    let ask = async |accept| {
        let headers = [("Accept", accept)];
        let mut client = hub.connect().0;
        client.request("GET /_emulator/health", &headers, "").await
    };

    let text = ask("text/plain").await;
    let page = ask("text/html,*/*;q=0.8").await;
    hub.info.set_ready(false);
    let starting = ask("text/plain").await;

    let content_type =
        |reply: &super::client::Reply| reply.header("content-type").map(str::to_owned);
    assert_eq!(
        content_type(&text).as_deref(),
        Some("text/plain; charset=utf-8")
    );
    assert!(text.body.starts_with("ready: iothub-emulator "), "{text:?}");
    for wanted in [
        "\nListens\n  mqtts  hub:1, MQTT over TLS\n",
        "  clock             stands still at 2024-03-14T09:54:49Z\n",
        "  connected         1 over mqtt\n",
        "  identities        devices 1, modules 0\n",
        "getDevice",
    ] {
        assert!(text.body.contains(wanted), "{wanted}: {}", text.body);
    }
    assert_eq!(
        content_type(&page).as_deref(),
        Some("text/html; charset=utf-8")
    );
    assert!(page.body.starts_with("<!doctype html>"), "{page:?}");
    assert!(!page.body.contains("<b>"), "{page:?}");
    assert_eq!(starting.status, 503);
    assert!(starting.body.starts_with("starting: "), "{starting:?}");
}
