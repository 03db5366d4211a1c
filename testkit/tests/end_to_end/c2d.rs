//! Cloud-to-device messages (`spec/device.md` 5, `spec/service.md` 8).

use std::path::{Path, PathBuf};
use std::time::Duration;

use iothub_device::{DeviceClient, Messages};
use iothub_emulator::config::{Durability, Storage};
use iothub_protocol::Message;
use iothub_protocol::connection_string::{ConnectionString, Credential, Identity};
use iothub_protocol::property_bag::SystemProperty;
use iothub_protocol::sas::sign;
use iothub_testkit::TestHub;
use serde_json::{Value, json};

use crate::support::{http_raw, secs};

const FEEDBACK: &str = "/messages/serviceBound/feedback";

/// A back end's request: status and body.
async fn rest(hub: &TestHub, head: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let owner = ConnectionString::parse(&hub.policy_connection_string("iothubowner")).unwrap();
    let (Credential::Key(key), Identity::Policy(name)) = (&owner.credential, &owner.identity)
    else {
        panic!("not a policy's connection string")
    };
    let expiry = hub.clock().now() + secs(3600);
    let token = sign(&owner.host_name, expiry, Some(name), key);
    let mut request = format!(
        "{head}?api-version=2021-04-12 HTTP/1.0\r\nHost: {}\r\nAuthorization: {token}\r\n\
         Content-Length: {}\r\n",
        owner.host_name,
        body.len()
    );
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    let answer = http_raw(hub, format!("{request}\r\n{body}").as_bytes()).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

async fn send(hub: &TestHub, device: &str, id: &str, body: &str) {
    let head = format!("POST /devices/{device}/messages/devicebound");
    let headers = [
        ("iothub-messageid", id),
        ("iothub-ack", "full"),
        ("iothub-contenttype", "text/plain"),
        ("iothub-app-k", "v & w"),
    ];
    let (status, answer) = rest(hub, &head, &headers, body).await;
    assert_eq!((status, answer.as_str()), (204, ""));
}

async fn next(messages: &mut Messages) -> Message {
    tokio::time::timeout(iothub_testkit::WAIT_LIMIT, messages.next())
        .await
        .expect("a message comes")
        .expect("the client is open")
}

async fn waiting(hub: &TestHub, device: &str) -> u64 {
    let (_, device) = rest(hub, &format!("GET /devices/{device}"), &[], "").await;
    let device: Value = serde_json::from_str(&device).unwrap();
    device["cloudToDeviceMessageCount"].as_u64().unwrap()
}

/// What has become of the messages, as (id, status), once there is something to tell.
async fn feedback(hub: &TestHub) -> Vec<(String, String)> {
    let (status, body) = rest(hub, &format!("GET {FEEDBACK}"), &[], "").await;
    if status == 204 {
        return Vec::new();
    }
    let records: Vec<Value> = serde_json::from_str(&body).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    records
        .iter()
        .map(|it| (text(&it["originalMessageId"]), text(&it["statusCode"])))
        .collect()
}

async fn settled(hub: &TestHub, device: &str) {
    let settled = async {
        while waiting(hub, device).await > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(iothub_testkit::WAIT_LIMIT, settled)
        .await
        .expect("every message is settled");
}

async fn listening(hub: &TestHub, device: &str) -> (DeviceClient, Messages) {
    let client = hub.device(device).await;
    let messages = client.messages().await.unwrap();
    (client, messages)
}

#[tokio::test]
async fn a_message_reaches_the_device_and_its_end_the_back_end() {
    let hub = TestHub::builder().virtual_clock().start().await;
    let (_device, mut messages) = listening(&hub, "d1").await;

    send(&hub, "d1", "m1", "hello").await;

    let message = next(&mut messages).await;
    assert_eq!(message.body, "hello");
    assert_eq!(message.properties.get("k").unwrap(), "v & w");
    let system = |property| message.properties.system(property).unwrap().into_owned();
    assert_eq!(system(SystemProperty::MessageId), "m1");
    assert_eq!(system(SystemProperty::ContentType), "text/plain");
    assert_eq!(
        system(SystemProperty::To),
        "/devices/d1/messages/deviceBound"
    );
    settled(&hub, "d1").await;
    assert_eq!(feedback(&hub).await, []);
    hub.clock().advance(secs(15)).await;
    assert_eq!(
        feedback(&hub).await,
        [("m1".to_owned(), "Success".to_owned())]
    );
}

#[tokio::test]
async fn what_was_sent_before_the_device_came_waits_for_it_in_order() {
    let hub = TestHub::start().await;
    hub.device_connection_string("d1").await;
    for body in ["1", "2", "3"] {
        send(&hub, "d1", body, body).await;
    }
    assert_eq!(waiting(&hub, "d1").await, 3);

    let (_device, mut messages) = listening(&hub, "d1").await;

    for body in ["1", "2", "3"] {
        assert_eq!(next(&mut messages).await.body, body);
    }
    settled(&hub, "d1").await;
}

#[tokio::test]
async fn a_lost_connection_loses_no_message() {
    let hub = TestHub::start().await;
    let (_device, mut messages) = listening(&hub, "d1").await;
    for n in 0..5 {
        send(&hub, "d1", &n.to_string(), &n.to_string()).await;
    }
    assert_eq!(next(&mut messages).await.body, "0");

    hub.drop_connection("d1").await;

    // At least once: what was on its way may come twice, nothing is lost.
    let mut seen = [false; 5];
    seen[0] = true;
    while !seen.iter().all(|&it| it) {
        let body = next(&mut messages).await.body;
        let n: usize = std::str::from_utf8(&body).unwrap().parse().unwrap();
        seen[n] = true;
    }
    let drain = async { while messages.next().await.is_some() {} };
    tokio::select! {
        () = drain => panic!("the client has closed"),
        () = settled(&hub, "d1") => {}
    }
}

#[tokio::test]
async fn fifty_messages_reach_a_device_that_takes_them_one_by_one() {
    let hub = TestHub::start().await;
    hub.device_connection_string("d1").await;
    for n in 0..50 {
        send(&hub, "d1", "m", &n.to_string()).await;
    }
    let (status, _) = rest(&hub, "POST /devices/d1/messages/devicebound", &[], "x").await;
    assert_eq!(status, 403);

    let (_device, mut messages) = listening(&hub, "d1").await;

    for n in 0..50 {
        assert_eq!(next(&mut messages).await.body, n.to_string());
    }
    settled(&hub, "d1").await;
}

#[tokio::test]
async fn a_message_expires_after_two_days_at_the_latest() {
    const HOURS: u64 = 48;
    let hub = TestHub::builder().virtual_clock().start().await;
    hub.device_connection_string("d1").await;
    let expiry = (hub.clock().now() + secs(HOURS * 3600)).to_iso();
    let headers = [
        ("iothub-expiry", expiry.as_str()),
        ("iothub-ack", "negative"),
        ("iothub-messageid", "m1"),
    ];
    let path = "POST /devices/d1/messages/devicebound";
    assert_eq!(rest(&hub, path, &headers, "x").await.0, 204);
    send(&hub, "d1", "m2", "an hour is the default").await;

    hub.clock().advance(secs(3600)).await;
    assert_eq!(waiting(&hub, "d1").await, 1);
    hub.clock().advance(secs((HOURS - 1) * 3600 - 1)).await;
    assert_eq!(waiting(&hub, "d1").await, 1);
    hub.clock().advance(secs(1)).await;
    assert_eq!(waiting(&hub, "d1").await, 0);

    hub.clock().advance(secs(15)).await;
    assert_eq!(
        feedback(&hub).await,
        [("m1".to_owned(), "Expired".to_owned())]
    );
}

#[tokio::test]
async fn queue_and_feedback_survive_a_restart() {
    let dir = Scratch::new("c2d-restart");
    let start = || async {
        TestHub::builder()
            .virtual_clock()
            .configure(|config| {
                config.storage = Storage::Directory {
                    path: dir.0.clone(),
                    durability: Durability::Periodic,
                    retention_bytes: 1 << 20,
                };
            })
            .start()
            .await
    };
    let hub = start().await;
    let (device, mut messages) = listening(&hub, "d1").await;
    send(&hub, "d1", "m1", "taken").await;
    assert_eq!(next(&mut messages).await.body, "taken");
    settled(&hub, "d1").await;
    device.close().await;
    send(&hub, "d1", "m2", "waits").await;
    hub.shutdown().await;

    let hub = start().await;
    assert_eq!(waiting(&hub, "d1").await, 1);
    let (_device, mut messages) = listening(&hub, "d1").await;
    assert_eq!(next(&mut messages).await.body, "waits");
    settled(&hub, "d1").await;
    hub.clock().advance(secs(15)).await;
    let success = |id: &str| (id.to_owned(), "Success".to_owned());
    assert_eq!(feedback(&hub).await, [success("m1"), success("m2")]);
}

#[tokio::test]
async fn a_purge_is_told_to_the_back_end_and_not_to_the_device() {
    let hub = TestHub::builder().virtual_clock().start().await;
    hub.device_connection_string("d1").await;
    send(&hub, "d1", "m1", "x").await;

    let (status, body) = rest(&hub, "DELETE /devices/d1/commands", &[], "").await;

    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["totalMessagesPurged"]), (200, &json!(1)));
    let (_device, mut messages) = listening(&hub, "d1").await;
    send(&hub, "d1", "m2", "later").await;
    assert_eq!(next(&mut messages).await.body, "later");
    settled(&hub, "d1").await;
    hub.clock().advance(Duration::from_secs(15)).await;
    assert_eq!(
        feedback(&hub).await,
        [
            ("m1".to_owned(), "Purged".to_owned()),
            ("m2".to_owned(), "Success".to_owned())
        ]
    );
}

/// A directory of this test alone, gone when it ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
