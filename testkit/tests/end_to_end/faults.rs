//! Faults on purpose.

use iothub_testkit::{ErrorCode, MethodResponse, OperationKind, TestHub};
use serde_json::json;

use crate::support::{TWIN_RESPONSES, call, end, refusal, secs};

#[tokio::test]
async fn next_operation_fails_and_the_one_after_does_not() {
    let hub = TestHub::start().await;
    let device = hub.device("d1").await;
    device
        .on_method("go", |_| async { MethodResponse::empty(200) })
        .await
        .unwrap();
    hub.faults()
        .next(OperationKind::InvokeMethod)
        .fails_with(ErrorCode::ThrottlingException);

    assert_eq!(
        refusal(call(&hub, "d1", "go")).await,
        Some(ErrorCode::ThrottlingException)
    );
    assert_eq!(end(call(&hub, "d1", "go")).await.unwrap().status, 200);
    assert_eq!(hub.faults().fired(), 1);
}

#[tokio::test]
async fn fault_hits_the_operations_it_counts_and_the_client_it_names() {
    let hub = TestHub::start().await;
    hub.device_connection_string("d1").await;
    hub.device_connection_string("d2").await;
    let twins = hub.backend().twins();
    hub.faults()
        .next(OperationKind::GetTwin)
        .on("d1")
        .after(1)
        .times(2)
        .fails_with(ErrorCode::ServerError);

    let mut failed = Vec::new();
    for _ in 0..5 {
        failed.push(twins.get("d1").await.is_err());
        assert!(twins.get("d2").await.is_ok());
    }

    assert_eq!(failed, [false, true, true, false, false]);
}

#[tokio::test]
async fn delay_holds_an_operation_by_the_hubs_clock() {
    let hub = TestHub::builder().virtual_clock().start().await;
    let mut device = hub.scripted_device("d1").await;
    hub.faults()
        .next(OperationKind::GetTwin)
        .on("d1")
        .delays(secs(5));
    let backend = hub.backend().clone();
    let get =
        tokio::spawn(async move { backend.twins().get("d1").await.map(|twin| twin.version()) });
    // The other side is served meanwhile.
    while hub.faults().fired() == 0 {
        device.expect_nothing().await;
    }
    assert!(!get.is_finished());

    hub.clock().advance(secs(5)).await;

    assert!(get.await.unwrap().is_ok());
}

#[tokio::test]
async fn device_is_told_of_a_failed_twin_operation() {
    let hub = TestHub::start().await;
    let mut device = hub.scripted_device("d1").await;
    device.subscribe(TWIN_RESPONSES).await;
    hub.faults()
        .next(OperationKind::PatchReported)
        .fails_with(ErrorCode::ThrottlingException);
    let patch = json!({"a": 1}).to_string();

    let topic = |rid| format!("$iothub/twin/PATCH/properties/reported/?$rid={rid}");
    device.publish(&topic(1), patch.clone()).await;
    assert_eq!(
        device.receive_publish().await.0,
        "$iothub/twin/res/429/?$rid=1"
    );
    device.publish(&topic(2), patch).await;

    assert_eq!(
        device.receive_publish().await.0,
        "$iothub/twin/res/204/?$rid=2&$version=2"
    );
}

#[tokio::test]
async fn failed_telemetry_is_sent_again_by_the_client() {
    let hub = TestHub::start().await;
    let device = hub.device("d1").await;
    hub.faults()
        .next(OperationKind::SendTelemetry)
        .fails_with(ErrorCode::ServerError);

    // MQTT has no way to refuse a message but to end the connection.
    device
        .send_telemetry(iothub_testkit::json_message(&json!("again")))
        .await
        .unwrap();

    assert_eq!(hub.telemetry_from("d1").so_far().len(), 1);
}
