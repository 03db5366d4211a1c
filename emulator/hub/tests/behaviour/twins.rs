//! `spec/service.md` 3.1 to 3.3, `spec/device.md` 7.

use iothub_hub::{Delivery, Effect, Feature, Outcome, SessionId};
use iothub_protocol::registry::IfMatch;
use iothub_protocol::twin::TwinPatch;
use iothub_protocol::{Error, ErrorCode};
use serde_json::{Value, json};

use crate::fixture::{Fixture, client, fixture, object, spec};

fn desired(value: &Value) -> Value {
    json!({"properties": {"desired": value}})
}

fn report(
    hub: &mut Fixture,
    session: SessionId,
    patch: Value,
    version: Option<u64>,
) -> (Result<u64, Error>, Outcome) {
    let patch = object(patch);
    hub.run(|hub, cx| hub.patch_reported(cx, session, &patch, version))
}

fn own_twin(hub: &mut Fixture, session: SessionId) -> Value {
    let twin = hub.run(|hub, cx| hub.own_twin(cx, session)).0.unwrap();
    serde_json::from_slice(&twin).unwrap()
}

/// Versions and patches that the outcome tells devices.
fn told(outcome: &Outcome) -> Vec<(SessionId, u64, Value)> {
    let patches = outcome.effects.iter().map(|effect| match effect {
        Effect::Deliver(session, Delivery::DesiredChanged { version, patch }) => {
            (*session, *version, serde_json::from_slice(patch).unwrap())
        }
        other => panic!("{other:?}"),
    });
    patches.collect()
}

#[test]
fn a_new_twin_is_the_captured_one() {
    let hub = fixture().device("d1");
    let section = json!({"$metadata": {"$lastUpdated": "0001-01-01T00:00:00Z"}, "$version": 1});

    let expected = json!({
        "deviceId": "d1", "etag": "AAAAAAAAAAE=", "deviceEtag": hub.identity("d1").etag,
        "status": "enabled", "statusUpdateTime": "0001-01-01T00:00:00Z",
        "connectionState": "Disconnected", "lastActivityTime": "0001-01-01T00:00:00Z",
        "cloudToDeviceMessageCount": 0, "authenticationType": "sas",
        "x509Thumbprint": {"primaryThumbprint": null, "secondaryThumbprint": null},
        "modelId": "", "version": 2,
        "properties": {"desired": section, "reported": section},
        "capabilities": {"iotEdge": false}, "parentScopes": [],
    });

    // As text, because the order is part of it.
    assert_eq!(hub.twin("d1").to_string(), expected.to_string());
}

#[test]
fn a_module_twin_has_no_capabilities_and_no_scope() {
    let mut hub = fixture();
    hub.put("edge", spec(&json!({"capabilities": {"iotEdge": true}})))
        .0
        .unwrap();
    let twin = hub.module("edge/m1").twin("edge/m1");

    assert_eq!(twin["moduleId"], "m1");
    for absent in ["capabilities", "deviceScope", "parentScopes"] {
        assert_eq!(twin.get(absent), None, "{absent}");
    }
}

#[test]
fn a_patch_merges_and_counts() {
    let mut hub = fixture().device("d1");
    hub.patch("d1", &json!({"tags": {"a": {"b": 1, "c": 2}}}))
        .0
        .unwrap();

    let twin = hub
        .patch("d1", &json!({"tags": {"a": {"b": null, "d": [1]}}}))
        .0
        .unwrap();

    assert_eq!(twin["tags"], json!({"a": {"c": 2, "d": [1]}}));
    assert_eq!(twin["version"], 4);
    assert_eq!(twin["etag"], "AAAAAAAAAAM=");
    assert_eq!(twin["properties"]["desired"]["$version"], 1);
}

