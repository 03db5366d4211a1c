//! New keys (`spec/service.md` 2.4).

use serde_json::{Value, json};

use super::hub::TestHub;

async fn keys(hub: &TestHub, path: &str) -> (String, String) {
    let identity = hub.owner(&format!("GET /devices/{path}"), "").await.json();
    let keys = &identity["authentication"]["symmetricKey"];
    let key = |name: &str| keys[name].as_str().unwrap().to_owned();
    (key("primaryKey"), key("secondaryKey"))
}

async fn regenerate(hub: &TestHub, key: &str, devices: Value) -> super::client::Reply {
    let body = json!({"policyKey": key, "devices": devices}).to_string();
    hub.owner("POST /devices/keys/regenerate", &body).await
}

#[tokio::test]
async fn all_some_and_none_have_new_keys() {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.create("d1/m1").await;
    let before = keys(&hub, "d1").await;
    let good = json!({"id": "d1"});
    let bad = json!({"id": "d9", "moduleId": "m1"});

    let all = regenerate(
        &hub,
        "primaryKey",
        json!([good, {"id": "d1", "moduleId": "m1"}]),
    )
    .await;
    let after = keys(&hub, "d1").await;
    let module = keys(&hub, "d1/modules/m1").await;
    assert_eq!(all.status, 200);
    assert_eq!(
        all.body,
        format!(
            r#"{{"policyKey":"primaryKey","rotatedKeys":[{{"id":"d1","moduleId":null,"primaryKey":"{}","secondaryKey":"{}"}},{{"id":"d1","moduleId":"m1","primaryKey":"{}","secondaryKey":"{}"}}],"errors":[]}}"#,
            after.0, after.1, module.0, module.1
        )
    );
    assert_ne!(after.0, before.0);
    assert_eq!(after.1, before.1);

    let some = regenerate(&hub, "both", json!([good, bad])).await;
    assert_eq!(some.status, 207);
    let error = json!([{"id": "d9", "moduleId": "m1", "errorCode": "DeviceNotFound",
        "errorStatus": "d9"}]);
    assert_eq!(some.json()["errors"], error);
    assert_eq!(some.json()["rotatedKeys"][0]["id"], "d1");

    let none = regenerate(&hub, "both", json!([bad])).await;
    assert_eq!(none.status, 400);
    let name = none.header("iothub-errorcode");
    assert_eq!(name, Some("BulkRegenerateDeviceKeyOperationFailure"));
    assert_eq!(
        none.json(),
        json!({"policyKey": "both", "rotatedKeys": [], "errors": error})
    );
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_refused_as_a_whole() {
    let hub = TestHub::new();
    hub.create("d1").await;

    let reply = regenerate(&hub, "tertiaryKey", json!([{"id": "d1"}])).await;
    assert_eq!(
        (reply.status, reply.header("iothub-errorcode")),
        (400, Some("InvalidPolicyKey"))
    );
    let reply = regenerate(&hub, "both", json!([])).await;
    assert_eq!(
        (reply.status, reply.header("iothub-errorcode")),
        (400, Some("ArgumentInvalid"))
    );
    let reply = hub.owner("POST /devices/keys/regenerate", "{").await;
    assert_eq!(
        (reply.status, reply.header("iothub-errorcode")),
        (400, Some("IotHubFormatError"))
    );
    let many: Vec<Value> = (0..101).map(|n| json!({"id": format!("d{n}")})).collect();
    let reply = regenerate(&hub, "both", many.into()).await;
    assert_eq!(
        (reply.status, reply.header("iothub-errorcode")),
        (413, Some("TooManyDevices"))
    );
}
