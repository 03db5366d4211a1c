//! Devices from a fixture.

use axum::extract::{RawQuery, Request, State};
use axum::response::Response;
use http::StatusCode;
use iothub_hub::{Hub, Principal};
use iothub_protocol::registry::{BulkItem, IdentitySpec, ImportMode, bulk_result_json};
use iothub_protocol::twin::TwinPatch;
use iothub_protocol::{DeviceId, Error, json as members};
use serde_json::{Map, Value, json};

use super::{Control, device_id, object_of};
use crate::http::{answer, body};

/// `POST /_emulator/seed[?replace=true]` with
/// `{"devices":[{"deviceId":"d1","tags":{},"desired":{},"modules":[{"moduleId":"m1"}]}]}`, each
/// with the members of an identity (`spec/service.md` 2.2) beside.
///
/// A device that exists is refused before anything is done, or with `replace` deleted first.
pub(super) async fn seed(
    State(control): State<Control>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let replace = query.is_some_and(|query| query.split('&').any(|pair| pair == "replace=true"));
    let result = try_seed(&control, request, replace).await;
    control.answer(result)
}

async fn try_seed(control: &Control, request: Request, replace: bool) -> Result<Response, Error> {
    let Fixture { devices, items } = parse(&object_of(request, body::FIXTURE).await?)?;
    let counts = json!({"devices": devices.len(), "modules": items.len() - devices.len()});
    let errors = control
        .perform(|hub, cx, operator| {
            let items = make_room(hub, operator, &devices, items, replace)?;
            hub.bulk(cx, operator, items)
        })
        .await?;
    if errors.is_empty() {
        return Ok(answer::value(&counts));
    }
    Ok(answer::json(
        StatusCode::BAD_REQUEST,
        bulk_result_json(&errors).to_string(),
    ))
}

/// Refuses when devices are there already, or puts their deletion first.
fn make_room(
    hub: &Hub,
    operator: &Principal,
    devices: &[DeviceId],
    items: Vec<BulkItem>,
    replace: bool,
) -> Result<Vec<BulkItem>, Error> {
    let mut all = Vec::new();
    for id in devices.iter().filter(|id| hub.device(operator, id).is_ok()) {
        if !replace {
            return Err(Error::device_already_exists(id));
        }
        all.push(item(id.as_str(), None, ImportMode::Delete));
    }
    all.extend(items);
    Ok(all)
}

/// Devices, and what creates them and their modules, each device before its modules.
#[derive(Debug)]
struct Fixture {
    devices: Vec<DeviceId>,
    items: Vec<BulkItem>,
}

fn parse(members: &Map<String, Value>) -> Result<Fixture, Error> {
    let mut fixture = Fixture {
        devices: Vec::new(),
        items: Vec::new(),
    };
    for device in list(members, "devices")? {
        let members = object(device)?;
        let id = members::string(members, "deviceId")?.unwrap_or_default();
        fixture.devices.push(device_id(id)?);
        fixture.items.push(created(id, None, device, members)?);
        for module in list(members, "modules")? {
            let members = object(module)?;
            let module_id = members::string(members, "moduleId")?.unwrap_or_default();
            fixture
                .items
                .push(created(id, Some(module_id), module, members)?);
        }
    }
    Ok(fixture)
}

fn created(
    id: &str,
    module_id: Option<&str>,
    identity: &Value,
    members: &Map<String, Value>,
) -> Result<BulkItem, Error> {
    let section = |name| Ok::<_, Error>(members::object(members, name)?.cloned().map(Some));
    Ok(BulkItem {
        spec: Ok(IdentitySpec::from_value(identity)?),
        twin: TwinPatch {
            tags: section("tags")?,
            desired: section("desired")?,
        },
        ..item(id, module_id, ImportMode::Create)
    })
}

fn item(id: &str, module_id: Option<&str>, mode: ImportMode) -> BulkItem {
    BulkItem {
        id: id.to_owned(),
        module_id: module_id.map(str::to_owned),
        mode,
        spec: Ok(IdentitySpec::default()),
        etag: None,
        twin_etag: None,
        twin: TwinPatch::default(),
    }
}

fn list<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a [Value], Error> {
    match members::non_null(members, name) {
        None => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(Error::argument_invalid(format!("{name} must be a list"))),
    }
}

fn object(value: &Value) -> Result<&Map<String, Value>, Error> {
    value
        .as_object()
        .ok_or_else(|| Error::argument_invalid("devices and modules are objects"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_follow_their_device() {
        let fixture = json!({"devices": [
            {"deviceId": "d1", "status": "disabled", "tags": {"a": 1},
             "modules": [{"moduleId": "m1", "desired": {"b": 2}}]},
            {"deviceId": "d2"},
        ]});

        let fixture = parse(fixture.as_object().unwrap()).unwrap();

        let names: Vec<_> = fixture
            .items
            .iter()
            .map(|item| (item.id.as_str(), item.module_id.as_deref()))
            .collect();
        assert_eq!(names, [("d1", None), ("d1", Some("m1")), ("d2", None)]);
        assert_eq!(
            fixture.items[0].twin.tags,
            Some(json!({"a": 1}).as_object().cloned())
        );
        assert_eq!(
            fixture.items[1].twin.desired,
            Some(json!({"b": 2}).as_object().cloned())
        );
        assert_eq!(
            fixture.items[0].spec.as_ref().unwrap().status,
            iothub_protocol::registry::Status::Disabled
        );
    }

    #[test]
    fn a_fixture_of_another_shape_is_refused() {
        for fixture in [
            json!({"devices": {}}),
            json!({"devices": ["d1"]}),
            json!({"devices": [{}]}),
            json!({"devices": [{"deviceId": "d1", "tags": []}]}),
            json!({"devices": [{"deviceId": "d1", "modules": 1}]}),
        ] {
            assert!(parse(fixture.as_object().unwrap()).is_err(), "{fixture}");
        }
    }
}
