//! `device` and `monitor-feedback`.

use serde_json::{Value, json};

use crate::served::{Served, text};
use crate::{words, words_and};

#[test]
fn message_is_sent_received_and_completed_and_feedback_tells() {
    let served = Served::start(&[]);
    served.json(&words("device-identity create -d d1"));

    let send = "device c2d-message send -d d1 --ack full --mid m1 --cid c1 --props level=high;a=1";
    let sent = served.run(&words_and(send, &["--data", "hello there"]));
    let received = served.json(&words("device c2d-message receive -d d1"));
    let etag = received["etag"].as_str().unwrap();
    let busy = served.run(&words("device c2d-message receive -d d1"));
    served.json(&[
        "device",
        "c2d-message",
        "complete",
        "-d",
        "d1",
        "--etag",
        etag,
    ]);
    let lost = served.error(&["device", "c2d-message", "complete", "-d", "d1", "-e", etag]);
    served.advance(20);
    let feedback = served.json(&words("monitor-feedback -d d1 --wait-on-msg m1"));

    assert!(sent.status.success(), "{}", text(&sent.stderr));
    assert_eq!(text(&sent.stdout), "");
    assert_eq!(text(&sent.stderr), "sent message m1 to d1\n");
    assert_eq!(received["data"], "hello there");
    assert_eq!(
        received["properties"]["app"],
        json!({"level": "high", "a": "1"})
    );
    let system = &received["properties"]["sys"];
    assert_eq!(
        (&system["messageid"], &system["correlationid"]),
        (&json!("m1"), &json!("c1"))
    );
    assert_eq!(
        (text(&busy.stdout), busy.status.code()),
        (String::new(), Some(0))
    );
    assert!(lost.contains("DeviceMessageLockLost (412002)"), "{lost}");
    let feedback = &feedback["feedback"];
    assert_eq!(feedback["originalMessageId"], "m1");
    assert_eq!(
        (&feedback["statusCode"], &feedback["deviceId"]),
        (&json!("Success"), &json!("d1"))
    );
}

#[test]
fn messages_are_abandoned_rejected_and_purged() {
    let served = Served::start(&[]);
    served.json(&words("device-identity create -d d1"));
    for data in ["one", "two", "three"] {
        served.run(&["device", "c2d-message", "send", "-d", "d1", "--data", data]);
    }

    let abandoned = served.json(&words("device c2d-message receive -d d1 --abandon"));
    let again = served.json(&words("device c2d-message receive -d d1"));
    let etag = again["etag"].as_str().unwrap();
    served.json(&["device", "c2d-message", "abandon", "-d", "d1", "-e", etag]);
    let third = served.json(&words("device c2d-message receive -d d1"));
    let etag = third["etag"].as_str().unwrap();
    served.json(&["device", "c2d-message", "reject", "-d", "d1", "-e", etag]);
    let purged = served.json(&words("device c2d-message purge -d d1"));

    for message in [&abandoned, &again, &third] {
        assert_eq!(message["data"], "one");
    }
    assert_eq!(abandoned["ack"], "abandon");
    let expected = json!({"deviceId": "d1", "moduleId": null, "totalMessagesPurged": 2});
    assert_eq!(purged, expected);
    let error = served.error(&words("device c2d-message send -d nobody"));
    assert!(error.contains("DeviceNotFound (404001)"), "{error}");
    let error = served.error(&words("device c2d-message send -d d1 --wait"));
    assert!(error.contains("--wait needs --ack"), "{error}");
}

#[test]
fn telemetry_is_sent_once_and_again_and_again() {
    let served = Served::start(&[]);
    served.json(&words("device-identity create -d d1"));
    served.run(&words("device c2d-message send -d d1 --data settle-me"));

    served.json(&words_and(
        "device send-d2c-message -d d1 -p $.ct=application/json;$.ce=utf-8;alert=true --data",
        &[r#"{"a":1}"#],
    ));
    let simulated = served.json(&words("device simulate -d d1 --mc 2 --mi 0 --da tick"));
    let monitored = served.run(&words("monitor-events --from earliest --mc 3 -p all -d d1"));

    assert_eq!(simulated["data"], "settle-me");
    let stream = serde_json::Deserializer::from_slice(&monitored.stdout).into_iter::<Value>();
    let events: Vec<Value> = stream.map(Result::unwrap).collect();
    assert_eq!(events[0]["event"]["payload"], json!({"a": 1}));
    let properties = &events[0]["event"]["properties"];
    assert_eq!(properties["application"], json!({"alert": "true"}));
    assert_eq!(properties["system"]["content_type"], "application/json");
    assert_eq!(
        events[0]["event"]["annotations"]["iothub-connection-device-id"],
        "d1"
    );
    assert_eq!(events[2]["event"]["payload"]["data"], "tick #2");
    let error = served.error(&words("device send-d2c-message -d d1 -p $.sub=x"));
    assert!(error.contains("$.sub cannot be sent over HTTP"), "{error}");
}

#[test]
fn events_are_monitored_by_device_partition_group_and_time() {
    let served = Served::start(&[]);
    served.json(&words("device-identity create -d d1"));
    served.json(&words("device-identity create -d other"));
    served.run(&words("device send-d2c-message -d other --data theirs"));
    served.run(&words("device send-d2c-message -d d1 --data mine"));

    let monitored = |options: &str| {
        let line = format!("monitor-events --mc 1 --cg $Default --timeout 20 {options}");
        let output = served.run(&words(&line));
        assert!(output.status.success(), "{}", text(&output.stderr));
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (printed["event"].clone(), text(&output.stderr))
    };
    let (event, announced) = monitored("--from earliest -d d?");
    let expected = json!({"origin": "d1", "module": "", "interface": "", "component": "",
        "payload": "mine"});
    assert_eq!(event, expected);
    assert_eq!(
        announced,
        "Starting event monitor, filtering on device: d?, use ctrl-c to stop...\n"
    );
    let (event, _) = monitored("--enqueued-time 0 --partitions 0,1,2,3 -d d1");
    assert_eq!(event["payload"], "mine");
    let query = "monitor-events --from earliest --mc 1 -o table -q";
    let asked = "SELECT * FROM devices WHERE deviceId = 'other'";
    let found = served.run(&words_and(query, &[asked]));
    assert!(text(&found.stdout).ends_with("  other  theirs\n"));
    let error = served.error(&words("monitor-events --cg missing --from earliest"));
    assert!(error.contains("missing"), "{error}");
}

#[test]
fn monitor_of_events_ends_when_none_comes() {
    let served = Served::start(&[]);

    let output = served.run(&words("monitor-events --timeout 1"));

    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn file_is_uploaded_by_way_of_the_hubs_storage() {
    let served = Served::start(&[]);
    served.json(&words("device-identity create -d d1"));
    let file = served.dir.path().join("note.txt");
    std::fs::write(&file, "a file of d1").unwrap();
    let large = served.dir.path().join("large.bin");
    std::fs::write(&large, vec![7; 9 * 1024 * 1024]).unwrap();

    let small = served.run(&words_and(
        "device upload-file -d d1 --ct text/plain --fp",
        &[file.to_str().unwrap()],
    ));
    let large = served.run(&words_and(
        "device upload-file -d d1 --ct application/octet-stream --fp",
        &[large.to_str().unwrap()],
    ));

    assert_eq!(text(&small.stderr), "uploaded d1/note.txt\n");
    assert_eq!(text(&large.stderr), "uploaded d1/large.bin\n");
    let error = served.error(&words(
        "device upload-file -d d1 --ct text/plain --fp nothing",
    ));
    assert!(error.contains("read nothing"), "{error}");
}
