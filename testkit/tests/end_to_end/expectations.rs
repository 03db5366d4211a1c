//! The testkit's own word: expectations and what is said when they fail.

use iothub_testkit::{MethodResponse, TestHub, connection, json_message, method, telemetry};
use serde_json::json;

use crate::support::{call, end};

#[tokio::test]
async fn expectations_that_are_met_say_nothing() {
    let hub = TestHub::start().await;
    hub.expect(method("reboot").on("d1").with(json!(null)).never());
    hub.expect(method("reboot").on("d1").answered(200).times(1));
    hub.expect(telemetry().on("d1").with(json!({"t": 1})).times(2));
    hub.expect(connection().at_most(1));
    let device = hub.device("d1").await;
    device
        .on_method("reboot", |_| async { MethodResponse::empty(200) })
        .await
        .unwrap();

    end(call(&hub, "d1", "reboot")).await.unwrap();
    for t in [1, 1, 2] {
        device
            .send_telemetry(json_message(&json!({"t": t})))
            .await
            .unwrap();
    }

    hub.verify();
}

#[tokio::test]
#[should_panic(expected = "expected calls of reboot on d1: 1; there were 0")]
async fn dropping_the_hub_fails_the_test_when_something_is_missing() {
    let hub = TestHub::start().await;
    hub.expect(method("reboot").on("d1").times(1));
}

#[tokio::test]
#[should_panic(expected = "expected messages of d1: none; there were 1")]
async fn too_much_is_as_wrong_as_too_little() {
    let hub = TestHub::start().await;
    let device = hub.device("d1").await;
    hub.expect(telemetry().on("d1").never());

    device
        .send_telemetry(json_message(&json!(1)))
        .await
        .unwrap();
}

#[tokio::test]
async fn timeline_tells_what_happened_in_order() {
    let hub = TestHub::builder().virtual_clock().start().await;
    let mut device = hub.scripted_device("d1").await;
    device.subscribe(crate::support::METHODS).await;
    hub.clock().advance(crate::support::secs(5)).await;
    device.send_telemetry("d1", "alert=true", "{\"t\":1}").await;
    let call = call(&hub, "d1", "reboot");
    let (_, rid, _) = device.receive_call().await;
    device.answer_call(&rid, 200, "\"ok\"").await;
    end(call).await.unwrap();
    device.disconnect().await;
    hub.wait_until_disconnected("d1").await;

    let expected = "\
what the hub saw:
       0.000 s  d1 was created
       0.000 s  d1 connected over mqtt
       5.000 s  d1 sent {\"t\":1}  (alert=true)
       5.000 s  reboot called on d1 with (nothing)
       5.000 s  d1 answered reboot: 200 \"ok\"
       5.000 s  d1 is gone: disconnected
";
    assert_eq!(hub.timeline(), expected);
}