#[test]
fn each_section_has_its_version_and_only_the_back_end_moves_the_etag() {
    let mut hub = fixture().device("d1");
    let session = hub.connect("d1");

    hub.patch("d1", &desired(&json!({"a": 1}))).0.unwrap();
    // The same value again is a change like any other (`spec/device.md` 18, Q12).
    hub.patch("d1", &desired(&json!({"a": 1}))).0.unwrap();
    assert_eq!(report(&mut hub, session, json!({}), None).0, Ok(2));

    let twin = hub.twin("d1");
    assert_eq!(twin["properties"]["desired"]["$version"], 3);
    assert_eq!(twin["properties"]["reported"]["$version"], 2);
    assert_eq!(twin["version"], 5);
    assert_eq!(twin["etag"], "AAAAAAAAAAM=");
}

#[test]
fn a_replacement_replaces_the_sections_that_it_names() {
    let mut hub = fixture().device("d1");
    let all = json!({"tags": {"a": 1}, "properties": {"desired": {"b": 1, "c": 1}}});
    hub.patch("d1", &all).0.unwrap();

    let twin = hub.replace("d1", &desired(&json!({"c": 2}))).0.unwrap();

    assert_eq!(twin["tags"], json!({"a": 1}));
    assert_eq!(twin["properties"]["desired"].get("b"), None);
    assert_eq!(twin["properties"]["desired"]["c"], 2);
    let twin = hub.replace("d1", &json!({"tags": {}})).0.unwrap();
    assert_eq!(twin.get("tags"), None);
}

#[test]
fn null_for_a_section_empties_it() {
    let mut hub = fixture().device("d1");
    let session = hub.listening("d1", &[Feature::DesiredChanges]);
    let all = json!({"tags": {"a": 1}, "properties": {"desired": {"b": 1}}});
    hub.patch("d1", &all).0.unwrap();

    let empty = json!({"tags": null, "properties": {"desired": null}});
    let (twin, outcome) = hub.patch("d1", &empty);

    assert_eq!(twin.unwrap().get("tags"), None);
    assert_eq!(told(&outcome), [(session, 3, json!({"$version": 3}))]);
}

#[test]
fn a_patch_of_nothing_changes_nothing() {
    let mut hub = fixture().device("d1");

    let (twin, outcome) = hub.patch("d1", &json!({"properties": {"reported": {"a": 1}}}));

    assert_eq!(twin.unwrap()["version"], 2);
    assert_eq!(outcome, Outcome::default());
}

#[test]
fn patch_with_stale_etag_is_refused() {
    let mut hub = fixture().device("d1");
    let operator = hub.operator.clone();
    let mut write = |etag: &str, replace: bool| {
        let patch = TwinPatch::from_value(&json!({"tags": {"a": 1}})).unwrap();
        let (id, etag) = (client("d1"), IfMatch::ETag(etag.into()));
        let (reply, outcome) = hub.run(|hub, cx| match replace {
            true => hub.replace_twin(cx, &operator, &id, patch, &etag),
            false => hub.patch_twin(cx, &operator, &id, patch, &etag),
        });
        assert_eq!(reply.is_err(), outcome == Outcome::default());
        reply.map(|(_, etag)| etag).map_err(|error| error.code)
    };

    assert_eq!(write("AAAAAAAAAAE=", false), Ok("AAAAAAAAAAI=".into()));
    assert_eq!(
        write("AAAAAAAAAAE=", false),
        Err(ErrorCode::PreconditionFailed)
    );
    assert_eq!(
        write("AAAAAAAAAAE=", true),
        Err(ErrorCode::PreconditionFailed)
    );
    assert_eq!(write("AAAAAAAAAAI=", true), Ok("AAAAAAAAAAM=".into()));
}

#[test]
fn twins_of_nobody_are_not_found() {
    let mut hub = fixture().device("d1");
    for (id, code) in [
        ("d2", ErrorCode::DeviceNotFound),
        ("d2/m1", ErrorCode::DeviceNotFound),
        ("d1/m1", ErrorCode::ModuleNotFound),
    ] {
        assert_eq!(
            hub.hub.twin(&hub.operator, &client(id)).unwrap_err().code,
            code
        );
        assert_eq!(
            hub.patch(id, &json!({"tags": {}})).0.unwrap_err().code,
            code
        );
    }
}

