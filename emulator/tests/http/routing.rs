//! Message routes over the control API, and the endpoints of theirs that are files.

use std::path::Path;

use iothub_protocol::Message;
use iothub_protocol::property_bag::PropertyBag;
use serde_json::{Value, json};

use super::hub::{FakeDevice, TestHub};

/// Hot messages to a file of lines, cold ones to blobs, everything about twins to the file.
fn routes() -> Value {
    json!({
        "endpoints": {
            "eventHubs": [{"name": "hot"}],
            "storageContainers": [{"name": "cold", "containerName": "archive"}],
        },
        "routes": [
            {"name": "to-hot", "condition": "level = 'hot'", "endpointNames": ["hot"]},
            {"name": "to-cold", "condition": "level = 'cold'", "endpointNames": ["cold"]},
            {"name": "twins", "source": "TwinChangeEvents", "endpointNames": ["hot"]},
        ],
    })
}

async fn routed(folder: &Path) -> (TestHub, FakeDevice) {
    let hub = TestHub::new();
    hub.handle.set_routes_folder(folder.to_owned(), true);
    let reply = hub.control("PUT routing", &routes().to_string()).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    hub.create("d1").await;
    let device = hub.attach("d1").await;
    (hub, device)
}

async fn send(hub: &TestHub, device: &FakeDevice, bag: &str, body: &str) {
    let message = Message {
        properties: PropertyBag::from_encoded(bag.to_owned()).unwrap(),
        body: body.to_owned().into(),
    };
    hub.ingest(device, message).await;
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn routes_are_set_shown_and_cleared() {
    let hub = TestHub::new();
    let route = json!({"name": "a", "source": "twinchangeevents", "endpointNames": ["events"]});

    let unset = hub.control("GET routing", "").await.json();
    let set = hub
        .control("PUT routing", &json!({"routes": [route]}).to_string())
        .await;
    let shown = hub.control("GET routing", "").await.json();
    let cleared = hub.control("DELETE routing", "").await;

    assert_eq!(unset["routes"], json!([]));
    assert_eq!(unset["fallbackRoute"]["endpointNames"], json!(["events"]));
    assert_eq!((set.status, set.json()), (200, shown.clone()));
    assert_eq!(
        shown["routes"],
        json!([{"name": "a", "source": "TwinChangeEvents", "condition": "true",
                "endpointNames": ["events"], "isEnabled": true}])
    );
    assert_eq!(cleared.status, 204);
    assert_eq!(hub.control("GET routing", "").await.json(), unset);
}

#[tokio::test]
async fn what_cannot_be_set_is_refused_and_changes_nothing() {
    let hub = TestHub::new();
    let before = hub.control("GET routing", "").await.json();
    let source = json!({"routes": [{"name": "a", "source": "X", "endpointNames": ["events"]}]});
    for (body, status, code) in [
        ("{".to_owned(), 400, "IotHubFormatError"),
        ("[]".to_owned(), 400, "ArgumentInvalid"),
        (source.to_string(), 400, "InvalidSourceOnRoute"),
        // There is no folder in which its files could be.
        (routes().to_string(), 400, "ArgumentInvalid"),
    ] {
        let reply = hub.control("PUT routing", &body).await;

        let found = (reply.status, reply.header("iothub-errorcode"));
        assert_eq!(found, (status, Some(code)), "{body}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(hub.control("PUT routing", &deep).await.status, 400);
    assert_eq!(hub.control("GET routing", "").await.json(), before);
}

#[tokio::test]
async fn a_message_is_in_its_file_once_it_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, device) = routed(folder.path()).await;

    send(&hub, &device, "%24.mid=1&level=hot", "one").await;
    send(&hub, &device, "%24.mid=2", "two").await;
    let patch = hub
        .owner("PATCH /twins/d1", r#"{"tags":{"a":1}}"#)
        .await
        .status;

    assert_eq!(patch, 200);
    let hot = lines(&folder.path().join("hot.jsonl"));
    assert_eq!(hot.len(), 2, "{hot:?}");
    assert_eq!(hot[0]["properties"]["message-id"], "1");
    assert_eq!(hot[0]["applicationProperties"], json!({"level": "hot"}));
    assert_eq!(
        (&hot[0]["body"], &hot[0]["bodyEncoding"]),
        (&json!("one"), &json!("utf-8"))
    );
    assert_eq!(hot[0]["annotations"]["iothub-message-source"], "Telemetry");
    let twin = &hot[1];
    assert_eq!(
        twin["annotations"],
        json!({
            "iothub-connection-device-id": "d1",
            "iothub-enqueuedtime": "2024-03-14T09:54:49.6536567Z",
            "iothub-message-source": "twinChangeEvents",
        })
    );
    assert_eq!(twin["applicationProperties"]["opType"], "updateTwin");
    let built_in = hub.control("GET events", "").await.body;
    assert_eq!(built_in.lines().count(), 1, "{built_in}");
}

#[tokio::test]
async fn blobs_are_named_by_hub_partition_and_minute() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, device) = routed(folder.path()).await;
    let json_bag = "level=cold&%24.ct=application%2Fjson&%24.ce=utf-8";

    send(&hub, &device, json_bag, r#"{"t":1}"#).await;
    send(&hub, &device, "level=cold", "raw").await;
    hub.control("POST clock/advance", r#"{"seconds":60}"#).await;
    send(&hub, &device, "level=cold", "later").await;

    let partition = hub
        .handle
        .inspect(|hub| hub.partition_of(&iothub_protocol::DeviceId::parse("d1").unwrap()));
    let blob = |minute: &str| {
        let name = format!("archive/hub/{partition}/2024/03/14/09/{minute}");
        lines(&folder.path().join(name))
    };
    let first = blob("54");
    assert_eq!(first.len(), 2);
    assert_eq!(first[0]["Body"], json!({"t": 1}));
    assert_eq!(first[0]["SystemProperties"]["connectionDeviceId"], "d1");
    assert_eq!(first[1]["Body"], "cmF3");
    assert_eq!(blob("55").len(), 1);
}

#[tokio::test]
async fn the_log_tells_where_each_message_went() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, device) = routed(folder.path()).await;

    send(&hub, &device, "%24.mid=1&level=hot", "one").await;
    send(&hub, &device, "%24.mid=2", "two").await;

    let log = hub.control("GET routing/log", "").await.json();
    assert_eq!(log["folder"], folder.path().display().to_string());
    assert_eq!(
        log["routes"],
        json!([{"name": "to-hot", "matched": 1}, {"name": "to-cold", "matched": 0},
               {"name": "twins", "matched": 0}])
    );
    assert_eq!((&log["fallback"], &log["dropped"]), (&json!(1), &json!(0)));
    assert_eq!(
        log["messages"],
        json!([
            {"enqueuedTime": "2024-03-14T09:54:49.6536567Z", "source": "DeviceMessages",
             "client": "d1", "messageId": "1", "size": 3, "routes": ["to-hot"],
             "fallback": false, "endpoints": ["hot"]},
            {"enqueuedTime": "2024-03-14T09:54:49.6536567Z", "source": "DeviceMessages",
             "client": "d1", "messageId": "2", "size": 3, "routes": [],
             "fallback": true, "endpoints": ["events"]},
        ])
    );
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_written_holds_nobody_up_and_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let in_the_way = folder.path().join("a-file");
    std::fs::write(&in_the_way, "x").unwrap();
    let (hub, device) = routed(&in_the_way).await;

    send(&hub, &device, "level=hot", "one").await;

    let log = hub.control("GET routing/log", "").await.json();
    let hot = &log["endpoints"][1];
    assert_eq!((&hot["name"], &hot["failed"]), (&json!("hot"), &json!(1)));
    let why = hot["lastFailure"].as_str().unwrap();
    assert!(why.contains("hot.jsonl"), "{why}");
}

