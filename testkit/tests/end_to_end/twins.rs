//! Twins from both sides (`spec/device.md` 7, `spec/service.md` 3).

use iothub_backend::IfMatch;
use iothub_protocol::mqtt::packet::{ClientPacket, QoS, ServerPacket, Subscribe};
use iothub_testkit::{ErrorCode, TestHub};
use serde_json::{Value, json};

use crate::support::{DESIRED, TWIN_RESPONSES};

#[tokio::test]
async fn desired_changes_reach_the_device() {
    let hub = TestHub::start().await;
    let device = hub.device("d1").await;
    let mut updates = device.desired_updates().await.unwrap();

    hub.backend()
        .twins()
        .patch_desired("d1", &json!({"a": 1, "b": {"c": 2}}))
        .await
        .unwrap();
    let first = updates.next().await.unwrap();
    hub.backend()
        .twins()
        .patch_desired("d1", &json!({"b": {"c": null}}))
        .await
        .unwrap();
    let second = updates.next().await.unwrap();

    assert_eq!(
        Value::from(first.properties.values),
        json!({"a": 1, "b": {"c": 2}})
    );
    assert_eq!(
        Value::from(second.properties.values),
        json!({"b": {"c": null}})
    );
    assert_eq!(second.properties.version, first.properties.version + 1);
    let twin = device.twin().await.unwrap();
    assert_eq!(Value::from(twin.desired.values), json!({"a": 1, "b": {}}));
}

#[tokio::test]
async fn reported_properties_reach_the_back_end() {
    let hub = TestHub::start().await;
    let device = hub.device("d1").await;

    let first = device
        .patch_reported(&json!({"a": 1, "b": 2}))
        .await
        .unwrap();
    let second = device
        .patch_reported(&json!({"a": null, "c": 3}))
        .await
        .unwrap();

    assert_eq!(second, first + 1);
    let twin = hub.backend().twins().get("d1").await.unwrap();
    let reported = twin.reported();
    assert_eq!((&reported["b"], &reported["c"]), (&json!(2), &json!(3)));
    assert_eq!(reported.get("a"), None);
    assert_eq!(reported["$version"], second);
    assert!(reported["$metadata"]["c"]["$lastUpdated"].is_string());
}

#[tokio::test]
async fn desired_changes_arrive_once_each_and_in_order() {
    const CHANGES: u64 = 200;
    let hub = TestHub::start().await;
    let mut device = hub.scripted_device("d1").await;
    device.subscribe(DESIRED).await;

    for n in 0..CHANGES {
        hub.backend()
            .twins()
            .patch_desired("d1", &json!({"n": n}))
            .await
            .unwrap();
    }

    let mut versions = Vec::new();
    for n in 0..CHANGES {
        let (topic, payload) = device.receive_publish().await;
        let patch: Value = serde_json::from_slice(&payload).unwrap();
        let version = patch["$version"].as_u64().unwrap();
        assert_eq!(patch["n"], n);
        assert_eq!(
            topic,
            format!("$iothub/twin/PATCH/properties/desired/?$version={version}")
        );
        versions.push(version);
    }
    assert!(versions.windows(2).all(|pair| pair[1] == pair[0] + 1));
    device.expect_nothing().await;
}

#[tokio::test]
async fn what_changed_while_away_is_in_the_twin_and_is_not_notified() {
    let hub = TestHub::start().await;
    let mut connect = hub.connect_packet("d1").await;
    connect.clean_session = false;
    let mut device = hub.dial().await;
    device.connect(connect.clone()).await;
    device.subscribe(DESIRED).await;
    device.subscribe(TWIN_RESPONSES).await;
    device.disconnect().await;

    hub.backend()
        .twins()
        .patch_desired("d1", &json!({"mode": "night"}))
        .await
        .unwrap();
    let mut device = hub.dial().await;
    assert!(device.connect(connect).await, "the session is remembered");

    device.expect_nothing().await;
    device.publish("$iothub/twin/GET/?$rid=77", "").await;
    let (topic, body) = device.receive_publish().await;
    assert_eq!(topic, "$iothub/twin/res/200/?$rid=77");
    let twin: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(twin["desired"]["mode"], "night");
    assert_eq!(twin.get("tags"), None, "tags are not for devices");
}

#[tokio::test]
async fn changes_before_a_twin_is_read_are_notified_before_its_answer() {
    let hub = TestHub::start().await;
    let mut device = hub.scripted_device("d1").await;
    device.subscribe(DESIRED).await;
    device.subscribe(TWIN_RESPONSES).await;

    hub.backend()
        .twins()
        .patch_desired("d1", &json!({"n": 1}))
        .await
        .unwrap();
    device.publish("$iothub/twin/GET/?$rid=1", "").await;

    assert!(
        device
            .receive_publish()
            .await
            .0
            .starts_with("$iothub/twin/PATCH/")
    );
    let (topic, body) = device.receive_publish().await;
    assert_eq!(topic, "$iothub/twin/res/200/?$rid=1");
    assert_eq!(
        serde_json::from_slice::<Value>(&body).unwrap()["desired"]["n"],
        1
    );
}

