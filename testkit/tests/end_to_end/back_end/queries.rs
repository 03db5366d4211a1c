//! Queries, page by page.

use iothub_backend::ErrorCode;
use iothub_testkit::TestHub;
use serde_json::json;

use super::identities::register;

#[tokio::test]
async fn pages_are_followed_and_resumed() {
    let hub = TestHub::start().await;
    register(&hub, &["a", "b", "c", "d", "e"]).await;
    let backend = hub.backend();

    let mut query = backend.query("SELECT deviceId FROM devices").page_size(2);
    let first = query.next_page().await.unwrap().unwrap();
    let token = first.continuation.unwrap();
    let rest = backend
        .query("SELECT deviceId FROM devices")
        .page_size(2)
        .continue_from(token)
        .collect()
        .await
        .unwrap();

    assert_eq!(first.item_type, "Raw");
    assert_eq!(
        first.items,
        [json!({"deviceId": "a"}), json!({"deviceId": "b"})]
    );
    let names: Vec<_> = rest.iter().map(|row| row["deviceId"].as_str()).collect();
    assert_eq!(names, [Some("c"), Some("d"), Some("e")]);
}

#[tokio::test]
async fn twins_come_as_twins() {
    let hub = TestHub::start().await;
    register(&hub, &["a", "b"]).await;
    let backend = hub.backend();
    backend
        .twins()
        .patch(
            "b",
            &json!({"tags": {"site": "A"}}),
            &iothub_backend::IfMatch::Any,
        )
        .await
        .unwrap();

    let mut query = backend.query("SELECT * FROM devices WHERE tags.site = 'A'");
    let twin = query.next_twin().await.unwrap().unwrap();

    assert_eq!(
        (twin.device_id(), twin.tags()),
        ("b", &json!({"site": "A"}))
    );
    assert_eq!(query.next_twin().await.unwrap(), None);
    assert_eq!(twin, backend.twins().get("b").await.unwrap());
}

#[tokio::test]
async fn what_cannot_be_understood_and_who_may_not_ask_are_refused() {
    let hub = TestHub::start().await;
    let reader = hub.backend_as("registryRead");

    let bad = hub
        .backend()
        .query("SELECT FROM")
        .collect()
        .await
        .unwrap_err();
    let forbidden = reader
        .query("SELECT * FROM devices")
        .collect()
        .await
        .unwrap_err();

    assert_eq!(bad.code(), Some(ErrorCode::ArgumentInvalid));
    assert_eq!(forbidden.code(), Some(ErrorCode::IotHubUnauthorizedAccess));
}
