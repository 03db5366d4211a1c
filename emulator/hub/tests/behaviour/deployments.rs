//! `spec/service.md` 7: deployments to edges, and content that is applied once.

use iothub_hub::Outcome;
use iothub_protocol::configuration::Content;
use iothub_protocol::{Error, ErrorCode};
use serde_json::{Value, json};

use crate::fixture::{Fixture, device, fixture, module, spec};

fn with_edge(id: &str) -> Fixture {
    let mut hub = fixture();
    hub.put(id, spec(&json!({"capabilities": {"iotEdge": true}})))
        .0
        .unwrap();
    hub
}

/// A deployment that says everything of the agent.
fn base(agent: &Value, modules: &Value) -> Value {
    let mut content = json!({"$edgeAgent": {"properties.desired": agent}});
    for (name, of_module) in modules.as_object().unwrap() {
        content[name] = of_module.clone();
    }
    json!({"modulesContent": content})
}

fn layer(path: &str, value: &Value) -> Value {
    json!({"modulesContent": {"$edgeAgent": {path: value}}})
}

fn statuses(hub: &Fixture) -> Value {
    hub.twin("e1/$edgeAgent")
        .get("configurations")
        .cloned()
        .unwrap_or_default()
}

fn apply(hub: &mut Fixture, id: &str, content: &Value) -> (Result<(), Error>, Outcome) {
    let operator = hub.operator.clone();
    let content = Content::from_value(content).unwrap();
    hub.run(|hub, cx| hub.apply_configuration_content(cx, &operator, &device(id), &content))
}

