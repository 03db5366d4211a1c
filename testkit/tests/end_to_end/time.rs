//! Virtual time: what falls due, and when.

use iothub_protocol::mqtt::packet::ConnAckCode;
use iothub_testkit::{TestHub, json_message};
use serde_json::json;

use crate::support::secs;

/// Shorter than the keep-alive of a scripted device.
const STEP: u64 = 240;

#[tokio::test]
async fn connection_outlives_its_token_by_ten_minutes() {
    let hub = TestHub::builder().virtual_clock().start().await;
    let expiry = hub.clock().now() + secs(3600);
    let mut connect = hub.connect_packet("d1").await;
    connect.password = Some(hub.token("d1", expiry).await.into());
    let mut device = hub.dial().await;
    device.connect(connect).await;

    for _ in 0..(3600 + 600) / STEP {
        device.expect_nothing().await;
        hub.clock().advance(secs(STEP)).await;
    }
    let passed = hub.clock().now().since(expiry);
    assert_eq!(passed, secs(480), "one step to go, cut in two");
    device.expect_nothing().await;
    hub.clock().advance(secs(119)).await;
    device.expect_nothing().await;
    hub.clock().advance(secs(1)).await;

    device.expect_closed().await;
    assert!(!hub.is_connected("d1"));
}

#[tokio::test]
async fn expired_token_is_taken_for_five_minutes_more_and_then_refused() {
    let hub = TestHub::builder().virtual_clock().start().await;
    let mut connect = hub.connect_packet("d1").await;
    let expiry = hub.clock().now() + secs(10);
    connect.password = Some(hub.token("d1", expiry).await.into());

    hub.clock().advance(secs(10 + 300)).await;
    let accepted = hub.dial().await.try_connect(connect.clone()).await;
    hub.clock().advance(secs(1)).await;
    let refused = hub.dial().await.try_connect(connect).await;

    assert_eq!(accepted, (false, ConnAckCode::Accepted));
    assert_eq!(refused, (false, ConnAckCode::NotAuthorized));
}

#[tokio::test]
async fn two_days_pass_in_no_time() {
    const TWO_DAYS: u64 = 48 * 3600;
    let hub = TestHub::builder().virtual_clock().start().await;
    let start = hub.clock().now();
    let mut device = hub.scripted_device("d1").await;
    device.send_telemetry("d1", "", "first").await;

    for _ in 0..TWO_DAYS / STEP {
        hub.clock().advance(secs(STEP)).await;
        device.expect_nothing().await;
    }
    device.send_telemetry("d1", "", "last").await;

    let events = hub.telemetry_from("d1").so_far();
    assert_eq!(events[0].enqueued, start);
    assert_eq!(events[1].enqueued, start + secs(TWO_DAYS));
}

#[tokio::test]
async fn client_that_was_silent_for_two_days_comes_back_by_itself() {
    let hub = TestHub::builder().virtual_clock().start().await;
    let device = hub.device("d1").await;
    device
        .send_telemetry(json_message(&json!(1)))
        .await
        .unwrap();

    hub.clock().advance(secs(48 * 3600)).await;
    device
        .send_telemetry(json_message(&json!(2)))
        .await
        .unwrap();

    let events = hub.telemetry_from("d1").wait_for(2).await;
    assert_eq!(events.last().unwrap().json(), json!(2));
}

#[tokio::test]
async fn time_stands_still_until_it_is_moved() {
    let hub = TestHub::builder().virtual_clock().start().await;
    let start = hub.clock().now();
    let device = hub.device("d1").await;

    for n in 0..50 {
        device
            .send_telemetry(json_message(&json!(n)))
            .await
            .unwrap();
    }

    assert_eq!(hub.clock().now(), start);
    assert!(
        hub.telemetry_from("d1")
            .so_far()
            .iter()
            .all(|event| event.enqueued == start)
    );
}

#[tokio::test]
async fn silence_beyond_the_keep_alive_ends_a_connection() {
    let hub = TestHub::builder().virtual_clock().start().await;
    let mut connect = hub.connect_packet("d1").await;
    connect.keep_alive = 60;
    let mut device = hub.dial().await;
    device.connect(connect).await;
    device.expect_nothing().await;

    hub.clock().advance(secs(89)).await;
    device.expect_nothing().await;
    hub.clock().advance(secs(90)).await;

    device.expect_closed().await;
}

#[tokio::test]
async fn connection_without_connect_is_closed_in_time() {
    let hub = TestHub::builder().virtual_clock().start().await;
    let mut silent = hub.dial().await;
    let mut slow = hub.dial().await;
    slow.send_bytes(&[0x10]).await;
    // Accepted after the silent ones, so that those are known to be waiting.
    let mut device = hub.scripted_device("d1").await;
    device.expect_nothing().await;

    hub.clock().advance(secs(30)).await;

    silent.expect_closed().await;
    slow.expect_closed().await;
    device.expect_nothing().await;
}
