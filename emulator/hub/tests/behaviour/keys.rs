//! `spec/service.md` 2.4.

use iothub_hub::Outcome;
use iothub_protocol::ErrorCode;
use iothub_protocol::registry::{KeyError, RegenerateRequest, RotatedKeys};
use serde_json::{Value, json};

use crate::fixture::{Fixture, client, fixture, resource, secs, spec};

fn regenerate(
    hub: &mut Fixture,
    key: &str,
    targets: &Value,
) -> (Vec<RotatedKeys>, Vec<KeyError>, Outcome) {
    let body = json!({"policyKey": key, "devices": targets}).to_string();
    let request = RegenerateRequest::parse(body.as_bytes()).unwrap();
    let operator = hub.operator.clone();
    let (reply, outcome) = hub.run(|hub, cx| hub.regenerate_keys(cx, &operator, request));
    let (rotated, errors) = reply.unwrap();
    (rotated, errors, outcome)
}

#[test]
fn only_the_named_key_is_new() {
    for (name, primary, secondary) in [
        ("primaryKey", true, false),
        ("secondaryKey", false, true),
        ("both", true, true),
    ] {
        let mut hub = fixture().device("d1").module("d1/m1");
        let both = json!([{"id": "d1"}, {"id": "d1", "moduleId": "m1"}]);
        let (before, _, _) = regenerate(&mut hub, "both", &both);
        let etag = hub.identity("d1").etag;

        let (after, errors, _) = regenerate(&mut hub, name, &both);

        assert_eq!(errors, []);
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before.target, after.target);
            assert_eq!(before.primary != after.primary, primary, "{name}");
            assert_eq!(before.secondary != after.secondary, secondary, "{name}");
        }
        assert_eq!(hub.key("d1"), after[0].primary);
        assert_eq!(hub.key("d1/m1"), after[1].primary);
        assert_ne!(hub.identity("d1").etag, etag);
    }
}

#[test]
fn a_target_that_has_no_keys_fails_alone() {
    let mut hub = fixture().device("d1");
    hub.put("edge", spec(&json!({"capabilities": {"iotEdge": true}})))
        .0
        .unwrap();
    let certified = json!({"authentication": {"type": "certificateAuthority"}});
    hub.put("x509", spec(&certified)).0.unwrap();
    let targets = json!([
        {"id": "x509"},
        {"id": "nobody"},
        {"id": "d1", "moduleId": "nothing"},
        {"id": "edge", "moduleId": "$edgeAgent"},
        {"id": "a b"},
        {"id": "d1"},
    ]);

    let (rotated, errors, _) = regenerate(&mut hub, "both", &targets);

    assert_eq!(rotated.len(), 1);
    let codes: Vec<_> = errors.iter().map(|error| error.error.code).collect();
    assert_eq!(
        codes,
        [
            ErrorCode::ArgumentInvalid,
            ErrorCode::DeviceNotFound,
            ErrorCode::ModuleNotFound,
            ErrorCode::SystemModuleModifyUnauthorizedAccess,
            ErrorCode::ArgumentInvalid,
        ]
    );
}

#[test]
fn a_connection_outlives_its_key_and_its_token_does_not_open_another() {
    let mut hub = fixture().device("d1");
    let key = hub.key("d1");
    let session = hub.connect("d1");
    let resource = resource(&client("d1"));
    let token = iothub_protocol::sas::sign(&resource, hub.now + secs(60), None, &key);

    let (_, _, outcome) = regenerate(&mut hub, "both", &json!([{"id": "d1"}]));

    assert_eq!(outcome.effects, []);
    assert!(hub.hub.session_client(session).is_some());
    assert_eq!(
        hub.authenticate("d1", &token).unwrap_err().code,
        ErrorCode::IotHubUnauthorizedAccess
    );
}

#[test]
fn it_takes_the_right_to_write_the_registry() {
    let mut hub = fixture().device("d1");
    let body = br#"{"policyKey":"both","devices":[{"id":"d1"}]}"#;
    let request = RegenerateRequest::parse(body).unwrap();
    let device = hub.principal("d1");

    let (reply, outcome) = hub.run(|hub, cx| hub.regenerate_keys(cx, &device, request));

    assert_eq!(reply.unwrap_err().code, ErrorCode::IotHubUnauthorizedAccess);
    assert_eq!(outcome, Outcome::default());
}
