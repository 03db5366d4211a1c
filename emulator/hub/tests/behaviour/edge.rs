//! `spec/service.md` 2.5.

use iothub_protocol::ErrorCode;
use iothub_protocol::registry::DeviceIdentity;
use serde_json::json;

use crate::fixture::{Fixture, T0, device, fixture, spec};

fn with_edge(id: &str) -> Fixture {
    let mut hub = fixture();
    hub.put(id, spec(&json!({"capabilities": {"iotEdge": true}})))
        .0
        .unwrap();
    hub
}

fn scope(hub: &Fixture, id: &str) -> String {
    hub.identity(id).device_scope.unwrap()
}

fn parents(identity: &DeviceIdentity) -> (Option<&str>, Vec<&str>) {
    let parents = identity.parent_scopes.iter().map(String::as_str).collect();
    (identity.device_scope.as_deref(), parents)
}

#[test]
fn an_edge_has_a_scope_and_its_system_modules() {
    let hub = with_edge("edge-1");

    assert_eq!(
        scope(&hub, "edge-1"),
        format!("ms-azure-iot-edge://edge-1-{}", T0.dotnet_ticks())
    );
    assert!(hub.identity("edge-1").parent_scopes.is_empty());
    let modules = hub.hub.modules(&hub.operator, &device("edge-1")).unwrap();
    let names: Vec<_> = modules.iter().map(|it| it.module_id.as_str()).collect();
    assert_eq!(names, ["$edgeAgent", "$edgeHub"]);
    assert_eq!(hub.twin("edge-1/$edgeHub")["authenticationType"], "none");
}

#[test]
fn system_modules_belong_to_the_hub() {
    let mut hub = with_edge("edge").device("leaf");
    let refused = ErrorCode::SystemModuleModifyUnauthorizedAccess;

    assert_eq!(hub.delete("edge/$edgeHub").0.unwrap_err().code, refused);
    assert_eq!(
        hub.update("edge/$edgeHub", spec(&json!({})))
            .0
            .unwrap_err()
            .code,
        refused
    );
    assert_eq!(
        hub.put("leaf/$edgeAgent", spec(&json!({})))
            .0
            .unwrap_err()
            .code,
        refused
    );
    assert!(
        hub.patch(
            "edge/$edgeAgent",
            &json!({"properties": {"desired": {"a": 1}}})
        )
        .0
        .is_ok()
    );
}

#[test]
fn a_leaf_names_its_parent_by_scope() {
    let mut hub = with_edge("edge");
    let scope = scope(&hub, "edge");

    hub.put("by-device-scope", spec(&json!({"deviceScope": scope})))
        .0
        .unwrap();
    hub.put("by-parent-scopes", spec(&json!({"parentScopes": [scope]})))
        .0
        .unwrap();

    let expected = (Some(scope.as_str()), vec![scope.as_str()]);
    assert_eq!(parents(&hub.identity("by-device-scope")), expected);
    assert_eq!(parents(&hub.identity("by-parent-scopes")), expected);
}

#[test]
fn the_scope_of_a_leaf_wins_over_its_stale_parents() {
    let mut hub = with_edge("edge-1");
    hub.put("edge-2", spec(&json!({"capabilities": {"iotEdge": true}})))
        .0
        .unwrap();
    let (first, second) = (scope(&hub, "edge-1"), scope(&hub, "edge-2"));
    hub.put("leaf", spec(&json!({"deviceScope": first})))
        .0
        .unwrap();

    hub.update(
        "leaf",
        spec(&json!({"deviceScope": second, "parentScopes": [first]})),
    )
    .0
    .unwrap();
    assert_eq!(
        parents(&hub.identity("leaf")),
        (Some(&*second), vec![&*second])
    );

    hub.update(
        "leaf",
        spec(&json!({"deviceScope": "", "parentScopes": [second]})),
    )
    .0
    .unwrap();
    assert_eq!(parents(&hub.identity("leaf")), (None, vec![]));
}

#[test]
fn an_edge_has_its_parent_in_parent_scopes_and_keeps_its_scope() {
    let mut hub = with_edge("top");
    hub.put("low", spec(&json!({"capabilities": {"iotEdge": true}})))
        .0
        .unwrap();
    let (top, low) = (scope(&hub, "top"), scope(&hub, "low"));
    let edge = |parents: &[&str]| {
        let capabilities = json!({"iotEdge": true});
        let body =
            json!({"capabilities": capabilities, "deviceScope": low, "parentScopes": parents});
        spec(&body)
    };

    hub.update("low", edge(&[&top])).0.unwrap();
    assert_eq!(parents(&hub.identity("low")), (Some(&*low), vec![&*top]));

    hub.update("low", edge(&[])).0.unwrap();
    assert_eq!(parents(&hub.identity("low")), (Some(&*low), vec![]));
}

