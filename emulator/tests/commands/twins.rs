//! `device-twin` and `module-twin`.

use serde_json::json;

use crate::served::Served;
use crate::{words, words_and};

#[test]
fn single_members_of_a_twin_are_set_and_removed() {
    let served = Served::start(&[]);
    served.json(&words("device-identity create -d d1"));

    let set = served.json(&words_and(
        "device-twin update -d d1 --tags",
        &[
            r#"{"floor":1}"#,
            "--set",
            "tags.site=A",
            "properties.desired.rate=5",
        ],
    ));
    let removed = served.json(&words("device-twin update -d d1 --remove tags.site"));
    let error = served.error(&words(
        "device-twin update -d d1 --set properties.reported.a=1",
    ));
    let nothing = served.error(&words("device-twin update -d d1"));

    assert_eq!(set["tags"], json!({"floor": 1, "site": "A"}));
    assert_eq!(set["properties"]["desired"]["rate"], 5);
    assert_eq!(removed["tags"], json!({"floor": 1}));
    assert!(
        error.contains("only tags and properties.desired"),
        "{error}"
    );
    assert!(nothing.contains("nothing to update"), "{nothing}");
}

#[test]
fn twin_is_replaced_from_a_file_under_its_etag() {
    let served = Served::start(&[]);
    served.json(&words("device-identity create -d d1"));
    let twin = served.json(&words("device-twin update -d d1 --set tags.a=1"));
    let file = served.dir.path().join("twin.json");
    std::fs::write(
        &file,
        r#"{"tags":{"b":2},"properties":{"desired":{"c":3}}}"#,
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let etag = twin["etag"].as_str().unwrap();

    let replaced = served.json(&words_and(
        "device-twin replace -d d1 --json",
        &[file, "-e", etag],
    ));
    let stale = served.error(&words_and(
        "device-twin replace -d d1 --json",
        &[file, "-e", etag],
    ));

    assert_eq!(replaced["tags"], json!({"b": 2}));
    assert_eq!(replaced["properties"]["desired"]["c"], 3);
    assert!(stale.contains("PreconditionFailed (412001)"), "{stale}");
}

#[test]
fn modules_have_twins_and_methods_too() {
    let served = Served::start(&[]);
    served.json(&words("device-identity create -d d1 --status disabled"));
    served.json(&words("module-identity create -d d1 -m m1"));

    let updated = served.json(&words("module-twin update -d d1 -m m1 --set tags.a=1"));
    let replaced = served.json(&words_and(
        "module-twin replace -d d1 -m m1 -j",
        &[r#"{"tags":{"b":2}}"#],
    ));
    let shown = served.json(&words("module-twin show -d d1 -m m1"));
    // A disabled device is refused at once, whatever the timeout.
    let error = served.error(&words("invoke-module-method -d d1 -m m1 --mn reboot"));

    assert_eq!(
        (&updated["moduleId"], &updated["tags"]),
        (&json!("m1"), &json!({"a": 1}))
    );
    assert_eq!(replaced["tags"], json!({"b": 2}));
    assert_eq!(shown, replaced);
    assert!(error.contains("NotFound (4040"), "{error}");
}

#[test]
fn twins_are_listed() {
    let served = Served::start(&[]);
    served.json(&words("device-identity create -d d1"));
    served.json(&words("device-identity create -d e1 --ee"));

    let all = served.json(&words("device-twin list"));
    let some = served.json(&words("device-twin list --top 1"));
    let edges = served.json(&words("device-twin list --ee"));

    assert_eq!(all.as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&some[0]["deviceId"], some.as_array().map(Vec::len)),
        (&json!("d1"), Some(1))
    );
    assert_eq!(
        (&edges[0]["deviceId"], edges.as_array().map(Vec::len)),
        (&json!("e1"), Some(1))
    );
}
