//! `digital-twin`.

use serde_json::json;

use crate::served::Served;
use crate::{words, words_and};

#[test]
fn digital_twin_is_shown_and_updated_and_its_device_called() {
    let served = Served::start(&[]);
    served.json(&words("device-identity create -d d1"));

    let shown = served.json(&words("digital-twin show -d d1"));
    let patch = json!([{"op": "add", "path": "/temperature", "value": 21}]).to_string();
    let updated = served.json(&words_and(
        "digital-twin update -d d1 --json-patch",
        &[&patch],
    ));
    let offline = served.error(&words("digital-twin invoke-command -d d1 --cn reboot"));
    let component = served.error(&words(
        "digital-twin invoke-command -d d1 --cn get --component-path t1 --rto 5 --payload 7",
    ));
    let missing = served.error(&words("digital-twin show -d nobody"));

    assert_eq!(shown["$dtId"], "d1");
    assert_eq!(updated["$metadata"]["temperature"]["desiredValue"], 21);
    assert!(offline.contains("DeviceNotOnline (404103)"), "{offline}");
    assert!(
        component.contains("DeviceNotOnline (404103)"),
        "{component}"
    );
    assert!(missing.contains("DeviceNotFound (404001)"), "{missing}");
}
