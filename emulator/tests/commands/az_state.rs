//! `import az-state` and `export az-state`.
//!
//! `az_state/hub.json` is written by hand in the shapes of azure-iot-cli-extension 0.25
//! (`iothub/providers/state.py`), with each kind of thing that a hub has.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::served::{Served, text};
use crate::words;

const HUB: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/commands/az_state/hub.json"
);

fn read(path: impl AsRef<Path>) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A file with a state of which the test says the devices.
fn file_of(served: &Served, name: &str, devices: &Value) -> PathBuf {
    let path = served.dir.path().join(name);
    fs::write(&path, json!({"devices": devices}).to_string()).unwrap();
    path
}

fn import(served: &Served, file: &Path, more: &str) -> Value {
    let mut line = words("import az-state");
    line.push(file.to_str().unwrap());
    line.extend(more.split_whitespace());
    served.json(&line)
}

fn export(served: &Served, name: &str) -> PathBuf {
    let path = served.dir.path().join(name);
    served.json(&["export", "az-state", path.to_str().unwrap()]);
    path
}

/// A device whose keys are all `A`.
fn device(more: Value) -> Value {
    let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let mut identity = json!({
        "authentication": {
            "type": "sas",
            "symmetricKey": {"primaryKey": key, "secondaryKey": key},
        },
        "capabilities": {"iotEdge": false},
    });
    if let Value::Object(more) = more {
        identity.as_object_mut().unwrap().extend(more);
    }
    json!({"identity": identity, "twin": {}})
}

/// What the file says, without what a hub makes anew.
fn lasting(mut state: Value) -> Value {
    state.as_object_mut().unwrap().remove("arm");
    for kind in ["admConfigurations", "edgeDeployments"] {
        let all = state["configurations"][kind].as_object_mut().unwrap();
        for configuration in all.values_mut() {
            let members = configuration.as_object_mut().unwrap();
            members.retain(|name, _| {
                [
                    "id",
                    "content",
                    "targetCondition",
                    "priority",
                    "labels",
                    "metrics",
                ]
                .contains(&name.as_str())
            });
            members["metrics"]
                .as_object_mut()
                .unwrap()
                .remove("results");
        }
    }
    state
}

#[test]
fn a_real_hubs_state_becomes_a_local_one_and_comes_back_as_it_was() {
    let served = Served::start(&[]);

    let imported = import(&served, Path::new(HUB), "");
    let gateway = served.json(&words("device-identity show -d gateway"));
    let below = served.json(&words("device-identity parent show -d sensor-below"));
    let exported = export(&served, "exported.json");

    assert_eq!(
        imported,
        json!({
            "imported": {"configurations": 4, "devices": 6, "modules": 2},
            "leftOut": [
                "arm: Microsoft.Devices/IotHubs contoso-hub",
                "arm: Microsoft.Devices/IotHubs/certificates contoso-hub/root",
            ],
            "failed": [],
        })
    );
    assert_eq!(below["deviceId"], "gateway-below");
    assert_eq!(
        gateway["authentication"]["symmetricKey"]["primaryKey"],
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    );
    assert_eq!(lasting(read(&exported)), lasting(read(HUB)));
}

