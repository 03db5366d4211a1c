//! `spec/service.md` 2.1 to 2.6.

use iothub_hub::{Change, Effect, Statistics};
use iothub_protocol::registry::{Authentication, IdentitySpec, IfMatch, Status};
use iothub_protocol::{ErrorCode, Timestamp};
use serde_json::json;

use crate::fixture::{Fixture, T0, client, config, device, fixture, module, secs, spec};

fn refusal(result: (Result<(), iothub_protocol::Error>, iothub_hub::Outcome)) -> ErrorCode {
    assert_eq!(result.1, iothub_hub::Outcome::default());
    result.0.expect_err("refused").code
}

#[test]
fn a_new_device_is_enabled_has_keys_and_has_never_been_here() {
    let hub = fixture().device("d1");

    let identity = hub.identity("d1");

    assert_eq!(identity.status, Status::Enabled);
    assert_eq!(identity.status_reason, None);
    assert!(!identity.connected);
    for time in [
        identity.connection_state_updated,
        identity.status_updated,
        identity.last_activity,
    ] {
        assert_eq!(time, Timestamp::NEVER);
    }
    let Authentication::Sas { primary, secondary } = identity.authentication else {
        panic!("keys were to be generated");
    };
    assert_ne!(primary, secondary);
    assert_eq!(
        (primary.as_bytes().len(), secondary.as_bytes().len()),
        (32, 32)
    );
    assert_eq!(identity.generation_id, T0.dotnet_ticks().to_string());
}

#[test]
fn given_keys_and_thumbprints_are_kept() {
    let mut hub = fixture();
    let key = "MDEyMzQ1Njc4OUFCQ0RFRjAxMjM0NTY3ODlBQkNERUY=";
    let keys = json!({"symmetricKey": {"primaryKey": key, "secondaryKey": key}});
    hub.put("d1", spec(&json!({"authentication": keys})))
        .0
        .unwrap();
    let thumbprint = "aB".repeat(20);
    let x509 = json!({"x509Thumbprint": {"primaryThumbprint": thumbprint}});
    hub.put("d2", spec(&json!({"authentication": x509})))
        .0
        .unwrap();

    assert_eq!(hub.key("d1").to_base64(), key);
    let (primary, secondary) = (thumbprint, None);
    let expected = Authentication::SelfSigned { primary, secondary };
    assert_eq!(hub.identity("d2").authentication, expected);
}

#[test]
fn creating_what_exists_and_updating_what_does_not_are_refused() {
    let mut hub = fixture().device("d1").module("d1/m1");
    let spec = IdentitySpec::default;

    assert_eq!(
        refusal(hub.put("d1", spec())),
        ErrorCode::DeviceAlreadyExists
    );
    assert_eq!(
        refusal(hub.put("d1/m1", spec())),
        ErrorCode::ModuleAlreadyExistsOnDevice
    );
    assert_eq!(refusal(hub.put("d2/m1", spec())), ErrorCode::DeviceNotFound);
    assert_eq!(refusal(hub.update("d2", spec())), ErrorCode::DeviceNotFound);
    assert_eq!(
        refusal(hub.update("d2/m1", spec())),
        ErrorCode::DeviceNotFound
    );
    assert_eq!(
        refusal(hub.update("d1/m2", spec())),
        ErrorCode::ModuleNotFound
    );
    assert_eq!(refusal(hub.delete("d2")), ErrorCode::DeviceNotFound);
    assert_eq!(refusal(hub.delete("d2/m1")), ErrorCode::DeviceNotFound);
    assert_eq!(refusal(hub.delete("d1/m2")), ErrorCode::ModuleNotFound);
}

#[test]
fn refusals_speak_as_the_service_does() {
    let mut hub = fixture().device("d1");

    let exists = hub.put("d1", IdentitySpec::default()).0.unwrap_err();
    let missing = hub.delete("d2").0.unwrap_err();

    assert_eq!(
        exists.detail,
        "A device with ID 'd1' is already registered."
    );
    assert_eq!(missing.detail, "d2");
}

