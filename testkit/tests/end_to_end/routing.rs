//! Message routes with real clients (`spec/service.md` 5.6, `spec/device.md` 16.3).

use std::sync::Arc;

use iothub_hub::RoutingSpec;
use iothub_protocol::registry::IfMatch;
use iothub_testkit::{TestHub, json_message};
use serde_json::{Value, json};

use crate::support::http_get;

/// Alerts to a file, everything that devices say and do to the built-in endpoint.
fn routes() -> Value {
    json!({
        "endpoints": {"files": [{"name": "alerts"}]},
        "routes": [
            {"name": "alerts", "condition": "alert = 'true'", "endpointNames": ["alerts"]},
            {"name": "messages", "endpointNames": ["events"]},
            {"name": "connections", "source": "DeviceConnectionStateEvents", "endpointNames": ["events"]},
            {"name": "twins", "source": "TwinChangeEvents", "endpointNames": ["events"]},
            {"name": "devices", "source": "DeviceLifecycleEvents", "endpointNames": ["events"]},
        ],
        "enrichments": [
            {"key": "floor", "value": "$twin.tags.floor", "endpointNames": ["alerts"]},
        ],
    })
}

#[tokio::test]
async fn what_a_device_says_and_does_arrives_where_routes_send_it() {
    let folder = tempfile::tempdir().unwrap();
    let spec = Arc::new(RoutingSpec::parse(&routes()).unwrap());
    let hub = TestHub::builder()
        .configure(|config| {
            config.routing = Some(spec);
            config.routes_folder = Some(folder.path().to_owned());
        })
        .start()
        .await;
    let device = hub.device("d1").await;
    let tags = json!({"tags": {"floor": "3"}});
    let twins = hub.backend().twins();
    twins.patch("d1", &tags, &IfMatch::Any).await.unwrap();

    device
        .send_telemetry(json_message(&json!("quiet")))
        .await
        .unwrap();
    let mut alert = json_message(&json!("smoke"));
    alert.properties.push("alert", "true");
    device.send_telemetry(alert).await.unwrap();
    device.close().await;
    hub.wait_until_disconnected("d1").await;

    let file = std::fs::read_to_string(folder.path().join("alerts.jsonl")).unwrap();
    let line: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(line["body"], "\"smoke\"");
    assert_eq!(line["applicationProperties"]["floor"], "3");
    let events = String::from_utf8(http_get(&hub, "/_emulator/events").await).unwrap();
    let told: Vec<String> = events
        .lines()
        .map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            let what = event["applicationProperties"]["opType"].as_str();
            what.or(event["body"].as_str()).unwrap().to_owned()
        })
        .collect();
    assert_eq!(
        told,
        [
            "createDeviceIdentity",
            "updateTwin",
            "deviceConnected",
            "\"quiet\"",
            "\"smoke\"",
            "deviceDisconnected",
        ]
    );
    let captured = hub.telemetry_from("d1").so_far();
    assert_eq!(captured.len(), 2, "its own messages only: {captured:?}");
}

#[tokio::test]
async fn routes_that_were_set_survive_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let start = || {
        let path = data.path().to_owned();
        TestHub::builder().configure(|config| {
            config.storage = iothub_emulator::config::Storage::Directory {
                path,
                durability: iothub_emulator::config::Durability::Periodic,
                retention_bytes: 1 << 20,
            };
        })
    };
    let hub = start().start().await;
    let spec = RoutingSpec::parse(&routes()).unwrap();
    let operator = iothub_hub::Principal::operator();
    let operation = iothub_emulator::activity::OperationKind::Control.hub_wide();
    let put = hub
        .handle()
        .call(operation, |hub, cx| hub.put_routing(cx, &operator, spec))
        .await
        .unwrap();
    hub.shutdown().await;

    let hub = start().start().await;

    let kept = hub.handle().inspect(|hub| hub.routing(&operator)).unwrap();
    assert_eq!(kept, put);
    let device = hub.device("d1").await;
    let mut alert = json_message(&json!("smoke"));
    alert.properties.push("alert", "true");
    device.send_telemetry(alert).await.unwrap();
    let file = data.path().join("routes/alerts.jsonl");
    assert!(file.exists(), "the data directory has a folder for routes");
}