#[test]
fn scopes_that_cannot_be_are_refused() {
    let mut hub = with_edge("edge");
    let scope = scope(&hub, "edge");
    let edge = json!({"iotEdge": true});
    for (id, body) in [
        (
            "leaf",
            json!({"deviceScope": "ms-azure-iot-edge://nobody-1"}),
        ),
        (
            "leaf",
            json!({"parentScopes": ["ms-azure-iot-edge://nobody-1"]}),
        ),
        ("leaf", json!({"parentScopes": [scope, scope]})),
        (
            "edge-2",
            json!({"capabilities": edge, "parentScopes": ["nobody"]}),
        ),
    ] {
        let (reply, outcome) = hub.put(id, spec(&body));
        assert_eq!(
            reply.unwrap_err().code,
            ErrorCode::InvalidDeviceScope,
            "{body}"
        );
        assert_eq!(outcome, iothub_hub::Outcome::default());
    }
    for body in [
        json!({"capabilities": edge, "deviceScope": "ms-azure-iot-edge://edge-2"}),
        json!({"capabilities": edge, "parentScopes": [scope]}),
    ] {
        let reply = hub.update("edge", spec(&body)).0;
        assert_eq!(
            reply.unwrap_err().code,
            ErrorCode::InvalidDeviceScope,
            "{body}"
        );
    }
}

#[test]
fn children_lose_a_parent_that_is_gone_or_no_edge_any_more() {
    let hub = with_edge("edge");
    let scope = scope(&hub, "edge");
    let mut hub = hub;
    hub.put("leaf", spec(&json!({"deviceScope": scope})))
        .0
        .unwrap();
    let low = json!({"capabilities": {"iotEdge": true}, "parentScopes": [scope]});
    hub.put("low", spec(&low)).0.unwrap();
    let before = hub.clone();

    hub.delete("edge").0.unwrap();
    assert_eq!(parents(&hub.identity("leaf")), (None, vec![]));
    assert_eq!(hub.identity("low").parent_scopes, [""; 0]);
    assert!(hub.identity("low").device_scope.is_some());

    let mut hub = before;
    hub.update("edge", spec(&json!({"capabilities": {"iotEdge": false}})))
        .0
        .unwrap();
    assert_eq!(parents(&hub.identity("leaf")), (None, vec![]));
}

#[test]
fn a_device_that_becomes_an_edge_gets_what_an_edge_has() {
    let mut hub = fixture().device("d1");

    hub.update("d1", spec(&json!({"capabilities": {"iotEdge": true}})))
        .0
        .unwrap();

    assert!(scope(&hub, "d1").starts_with("ms-azure-iot-edge://d1-"));
    assert_eq!(
        hub.hub.modules(&hub.operator, &device("d1")).unwrap().len(),
        2
    );
}

#[test]
fn nobody_is_above_himself() {
    let mut hub = with_edge("top");
    let edge =
        |parent: &str| spec(&json!({"capabilities": {"iotEdge": true}, "parentScopes": [parent]}));
    let top = scope(&hub, "top");
    hub.put("middle", edge(&top)).0.unwrap();
    let middle = scope(&hub, "middle");
    hub.put("low", edge(&middle)).0.unwrap();
    let low = scope(&hub, "low");

    for parent in [&top, &middle, &low] {
        let (reply, outcome) = hub.update("top", edge(parent));
        assert_eq!(reply.unwrap_err().code, ErrorCode::InvalidDeviceScope);
        assert_eq!(outcome, iothub_hub::Outcome::default());
    }
}

#[test]
fn an_edge_becomes_a_leaf_with_what_the_service_said_of_it() {
    let mut hub = with_edge("top");
    let top = scope(&hub, "top");
    let edge = json!({"capabilities": {"iotEdge": true}, "parentScopes": [top]});
    hub.put("low", spec(&edge)).0.unwrap();
    let mut body = hub.identity("low").to_json();
    body["capabilities"]["iotEdge"] = false.into();

    hub.update("low", spec(&body)).0.unwrap();

    let low = hub.identity("low");
    assert_eq!(parents(&low), (Some(&*top), vec![&*top]));
    assert!(
        hub.hub
            .modules(&hub.operator, &device("low"))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_leaf_becomes_an_edge_and_keeps_its_parent() {
    let mut hub = with_edge("top");
    let top = scope(&hub, "top");
    hub.put("leaf", spec(&json!({"deviceScope": top})))
        .0
        .unwrap();
    let mut body = hub.identity("leaf").to_json();
    body["capabilities"]["iotEdge"] = true.into();

    hub.update("leaf", spec(&body)).0.unwrap();

    let leaf = hub.identity("leaf");
    assert_eq!(leaf.parent_scopes, [top]);
    assert!(
        leaf.device_scope
            .unwrap()
            .starts_with("ms-azure-iot-edge://leaf-")
    );
}

#[test]
fn parents_are_found_after_a_restart() {
    let mut hub = with_edge("top");
    let top = scope(&hub, "top");
    let mut restored = fixture();
    let (_, outcome) = hub.put("leaf", spec(&json!({"deviceScope": top})));
    let made = with_edge_changes("top");
    for change in made.into_iter().chain(outcome.changes) {
        restored.hub.restore(change);
    }

    restored.delete("top").0.unwrap();

    assert_eq!(parents(&restored.identity("leaf")), (None, vec![]));
}

fn with_edge_changes(id: &str) -> Vec<iothub_hub::Change> {
    let spec = spec(&json!({"capabilities": {"iotEdge": true}}));
    fixture().put(id, spec).1.changes
}
