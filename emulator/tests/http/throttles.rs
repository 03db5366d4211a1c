//! Throttles and quotas of a tier (`spec/device.md` 16.1), and their meters.

use std::time::Duration;

use iothub_emulator::activity::OperationKind;
use iothub_emulator::throttling::Load;
use iothub_hub::{Limits, Sku, Tier};
use serde_json::{Value, json};

use super::hub::TestHub;

fn hub(sku: Sku) -> TestHub {
    TestHub::with_limits(Limits {
        tier: Tier::new(sku, 1),
        ..Limits::default()
    })
}

async fn meter(hub: &TestHub, name: &str) -> Value {
    let meters = hub.control("GET throttles", "").await.json();
    let all = meters["throttles"].as_array().unwrap().clone();
    all.into_iter().find(|meter| meter["name"] == name).unwrap()
}

#[tokio::test]
async fn without_a_tier_nothing_is_measured() {
    let hub = TestHub::new();
    for _ in 0..150 {
        assert_eq!(hub.owner("GET /devices", "").await.status, 200);
    }

    let meters = hub.control("GET throttles", "").await.json();

    let time = "2024-03-14T09:54:49.6536567Z";
    let none = json!({"sku": null, "units": null, "time": time, "throttles": [], "quota": null});
    assert_eq!(meters, none);
}

#[tokio::test]
async fn a_burst_passes_then_requests_wait_then_they_are_refused() {
    let hub = hub(Sku::S1);
    for _ in 0..100 {
        assert_eq!(hub.owner("GET /devices", "").await.status, 200);
    }

    let waits = hub.owner("GET /devices", "");
    tokio::pin!(waits);
    let early = tokio::select! {
        biased;
        reply = &mut waits => Some(reply),
        () = async { for _ in 0..100 { tokio::task::yield_now().await } } => None,
    };
    assert_eq!(early, None);
    let full = json!([{"id": "d1"}, {"id": "d2"}, {"id": "d3"}, {"id": "d4"}, {"id": "d5"},
        {"id": "d6"}, {"id": "d7"}, {"id": "d8"}, {"id": "d9"}, {"id": "da"}, {"id": "db"},
        {"id": "dc"}, {"id": "dd"}, {"id": "de"}, {"id": "df"}, {"id": "dg"}]);
    let refused = hub.owner("POST /devices", &full.to_string()).await;
    assert!(
        refused.refusal().starts_with("429 ThrottlingException"),
        "{refused:?}"
    );
    assert_eq!(
        meter(&hub, "registry").await,
        json!({"name": "registry", "perMinute": 100, "available": 0, "waiting": 1, "delayed": 1,
            "refused": 1})
    );

    hub.handle.advance(Duration::from_millis(600)).await;
    assert_eq!(waits.await.status, 200);
    hub.handle.advance(Duration::from_secs(60)).await;
    assert_eq!(meter(&hub, "registry").await["available"], 100);
}

#[tokio::test]
async fn the_messages_of_a_day_are_counted_and_a_new_day_begins_at_midnight() {
    let hub = hub(Sku::F1);
    hub.create("d1").await;
    let quota = || async { hub.control("GET throttles", "").await.json()["quota"].clone() };
    assert_eq!(
        quota().await,
        json!({"limit": 8000, "used": 0, "messageSize": 512,
            "resets": "2024-03-15T00:00:00.0000000Z"})
    );
    for _ in 0..3 {
        hub.owner("GET /twins/d1", "").await;
    }
    assert_eq!(quota().await["used"], 3);
    // A method with 5 KB counts as ten messages, and costs nothing when it does not go through.
    let body = json!({"methodName": "m", "payload": "x".repeat(5000)}).to_string();
    assert_eq!(hub.owner("POST /twins/d1/methods", &body).await.status, 404);
    assert_eq!(quota().await["used"], 3);

    let rest = Load {
        count: 1,
        messages: 7996,
    };
    let operation = OperationKind::SendTelemetry.hub_wide().weighing(rest);
    hub.handle.call(operation, |_, _| Ok(())).await.unwrap();
    assert_eq!(hub.owner("GET /twins/d1", "").await.status, 200);
    let refused = hub.owner("GET /twins/d1", "").await;
    assert!(
        refused.refusal().starts_with("403 IotHubQuotaExceeded"),
        "{refused:?}"
    );
    assert_eq!(hub.owner("GET /devices/d1", "").await.status, 200);

    hub.handle.advance(Duration::from_secs(15 * 3600)).await;
    assert_eq!(hub.owner("GET /twins/d1", "").await.status, 200);
    assert_eq!(quota().await["used"], 1);
}

#[tokio::test]
async fn a_basic_tier_refuses_what_it_does_not_have() {
    let hub = hub(Sku::B1);
    hub.create("d1").await;

    let refused = hub.owner("GET /twins/d1", "").await;

    let wanted = "403 OperationNotAvailableInCurrentTier";
    assert!(refused.refusal().starts_with(wanted), "{refused:?}");
}

#[tokio::test]
async fn a_tier_limits_active_jobs() {
    let hub = hub(Sku::S1);
    let job = r#"{"type":"scheduleUpdateTwin","queryCondition":"*","updateTwin":{"etag":"*"}}"#;
    assert_eq!(hub.owner("PUT /jobs/v2/j1", job).await.status, 200);

    let refused = hub.owner("PUT /jobs/v2/j2", job).await;

    let wanted = "429 ThrottlingMaxActiveJobCountExceeded";
    assert!(refused.refusal().starts_with(wanted), "{refused:?}");
}