#[test]
fn illegal_documents_are_refused_as_a_whole() {
    let mut hub = fixture().device("d1");
    let session = hub.connect("d1");
    let deep = (0..11).fold(json!(1), |inner, _| json!({"a": inner}));
    for section in [
        json!({"a.b": 1}),
        json!({"$a": 1}),
        json!({"a b": 1}),
        json!({"a": [null]}),
        json!({"a": 4_503_599_627_370_496_i64}),
        json!({"a": "x".repeat(4097)}),
        json!({"a": {"b": {"c#": 1}}}),
        json!({ "a": deep }),
    ] {
        let twin = json!({"tags": {"ok": 1}, "properties": {"desired": section}});
        for (reply, outcome) in [hub.patch("d1", &twin), hub.replace("d1", &twin)] {
            assert_eq!(
                reply.unwrap_err().code,
                ErrorCode::ArgumentInvalid,
                "{section}"
            );
            assert_eq!(outcome, Outcome::default());
        }
        let (reply, outcome) = report(&mut hub, session, section, None);
        assert_eq!(reply.unwrap_err().code, ErrorCode::ArgumentInvalid);
        assert_eq!(outcome, Outcome::default());
    }
    let version = report(&mut hub, session, json!({"$version": 4}), None).0;
    assert_eq!(version.unwrap_err().code, ErrorCode::ArgumentInvalid);
    assert_eq!(hub.twin("d1")["version"], 2);
}

#[test]
fn a_section_cannot_outgrow_its_limit() {
    let mut hub = fixture().device("d1");
    let session = hub.connect("d1");
    // Keys `k0` to `k9` of 4,000 bytes: the tags take two of them, the others eight.
    let text = "x".repeat(4000);
    let keys = |range: std::ops::Range<u32>| {
        let pairs = range.map(|n| (format!("k{n}"), Value::from(text.as_str())));
        Value::Object(pairs.collect())
    };

    assert!(hub.patch("d1", &json!({"tags": keys(0..2)})).0.is_ok());
    assert!(hub.patch("d1", &json!({"tags": keys(2..3)})).0.is_err());
    assert!(hub.patch("d1", &desired(&keys(0..8))).0.is_ok());
    assert!(hub.patch("d1", &desired(&keys(8..9))).0.is_err());
    assert!(report(&mut hub, session, keys(0..8), None).0.is_ok());
    let over = report(&mut hub, session, keys(8..9), None).0;
    assert_eq!(over.unwrap_err().code, ErrorCode::ArgumentInvalid);
}

#[test]
fn a_device_that_listens_is_told_what_changed() {
    let mut hub = fixture().device("d1");
    let session = hub.listening("d1", &[Feature::DesiredChanges]);

    let (_, outcome) = hub.patch("d1", &desired(&json!({"a": {"b": 1}, "gone": null})));

    let patch = json!({"a": {"b": 1}, "gone": null, "$version": 2});
    assert_eq!(told(&outcome), [(session, 2, patch)]);
}

#[test]
fn a_replacement_is_told_as_the_whole_that_it_made() {
    let mut hub = fixture().device("d1");
    let session = hub.listening("d1", &[Feature::DesiredChanges]);
    hub.patch("d1", &desired(&json!({"old": 1}))).0.unwrap();

    let (_, outcome) = hub.replace("d1", &desired(&json!({"a": 1, "none": null})));

    assert_eq!(
        told(&outcome),
        [(session, 3, json!({"a": 1, "$version": 3}))]
    );
}

