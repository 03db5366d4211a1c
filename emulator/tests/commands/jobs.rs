//! `job`.

use serde_json::json;

use crate::served::Served;
use crate::{words, words_and};

#[test]
fn twins_are_updated_by_a_job_that_is_waited_for() {
    let served = Served::start(&[]);
    served.json(&words("device-identity create -d d1"));
    served.json(&words("device-identity create -d d2"));

    let job = served.json(&words_and(
        "job create --job-id j1 --jt scheduleUpdateTwin --wait --interval 1 -q",
        &[
            "deviceId IN ['d1']",
            "--twin-patch",
            r#"{"tags":{"site":"A"}}"#,
        ],
    ));
    let shown = served.json(&words("job show --job-id j1"));
    let listed = served.json(&words("job list --job-status completed"));
    let twice = served.error(&words_and(
        "job create --job-id j1 --jt scheduleUpdateTwin -q * --patch",
        &["{}"],
    ));
    let missing = served.error(&words("job show --job-id j2"));

    assert_eq!(job["status"], "completed");
    assert_eq!(job["deviceJobStatistics"]["succeededCount"], 1);
    assert_eq!(job, shown);
    assert_eq!(listed, json!([job]));
    assert!(twice.contains("JobAlreadyExists"), "{twice}");
    assert!(missing.contains("JobNotFound"), "{missing}");
    assert_eq!(
        served.json(&words("device-twin show -d d1"))["tags"],
        json!({"site": "A"})
    );
}

#[test]
fn job_of_the_future_is_cancelled() {
    let served = Served::start(&[]);

    let queued = served.json(&words_and(
        "job create --job-id j1 --jt scheduleDeviceMethod --mn reboot --start",
        &["2999-01-01T00:00:00Z", "-q", "*"],
    ));
    let cancelled = served.json(&words("job cancel --job-id j1"));
    let error = served.error(&words(
        "job create --job-id j2 --jt scheduleUpdateTwin -q *",
    ));

    assert_eq!(queued["type"], "scheduleDeviceMethod");
    assert_eq!(cancelled["status"], "cancelled");
    assert!(error.contains("--twin-patch"), "{error}");
}
