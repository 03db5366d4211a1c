//! Device identities (`spec/service.md` 2.3).

use axum::response::Response;
use hyper::body::Incoming;
use iothub_protocol::Error;
use iothub_protocol::registry::{DeviceIdentity, IdentitySpec};
use serde_json::Value;

use crate::activity::OperationKind;
use crate::http::call::{Call, about, known};
use crate::http::route::Target;
use crate::http::{answer, body};

/// `GET /devices?top=`
pub(super) async fn list(call: &Call<'_>) -> Result<Response, Error> {
    let top = match call.parameter("top") {
        None => Ok(None),
        Some(text) => match text.parse() {
            Ok(0) | Err(_) => Err(Error::argument_invalid(format!(
                "top must be a number from 1, not {text}"
            ))),
            Ok(top) => Ok(Some(top)),
        },
    };
    let operation = OperationKind::ListDevices.hub_wide();
    let devices = call
        .perform(operation, |hub, _, caller| hub.devices(caller, top?))
        .await?;
    let devices: Vec<Value> = devices.iter().map(DeviceIdentity::to_json).collect();
    Ok(answer::value(&devices.into()))
}

/// `GET /devices/{id}`
pub(super) async fn get(call: &Call<'_>, device: &str) -> Result<Response, Error> {
    let client = Target {
        device,
        module: None,
    }
    .client();
    let operation = about(OperationKind::GetDevice, &client);
    let identity = call
        .perform(operation, |hub, _, caller| {
            hub.device(caller, &known(&client)?.device)
        })
        .await?;
    Ok(answer::entity(&identity.to_json(), &identity.etag))
}

/// `PUT /devices/{id}`: creates without `If-Match`, updates with.
pub(super) async fn put(call: &Call<'_>, device: &str, body: Incoming) -> Result<Response, Error> {
    let client = Target {
        device,
        module: None,
    }
    .client();
    let spec = call
        .read(body, body::ENTITY)
        .await
        .and_then(|body| IdentitySpec::parse(&body));
    let operation = about(OperationKind::PutDevice, &client);
    let identity = call
        .perform(operation, |hub, cx, caller| {
            hub.put_device(cx, caller, &known(&client)?.device, spec?, &call.if_match())
        })
        .await?;
    Ok(answer::entity(&identity.to_json(), &identity.etag))
}

/// `DELETE /devices/{id}`
pub(super) async fn delete(call: &Call<'_>, device: &str) -> Result<Response, Error> {
    let client = Target {
        device,
        module: None,
    }
    .client();
    let operation = about(OperationKind::DeleteDevice, &client);
    call.perform(operation, |hub, cx, caller| {
        hub.delete_device(cx, caller, &known(&client)?.device, &call.if_match())
    })
    .await?;
    Ok(answer::no_content())
}
