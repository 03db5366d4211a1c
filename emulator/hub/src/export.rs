//! The registry as lines of an export (`spec/service.md` 6.5).

use std::sync::Arc;

use imbl::OrdMap;
use iothub_protocol::ClientId;
use iothub_protocol::registry::authentication_json;
use iothub_protocol::twin::SectionKind;
use serde_json::{Map, Value, json};

use crate::Hub;
use crate::packed::PackedTwin;
use crate::registry::Identity;
use crate::twins::etag_text;

/// Identities and twins as they were at one moment. Costs the same whatever their number, and is
/// read without the hub.
#[derive(Clone)]
pub struct ExportSnapshot {
    identities: OrdMap<ClientId, Arc<Identity>>,
    twins: OrdMap<ClientId, PackedTwin>,
}

impl Hub {
    /// What an export that begins now writes.
    pub fn export_snapshot(&self) -> ExportSnapshot {
        ExportSnapshot {
            identities: self.registry.snapshot(),
            twins: self.twins.snapshot(),
        }
    }
}

impl ExportSnapshot {
    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.identities.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.identities.is_empty()
    }

    /// The lines, each device followed by its modules. Keys are `null` when they are to be left
    /// out.
    pub fn lines(&self, exclude_keys: bool) -> impl Iterator<Item = Value> {
        self.identities
            .values()
            .map(move |identity| line(identity, self.twins.get(&identity.client), exclude_keys))
    }
}

/// `ExportImportDevice`, in the order of the documentation's example.
fn line(identity: &Identity, twin: Option<&PackedTwin>, exclude_keys: bool) -> Value {
    let mut line = Map::new();
    let mut put = |name: &str, value: Value| {
        line.insert(name.to_owned(), value);
    };
    put("id", identity.client.device.as_str().into());
    if let Some(module) = &identity.client.module {
        put("moduleId", module.as_str().into());
    }
    put("eTag", identity.etag.as_str().into());
    let is_device = identity.client.module.is_none();
    if is_device {
        put("status", identity.status.as_str().into());
        if let Some(reason) = &identity.status_reason {
            put("statusReason", reason.as_str().into());
        }
    } else if let Some(manager) = &identity.managed_by {
        put("managedBy", manager.as_str().into());
    }
    let mut authentication = authentication_json(&identity.authentication);
    if exclude_keys {
        authentication["symmetricKey"] = json!({"primaryKey": null, "secondaryKey": null});
    }
    put("authentication", authentication);
    if let Some(twin) = twin {
        let twin = twin.unpack(identity.client.clone());
        put("twinETag", etag_text(twin.etag).into());
        put("tags", Value::Object(twin.tags));
        put(
            "properties",
            json!({
                "desired": twin.desired.into_service_json(SectionKind::Desired),
                "reported": twin.reported.into_service_json(SectionKind::Reported),
            }),
        );
    }
    if is_device {
        put("capabilities", json!({"iotEdge": identity.iot_edge}));
        if let Some(scope) = &identity.device_scope {
            put("deviceScope", scope.as_str().into());
        }
        put("parentScopes", json!(identity.parent_scopes));
    }
    Value::Object(line)
}
