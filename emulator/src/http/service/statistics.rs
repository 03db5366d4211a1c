//! Counts (`spec/service.md` 2.3).

use axum::response::Response;
use iothub_protocol::Error;
use serde_json::json;

use crate::activity::OperationKind;
use crate::http::answer;
use crate::http::call::Call;

/// `GET /statistics/devices`
pub(super) async fn devices(call: &Call<'_>) -> Result<Response, Error> {
    let operation = OperationKind::GetStatistics.hub_wide();
    let counts = call
        .perform(operation, |hub, _, caller| hub.statistics(caller))
        .await?;
    Ok(answer::value(&json!({
        "totalDeviceCount": counts.total,
        "enabledDeviceCount": counts.enabled,
        "disabledDeviceCount": counts.disabled,
    })))
}

/// `GET /statistics/service`
pub(super) async fn service(call: &Call<'_>) -> Result<Response, Error> {
    let operation = OperationKind::GetStatistics.hub_wide();
    let connected = call
        .perform(operation, |hub, _, caller| hub.connected_devices(caller))
        .await?;
    Ok(answer::value(&json!({"connectedDeviceCount": connected})))
}
