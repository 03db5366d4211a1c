//! `device-identity` and `module-identity`.

use serde_json::{Value, json};

use crate::served::{Served, text};
use crate::{words, words_and};

fn keys(identity: &Value) -> (&str, &str) {
    let keys = &identity["authentication"]["symmetricKey"];
    (
        keys["primaryKey"].as_str().unwrap(),
        keys["secondaryKey"].as_str().unwrap(),
    )
}

#[test]
fn modules_have_a_life_of_their_own() {
    let served = Served::start(&[]);
    served.json(&words("device-identity create -d d1"));

    let created = served.json(&words("module-identity create -d d1 -m m1 --managed-by me"));
    let string = served.json(&words(
        "module-identity connection-string show -d d1 -m m1 --kt secondary",
    ));
    let updated = served.json(&words(
        "module-identity update -d d1 -m m1 --set managedBy=you",
    ));
    let listed = served.json(&words("module-identity list -d d1"));
    served.json(&words("module-identity delete -d d1 -m m1"));
    let error = served.error(&words("module-identity show -d d1 -m m1"));

    assert_eq!(
        (&created["moduleId"], &created["managedBy"]),
        (&json!("m1"), &json!("me"))
    );
    let wanted = format!(
        "HostName=localhost;DeviceId=d1;ModuleId=m1;SharedAccessKey={}",
        keys(&created).1
    );
    assert_eq!(string, json!({"connectionString": wanted}));
    assert_eq!(updated["managedBy"], "you");
    assert_eq!(keys(&updated), keys(&created));
    assert_eq!(listed, json!([updated]));
    assert!(error.contains("ModuleNotFound (404010)"), "{error}");
}

#[test]
fn keys_are_renewed_one_by_one_and_exchanged() {
    let served = Served::start(&[]);
    let first = served.json(&words("device-identity create -d d1"));
    served.json(&words("device-identity create -d d2"));
    served.json(&words("device-identity create -d x --am x509_ca"));
    served.json(&words("module-identity create -d d1 -m m1"));

    let primary = served.json(&words("device-identity renew-key -d d1 --kt primary"));
    let swapped = served.json(&words("device-identity renew-key -d d1 --kt swap"));
    let both = served.json(&words("device-identity renew-key -d d1 d2 --kt both"));
    let module = served.json(&words(
        "module-identity renew-key -d d1 -m m1 --kt secondary",
    ));
    let error = served.error(&words("device-identity renew-key -d x --kt primary"));

    assert_eq!(keys(&primary).1, keys(&first).1);
    assert_ne!(keys(&primary).0, keys(&first).0);
    assert_eq!(keys(&swapped), (keys(&primary).1, keys(&primary).0));
    assert_eq!(both.as_array().map(Vec::len), Some(2));
    assert_ne!(keys(&both[0]).0, keys(&swapped).0);
    assert_eq!(module["moduleId"], "m1");
    assert!(error.contains("x has no new key"), "{error}");
}

#[test]
fn devices_are_put_behind_edge_devices_and_taken_away() {
    let served = Served::start(&[]);
    served.json(&words("device-identity create -d e1 --edge-enabled"));
    served.json(&words("device-identity create -d e2 --ee true --pd e1"));
    for leaf in ["l1", "l2", "l3"] {
        served.json(&["device-identity", "create", "-d", leaf]);
    }

    let added = served.json(&words("device-identity children add -d e1 --cl l1 l2"));
    let children = served.json(&words("device-identity children list -d e1"));
    let parent = served.json(&words("device-identity parent show -d l1"));
    let refused = served.error(&words("device-identity parent set -d l1 --pd e2"));
    let moved = served.json(&words("device-identity parent set -d l1 --pd e2 --force"));
    let stranger = served.error(&words("device-identity children remove -d e1 --cl l1"));
    served.json(&words("device-identity children remove -d e1 --remove-all"));
    let orphan = served.error(&words("device-identity parent show -d l2"));
    let no_edge = served.error(&words("device-identity children add -d l3 --cl l2"));

    assert_eq!(added.as_array().map(Vec::len), Some(2));
    assert_eq!(children, json!(["e2", "l1", "l2"]));
    assert_eq!(parent["deviceId"], "e1");
    assert!(refused.contains("--force"), "{refused}");
    let inner = served.json(&words("device-identity show -d e2"));
    assert_eq!(moved["parentScopes"], json!([inner["deviceScope"]]));
    assert!(stranger.contains("l1 is no child of e1"), "{stranger}");
    assert!(orphan.contains("l2 has no parent"), "{orphan}");
    assert!(no_edge.contains("l3 is no edge device"), "{no_edge}");
    assert_eq!(
        served.json(&words("device-identity children list -d e1")),
        json!([])
    );
    let edges = served.json(&words("device-identity list --ee"));
    assert_eq!(
        (&edges[0]["deviceId"], &edges[1]["deviceId"]),
        (&json!("e1"), &json!("e2"))
    );
    assert_eq!(edges.as_array().map(Vec::len), Some(2));
}

