//! Module identities (`spec/service.md` 2.6).

use axum::response::Response;
use hyper::body::Incoming;
use iothub_protocol::registry::{IdentitySpec, ModuleIdentity};
use iothub_protocol::{ClientId, DeviceId, Error, ModuleId};
use serde_json::Value;

use crate::activity::OperationKind;
use crate::http::call::{Call, about, known};
use crate::http::route::Target;
use crate::http::{answer, body};

/// `GET /devices/{id}/modules`
pub(super) async fn list(call: &Call<'_>, device: &str) -> Result<Response, Error> {
    let client = Target {
        device,
        module: None,
    }
    .client();
    let operation = about(OperationKind::ListModules, &client);
    let modules = call
        .perform(operation, |hub, _, caller| {
            hub.modules(caller, &known(&client)?.device)
        })
        .await?;
    let modules: Vec<Value> = modules.iter().map(ModuleIdentity::to_json).collect();
    Ok(answer::value(&modules.into()))
}

/// `GET /devices/{id}/modules/{mid}`
pub(super) async fn get(call: &Call<'_>, target: Target<'_>) -> Result<Response, Error> {
    let client = target.client();
    let operation = about(OperationKind::GetModule, &client);
    let identity = call
        .perform(operation, |hub, _, caller| {
            let (device, module) = names(&client)?;
            hub.module(caller, device, module)
        })
        .await?;
    Ok(answer::entity(&identity.to_json(), &identity.etag))
}

/// `PUT /devices/{id}/modules/{mid}`: creates without `If-Match`, updates with.
pub(super) async fn put(
    call: &Call<'_>,
    target: Target<'_>,
    body: Incoming,
) -> Result<Response, Error> {
    let client = target.client();
    let spec = call
        .read(body, body::ENTITY)
        .await
        .and_then(|body| IdentitySpec::parse(&body));
    let operation = about(OperationKind::PutModule, &client);
    let identity = call
        .perform(operation, |hub, cx, caller| {
            let (device, module) = names(&client)?;
            hub.put_module(cx, caller, device, module, spec?, &call.if_match())
        })
        .await?;
    Ok(answer::entity(&identity.to_json(), &identity.etag))
}

/// `DELETE /devices/{id}/modules/{mid}`
pub(super) async fn delete(call: &Call<'_>, target: Target<'_>) -> Result<Response, Error> {
    let client = target.client();
    let operation = about(OperationKind::DeleteModule, &client);
    call.perform(operation, |hub, cx, caller| {
        let (device, module) = names(&client)?;
        hub.delete_module(cx, caller, device, module, &call.if_match())
    })
    .await?;
    Ok(answer::no_content())
}

fn names(client: &Result<ClientId, Error>) -> Result<(&DeviceId, &ModuleId), Error> {
    let ClientId { device, module } = known(client)?;
    Ok((
        device,
        module
            .as_ref()
            .expect("the routes of modules name a module"),
    ))
}
