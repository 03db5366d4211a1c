//! Keys, parents and children, and many identities at once.

use iothub_backend::{ErrorCode, ErrorKind, IdentitySpec, IfMatch, KeyKind, RotatedKeys};
use serde_json::{Value, json};

use crate::script::{Script, answer, body, header, line, ok};

fn device(id: &str, edge: bool, scope: Option<&str>, parents: &[&str]) -> Value {
    json!({
        "deviceId": id, "generationId": "1", "etag": "MQ==", "connectionState": "Disconnected",
        "status": "enabled", "statusReason": null,
        "authentication": {
            "symmetricKey": {"primaryKey": "cHJpbWFyeS1rZXktMTIzNA==",
                             "secondaryKey": "c2Vjb25kYXJ5LWtleS0xMg=="},
            "x509Thumbprint": {"primaryThumbprint": null, "secondaryThumbprint": null},
            "type": "sas",
        },
        "capabilities": {"iotEdge": edge}, "deviceScope": scope, "parentScopes": parents,
    })
}

#[tokio::test]
async fn new_keys_are_asked_for_in_one_request() {
    let text = r#"{"policyKey":"primaryKey","rotatedKeys":[{"id":"d1","moduleId":null,
        "primaryKey":"p","secondaryKey":"s"}],"errors":[{"id":"d1","moduleId":"m1",
        "errorCode":"404010","errorStatus":"ModuleNotFound"}]}"#;
    let script = Script::play(vec![answer("207 Multi-Status", "", text)]).await;

    let backend = script.backend();
    let registry = backend.registry();
    let rotation = registry
        .regenerate_keys(KeyKind::Primary, &["d1", "d1/m1"])
        .await
        .unwrap();

    assert_eq!(
        rotation.rotated,
        [RotatedKeys {
            device_id: "d1".into(),
            module_id: None,
            primary_key: "p".into(),
            secondary_key: "s".into(),
        }]
    );
    assert_eq!(rotation.failures[0].module_id.as_deref(), Some("m1"));
    assert_eq!(rotation.failures[0].code, Some(ErrorCode::ModuleNotFound));
    let request = script.request(0);
    assert_eq!(
        line(&request),
        "POST /devices/keys/regenerate?api-version=2021-04-12"
    );
    assert_eq!(
        body(&request),
        json!({"policyKey": "primaryKey", "devices": [{"id": "d1"}, {"id": "d1", "moduleId": "m1"}]})
    );
}

#[tokio::test]
async fn keys_are_swapped_under_the_etag() {
    let stored = device("d1", false, None, &[]).to_string();
    let script = Script::play(vec![ok(&stored), ok(&stored)]).await;

    script
        .backend()
        .registry()
        .swap_device_keys("d1")
        .await
        .unwrap();

    let request = script.request(1);
    assert_eq!(line(&request), "PUT /devices/d1?api-version=2021-04-12");
    assert_eq!(header(&request, "if-match"), Some("\"MQ==\""));
    let keys = &body(&request)["authentication"]["symmetricKey"];
    assert_eq!(keys["primaryKey"], "c2Vjb25kYXJ5LWtleS0xMg==");
    assert_eq!(keys["secondaryKey"], "cHJpbWFyeS1rZXktMTIzNA==");
}

#[tokio::test]
async fn leaf_is_put_behind_an_edge_device_by_its_scope() {
    let (edge, leaf) = (
        device("e1", true, Some("S1"), &[]),
        device("l1", false, None, &[]),
    );
    let script = Script::play(vec![
        ok(&edge.to_string()),
        ok(&leaf.to_string()),
        ok(&leaf.to_string()),
    ])
    .await;

    script
        .backend()
        .registry()
        .set_parent("l1", "e1")
        .await
        .unwrap();

    let request = script.request(2);
    assert_eq!(line(&request), "PUT /devices/l1?api-version=2021-04-12");
    assert_eq!(header(&request, "if-match"), Some("\"MQ==\""));
    let sent = body(&request);
    assert_eq!(
        (&sent["deviceScope"], &sent["parentScopes"]),
        (&json!("S1"), &json!(["S1"]))
    );
}

