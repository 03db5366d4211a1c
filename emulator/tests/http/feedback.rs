//! Feedback (`spec/service.md` 8, `spec/device.md` 5.6).

use std::time::Duration;

use serde_json::json;

use super::hub::TestHub;

const FEEDBACK: &str = "/messages/serviceBound/feedback";

/// A hub in which a message that asked for feedback was completed.
async fn hub_with_feedback() -> TestHub {
    let hub = TestHub::new();
    hub.create("d1").await;
    let headers = [("iothub-messageid", "m1"), ("iothub-ack", "full")];
    let path = "/devices/d1/messages/devicebound";
    hub.owner_with(&format!("POST {path}"), &headers, "x").await;
    let lock = hub.device("d1", &format!("GET {path}")).await.etag();
    let done = hub.device("d1", &format!("DELETE {path}/{lock}")).await;
    assert_eq!(done.status, 204);
    hub
}

#[tokio::test]
async fn feedback_is_received_and_completed() {
    let hub = hub_with_feedback().await;
    let receive = format!("GET {FEEDBACK}");
    let ready = hub.handle.feedback_ready();
    assert_eq!(
        hub.owner(&receive, "").await.status,
        204,
        "the batch is open"
    );
    assert!(!ready.has_changed().unwrap());
    hub.handle.advance(Duration::from_secs(15)).await;
    assert!(ready.has_changed().unwrap());

    let reply = hub.owner(&receive, "").await;

    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.header("content-type"),
        Some("application/vnd.microsoft.iothub.feedback.json")
    );
    assert_eq!(reply.header("iothub-userid"), Some("hub"));
    assert_eq!(
        reply.header("iothub-enqueuedtime"),
        Some("3/14/2024 9:55:04 AM")
    );
    let device = hub.owner("GET /devices/d1", "").await.json();
    assert_eq!(
        reply.json(),
        json!([{
            "originalMessageId": "m1",
            "enqueuedTimeUtc": "2024-03-14T09:54:49.6536567Z",
            "statusCode": "Success",
            "description": "Success",
            "deviceId": "d1",
            "deviceGenerationId": device["generationId"],
        }])
    );
    assert_eq!(hub.owner(&receive, "").await.status, 204, "it is locked");

    let complete = format!("DELETE {FEEDBACK}/{}", reply.etag());
    let done = hub.owner(&complete, "").await;
    assert_eq!((done.status, done.body.as_str()), (204, ""));
    let lost = hub.owner(&complete, "").await;
    assert!(lost.refusal().starts_with("412 DeviceMessageLockLost"));
}

#[tokio::test]
async fn feedback_is_abandoned_and_comes_again() {
    let hub = hub_with_feedback().await;
    hub.handle.advance(Duration::from_secs(15)).await;
    let receive = "GET /messages/servicebound/feedback";
    let first = hub.owner(receive, "").await;

    let abandon = format!("POST {FEEDBACK}/{}/abandon", first.etag());
    assert_eq!(hub.owner(&abandon, "").await.status, 204);
    assert_eq!(hub.owner(&abandon, "").await.status, 412);
    let second = hub.owner(receive, "").await;
    assert_ne!(second.etag(), first.etag());
    assert_eq!(second.body, first.body);

    hub.handle.advance(Duration::from_secs(60)).await;
    let complete = format!("DELETE {FEEDBACK}/{}", second.etag());
    assert_eq!(
        hub.owner(&complete, "").await.status,
        412,
        "the lock is lost"
    );
    assert_eq!(hub.owner(receive, "").await.status, 200);
}

#[tokio::test]
async fn feedback_needs_the_right_to_serve() {
    let hub = hub_with_feedback().await;
    let token = hub.token("registryRead");
    let head = format!("GET {FEEDBACK}?{}", super::hub::VERSION);

    let refused = hub
        .connect()
        .0
        .request(&head, &[("Authorization", &token)], "")
        .await;

    assert_eq!(refused.status, 401);
    let nonsense = hub.owner(&format!("DELETE {FEEDBACK}/nonsense"), "").await;
    assert_eq!(nonsense.status, 412);
}