#[tokio::test]
async fn many_senders_at_once_are_written_whole_while_the_writer_comes_and_goes() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, _) = routed(folder.path()).await;
    let mut devices = Vec::new();
    for n in 0..8 {
        let id = format!("many-{n}");
        hub.create(&id).await;
        devices.push(hub.attach(&id).await);
    }
    let handle = hub.handle.clone();
    let writer = tokio::spawn(async move { handle.run_routes().await });

    let senders = devices.iter().map(|device| async {
        for n in 0..20 {
            send(&hub, device, &format!("level=hot&n={n}"), "x").await;
        }
    });
    let half = async {
        tokio::task::yield_now().await;
        writer.abort();
    };
    tokio::join!(futures_util::future::join_all(senders), half);

    let written = lines(&folder.path().join("hot.jsonl"));
    assert_eq!(written.len(), 160);
    for device in &devices {
        let numbers: Vec<_> = written
            .iter()
            .filter(|line| {
                line["annotations"]["iothub-connection-device-id"] == device.client.device.as_str()
            })
            .map(|line| {
                line["applicationProperties"]["n"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        let wanted: Vec<_> = (0..20).map(|n| n.to_string()).collect();
        assert_eq!(numbers, wanted, "order within a device is kept");
    }
}

#[tokio::test]
async fn a_route_is_tried_without_a_message_being_sent() {
    let hub = TestHub::new();
    let route = json!({"name": "a", "condition": "level = 'hot'", "endpointNames": ["events"]});
    hub.control("PUT routing", &json!({"routes": [route]}).to_string())
        .await;

    let message = json!({"message": {"body": "x", "appProperties": {"level": "hot"}}});
    let tried = hub
        .control("POST routing/test", &message.to_string())
        .await
        .json();
    let refused = hub
        .control("POST routing/test", r#"{"routeName":"nope"}"#)
        .await;

    assert_eq!(tried["routes"][0]["result"], "true");
    assert_eq!(tried["endpoints"], json!(["events"]));
    assert_eq!(
        (refused.status, refused.header("iothub-errorcode")),
        (400, Some("InvalidRouteTestInput"))
    );
    let log = hub.control("GET routing/log", "").await.json();
    assert_eq!(log["messages"], json!([]));
}
