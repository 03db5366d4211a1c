//! What waits for a device or module, without taking any of it.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iothub_hub::QueuedC2d;
use iothub_protocol::property_bag::SystemProperty;
use iothub_protocol::{ClientId, Error};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Control, device_id, module_id};
use crate::http::answer;

/// More than a device's queue holds, unless its limits were changed.
const MOST: usize = 100;

const ACK: &str = "iothub-ack";

/// How much is wanted.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wish {
    max: Option<usize>,
}

/// `GET /_emulator/devices/{device}/c2d[?max=N]`: the first messages in the queue, locked ones
/// included, and how many there are.
pub(super) async fn of_device(
    State(control): State<Control>,
    Path(device): Path<String>,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Response {
    let client = device_id(&device).map(ClientId::device);
    let result = read(&control, client, wish).await;
    control.answer(result)
}

/// `GET /_emulator/devices/{device}/modules/{module}/c2d[?max=N]`
pub(super) async fn of_module(
    State(control): State<Control>,
    Path((device, module)): Path<(String, String)>,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Response {
    let client =
        device_id(&device).and_then(|device| Ok(ClientId::module(device, module_id(&module)?)));
    let result = read(&control, client, wish).await;
    control.answer(result)
}

async fn read(
    control: &Control,
    client: Result<ClientId, Error>,
    wish: Result<Query<Wish>, QueryRejection>,
) -> Result<Response, Error> {
    let client = client?;
    let Query(wish) = wish.map_err(|error| Error::argument_invalid(error.body_text()))?;
    let most = wish.max.unwrap_or(MOST).min(MOST);
    let (messages, total) = control
        .perform(|hub, _, operator| hub.c2d_queue(operator, &client, most))
        .await?;
    let messages: Vec<Value> = messages.iter().map(told).collect();
    Ok(answer::value(
        &json!({"total": total, "messages": messages}),
    ))
}

fn told(queued: &QueuedC2d) -> Value {
    let c2d = &*queued.message;
    let bag = &c2d.message.properties;
    let mut told = Map::new();
    let mut put = |name: &str, value: Value| {
        told.insert(name.to_owned(), value);
    };
    put("sequence", c2d.sequence.into());
    if let Some(id) = bag.system(SystemProperty::MessageId) {
        put("messageId", id.into());
    }
    match queued.lock {
        None => put("state", "enqueued".into()),
        Some((token, until)) => {
            put("state", "locked".into());
            put("lockToken", token.to_string().into());
            put("lockedUntil", until.to_iso().into());
        }
    }
    put("delivered", queued.delivered.into());
    put("deliveryCount", c2d.delivery_count.into());
    put("enqueued", c2d.enqueued.to_iso().into());
    put("expires", c2d.expires.to_iso().into());
    put("ack", queued.ack().name().into());
    let mut system = Map::new();
    for property in SystemProperty::ALL {
        if *property != SystemProperty::MessageId
            && let (Some(value), Some(name)) = (bag.system(*property), property.event_name())
        {
            system.insert(name.to_owned(), value.into());
        }
    }
    put("systemProperties", system.into());
    // What its sender wants to hear of travels as a property, and is told above.
    let application = bag.application().into_iter();
    let properties: Map<String, Value> = application
        .filter(|(name, _)| name != ACK)
        .map(|(name, value)| (name.into_owned(), value.into()))
        .collect();
    put("properties", properties.into());
    let body = &c2d.message.body;
    match std::str::from_utf8(body) {
        Ok(text) => put("body", text.into()),
        Err(_) => put("body_base64", STANDARD.encode(body).into()),
    }
    Value::Object(told)
}
