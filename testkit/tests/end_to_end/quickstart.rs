//! "Control a device": telemetry on its way, a direct method changes its pace.

use std::time::Duration;

use iothub_backend::Backend;
use iothub_testkit::{
    DeviceClient, ErrorCode, MethodResponse, TestHub, json_message, method, telemetry,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::support::secs;

const DEVICE: &str = "quickstart-device";

/// The quickstart's device: telemetry every second, until told otherwise.
async fn simulate(hub: &TestHub, device: &DeviceClient) {
    let (set_interval, mut interval) = watch::channel(secs(1));
    device
        .on_method("SetTelemetryInterval", move |call| {
            let answer = match call.json().as_ref().and_then(Value::as_u64) {
                Some(seconds) => {
                    set_interval.send_replace(secs(seconds));
                    MethodResponse::json(200, &json!({"interval": seconds}))
                }
                None => MethodResponse::json(400, &json!({"message": "not a number of seconds"})),
            };
            async move { answer }
        })
        .await
        .unwrap();
    let (clock, device) = (hub.clock().shared(), device.clone());
    tokio::spawn(async move {
        let mut count = 0;
        let mut due = clock.now();
        loop {
            let mut message = json_message(&json!({"count": count}));
            message.properties.push("temperatureAlert", "false");
            device.send_telemetry(message).await.unwrap();
            count += 1;
            let pace: Duration = *interval.borrow_and_update();
            tokio::select! {
                () = clock.sleep_until(due + pace) => due = due + pace,
                changed = interval.changed() => {
                    changed.unwrap();
                    due = clock.now();
                }
            }
        }
    });
}

async fn run(hub: &TestHub, device: DeviceClient, backend: &Backend) {
    hub.expect(
        method("SetTelemetryInterval")
            .on(DEVICE)
            .answered(200)
            .times(1),
    );
    hub.expect(telemetry().on(DEVICE).at_least(3));
    simulate(hub, &device).await;
    let sent = hub.telemetry_from(DEVICE);
    assert_eq!(sent.wait_for(1).await[0].json(), json!({"count": 0}));
    hub.clock().advance(secs(1)).await;
    sent.wait_for(2).await;

    let invoke = |payload: Value| {
        let call = backend
            .methods()
            .invoke(DEVICE, "SetTelemetryInterval")
            .payload(&payload);
        call.send()
    };
    let answer = invoke(json!(10)).await.unwrap();

    assert_eq!(answer.status, 200);
    assert_eq!(answer.payload, r#"{"interval":10}"#);
    assert_eq!(invoke(json!("soon")).await.unwrap().status, 400);
    let unknown = backend
        .methods()
        .invoke(DEVICE, "SelfDestruct")
        .send()
        .await
        .unwrap();
    assert_eq!(unknown.status, 404);

    let before = sent.wait_for(3).await.len();
    hub.clock().advance(secs(9)).await;
    device.twin().await.unwrap();
    assert_eq!(
        sent.so_far().len(),
        before,
        "not before ten seconds are over"
    );
    hub.clock().advance(secs(1)).await;
    let events = sent.wait_for(before + 1).await;
    assert_eq!(
        events[before].property("temperatureAlert").unwrap(),
        "false"
    );
    assert_eq!(
        events[before].enqueued.since(events[before - 1].enqueued),
        secs(10)
    );

    backend
        .twins()
        .patch_desired(DEVICE, &json!({"color": "red"}))
        .await
        .unwrap();
    assert_eq!(device.twin().await.unwrap().desired.values["color"], "red");
    device
        .patch_reported(&json!({"color": "red"}))
        .await
        .unwrap();
    assert_eq!(
        backend.twins().get(DEVICE).await.unwrap().reported()["color"],
        "red"
    );
}

#[tokio::test]
async fn quickstart_runs_over_plain_connections() {
    let hub = TestHub::builder().virtual_clock().start().await;
    let device = hub.device(DEVICE).await;

    run(&hub, device, hub.backend()).await;
}

#[tokio::test]
async fn quickstart_runs_over_tls() {
    let hub = TestHub::builder().virtual_clock().start().await;
    let builder = hub
        .device_builder(DEVICE)
        .await
        .mqtts_port(hub.ports().mqtts);
    let device = builder.connect().await.unwrap();
    let backend = Backend::builder(&hub.policy_connection_string("iothubowner"))
        .https_port(hub.ports().https)
        .ca_pem(hub.ca_pem())
        .clock(hub.clock().shared())
        .build()
        .unwrap();

    run(&hub, device, &backend).await;
}

#[tokio::test]
async fn quickstart_runs_over_websockets() {
    let hub = TestHub::builder().virtual_clock().start().await;
    let address = format!("127.0.0.1:{}", hub.ports().http);
    let builder = hub
        .device_builder(DEVICE)
        .await
        .plain_websocket_address(address);

    run(&hub, builder.connect().await.unwrap(), hub.backend()).await;
}

#[tokio::test]
async fn quickstart_runs_over_secure_websockets() {
    let hub = TestHub::builder().virtual_clock().start().await;
    let builder = hub
        .device_builder(DEVICE)
        .await
        .websocket_port(hub.ports().https);

    run(&hub, builder.connect().await.unwrap(), hub.backend()).await;
}

#[tokio::test]
async fn policy_service_is_enough_for_the_back_end_and_device_is_not() {
    let hub = TestHub::start().await;
    let device = hub.device(DEVICE).await;
    device
        .on_method("go", |_| async { MethodResponse::empty(204) })
        .await
        .unwrap();

    let service = hub.backend_as("service");
    assert_eq!(
        service
            .methods()
            .invoke(DEVICE, "go")
            .send()
            .await
            .unwrap()
            .status,
        204
    );

    let refused = hub
        .backend_as("device")
        .methods()
        .invoke(DEVICE, "go")
        .send()
        .await;
    assert_eq!(
        refused.unwrap_err().code(),
        Some(ErrorCode::IotHubUnauthorizedAccess)
    );
}
