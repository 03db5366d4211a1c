//! Same seed, same inputs, same steps of the clock: same outputs, byte for byte.

use iothub_backend::IdentitySpec;
use iothub_testkit::{TestHub, json_message};
use serde_json::json;

use crate::support::{call, end, http_get, listening, secs};

/// Everything that a run leaves behind: the event log, the registry, the twins, a refusal.
async fn run(seed: u64) -> Vec<u8> {
    let hub = TestHub::builder().virtual_clock().seed(seed).start().await;
    let backend = hub.backend();
    for device in ["d1", "d2", "d3"] {
        backend
            .registry()
            .create_device(device, &IdentitySpec::default())
            .await
            .unwrap();
        hub.clock().advance(secs(1)).await;
    }
    backend
        .registry()
        .create_module("d1/m1", &IdentitySpec::default())
        .await
        .unwrap();

    let client = hub.device("d1").await;
    let mut module = hub.scripted_device("d1/m1").await;
    let mut raw = listening(&hub, "d2").await;
    for n in 0..20 {
        let mut message = json_message(&json!({"n": n}));
        message.properties.push("n", &n.to_string());
        client.send_telemetry(message).await.unwrap();
        raw.send_telemetry("d2", "%24.mid=x&a=%20b", vec![0xff, n])
            .await;
        module.send_telemetry("d1/m1", "", "m").await;
        hub.clock().advance(secs(7)).await;
    }
    client
        .patch_reported(&json!({"a": {"b": 1}}))
        .await
        .unwrap();
    backend
        .twins()
        .patch_desired("d1", &json!({"x": [1, 2]}))
        .await
        .unwrap();
    let call = call(&hub, "d2", "go");
    let (_, rid, _) = raw.receive_call().await;
    raw.answer_call(&rid, 200, "1").await;
    end(call).await.unwrap();
    let refusal = backend.twins().get("nobody").await.unwrap_err();

    let mut trace = http_get(&hub, "/_emulator/events?from=earliest").await;
    assert_eq!(trace.iter().filter(|&&byte| byte == b'\n').count(), 60);
    let mut devices = backend.registry().devices(1000).await.unwrap();
    devices.sort_by(|a, b| a.device_id.cmp(&b.device_id));
    for device in devices {
        trace.extend(device.to_json().to_string().bytes());
        let twin = backend
            .twins()
            .get(device.device_id.as_str())
            .await
            .unwrap();
        trace.extend(twin.into_json().to_string().bytes());
    }
    trace.extend(refusal.to_string().bytes());
    trace.extend(hub.timeline().bytes());
    trace
}

#[tokio::test]
async fn runs_with_the_same_seed_are_the_same_byte_for_byte() {
    let first = run(42).await;

    for _ in 0..10 {
        let again = run(42).await;
        assert!(first == again, "{}", difference(&first, &again));
    }
}

#[tokio::test]
async fn another_seed_makes_other_keys_and_etags() {
    assert!(run(1).await != run(2).await);
}

fn difference(first: &[u8], again: &[u8]) -> String {
    let at = first.iter().zip(again).position(|(a, b)| a != b);
    let at = at.unwrap_or(first.len().min(again.len()));
    let around = |bytes: &[u8]| {
        let part = &bytes[at.saturating_sub(80)..(at + 40).min(bytes.len())];
        String::from_utf8_lossy(part).into_owned()
    };
    format!("at byte {at}:\n{}\n{}", around(first), around(again))
}