#[test]
fn names_in_the_body_have_to_be_those_of_the_path() {
    let mut hub = fixture().device("d1");
    for (id, body) in [
        ("d2", json!({"deviceId": "D2"})),
        ("d1/m1", json!({"deviceId": "d2", "moduleId": "m1"})),
        ("d1/m1", json!({"deviceId": "d1", "moduleId": "m2"})),
    ] {
        assert_eq!(
            refusal(hub.put(id, spec(&body))),
            ErrorCode::ArgumentInvalid,
            "{body}"
        );
    }
}

#[test]
fn an_update_goes_by_the_etag_and_changes_it() {
    let mut hub = fixture().device("d1");
    let first = hub.identity("d1");
    let at_first = IfMatch::ETag(first.etag.clone());

    hub.put_if("d1", spec(&json!({"statusReason": "why"})), &at_first)
        .0
        .unwrap();

    let second = hub.identity("d1");
    assert_ne!(second.etag, first.etag);
    assert_eq!(second.status_reason.as_deref(), Some("why"));
    assert_eq!(second.generation_id, first.generation_id);
    let late = hub.put_if("d1", IdentitySpec::default(), &at_first);
    assert_eq!(refusal(late), ErrorCode::PreconditionFailed);
    let operator = hub.operator.clone();
    let late = hub.run(|hub, cx| hub.delete_device(cx, &operator, &device("d1"), &at_first));
    assert_eq!(refusal(late), ErrorCode::PreconditionFailed);
}

#[test]
fn an_update_replaces_all_that_can_be_written() {
    let mut hub = fixture();
    let thumbprint = json!({"x509Thumbprint": {"primaryThumbprint": "a".repeat(40)}});
    let first = json!({"status": "disabled", "statusReason": "why", "authentication": thumbprint});
    hub.put("d1", spec(&first)).0.unwrap();

    hub.wait(5).update("d1", IdentitySpec::default()).0.unwrap();

    let identity = hub.identity("d1");
    assert_eq!(identity.status, Status::Enabled);
    assert_eq!(identity.status_updated, T0 + secs(5));
    assert_eq!(identity.status_reason, None);
    assert!(matches!(
        identity.authentication,
        Authentication::Sas { .. }
    ));
}

#[test]
fn the_time_of_the_status_changes_with_the_status_only() {
    let mut hub = fixture().device("d1");

    hub.wait(1)
        .update("d1", spec(&json!({"statusReason": "x"})))
        .0
        .unwrap();
    assert_eq!(hub.identity("d1").status_updated, Timestamp::NEVER);
    hub.wait(1)
        .update("d1", spec(&json!({"status": "disabled"})))
        .0
        .unwrap();
    hub.wait(1)
        .update("d1", spec(&json!({"status": "disabled"})))
        .0
        .unwrap();
    assert_eq!(hub.identity("d1").status_updated, T0 + secs(2));
}

#[test]
fn a_device_made_again_under_its_name_is_another() {
    let mut hub = fixture().device("d1");
    hub.patch("d1", &json!({"tags": {"a": 1}})).0.unwrap();
    let first = hub.identity("d1");

    hub.delete("d1").0.unwrap();
    hub.put("d1", IdentitySpec::default()).0.unwrap();

    let second = hub.identity("d1");
    assert_ne!(second.generation_id, first.generation_id);
    assert_ne!(second.authentication, first.authentication);
    assert_eq!(hub.twin("d1").get("tags"), None);
}

