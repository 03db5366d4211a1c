//! Throttles and quota, live.

use axum::extract::State;
use axum::response::Response;
use iothub_protocol::Clock;
use serde_json::{Value, json};

use super::Control;
use crate::http::answer;

/// `GET /_emulator/throttles`: how much each throttle lets through, who waits, who was refused;
/// the day's messages. Without a tier there are none.
pub(super) async fn show(State(control): State<Control>) -> Response {
    let now = control.handle.clock().now();
    let Some((tier, throttles, quota)) = control.handle.meters() else {
        return answer::value(&json!({
            "sku": null, "units": null, "time": now.to_iso(), "throttles": [], "quota": null,
        }));
    };
    let throttles: Vec<Value> = throttles
        .into_iter()
        .map(|meter| {
            json!({
                "name": meter.throttle.name(),
                "perMinute": meter.per_minute,
                "available": meter.available,
                "waiting": meter.waiting,
                "delayed": meter.delayed,
                "refused": meter.refused,
            })
        })
        .collect();
    answer::value(&json!({
        "sku": tier.sku().name(),
        "units": tier.units(),
        "time": now.to_iso(),
        "throttles": throttles,
        "quota": {
            "limit": quota.limit,
            "used": quota.used,
            "messageSize": quota.message_size,
            "resets": quota.resets.to_iso(),
        },
    }))
}
