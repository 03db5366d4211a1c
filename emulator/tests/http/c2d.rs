//! Cloud-to-device messages (`spec/service.md` 2.3 and 8, `spec/device.md` 9.3 and 9.4).

use std::time::Duration;

use serde_json::json;

use super::client::Reply;
use super::hub::TestHub;

const SEND: &str = "POST /devices/d1/messages/deviceBound";
const RECEIVE: &str = "GET /devices/d1/messages/devicebound";

async fn hub() -> TestHub {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub
}

async fn send(hub: &TestHub, headers: &[(&str, &str)], body: &str) {
    let reply = hub.owner_with(SEND, headers, body).await;
    assert_eq!((reply.status, reply.body.as_str()), (204, ""), "{reply:?}");
}

async fn receive(hub: &TestHub) -> Reply {
    let reply = hub.device("d1", RECEIVE).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply
}

/// The headers that are about the message.
fn about_message(reply: &Reply) -> Vec<String> {
    let about = |name: &str| name.starts_with("iothub-") || name.starts_with("content");
    let mut lines: Vec<_> = reply
        .headers
        .iter()
        .filter(|(name, _)| about(name) && name != "content-length")
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn a_message_arrives_with_its_headers() {
    let hub = hub().await;
    let headers = [
        ("iothub-messageid", "m1"),
        ("IoTHub-CorrelationId", "c1"),
        ("iothub-userid", "u1"),
        ("iothub-expiry", "2024-03-14T10:00:00Z"),
        ("iothub-ack", "Full"),
        ("iothub-contenttype", "application/json"),
        ("iothub-contentencoding", "utf-8"),
        ("Content-Type", "text/plain"),
        ("Content-Encoding", "utf-8"),
        ("iothub-app-k1", "v+ 1/%"),
        ("iothub-app-k2", ""),
    ];
    send(&hub, &headers, "{\"a\": 1}").await;

    let reply = receive(&hub).await;

    assert_eq!(reply.body, "{\"a\": 1}");
    assert_eq!(
        about_message(&reply),
        [
            "contentencoding: utf-8",
            "contenttype: application/json",
            "iothub-ack: full",
            "iothub-app-k1: v+ 1/%",
            "iothub-app-k2: ",
            "iothub-contentencoding: utf-8",
            "iothub-contenttype: application/json",
            "iothub-correlationid: c1",
            "iothub-deliverycount: 0",
            "iothub-enqueuedtime: 3/14/2024 9:54:49 AM",
            "iothub-expiry: 2024-03-14T10:00:00.0000000Z",
            "iothub-messageid: m1",
            "iothub-sequencenumber: 1",
            "iothub-to: /devices/d1/messages/deviceBound",
            "iothub-userid: u1",
        ]
    );
    let lock = reply.etag();
    assert_eq!((lock.len(), lock.matches('-').count()), (36, 4), "{lock}");
}

#[tokio::test]
async fn a_message_is_completed_rejected_and_abandoned() {
    let hub = hub().await;
    for id in ["m1", "m2", "m3", "m4"] {
        send(&hub, &[("iothub-messageid", id)], id).await;
    }
    let mut locks = Vec::new();
    for id in ["m1", "m2", "m3", "m4"] {
        let reply = receive(&hub).await;
        assert_eq!(reply.body, id);
        locks.push(reply.etag());
    }
    assert_eq!(
        hub.device("d1", RECEIVE).await.status,
        204,
        "all are locked"
    );

    let path = "/devices/d1/messages/deviceBound";
    for (head, if_match) in [
        (format!("DELETE {path}/{}", locks[0]), locks[0].clone()),
        (
            format!("DELETE {path}/{}?reject", locks[1]),
            format!("\"{}\"", locks[1]),
        ),
        (
            format!("DELETE {path}/{}?reject=true", locks[2]),
            "*".to_owned(),
        ),
        (
            format!("POST {path}/{}/abandon", locks[3]),
            "\"*\"".to_owned(),
        ),
    ] {
        let reply = hub
            .device_with("d1", &head, &[("If-Match", &if_match)], "")
            .await;
        assert_eq!((reply.status, reply.body.as_str()), (204, ""), "{head}");
    }

    let again = receive(&hub).await;
    assert_eq!(again.body, "m4");
    assert_eq!(again.header("iothub-deliverycount"), Some("1"));
    assert_eq!(again.header("iothub-sequencenumber"), Some("4"));
    let twin = hub.owner("GET /twins/d1", "").await.json();
    assert_eq!(twin["cloudToDeviceMessageCount"], 1);
}

#[tokio::test]
async fn a_lost_lock_is_said_to_be_lost() {
    let hub = hub().await;
    send(&hub, &[], "x").await;
    let lock = receive(&hub).await.etag();
    let path = format!("/devices/d1/messages/devicebound/{lock}");

    let other = hub
        .device_with(
            "d1",
            &format!("DELETE {path}"),
            &[("If-Match", "2fd5e8a1-0000-4000-8000-000000000000")],
            "",
        )
        .await;
    assert_eq!(other.status, 412);
    hub.handle.advance(Duration::from_secs(60)).await;

    for head in [
        format!("DELETE {path}"),
        format!("DELETE {path}?reject"),
        format!("POST {path}/abandon"),
        "DELETE /devices/d1/messages/devicebound/nonsense".to_owned(),
    ] {
        let reply = hub.device("d1", &head).await;
        assert_eq!(
            reply.refusal(),
            "412 DeviceMessageLockLost ErrorCode:DeviceMessageLockLost;the lock of the message \
             is lost"
        );
    }
    assert_eq!(
        receive(&hub).await.header("iothub-deliverycount"),
        Some("0")
    );
}

#[tokio::test]
async fn a_client_may_ask_for_another_lock_time() {
    let hub = hub().await;
    send(&hub, &[], "x").await;
    let lock = ("iothub-messagelocktimeout", "5");
    assert_eq!(
        hub.device_with("d1", RECEIVE, &[lock], "").await.status,
        200
    );

    hub.handle.advance(Duration::from_secs(5)).await;

    receive(&hub).await;
    let nonsense = ("iothub-messagelocktimeout", "soon");
    let reply = hub.device_with("d1", RECEIVE, &[nonsense], "").await;
    assert_eq!(reply.status, 400);
    assert!(reply.refusal().contains("ArgumentInvalid"));
}

#[tokio::test]
async fn modules_have_messages_of_their_own() {
    let hub = hub().await;
    hub.create("d1/m1").await;
    let path = "/devices/d1/modules/m1/messages/deviceBound";
    let sent = hub.owner(&format!("POST {path}"), "for the module").await;
    assert_eq!(sent.status, 204);

    assert_eq!(hub.device("d1", RECEIVE).await.status, 204);
    let reply = hub.device("d1/m1", &format!("GET {path}")).await;

    assert_eq!(reply.body, "for the module");
    let complete = format!("DELETE {path}/{}", reply.etag());
    assert_eq!(hub.device("d1/m1", &complete).await.status, 204);
}

#[tokio::test]
async fn a_purge_says_how_many_there_were() {
    let hub = hub().await;
    hub.create("d1/m1").await;
    send(&hub, &[], "1").await;
    send(&hub, &[], "2").await;

    let reply = hub.owner("DELETE /devices/d1/commands", "").await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.body,
        r#"{"totalMessagesPurged":2,"deviceId":"d1","moduleId":null}"#
    );
    let reply = hub
        .owner("DELETE /devices/d1/modules/m1/commands", "")
        .await;
    assert_eq!(
        reply.json(),
        json!({"totalMessagesPurged": 0, "deviceId": "d1", "moduleId": "m1"})
    );
    assert_eq!(hub.device("d1", RECEIVE).await.status, 204);
    assert_eq!(
        hub.owner("DELETE /devices/d9/commands", "").await.status,
        404
    );
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused() {
    let hub = hub().await;
    let large = "x".repeat(64 * 1024 + 1);
    let past = ("iothub-expiry", "2024-03-14T09:00:00Z");
    let far = ("iothub-expiry", "2024-03-16T10:00:00Z");
    for (head, header, body, wanted) in [
        (
            "POST /devices/d9/messages/devicebound",
            None,
            "",
            "404 DeviceNotFound",
        ),
        (
            "POST /devices/d1/modules/m9/messages/devicebound",
            None,
            "",
            "404 ModuleNotFound",
        ),
        (SEND, None, large.as_str(), "413 MessageTooLarge"),
        (SEND, Some(past), "", "403 InvalidMessageExpiryTime"),
        (SEND, Some(far), "", "403 InvalidMessageExpiryTime"),
        (
            SEND,
            Some(("iothub-ack", "maybe")),
            "",
            "400 ArgumentInvalid",
        ),
    ] {
        let headers: Vec<_> = header.into_iter().collect();
        let reply = hub.owner_with(head, &headers, body).await;
        assert!(
            reply.refusal().starts_with(wanted),
            "{head}: {}",
            reply.refusal()
        );
    }

    for _ in 0..50 {
        send(&hub, &[], "x").await;
    }
    let full = hub.owner(SEND, "x").await.refusal();
    assert!(
        full.starts_with("403 DeviceMaximumQueueDepthExceeded"),
        "{full}"
    );
}

#[tokio::test]
async fn credentials_are_those_of_the_operation() {
    let hub = hub().await;
    send(&hub, &[], "x").await;

    // A device does not send to itself, and a back end receives only with the device's right.
    let refused = hub.device("d1", SEND).await;
    assert_eq!(refused.status, 401);
    let token = hub.token("service");
    let head = format!("{RECEIVE}?{}", super::hub::VERSION);
    let refused = hub
        .connect()
        .0
        .request(&head, &[("Authorization", &token)], "")
        .await;
    assert_eq!(refused.status, 401);
    hub.create("d2").await;
    assert_eq!(hub.device("d2", RECEIVE).await.status, 401);

    let disabled = r#"{"status":"disabled"}"#;
    hub.owner_with("PUT /devices/d1", &[("If-Match", "*")], disabled)
        .await;
    let refused = hub.device("d1", RECEIVE).await;
    assert!(refused.refusal().starts_with("404 DeviceNotFound"));
    send(&hub, &[], "y").await;
}