#[test]
fn deleting_a_device_takes_its_modules_twins_and_connections() {
    let mut hub = fixture().device("d1").module("d1/m1").device("d2");
    let session = hub.connect("d1");
    let of_module = hub.connect("d1/m1");

    let (reply, outcome) = hub.delete("d1");

    reply.unwrap();
    assert_eq!(
        outcome.effects,
        [
            Effect::Disconnect(of_module, ErrorCode::ModuleNotFound),
            Effect::Disconnect(session, ErrorCode::DeviceNotFound),
        ]
    );
    let deleted = |id| {
        outcome
            .changes
            .contains(&Change::DeleteIdentity(client(id)))
    };
    assert!(deleted("d1") && deleted("d1/m1") && !deleted("d2"));
    for id in ["d1", "d1/m1"] {
        assert!(hub.hub.twin(&hub.operator, &client(id)).is_err());
    }
    assert_eq!(hub.hub.devices(&hub.operator, None).unwrap().len(), 1);
}

#[test]
fn devices_are_listed_by_name_up_to_the_limit() {
    let hub = fixture().device("b").device("a").module("a/m").device("c");
    let list = |top| {
        let devices = hub.hub.devices(&hub.operator, top).unwrap();
        devices
            .iter()
            .map(|it| it.device_id.to_string())
            .collect::<Vec<_>>()
    };

    assert_eq!(list(None), ["a", "b", "c"]);
    assert_eq!(list(Some(2)), ["a", "b"]);
    assert_eq!(list(Some(5000)), ["a", "b", "c"]);
}

#[test]
fn modules_are_those_of_the_device_and_no_other() {
    let hub = fixture()
        .device("a")
        .device("b")
        .module("b/m2")
        .module("b/m1")
        .device("c");
    let list = |id| {
        let modules = hub.hub.modules(&hub.operator, &device(id)).unwrap();
        modules
            .iter()
            .map(|it| it.module_id.to_string())
            .collect::<Vec<_>>()
    };

    assert_eq!(list("a"), [""; 0]);
    assert_eq!(list("b"), ["m1", "m2"]);
    assert_eq!(list("c"), [""; 0]);
    assert!(hub.hub.modules(&hub.operator, &device("d")).is_err());
}

#[test]
fn statistics_count_devices_by_status() {
    let mut hub = fixture()
        .device("d1")
        .device("d2")
        .module("d1/m1")
        .device("d3");
    hub.update("d2", spec(&json!({"status": "disabled"})))
        .0
        .unwrap();
    hub.delete("d3").0.unwrap();

    let statistics = hub.hub.statistics(&hub.operator).unwrap();

    assert_eq!(
        statistics,
        Statistics {
            total: 2,
            enabled: 1,
            disabled: 1
        }
    );
}

#[test]
fn a_device_has_a_limited_number_of_modules() {
    let mut config = config();
    config.limits.modules_per_device = 1;
    let mut hub = Fixture::with(config)
        .device("d1")
        .module("d1/m1")
        .device("d2");

    let over = hub.put("d1/m2", IdentitySpec::default());

    assert_eq!(refusal(over), ErrorCode::TooManyModulesOnDevice);
    assert!(hub.put("d2/m1", IdentitySpec::default()).0.is_ok());
}

#[test]
fn a_module_keeps_who_manages_it() {
    let mut hub = fixture().device("d1");
    hub.put("d1/m1", spec(&json!({"managedBy": "me"})))
        .0
        .unwrap();

    let identity = hub
        .hub
        .module(&hub.operator, &device("d1"), &module("m1"))
        .unwrap();

    assert_eq!(identity.managed_by.as_deref(), Some("me"));
}

#[test]
fn what_was_generated_is_not_generated_again_after_a_restart() {
    let mut hub = fixture();
    let (_, outcome) = hub.put("d1", IdentitySpec::default());
    let mut restored = fixture();
    outcome
        .changes
        .into_iter()
        .for_each(|change| restored.hub.restore(change));

    restored.put("d2", IdentitySpec::default()).0.unwrap();

    assert_ne!(restored.key("d2"), restored.key("d1"));
    assert_eq!(restored.key("d1"), hub.key("d1"));
    assert_ne!(
        restored.identity("d1").generation_id,
        restored.identity("d2").generation_id
    );
}