#[test]
fn nobody_else_is_told() {
    let mut hub = fixture().device("d1").module("d1/m1").device("d2");
    hub.listening("d1/m1", &[Feature::DesiredChanges]);
    hub.listening("d2", &[Feature::DesiredChanges]);
    let session = hub.listening("d1", &[Feature::TwinResponses]);

    let (_, outcome) = hub.patch("d1", &desired(&json!({"a": 1})));
    assert_eq!(told(&outcome), []);

    hub.subscribe(session, &[Feature::DesiredChanges]);
    let (_, outcome) = hub.patch("d1", &json!({"tags": {"a": 1}}));
    assert_eq!(told(&outcome), []);
}

#[test]
fn changes_while_a_device_is_away_are_not_kept_for_it() {
    let mut hub = fixture().device("d1");
    hub.patch("d1", &desired(&json!({"a": 1}))).0.unwrap();

    let session = hub.connect("d1");
    let outcome = hub.subscribe(session, &[Feature::DesiredChanges]);

    assert_eq!(outcome.effects, []);
}

#[test]
fn a_device_sees_its_properties_and_their_versions_only() {
    let mut hub = fixture().device("d1");
    let session = hub.connect("d1");
    let empty = json!({"desired": {"$version": 1}, "reported": {"$version": 1}});
    assert_eq!(own_twin(&mut hub, session), empty);
    hub.patch(
        "d1",
        &json!({"tags": {"t": 1}, "properties": {"desired": {"a": 1}}}),
    )
    .0
    .unwrap();
    report(
        &mut hub,
        session,
        json!({"b": {"c": 2}, "none": null}),
        None,
    )
    .0
    .unwrap();

    let twin = own_twin(&mut hub, session);

    let (desired, reported) = (
        json!({"a": 1, "$version": 2}),
        json!({"b": {"c": 2}, "$version": 2}),
    );
    assert_eq!(twin, json!({"desired": desired, "reported": reported}));
}

#[test]
fn a_report_at_another_version_is_refused() {
    let mut hub = fixture().device("d1");
    let session = hub.connect("d1");

    assert_eq!(report(&mut hub, session, json!({"a": 1}), Some(1)).0, Ok(2));
    let (reply, outcome) = report(&mut hub, session, json!({"a": 2}), Some(1));

    assert_eq!(reply.unwrap_err().code, ErrorCode::PreconditionFailed);
    assert_eq!(outcome, Outcome::default());
    assert_eq!(report(&mut hub, session, json!({"a": 2}), Some(2)).0, Ok(3));
}

#[test]
fn a_refused_report_is_no_activity() {
    let mut hub = fixture().device("d1");
    let session = hub.connect("d1");
    let before = hub.identity("d1").last_activity;

    hub.wait(5);
    report(&mut hub, session, json!({"a.b": 1}), None)
        .0
        .unwrap_err();

    assert_eq!(hub.identity("d1").last_activity, before);
}

#[test]
fn numbers_keep_their_spelling() {
    let mut hub = fixture().device("d1");
    let session = hub.listening("d1", &[Feature::DesiredChanges]);
    let patch = TwinPatch::parse(br#"{"properties":{"desired":{"a":1.0,"b":1}}}"#).unwrap();
    let operator = hub.operator.clone();

    let (_, outcome) =
        hub.run(|hub, cx| hub.patch_twin(cx, &operator, &client("d1"), patch, &IfMatch::Absent));

    let patch = br#"{"a":1.0,"b":1,"$version":2}"#.as_slice().into();
    let delivery = Delivery::DesiredChanged { version: 2, patch };
    assert_eq!(outcome.effects, [Effect::Deliver(session, delivery)]);
}

#[test]
fn the_model_is_what_the_device_said_when_it_last_connected() {
    let mut hub = fixture().device("d1");
    let model = "dtmi:example:Thing;1";

    hub.connect_with("d1", |request| request.model_id = Some(model.into()))
        .0
        .unwrap();
    assert_eq!(hub.twin("d1")["modelId"], model);
    hub.connect("d1");
    assert_eq!(hub.twin("d1")["modelId"], "");
}
