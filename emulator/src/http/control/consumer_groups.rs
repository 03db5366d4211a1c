//! Consumer groups of the built-in endpoint: made, listed, deleted. The real hub has these under its
//! management API, whose bodies are used here (`spec/service.md` 12).

use axum::extract::{Path, State};
use axum::response::Response;
use iothub_hub::ConsumerGroup;
use serde_json::{Value, json};

use super::Control;
use crate::http::answer;

/// `GET /_emulator/consumer-groups`
pub(super) async fn list(State(control): State<Control>) -> Response {
    let result = control
        .perform(|hub, _, operator| hub.consumer_groups(operator))
        .await;
    control.answer(result.map(|all| {
        let all: Vec<_> = all.iter().map(|one| resource(&control, one)).collect();
        answer::value(&json!({"value": all}))
    }))
}

/// `GET /_emulator/consumer-groups/{name}`
pub(super) async fn show(State(control): State<Control>, Path(name): Path<String>) -> Response {
    let result = control
        .perform(|hub, _, operator| hub.consumer_group(operator, &name))
        .await;
    control.answer(result.map(|one| answer::value(&resource(&control, &one))))
}

/// `PUT /_emulator/consumer-groups/{name}`: makes it, unless it is there.
pub(super) async fn put(State(control): State<Control>, Path(name): Path<String>) -> Response {
    let result = control
        .perform(|hub, cx, operator| hub.put_consumer_group(cx, operator, &name))
        .await;
    control.answer(result.map(|one| answer::value(&resource(&control, &one))))
}

/// `DELETE /_emulator/consumer-groups/{name}`
pub(super) async fn remove(State(control): State<Control>, Path(name): Path<String>) -> Response {
    let result = control
        .perform(|hub, cx, operator| hub.delete_consumer_group(cx, operator, &name))
        .await;
    control.answer(result.map(|()| answer::no_content()))
}

fn resource(control: &Control, group: &ConsumerGroup) -> Value {
    // The default group came with the hub.
    let created = group.created.unwrap_or_else(|| control.handle.opened());
    json!({
        "name": &*group.name,
        "type": "Microsoft.Devices/IotHubs/EventHubEndpoints/ConsumerGroups",
        "etag": null,
        "properties": {"created": created.to_rfc1123()},
    })
}