#[tokio::test]
async fn broken_reported_patch_is_answered_and_changes_nothing() {
    let hub = TestHub::start().await;
    let mut device = hub.scripted_device("d1").await;
    device.subscribe(TWIN_RESPONSES).await;

    for (rid, patch) in [(1, "{"), (2, "[1]"), (3, "\"x\""), (4, "")] {
        let topic = format!("$iothub/twin/PATCH/properties/reported/?$rid={rid}");
        device.publish(&topic, patch).await;
        let (topic, _) = device.receive_publish().await;
        assert_eq!(
            topic,
            format!("$iothub/twin/res/400/?$rid={rid}"),
            "{patch}"
        );
    }

    let twin = hub.backend().twins().get("d1").await.unwrap();
    assert_eq!(twin.reported()["$version"], 1);
}

#[tokio::test]
async fn stale_etag_is_refused_and_a_fresh_one_taken() {
    let hub = TestHub::start().await;
    hub.device_connection_string("d1").await;
    let twins = hub.backend().twins();
    let stale = IfMatch::ETag(twins.get("d1").await.unwrap().etag().to_owned());
    let changed = twins
        .patch("d1", &json!({"tags": {"a": 1}}), &stale)
        .await
        .unwrap();

    let refused = twins
        .patch("d1", &json!({"tags": {"a": 2}}), &stale)
        .await
        .unwrap_err();
    let fresh = IfMatch::ETag(changed.etag().to_owned());
    let replaced = twins
        .replace("d1", &json!({"tags": {"b": 1}}), &fresh)
        .await
        .unwrap();

    assert_eq!(refused.code(), Some(ErrorCode::PreconditionFailed));
    assert_eq!(replaced.tags(), &json!({"b": 1}));
}

#[tokio::test]
async fn module_has_a_twin_of_its_own() {
    let hub = TestHub::start().await;
    let device = hub.device("d1").await;
    let module = hub.module("d1/m1").await;

    module
        .patch_reported(&json!({"who": "module"}))
        .await
        .unwrap();
    device
        .patch_reported(&json!({"who": "device"}))
        .await
        .unwrap();
    hub.backend()
        .twins()
        .patch_desired("d1/m1", &json!({"x": 1}))
        .await
        .unwrap();

    let twins = hub.backend().twins();
    assert_eq!(
        twins.get("d1/m1").await.unwrap().reported()["who"],
        "module"
    );
    assert_eq!(twins.get("d1").await.unwrap().reported()["who"], "device");
    assert_eq!(module.twin().await.unwrap().desired.values["x"], 1);
    assert!(device.twin().await.unwrap().desired.values.is_empty());
}

#[tokio::test]
async fn reported_patch_for_another_version_is_refused() {
    let hub = TestHub::start().await;
    let mut device = hub.scripted_device("d1").await;
    device.subscribe(TWIN_RESPONSES).await;
    let topic = |rid, version| {
        format!("$iothub/twin/PATCH/properties/reported/?$rid={rid}&$version={version}")
    };

    device.publish(&topic(1, 1), r#"{"a":1}"#).await;
    let taken = device.receive_publish().await.0;
    device.publish(&topic(2, 1), r#"{"a":2}"#).await;
    let refused = device.receive_publish().await.0;

    assert_eq!(taken, "$iothub/twin/res/204/?$rid=1&$version=2");
    assert_eq!(refused, "$iothub/twin/res/412/?$rid=2");
    assert_eq!(
        hub.backend().twins().get("d1").await.unwrap().reported()["a"],
        1
    );
}

#[tokio::test]
async fn desired_changes_come_as_surely_as_they_were_asked_for() {
    let hub = TestHub::start().await;
    let mut device = hub.scripted_device("d1").await;
    let filters = vec![(DESIRED.to_owned(), QoS::AtLeastOnce)];
    device
        .send(&ClientPacket::Subscribe(Subscribe {
            packet_id: 1,
            filters,
        }))
        .await;
    device.receive().await;

    for n in 1..=3 {
        hub.backend()
            .twins()
            .patch_desired("d1", &json!({"n": n}))
            .await
            .unwrap();
        let ServerPacket::Publish(publish) = device.receive().await else {
            panic!("expected PUBLISH");
        };
        assert_eq!(publish.qos, QoS::AtLeastOnce);
        assert_ne!(publish.packet_id, 0);
        device.send(&ClientPacket::PubAck(publish.packet_id)).await;
    }
    device.expect_nothing().await;
}
