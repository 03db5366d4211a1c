//! Who is connected, and how to end it.

use axum::extract::{Path, State};
use axum::response::Response;
use iothub_hub::{Feature, SessionSummary};
use iothub_protocol::{ClientId, Error};
use serde_json::{Value, json};

use super::{Control, device_id, module_id};
use crate::http::answer;

/// `GET /_emulator/connections`
pub(super) async fn list(State(control): State<Control>) -> Response {
    let connections = control.handle.inspect(iothub_hub::Hub::connections);
    let connections: Vec<Value> = connections.iter().map(summary).collect();
    answer::value(&connections.into())
}

/// `DELETE /_emulator/connections/{device}`
pub(super) async fn drop_device(
    State(control): State<Control>,
    Path(device): Path<String>,
) -> Response {
    let client = device_id(&device).map(ClientId::device);
    drop_client(&control, client).await
}

/// `DELETE /_emulator/connections/{device}/{module}`
pub(super) async fn drop_module(
    State(control): State<Control>,
    Path((device, module)): Path<(String, String)>,
) -> Response {
    let client =
        device_id(&device).and_then(|device| Ok(ClientId::module(device, module_id(&module)?)));
    drop_client(&control, client).await
}

async fn drop_client(control: &Control, client: Result<ClientId, Error>) -> Response {
    let result = match client {
        Ok(client) => control.drop_connection(&client).await,
        Err(invalid) => Err(invalid),
    };
    control.answer(result.map(|()| answer::no_content()))
}

fn summary(connection: &SessionSummary) -> Value {
    let subscriptions: Vec<_> = connection
        .subscriptions
        .features()
        .map(Feature::name)
        .collect();
    json!({
        "session": connection.session.0,
        "client": connection.client.to_string(),
        "protocol": connection.transport,
        "since": connection.since.to_iso(),
        "subscriptions": subscriptions,
    })
}
