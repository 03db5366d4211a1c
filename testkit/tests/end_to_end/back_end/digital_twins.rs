//! Digital twins and commands.

use iothub_backend::{ErrorCode, IfMatch};
use iothub_testkit::TestHub;
use serde_json::json;

use crate::support::response;

#[tokio::test]
async fn digital_twin_is_patched_and_its_device_does_commands() {
    let hub = TestHub::start().await;
    let device = hub
        .device_builder("d1")
        .await
        .model_id("dtmi:com:example:Thermostat;1");
    let device = device.connect().await.unwrap();
    device
        .on_method("reboot", |call| async move { response(202, call.payload) })
        .await
        .unwrap();
    device
        .on_method("t1*getMax", |_| async { response(404, "\"nothing\"") })
        .await
        .unwrap();
    let twins = hub.backend().digital_twins();

    let twin = twins.get("d1").await.unwrap();
    let patch = json!([{"op": "add", "path": "/target", "value": 21}]);
    let etag = IfMatch::ETag(twin.etag().into());
    let after = twins.patch("d1", &patch, &etag).await.unwrap();
    let stale = twins.patch("d1", &patch, &etag).await.unwrap_err();
    let root = twins
        .invoke_command("d1", "reboot")
        .payload(&json!({"in": 5}))
        .send()
        .await
        .unwrap();
    let component = twins
        .invoke_component_command("d1", "t1", "getMax")
        .send()
        .await
        .unwrap();
    let offline = twins
        .invoke_command("d2", "reboot")
        .send()
        .await
        .unwrap_err();

    assert_eq!(
        (twin.id(), twin.model_id()),
        ("d1", Some("dtmi:com:example:Thermostat;1"))
    );
    assert_ne!(after, twin.etag());
    assert_eq!(stale.code(), Some(ErrorCode::PreconditionFailed));
    assert_eq!(
        (root.status, &root.payload[..]),
        (Some(202), &br#"{"in":5}"#[..])
    );
    assert_eq!(
        (component.status, &component.payload[..]),
        (Some(404), &b"\"nothing\""[..])
    );
    assert_eq!(offline.code(), Some(ErrorCode::DeviceNotFound));
    let target = &twins.get("d1").await.unwrap().into_json()["$metadata"]["target"];
    assert_eq!(target["desiredValue"], 21);
}
