//! Several hubs in one process.

use iothub_protocol::mqtt::packet::ConnAckCode;
use iothub_testkit::{MethodResponse, TestHub, json_message, telemetry};
use serde_json::json;

use crate::support::{call, end, refusal};

#[tokio::test]
async fn two_hubs_know_nothing_of_each_other() {
    let left = TestHub::builder().seed(1).start().await;
    let right = TestHub::builder().seed(2).start().await;
    right.expect(telemetry().never());
    let device = left.device("d1").await;
    device
        .on_method("side", |_| async {
            MethodResponse::json(200, &json!("left"))
        })
        .await
        .unwrap();
    right.device_connection_string("d1").await;

    device
        .send_telemetry(json_message(&json!(1)))
        .await
        .unwrap();
    device
        .patch_reported(&json!({"side": "left"}))
        .await
        .unwrap();

    assert_eq!(
        end(call(&left, "d1", "side")).await.unwrap().payload,
        "\"left\""
    );
    assert!(refusal(call(&right, "d1", "side")).await.is_some());
    assert_eq!(left.telemetry_from("d1").so_far().len(), 1);
    assert!(right.telemetry_from("d1").so_far().is_empty());
    let twin = right.backend().twins().get("d1").await.unwrap();
    assert_eq!(twin.reported().get("side"), None);
    right.verify();
}

#[tokio::test]
async fn key_of_one_hub_does_not_open_another() {
    let left = TestHub::builder().seed(1).start().await;
    let right = TestHub::builder().seed(2).start().await;
    right.device_connection_string("d1").await;
    let connect = left.connect_packet("d1").await;

    let (_, code) = right.dial().await.try_connect(connect).await;

    assert_eq!(code, ConnAckCode::NotAuthorized);
}

#[tokio::test]
async fn a_hundred_hubs_start_work_and_stop() {
    let mut hubs = Vec::new();
    for seed in 0..100 {
        hubs.push(TestHub::builder().seed(seed).start().await);
    }
    let mut devices = Vec::new();
    for (n, hub) in hubs.iter().enumerate() {
        let mut device = hub.scripted_device("d1").await;
        device.send_telemetry("d1", "", n.to_string()).await;
        devices.push(device);
    }

    for (n, hub) in hubs.iter().enumerate() {
        let events = hub.telemetry_from("d1").so_far();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].body(), n.to_string().as_bytes());
    }
    for hub in hubs {
        hub.shutdown().await;
    }
    for mut device in devices {
        device.expect_closed().await;
    }
}
