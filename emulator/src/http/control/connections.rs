//! Who is connected, and how to end it.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use iothub_hub::{Feature, SessionSummary};
use iothub_protocol::{ClientId, Error, Timestamp};
use serde_json::{Value, json};

use super::{Control, device_id, module_id};
use crate::http::{answer, error};

/// `GET /_emulator/connections`
pub(super) async fn list(State(control): State<Control>) -> Response {
    let connections = control.handle.inspect(iothub_hub::Hub::connections);
    let connections: Vec<Value> = connections.iter().map(summary).collect();
    answer::value(&connections.into())
}

/// `GET /_emulator/connections/{device}`: those of a device and of its modules.
pub(super) async fn of_device(
    State(control): State<Control>,
    Path(device): Path<String>,
) -> Response {
    let connections = device_id(&device)
        .map(|device| control.handle.inspect(|hub| hub.connections_of(&device)))
        .map(|connections| connections.iter().map(summary).collect::<Vec<_>>());
    control.answer(connections.map(|connections| answer::value(&connections.into())))
}

/// `POST /_emulator/connections/{device}/expire-token`: ends the session as if its token were no
/// longer good.
pub(super) async fn expire_device(
    State(control): State<Control>,
    Path((device, action)): Path<(String, String)>,
    request: Request,
) -> Response {
    // A module may have this name: what one does with it has other verbs.
    if action != "expire-token" {
        let (method, path) = (request.method(), request.uri().path());
        return control.refusal(&error::wrong_verb(&control.handle, method, path));
    }
    let client = device_id(&device).map(ClientId::device);
    expire(&control, client).await
}

/// `POST /_emulator/connections/{device}/{module}/expire-token`
pub(super) async fn expire_module(
    State(control): State<Control>,
    Path(path): Path<(String, String)>,
) -> Response {
    expire(&control, module_of(&path)).await
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
    Path(path): Path<(String, String)>,
) -> Response {
    drop_client(&control, module_of(&path)).await
}

fn module_of((device, module): &(String, String)) -> Result<ClientId, Error> {
    Ok(ClientId::module(device_id(device)?, module_id(module)?))
}

async fn expire(control: &Control, client: Result<ClientId, Error>) -> Response {
    let result = match client {
        Ok(client) => {
            control
                .perform(|hub, cx, operator| hub.expire_token(cx, operator, &client))
                .await
        }
        Err(invalid) => Err(invalid),
    };
    control.answer(result.map(|()| answer::no_content()))
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
        "lastActivityTime": connection.last_activity.to_iso(),
        "expires": connection.expires.map(Timestamp::to_iso),
        "subscriptions": subscriptions,
    })
}
