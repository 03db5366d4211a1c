//! `spec/service.md` 2.7.

use iothub_hub::{Feature, Outcome};
use iothub_protocol::ErrorCode;
use iothub_protocol::registry::{BulkItem, Status};
use serde_json::{Value, json};

use crate::fixture::{Fixture, client, fixture};

/// Codes of what failed, by device.
fn bulk(hub: &mut Fixture, items: &Value) -> (Vec<(String, ErrorCode)>, Outcome) {
    let operator = hub.operator.clone();
    let items = BulkItem::parse_all(items.to_string().as_bytes()).unwrap();
    let (errors, outcome) = hub.run(|hub, cx| hub.bulk(cx, &operator, items).unwrap());
    (
        errors
            .into_iter()
            .map(|error| (error.device_id, error.code))
            .collect(),
        outcome,
    )
}

fn one(hub: &mut Fixture, mode: &str, item: &Value) -> Result<(), ErrorCode> {
    let mut item = item.clone();
    item["importMode"] = mode.into();
    match &bulk(hub, &json!([item])).0[..] {
        [] => Ok(()),
        [(_, code)] => Err(*code),
        more => panic!("one item, many errors: {more:?}"),
    }
}

#[test]
fn each_mode_does_its_own_with_what_exists_and_with_what_does_not() {
    use ErrorCode::{ArgumentInvalid, DeviceAlreadyExists, DeviceNotFound, PreconditionFailed};
    let hub = fixture().device("d1");
    let etag = hub.identity("d1").etag;
    for (mode, etags, existing, missing) in [
        ("createOrUpdate", json!({}), Ok(()), Ok(())),
        ("create", json!({}), Err(DeviceAlreadyExists), Ok(())),
        (
            "update",
            json!({"eTag": "stale"}),
            Ok(()),
            Err(DeviceNotFound),
        ),
        (
            "updateIfMatchETag",
            json!({"eTag": etag}),
            Ok(()),
            Err(DeviceNotFound),
        ),
        (
            "updateIfMatchETag",
            json!({"eTag": "stale"}),
            Err(PreconditionFailed),
            Err(DeviceNotFound),
        ),
        (
            "updateIfMatchETag",
            json!({}),
            Err(ArgumentInvalid),
            Err(ArgumentInvalid),
        ),
        (
            "createOrUpdateIfMatchETag",
            json!({"eTag": etag}),
            Ok(()),
            Ok(()),
        ),
        (
            "createOrUpdateIfMatchETag",
            json!({"eTag": "stale"}),
            Err(PreconditionFailed),
            Ok(()),
        ),
        (
            "delete",
            json!({"eTag": "stale"}),
            Ok(()),
            Err(DeviceNotFound),
        ),
        (
            "deleteIfMatchEtag",
            json!({"eTag": "*"}),
            Ok(()),
            Err(DeviceNotFound),
        ),
        (
            "deleteIfMatchETag",
            json!({"eTag": "stale"}),
            Err(PreconditionFailed),
            Err(DeviceNotFound),
        ),
        (
            "updateTwin",
            json!({"tags": {"a": 1}}),
            Ok(()),
            Err(DeviceNotFound),
        ),
        (
            "updateTwinIfMatchETag",
            json!({"twinETag": "AAAAAAAAAAE="}),
            Ok(()),
            Err(DeviceNotFound),
        ),
        (
            "updateTwinIfMatchETag",
            json!({"twinETag": "x"}),
            Err(PreconditionFailed),
            Err(DeviceNotFound),
        ),
    ] {
        for (id, expected) in [("d1", existing), ("d2", missing)] {
            let mut item = etags.clone();
            item["id"] = id.into();
            assert_eq!(
                one(&mut hub.clone(), mode, &item),
                expected,
                "{mode} {item}"
            );
        }
    }
}

#[test]
fn items_stand_and_fall_alone() {
    let mut hub = fixture().device("d1");

    let (errors, _) = bulk(
        &mut hub,
        &json!([
            {"id": "d1", "importMode": "create"},
            {"id": "d2", "importMode": "create"},
            {"id": "a b", "importMode": "create"},
            {"id": "d3", "moduleId": "m1", "importMode": "create"},
            {"id": "d4", "importMode": "create", "tags": {"a.b": 1}},
        ]),
    );

    assert_eq!(
        errors,
        [
            ("d1".into(), ErrorCode::DeviceAlreadyExists),
            ("a b".into(), ErrorCode::ArgumentInvalid),
            ("d3".into(), ErrorCode::DeviceNotFound),
            ("d4".into(), ErrorCode::ArgumentInvalid),
        ]
    );
    assert_eq!(hub.identity("d2").status, Status::Enabled);
    assert!(hub.hub.twin(&hub.operator, &client("d4")).is_err());
}

#[test]
fn an_item_that_cannot_be_read_is_not_carried_out_whatever_its_mode() {
    for mode in ["updateTwin", "delete", "update", "createOrUpdate"] {
        let mut hub = fixture().device("d1");
        let item = json!({"id": "d1", "status": "off", "tags": {"a": 1}});

        assert_eq!(
            one(&mut hub, mode, &item),
            Err(ErrorCode::ArgumentInvalid),
            "{mode}"
        );
        assert_eq!(hub.twin("d1").get("tags"), None, "{mode}");
    }
    let mut hub = fixture().device("d1");
    assert_eq!(
        one(&mut hub, "explode", &json!({"id": "d1"})),
        Err(ErrorCode::ArgumentInvalid)
    );
}

#[test]
fn what_is_created_can_have_a_twin_from_the_start() {
    let mut hub = fixture();
    let twin = json!({"id": "d1", "tags": {"a": 1}, "properties": {"desired": {"b": {"c": 2}}}});

    assert_eq!(one(&mut hub, "create", &twin), Ok(()));

    let twin = hub.twin("d1");
    assert_eq!(twin["tags"], json!({"a": 1}));
    assert_eq!(twin["properties"]["desired"]["b"], json!({"c": 2}));
    assert_eq!(twin["properties"]["desired"]["$version"], 2);
}

#[test]
fn connected_devices_hear_of_a_bulk_change_of_their_twin() {
    let mut hub = fixture().device("d1");
    hub.listening("d1", &[Feature::DesiredChanges]);

    let desired =
        json!({"id": "d1", "importMode": "updateTwin", "properties": {"desired": {"a": 1}}});
    let (errors, outcome) = bulk(&mut hub, &json!([desired]));

    assert_eq!(errors, []);
    assert_eq!(outcome.effects.len(), 1);
}

#[test]
fn modules_can_be_changed_in_bulk_too() {
    let mut hub = fixture().device("d1");
    let item = json!({"id": "d1", "moduleId": "m1", "managedBy": "me"});

    assert_eq!(one(&mut hub, "create", &item), Ok(()));
    assert_eq!(
        one(&mut hub, "create", &item),
        Err(ErrorCode::ModuleAlreadyExistsOnDevice)
    );
    assert_eq!(one(&mut hub, "delete", &item), Ok(()));
    assert_eq!(
        one(&mut hub, "delete", &item),
        Err(ErrorCode::ModuleNotFound)
    );
    let system = json!({"id": "d1", "moduleId": "$edgeHub"});
    let refused = Err(ErrorCode::SystemModuleModifyUnauthorizedAccess);
    assert_eq!(one(&mut hub, "create", &system), refused);
}
