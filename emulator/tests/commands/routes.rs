//! `message-route`.

use serde_json::json;

use crate::served::Served;
use crate::{words, words_and};

#[test]
fn routes_are_made_listed_tried_and_deleted() {
    let served = Served::start(&[]);
    let hot = "message-route create --rn hot --en events -t DeviceMessages -c";

    served.json(&words_and(hot, &["level = 'hot'"]));
    served.json(&words(
        "message-route create --rn twins --en events -t twinchangeevents",
    ));
    let listed = served.json(&words("message-route list -t devicemessages"));
    let shown = served.json(&words("message-route show --rn hot"));
    let matching = served.json(&words("message-route test --rn hot --ap level=hot"));
    let other = served.json(&words_and(
        "message-route test -t DeviceMessages -b",
        &[
            "{}",
            "--ap",
            r#"{"level":"cold"}"#,
            "--sp",
            "contentType=application/json",
        ],
    ));
    let bad = served.error(&words_and(hot, &["level ="]));
    served.json(&words("message-route delete -t twinchangeevents"));
    served.json(&words("message-route delete --rn hot"));
    let gone = served.error(&words("message-route delete --rn hot"));

    assert_eq!(listed, json!([shown]));
    assert_eq!(
        (&shown["name"], &shown["condition"]),
        (&json!("hot"), &json!("level = 'hot'"))
    );
    assert_eq!(matching["routes"][0]["result"], "true");
    assert_eq!(other["routes"][0]["result"], "false");
    assert!(bad.contains("the hub refused"), "{bad}");
    assert!(gone.contains("there is no route hot"), "{gone}");
    assert_eq!(served.json(&words("message-route list")), json!([]));
}