#[test]
fn single_members_of_an_identity_are_set() {
    let served = Served::start(&[]);
    served.json(&words(
        "device-identity create -d d1 --sta disabled --star closed",
    ));

    let updated = served.json(&words_and(
        "device-identity update -d d1 --set capabilities.iotEdge=true status=enabled",
        &["statusReason=open again"],
    ));
    let stale = served.error(&words(
        "device-identity update -d d1 --sta enabled --etag AAAA",
    ));

    assert_eq!(updated["capabilities"], json!({"iotEdge": true}));
    assert_eq!(
        (&updated["status"], &updated["statusReason"]),
        (&json!("enabled"), &json!("open again"))
    );
    assert!(stale.contains("PreconditionFailed (412001)"), "{stale}");
}

#[test]
fn a_certificate_is_made_for_a_device_that_has_none() {
    let served = Served::start(&[]);
    let dir = served.dir.path().join("made");
    let dir = dir.to_str().unwrap();

    let output = served.run(&words_and(
        "device-identity create -d x1 --am x509_thumbprint --valid-days 10 --output-dir",
        &[dir],
    ));

    assert!(output.status.success(), "{}", text(&output.stderr));
    let created: Value = serde_json::from_slice(&output.stdout).unwrap();
    let authentication = &created["authentication"];
    assert_eq!(authentication["type"], "selfSigned");
    let thumbprint = authentication["x509Thumbprint"]["primaryThumbprint"]
        .as_str()
        .unwrap();
    assert_eq!(thumbprint.len(), 40);
    let pem = std::fs::read_to_string(format!("{dir}/x1-cert.pem")).unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
    let key = std::fs::read_to_string(format!("{dir}/x1-key.pem")).unwrap();
    assert!(key.contains("PRIVATE KEY"));
    let string = served.json(&words("device-identity connection-string show -d x1"));
    assert_eq!(
        string["connectionString"],
        "HostName=localhost;DeviceId=x1;x509=true"
    );
}

#[test]
fn the_registry_is_exported_and_imported_by_way_of_a_folder() {
    let served = Served::start(&[]);
    let folder = served.dir.path().join("blobs");
    std::fs::create_dir(&folder).unwrap();
    let uri = format!("file://{}", folder.display());
    let first = served.json(&words("device-identity create -d d1"));

    let export = served.json(&words_and("device-identity export --ik --bcu", &[&uri]));
    let id = export["jobId"].as_str().unwrap();
    served.until(&["job", "show", "--job-id", id], |job| {
        job["status"] == "completed"
    });
    served.json(&words("device-identity delete -d d1"));
    let import = served.json(&words_and("device-identity import --ibcu", &[&uri]));
    let id = import["jobId"].as_str().unwrap();
    served.until(&["job", "show", "--job-id", id], |job| {
        job["status"] == "completed"
    });

    assert_eq!(
        (&export["type"], &import["type"]),
        (&json!("export"), &json!("import"))
    );
    let again = served.json(&words("device-identity show -d d1"));
    assert_eq!(keys(&again), keys(&first));
    let exports = served.json(&words("job list --jt exportDevices"));
    assert_eq!(exports.as_array().map(Vec::len), Some(1));
}