#[tokio::test]
async fn edge_device_keeps_its_own_scope_behind_another() {
    let outer = device("e1", true, Some("S1"), &[]).to_string();
    let inner = device("e2", true, Some("S2"), &[]).to_string();
    let script = Script::play(vec![
        ok(&outer),
        ok(&inner),
        ok(&inner),
        ok(&inner),
        ok(&inner),
    ])
    .await;
    let backend = script.backend();

    backend.registry().set_parent("e2", "e1").await.unwrap();
    backend.registry().remove_parent("e2").await.unwrap();

    let sent = body(&script.request(2));
    assert_eq!(
        (&sent["deviceScope"], &sent["parentScopes"]),
        (&json!("S2"), &json!(["S1"]))
    );
    let sent = body(&script.request(4));
    assert_eq!(
        (&sent["deviceScope"], &sent["parentScopes"]),
        (&json!("S2"), &json!([]))
    );
}

#[tokio::test]
async fn only_an_edge_device_can_be_a_parent() {
    let leaf = device("l1", false, Some("S1"), &["S1"]).to_string();
    let script = Script::play(vec![ok(&leaf), ok(&leaf)]).await;
    let backend = script.backend();

    let error = backend.registry().set_parent("l2", "l1").await.unwrap_err();
    let children = backend.registry().children("l1").await.unwrap();

    assert_eq!(
        error.kind(),
        &ErrorKind::Unsuitable("l1 is no edge device".into())
    );
    assert!(children.is_empty());
}

#[tokio::test]
async fn parents_and_children_are_found_by_scope() {
    let edge = device("e1", true, Some("S'1"), &[]).to_string();
    let leaf = device("l1", false, Some("S'1"), &[]).to_string();
    let orphan = device("l2", false, None, &[]).to_string();
    let script = Script::play(vec![
        ok(&leaf),
        ok(r#"[{"deviceId":"e1"}]"#),
        ok(&edge),
        ok(&edge),
        ok(r#"[{"deviceId":"l1"},{"deviceId":"l3"}]"#),
        ok(&orphan),
    ])
    .await;
    let backend = script.backend();
    let registry = backend.registry();

    let parent = registry.parent("l1").await.unwrap().unwrap();
    let children = registry.children("e1").await.unwrap();
    let none = registry.parent("l2").await.unwrap();

    assert_eq!(parent.device_id.as_str(), "e1");
    assert_eq!(children, ["l1", "l3"]);
    assert_eq!(none, None);
    let asked =
        r"select deviceId from devices where capabilities.iotEdge=true and deviceScope='S\'1'";
    assert_eq!(body(&script.request(1)), json!({"query": asked}));
    let asked = r"select deviceId from devices where array_contains(parentScopes, 'S\'1')";
    assert_eq!(body(&script.request(4)), json!({"query": asked}));
}

#[tokio::test]
async fn many_are_updated_and_removed_each_on_its_own_condition() {
    let good = r#"{"isSuccessful":true,"errors":[],"warnings":[]}"#;
    let script = Script::play(vec![ok(good), ok(good)]).await;
    let backend = script.backend();

    let conditional = IdentitySpec {
        etag: Some("MQ==".into()),
        ..IdentitySpec::default()
    };
    let all = [("d1", conditional), ("d2", IdentitySpec::default())];
    let updated = backend.registry().update_all(&all).await.unwrap();
    let gone = [
        ("d1", IfMatch::ETag("MQ==".into())),
        ("d2/m1", IfMatch::Any),
    ];
    backend.registry().remove_all(&gone).await.unwrap();

    assert!(updated.is_successful());
    let sent = body(&script.request(0));
    assert_eq!(
        (&sent[0]["importMode"], &sent[0]["eTag"]),
        (&json!("updateIfMatchETag"), &json!("MQ=="))
    );
    assert_eq!(
        (&sent[1]["importMode"], sent[1].get("eTag")),
        (&json!("update"), None)
    );
    assert_eq!(
        body(&script.request(1)),
        json!([
            {"id": "d1", "importMode": "deleteIfMatchETag", "eTag": "MQ=="},
            {"id": "d2", "moduleId": "m1", "importMode": "delete"},
        ])
    );
}
