//! `spec/service.md` 9, `spec/device.md` 15.

use iothub_hub::{Change, Delivery, Effect, Feature, Outcome};
use iothub_protocol::digital_twin::DigitalTwinPatch;
use iothub_protocol::registry::IfMatch;
use iothub_protocol::{Error, ErrorCode};
use serde_json::{Value, json};

use crate::fixture::{Fixture, device, fixture};

fn view(hub: &Fixture, id: &str) -> (Value, String) {
    hub.hub.digital_twin(&hub.operator, &device(id)).unwrap()
}

fn patch(
    hub: &mut Fixture,
    id: &str,
    operations: &Value,
    if_match: &IfMatch,
) -> (Result<String, Error>, Outcome) {
    let operator = hub.operator.clone();
    let patch = DigitalTwinPatch::parse(operations.to_string().as_bytes()).unwrap();
    hub.run(|hub, cx| hub.patch_digital_twin(cx, &operator, &device(id), &patch, if_match))
}

#[test]
fn the_view_is_made_of_what_was_said_and_what_is_asked() {
    let mut hub = fixture().device("d1");
    let model = "dtmi:com:example:Thermostat;1";
    let (connected, _) = hub.connect_with("d1", |request| request.model_id = Some(model.into()));
    let session = connected.unwrap().session;
    let report = json!({"serial": "x", "rate": {"value": 3, "ac": 200, "av": 2}});
    hub.run(|hub, cx| hub.patch_reported(cx, session, report.as_object().unwrap(), None))
        .0
        .unwrap();
    hub.patch("d1", &json!({"properties": {"desired": {"rate": 4}}}))
        .0
        .unwrap();

    let (view, etag) = view(&hub, "d1");

    let time = hub.now.to_iso();
    assert_eq!(
        view,
        json!({
            "$dtId": "d1", "serial": "x", "rate": 3,
            "$metadata": {
                "$model": model,
                "serial": {"lastUpdateTime": time},
                "rate": {"desiredValue": 4, "desiredVersion": 2, "ackVersion": 2, "ackCode": 200,
                         "lastUpdateTime": time},
            },
        })
    );
    assert_eq!(Value::from(etag), hub.twin("d1")["etag"]);
}

#[test]
fn a_patch_is_a_change_of_desired_properties() {
    let mut hub = fixture().device("d1");
    let session = hub.listening("d1", &[Feature::DesiredChanges]);
    let operations = json!([
        {"op": "add", "path": "/rate", "value": 5},
        {"op": "add", "path": "/c1/x", "value": 1},
    ]);

    let (reply, outcome) = patch(&mut hub, "d1", &operations, &IfMatch::Any);

    assert_eq!(reply.unwrap(), "AAAAAAAAAAI=");
    assert_eq!(
        hub.desired("d1"),
        json!({"rate": 5, "c1": {"__t": "c", "x": 1}})
    );
    let delivery = Delivery::DesiredChanged {
        version: 2,
        patch: r#"{"rate":5,"c1":{"__t":"c","x":1},"$version":2}"#.into(),
    };
    assert_eq!(outcome.effects, [Effect::Deliver(session, delivery)]);
    assert!(matches!(outcome.changes[..], [Change::PutTwin(..)]));
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut hub = fixture().device("d1");
    hub.patch("d1", &json!({"properties": {"desired": {"a": 1}}}))
        .0
        .unwrap();
    let add = |path: &str| json!([{"op": "add", "path": path, "value": 5}]);
    let etag = IfMatch::ETag("AAAAAAAAAAE=".into());
    let text = json!([{"op": "add", "path": "/b", "value": "x".repeat(5000)}]);
    for (id, operations, if_match, code) in [
        ("d2", add("/b"), IfMatch::Any, ErrorCode::DeviceNotFound),
        ("d1", add("/b"), etag, ErrorCode::PreconditionFailed),
        ("d1", add("/a/b"), IfMatch::Any, ErrorCode::ArgumentInvalid),
        ("d1", text, IfMatch::Any, ErrorCode::ArgumentInvalid),
    ] {
        let (reply, outcome) = patch(&mut hub, id, &operations, &if_match);
        assert_eq!(reply.unwrap_err().code, code, "{operations}");
        assert_eq!(outcome, Outcome::default());
    }
}

#[test]
fn each_connect_decides_on_the_model() {
    let mut hub = fixture().device("d1");
    for model in [Some("dtmi:com:example;1"), Some("dtmi:com:example;2"), None] {
        let model = model.map(str::to_owned);
        hub.connect_with("d1", |request| request.model_id.clone_from(&model))
            .0
            .unwrap();

        assert_eq!(hub.twin("d1")["modelId"], model.unwrap_or_default());
    }
}
