//! What waits for a device, looked at by those who run the emulator.

use serde_json::json;

use super::hub::TestHub;

#[tokio::test]
async fn a_queue_is_shown_with_locks_properties_and_bodies() {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.create("d1/m1").await;
    let headers = [
        ("iothub-messageid", "a"),
        ("iothub-ack", "full"),
        ("iothub-correlationid", "c"),
        ("iothub-app-color", "red"),
    ];
    let send = "POST /devices/d1/messages/deviceBound";
    hub.owner_with(send, &headers, "{\"x\":1}").await;
    hub.owner(send, "second").await;
    let received = hub
        .device("d1", "GET /devices/d1/messages/devicebound")
        .await;

    let queue = hub.control("GET devices/d1/c2d", "").await.json();
    let first = hub.control("GET devices/d1/c2d?max=1", "").await.json();
    let module = hub.control("GET devices/d1/modules/m1/c2d", "").await;

    let messages = &queue["messages"];
    assert_eq!(queue["total"], 2);
    assert_eq!(
        messages[0],
        json!({
            "sequence": 1,
            "messageId": "a",
            "state": "locked",
            "lockToken": received.etag(),
            "lockedUntil": "2024-03-14T09:55:49.6536567Z",
            "delivered": true,
            "deliveryCount": 0,
            "enqueued": "2024-03-14T09:54:49.6536567Z",
            "expires": "2024-03-14T10:54:49.6536567Z",
            "ack": "full",
            "systemProperties": {
                "correlation-id": "c",
                "to": "/devices/d1/messages/deviceBound",
            },
            "properties": {"color": "red"},
            "body": "{\"x\":1}",
        })
    );
    assert_eq!(
        (&messages[1]["state"], &messages[1]["body"]),
        (&json!("enqueued"), &json!("second"))
    );
    assert_eq!(messages[1]["lockToken"], json!(null));
    assert_eq!(
        (first["messages"].as_array().unwrap().len(), &first["total"]),
        (1, &json!(2))
    );
    assert_eq!(module.json(), json!({"total": 0, "messages": []}));
}

#[tokio::test]
async fn the_queue_of_nobody_is_refused() {
    let hub = TestHub::new();
    hub.create("d1").await;

    for (path, status) in [
        ("devices/d2/c2d", 404),
        ("devices/d1/modules/m1/c2d", 404),
        ("devices/a%20b/c2d", 400),
        ("devices/d1/c2d?max=x", 400),
    ] {
        let refused = hub.control(&format!("GET {path}"), "").await;
        assert_eq!(refused.status, status, "{path}: {refused:?}");
    }
}

#[tokio::test]
async fn what_the_hub_does_next_is_told() {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.owner("POST /devices/d1/messages/deviceBound", "x")
        .await;
    hub.owner("POST /devices/d1/messages/deviceBound", "y")
        .await;
    hub.control("POST clock/advance", r#"{"seconds":600}"#)
        .await;

    let timers = hub.control("GET clock/timers", "").await.json();
    let first = hub.control("GET clock/timers?count=1", "").await.json();
    let wrong = hub.control("GET clock/timers?count=x", "").await;

    assert_eq!(
        (&timers["total"], &timers["now"]),
        (&json!(2), &json!("2024-03-14T10:04:49.6536567Z"))
    );
    assert_eq!(
        timers["timers"][0],
        json!({
            "due": "2024-03-14T10:54:49.6536567Z",
            "in_seconds": 3000.0,
            "what": "c2d message 1 of d1 expires",
            "client": "d1",
        })
    );
    assert_eq!(first["timers"].as_array().unwrap().len(), 1);
    assert_eq!(first["total"], 2);
    assert_eq!(wrong.status, 400);
}

#[tokio::test]
async fn a_token_that_does_not_exist_does_not_expire() {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.create("d1/m1").await;
    let _device = hub.attach("d1").await;
    let _module = hub.attach("d1/m1").await;

    for (path, status) in [
        ("d1/expire-token", 400),
        ("d1/m1/expire-token", 400),
        ("d2/expire-token", 404),
        ("d1/m2/expire-token", 404),
        ("d1/m1", 405),
        ("a%20b/expire-token", 400),
    ] {
        let refused = hub.control(&format!("POST connections/{path}"), "").await;
        assert_eq!(refused.status, status, "{path}: {refused:?}");
    }
}

#[tokio::test]
async fn one_devices_connections_are_shown() {
    let hub = TestHub::new();
    for id in ["d1", "d1/m1", "d2"] {
        hub.create(id).await;
        hub.attach(id).await;
    }

    let connections = hub.control("GET connections/d1", "").await.json();
    let nobody = hub.control("GET connections/d3", "").await.json();

    assert_eq!(
        (&connections[0]["client"], &connections[1]["client"]),
        (&json!("d1"), &json!("d1/m1"))
    );
    assert_eq!(connections.as_array().unwrap().len(), 2);
    assert_eq!(
        (
            &connections[0]["expires"],
            &connections[0]["lastActivityTime"]
        ),
        (&json!(null), &json!("2024-03-14T09:54:49.6536567Z"))
    );
    assert_eq!(nobody, json!([]));
}
