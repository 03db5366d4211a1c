//! `configuration` and `edge`.

use serde_json::json;

use crate::served::Served;
use crate::{words, words_and};

const CONTENT: &str = r#"{"content":{"deviceContent":{"properties.desired.chiller":{"temp":66}}}}"#;

#[test]
fn configuration_is_applied_measured_changed_and_deleted() {
    let served = Served::start(&[]);
    served.json(&words("device-identity create -d d1"));
    served.json(&words("device-twin update -d d1 --set tags.site=A"));
    let mine = "SELECT deviceId FROM devices WHERE is_defined(tags.site)";
    let metrics = json!({"queries": {"mine": mine}}).to_string();

    let created = served.json(&words_and(
        "configuration create -c C1 --pri 10 --labels {\"k\":\"v\"} -k",
        &[CONTENT, "--tc", "tags.site='A'", "-m", &metrics],
    ));
    let metric = served.json(&words("configuration show-metric -c c1 -m mine"));
    let applied = served.json(&words(
        "configuration show-metric -c c1 --mt system -m appliedCount",
    ));
    let none = served.error(&words("configuration show-metric -c c1 -m other"));
    let updated = served.json(&words("configuration update -c c1 --set priority=20"));
    let listed = served.json(&words("configuration list"));
    let deployments = served.json(&words("edge deployment list"));
    let twin = served.json(&words("device-twin show -d d1"));
    served.json(&words("configuration delete -c c1"));
    let error = served.error(&words("configuration show -c c1"));

    assert_eq!(
        (&created["id"], &created["labels"]),
        (&json!("c1"), &json!({"k": "v"}))
    );
    assert_eq!(created["schemaVersion"], "2.0");
    assert_eq!(
        metric,
        json!({"metric": "mine", "query": mine, "result": [{"deviceId": "d1"}]})
    );
    assert_eq!(applied["result"], json!([{"deviceId": "d1"}]));
    assert!(none.contains("c1 has no metric other"), "{none}");
    assert_eq!(updated["priority"], 20);
    assert_eq!((&listed[0]["id"], deployments), (&json!("c1"), json!([])));
    assert_eq!(twin["properties"]["desired"]["chiller"]["temp"], 66);
    assert!(error.contains("ConfigurationNotFound"), "{error}");
}

#[test]
fn edge_devices_get_their_modules_by_deployment_and_at_once() {
    let served = Served::start(&[]);
    served.json(&words("device-identity create -d e1 --ee"));
    let file = served.dir.path().join("modules.json");
    let content = json!({"modulesContent": {
        "$edgeAgent": {"properties.desired": {
            "schemaVersion": "1.0",
            "runtime": {"type": "docker", "settings": {}},
            "systemModules": {
                "edgeAgent": {"type": "docker", "settings": {"image": "a"}},
                "edgeHub": {"type": "docker", "status": "running", "restartPolicy": "always",
                            "settings": {"image": "h"}},
            },
            "modules": {"sensor": {"version": "1.0", "type": "docker", "status": "running",
                                   "restartPolicy": "always", "settings": {"image": "s"}}},
        }},
        "$edgeHub": {"properties.desired": {
            "schemaVersion": "1.0", "routes": {},
            "storeAndForwardConfiguration": {"timeToLiveSecs": 7200},
        }},
        "sensor": {"properties.desired": {"interval": 5}},
    }});
    std::fs::write(&file, content.to_string()).unwrap();
    let file = file.to_str().unwrap();

    let modules = served.json(&words_and("edge set-modules -d e1 -k", &[file]));
    let exported = served.json(&words("edge export-modules -d e1"));
    let created = served.json(&words_and(
        "edge deployment create -d D1 --pri 5 -k",
        &[file, "-t", "tags.site='A'"],
    ));
    let updated = served.json(&words_and(
        "edge deployment update -d d1 --set",
        &["targetCondition=tags.site='B'"],
    ));
    let listed = served.json(&words("edge deployment list"));
    let metric = served.json(&words_and(
        "edge deployment show-metric -d d1 --mt system -m",
        &["targetedCount"],
    ));
    served.json(&words("edge deployment delete -d d1"));

    let names: Vec<_> = modules
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["moduleId"])
        .collect();
    assert_eq!(names, ["$edgeAgent", "$edgeHub", "sensor"]);
    let exported = &exported["content"]["modulesContent"];
    assert_eq!(
        exported["sensor"],
        json!({"properties.desired": {"interval": 5}})
    );
    assert_eq!(created["content"], content);
    assert_eq!(updated["targetCondition"], "tags.site='B'");
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(metric["result"], json!([]));
    assert_eq!(served.json(&words("edge deployment list")), json!([]));
    let error = served.error(&words_and("configuration create -c c1 -k", &[file]));
    assert!(error.contains("--content has no deviceContent"), "{error}");
}