#[test]
fn an_export_is_the_same_again_after_an_import_and_nobody_elses_to_read() {
    let first = Served::start(&["--seed=1"]);
    import(&first, Path::new(HUB), "");
    let exported = export(&first, "first.json");
    let second = Served::start(&["--seed=2"]);
    second.json(&words("device-identity create -d in-the-way"));
    second.json(&words("device-identity create -d gateway"));

    let imported = import(&second, &exported, "--replace");
    // Once more, over what is there.
    let again = import(&second, &exported, "-r");
    let exported_again = export(&second, "second.json");

    assert_eq!(
        imported["deleted"],
        json!({"configurations": 0, "devices": 2})
    );
    assert_eq!(again["deleted"], json!({"configurations": 4, "devices": 6}));
    assert_eq!(
        fs::read_to_string(&exported).unwrap(),
        fs::read_to_string(&exported_again).unwrap()
    );
    let text = fs::read_to_string(&exported).unwrap();
    assert!(text.is_ascii());
    assert!(text.starts_with("{\n    \"configurations\": {\n        \"admConfigurations\": {\n"));
    assert!(text.ends_with("\n    }\n}"), "{text}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&exported).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn each_device_is_imported_whole_or_not_at_all_and_the_place_is_named() {
    let served = Served::start(&[]);
    served.json(&words("device-identity create -d there"));
    let mut half = device(json!({}));
    half["modules"] = json!({
        "m1": {"identity": half["identity"].clone(), "twin": {}},
        "m2": {"identity": half["identity"].clone(), "twin": {"tags": {"a$b": 1}}},
    });
    let mut orphan = device(json!({}));
    orphan["parent"] = "nobody".into();
    let mut below = device(json!({}));
    below["parent"] = "broken".into();
    let mut reported = device(json!({}));
    reported["twin"] = json!({"properties": {"reported": {"a": 1}}, "tags": {}});
    let mut knot = device(json!({"capabilities": {"iotEdge": true}}));
    knot["parent"] = "knot".into();
    let file = file_of(
        &served,
        "mixed.json",
        &json!({
            "good": device(json!({"statusReason": "for a while"})),
            "there": device(json!({})),
            "half": half,
            "orphan": orphan,
            "broken": device(json!({"capabilities": {"iotEdge": true}, "status": "asleep"})),
            "below": below,
            "reported": reported,
            "knot": knot,
            "keyless": {"identity": {"authentication": {"type": "sas"}}},
            "nameless": {"twin": {}},
            "no/name": device(json!({})),
            "text": "text",
        }),
    );

    let output = served.run(&["import", "az-state", file.to_str().unwrap()]);

    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let failed: Vec<_> = printed["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| {
            (
                fault["place"].as_str().unwrap(),
                fault["why"].as_str().unwrap(),
            )
        })
        .collect();
    let why = |place: &str| {
        let found = failed.iter().find(|(at, _)| *at == place);
        found
            .map(|(_, why)| *why)
            .unwrap_or_else(|| panic!("{place}: {failed:#?}"))
    };
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("10 parts of the file were not imported"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(printed["imported"]["devices"], 2);
    assert!(why("/devices/there").contains("there"));
    assert!(
        why("/devices/half/modules/m2").contains("a$b"),
        "{failed:#?}"
    );
    assert!(why("/devices/orphan/parent").contains("no edge device nobody"));
    assert!(why("/devices/below/parent").contains("broken was not imported"));
    assert!(why("/devices/broken/identity").contains("asleep"));
    assert!(why("/devices/knot/parent").contains("or itself"));
    assert_eq!(
        why("/devices/keyless/identity/authentication/symmetricKey"),
        "has no keys"
    );
    assert_eq!(why("/devices/nameless/identity"), "is missing");
    why("/devices/no~1name");
    assert_eq!(why("/devices/text"), "is no object");
    assert_eq!(
        printed["leftOut"],
        json!([
            "reported properties of 1 twins: only the device itself can write them",
            "configurations: not in the file",
        ])
    );
    let ids: Vec<_> = served
        .json(&["query", "-q", "SELECT deviceId FROM devices"])
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["deviceId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids, ["good", "reported", "there"]);
    let good = served.json(&words("device-identity show -d good"));
    assert_eq!(good["statusReason"], "for a while");
}

#[test]
fn a_file_that_is_no_state_changes_nothing() {
    let served = Served::start(&[]);
    served.json(&words("device-identity create -d d1"));
    let broken = served.dir.path().join("broken.json");
    fs::write(
        &broken,
        "{\"devices\": {\"d2\": {}},\n \"configurations\": ]",
    )
    .unwrap();

    let error = served.error(&["import", "az-state", broken.to_str().unwrap(), "--replace"]);
    let missing = served.error(&words("import az-state missing.json -r"));
    let arm = served.error(&words("export az-state state.json --aspects arm"));
    let file = export(&served, "one.json");
    let filled = served.error(&["export", "az-state", file.to_str().unwrap()]);

    assert!(error.contains("line 2 column 20"), "{error}");
    assert!(missing.contains("read missing.json"), "{missing}");
    assert!(arm.contains("--aspects configurations devices"), "{arm}");
    assert!(filled.contains("--replace"), "{filled}");
    assert_eq!(read(&file)["devices"].as_object().unwrap().len(), 1);
}

#[test]
fn more_devices_than_one_call_takes_and_one_aspect_of_two() {
    let served = Served::start(&[]);
    let devices: serde_json::Map<_, _> = (0..250)
        .map(|number| {
            let mut device = device(json!({}));
            device["twin"]["tags"] = json!({"number": number});
            if number % 50 == 0 {
                device["modules"] = json!({"m": {"identity": device["identity"].clone()}});
            }
            (format!("d{number:03}"), device)
        })
        .collect();
    let file = file_of(&served, "many.json", &Value::Object(devices));

    let imported = import(&served, &file, "--aspects devices");
    let exported = served.dir.path().join("devices.json");
    let counts = served.json(&[
        "export",
        "az-state",
        exported.to_str().unwrap(),
        "--aspects",
        "devices",
    ]);

    assert_eq!(
        imported["imported"],
        json!({"configurations": 0, "devices": 250, "modules": 5})
    );
    assert_eq!(imported["leftOut"], json!([]));
    assert_eq!(counts["exported"], json!({"devices": 250, "modules": 5}));
    let state = read(&exported);
    assert_eq!(state.as_object().unwrap().len(), 1);
    assert_eq!(
        state["devices"]["d249"]["twin"]["tags"],
        json!({"number": 249})
    );
}