#[test]
fn a_deployment_is_written_into_the_modules_of_an_edge() {
    let mut hub = with_edge("e1").device("leaf");
    let modules = json!({"$edgeHub": {"properties.desired": {"routes": {"r": "FROM /* INTO $upstream"}}},
                         "m1": {"properties.desired.rate": 5}});

    hub.configure(
        "dep",
        1,
        "*",
        &base(&json!({"schemaVersion": "1.1"}), &modules),
    );

    assert_eq!(
        hub.desired("e1/$edgeAgent"),
        json!({"schemaVersion": "1.1"})
    );
    let routes = json!({"routes": {"r": "FROM /* INTO $upstream"}});
    assert_eq!(hub.desired("e1/$edgeHub"), routes);
    assert_eq!(hub.desired("e1/m1"), json!({"rate": 5}));
    let m1 = hub
        .hub
        .module(&hub.operator, &device("e1"), &module("m1"))
        .unwrap();
    assert_eq!(m1.managed_by.as_deref(), Some("iotEdge"));
    assert_eq!(statuses(&hub), json!({"dep": {"status": "Applied"}}));
    assert_eq!(hub.twin("e1").get("configurations"), None);
    assert!(
        hub.hub
            .modules(&hub.operator, &device("leaf"))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn metrics_of_a_deployment_have_the_queries_of_the_service() {
    let mut hub = with_edge("e1");
    let body = json!({"content": base(&json!({}), &json!({})), "targetCondition": "*"});

    let (reply, _) =
        hub.put_configuration("c12", &body, &iothub_protocol::registry::IfMatch::Absent);

    let metrics = reply.unwrap()["systemMetrics"].clone();
    let applied = "select deviceId from devices.modules where moduleId = '$edgeAgent' and \
                   configurations.[[c12]].status = 'Applied'";
    let reported = format!(
        "{applied} and properties.desired.$version = properties.reported.lastDesiredVersion and \
         properties.reported.lastDesiredStatus.code"
    );
    assert_eq!(
        metrics["queries"],
        json!({
            "targetedCount": "select deviceId from devices where capabilities.iotEdge = true",
            "appliedCount": applied,
            "reportedSuccessfulCount": format!("{reported} = 200"),
            "reportedFailedCount": format!("{reported} != 200"),
        })
    );
    assert_eq!(
        metrics["results"],
        json!({"targetedCount": 1, "appliedCount": 1, "reportedSuccessfulCount": 0,
               "reportedFailedCount": 0})
    );
}

#[test]
fn one_deployment_is_in_force_and_layers_lie_on_top_of_it() {
    let mut hub = with_edge("e1");
    let m1 = json!({"m1": {"properties.desired.rate": 1}});
    hub.configure("low", 1, "*", &base(&json!({"a": "low", "b": "low"}), &m1));
    hub.configure(
        "below",
        4,
        "*",
        &layer("properties.desired.modules.x", &json!({"v": 0})),
    );
    hub.configure("high", 5, "*", &base(&json!({"a": "high"}), &json!({})));
    hub.configure(
        "layer",
        6,
        "*",
        &layer("properties.desired.modules.m", &json!({"v": 1})),
    );
    hub.configure(
        "top",
        7,
        "*",
        &layer("properties.desired.modules.m.v", &json!(2)),
    );

    assert_eq!(
        hub.desired("e1/$edgeAgent"),
        json!({"a": "high", "modules": {"m": {"v": 2}}})
    );
    assert_eq!(hub.desired("e1/m1"), json!({}));
    let status = |status: &str| json!({"status": status});
    assert_eq!(
        statuses(&hub),
        json!({
            "below": status("Targeted"), "high": status("Applied"), "layer": status("Applied"),
            "low": status("Targeted"), "top": status("Applied"),
        })
    );

    hub.delete_configuration("high").0.unwrap();
    assert_eq!(
        hub.desired("e1/$edgeAgent"),
        json!({"a": "low", "b": "low", "modules": {"m": {"v": 2}, "x": {"v": 0}}})
    );
    assert_eq!(hub.desired("e1/m1"), json!({"rate": 1}));
}

#[test]
fn without_a_base_layers_are_not_in_force() {
    let mut hub = with_edge("e1");

    hub.configure(
        "layer",
        6,
        "*",
        &layer("properties.desired.modules.m", &json!({"v": 1})),
    );

    assert_eq!(hub.desired("e1/$edgeAgent"), json!({}));
    assert_eq!(statuses(&hub), json!({"layer": {"status": "Targeted"}}));
}

#[test]
fn a_whole_deployment_leaves_nothing_else() {
    let mut hub = with_edge("e1");
    hub.patch(
        "e1/$edgeAgent",
        &json!({"properties": {"desired": {"mine": 1}}}),
    )
    .0
    .unwrap();

    hub.configure("dep", 1, "*", &base(&json!({"a": 1}), &json!({})));

    assert_eq!(hub.desired("e1/$edgeAgent"), json!({"a": 1}));
}

#[test]
fn a_deployment_that_goes_takes_its_settings_along() {
    let modules = json!({"m1": {"properties.desired": {"rate": 5}}});
    let content = base(&json!({"a": 1}), &modules);
    let mut hub = with_edge("e1");
    hub.configure("dep", 1, "*", &content);
    let before = hub.clone();

    hub.delete_configuration("dep").0.unwrap();
    assert_eq!(hub.desired("e1/$edgeAgent"), json!({}));
    assert_eq!(hub.desired("e1/m1"), json!({}));
    assert_eq!(statuses(&hub), Value::Null);

    let mut hub = before;
    hub.update("e1", spec(&json!({"capabilities": {"iotEdge": false}})))
        .0
        .unwrap();
    assert_eq!(hub.desired("e1/m1"), json!({}));
}

#[test]
fn who_becomes_an_edge_is_deployed_to_and_a_deleted_edge_leaves_nothing() {
    let mut hub = fixture().device("e1");
    let modules = json!({"m1": {"properties.desired": {"rate": 5}}});
    hub.configure("dep", 1, "*", &base(&json!({"a": 1}), &modules));

    hub.update("e1", spec(&json!({"capabilities": {"iotEdge": true}})))
        .0
        .unwrap();
    assert_eq!(hub.desired("e1/m1"), json!({"rate": 5}));

    hub.connect("e1");
    hub.connect("e1/m1");
    hub.delete("e1").0.unwrap();
    hub.put("e1", spec(&json!({}))).0.unwrap();
    assert!(
        hub.hub
            .modules(&hub.operator, &device("e1"))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn content_that_is_applied_once_replaces_what_it_says_as_a_whole() {
    let mut hub = with_edge("e1").device("leaf");
    hub.patch(
        "e1/$edgeAgent",
        &json!({"properties": {"desired": {"old": 1}}}),
    )
    .0
    .unwrap();
    hub.patch(
        "e1/$edgeHub",
        &json!({"properties": {"desired": {"old": 1}}}),
    )
    .0
    .unwrap();
    let modules = json!({"$edgeHub": {"properties.desired.routes": {}}, "m1": {}});

    apply(&mut hub, "e1", &base(&json!({"a": 1}), &modules))
        .0
        .unwrap();

    assert_eq!(hub.desired("e1/$edgeAgent"), json!({"a": 1}));
    assert_eq!(hub.desired("e1/$edgeHub"), json!({"old": 1, "routes": {}}));
    assert_eq!(hub.desired("e1/m1"), json!({}));
    assert_eq!(statuses(&hub), Value::Null);

    let device = json!({"deviceContent": {"properties.desired.x": 1}});
    apply(&mut hub, "leaf", &device).0.unwrap();
    assert_eq!(hub.desired("leaf"), json!({"x": 1}));
}

#[test]
fn content_that_is_not_for_the_device_is_refused() {
    let mut hub = with_edge("e1").device("leaf");
    let large: Value = (0..10)
        .map(|i| (format!("k{i}"), json!("x".repeat(4000))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let edge = base(&json!({"a": 1}), &json!({}));
    let too_large = base(
        &json!({"a": 1}),
        &json!({"m1": {"properties.desired": large}}),
    );
    let module = json!({"moduleContent": {"properties.desired.x": 1}});
    for (id, content, code) in [
        ("leaf", &edge, ErrorCode::InvalidConfigurationContent),
        ("nobody", &edge, ErrorCode::DeviceNotFound),
        ("e1", &module, ErrorCode::InvalidConfigurationContent),
        ("e1", &too_large, ErrorCode::ArgumentInvalid),
    ] {
        let (reply, outcome) = apply(&mut hub, id, content);
        assert_eq!(reply.unwrap_err().code, code, "{id}");
        assert_eq!(outcome, Outcome::default());
    }
}
