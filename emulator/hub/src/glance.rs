//! A device or module at a glance: what a list shows of it.

use std::sync::Arc;

use iothub_protocol::{ClientId, Error, Timestamp};
use serde_json::{Map, Value, json};

use crate::Hub;
use crate::access::{Permission, Principal};
use crate::packed::PackedTwin;
use crate::registry::Identity;
use crate::twins::authentication_type;

/// A client as it is at one moment. Taking it is cheap; [`Glance::to_json`] is the work, and needs
/// no hub.
#[derive(Clone, Debug)]
pub struct Glance {
    /// Who it is.
    pub client: ClientId,
    /// `None`: it is not registered.
    known: Option<Known>,
}

#[derive(Clone, Debug)]
struct Known {
    identity: Arc<Identity>,
    twin: Option<PackedTwin>,
    /// What carries its connection, and since when.
    connection: Option<(&'static str, Timestamp)>,
    last_activity: Timestamp,
    waiting: u64,
}

impl Hub {
    /// Clients as they are now, in the given order; those that are not registered say so.
    pub fn glances(
        &self,
        caller: &Principal,
        clients: impl IntoIterator<Item = ClientId>,
    ) -> Result<Vec<Glance>, Error> {
        caller.require(Permission::RegistryRead)?;
        Ok(clients
            .into_iter()
            .map(|client| self.glance(client))
            .collect())
    }

    fn glance(&self, client: ClientId) -> Glance {
        let known = self.registry.find(&client).map(|identity| {
            let session = self.sessions.find(&client);
            Known {
                identity: identity.clone(),
                twin: self.twins.find(&client).cloned(),
                connection: session.map(|(_, state)| state.carried()),
                last_activity: session
                    .map_or(identity.last_activity, |(_, state)| state.last_activity),
                waiting: self.c2d.count(&client),
            }
        });
        Glance { client, known }
    }
}

impl Glance {
    /// Whether it is not registered.
    pub fn is_gone(&self) -> bool {
        self.known.is_none()
    }

    /// With the names that identities and twins have for the same; `gone` when it is not
    /// registered.
    pub fn to_json(&self) -> Value {
        let mut row = Map::new();
        let mut put = |name: &str, value: Value| {
            row.insert(name.to_owned(), value);
        };
        put("deviceId", self.client.device.as_str().into());
        if let Some(module) = &self.client.module {
            put("moduleId", module.as_str().into());
        }
        let Some(known) = &self.known else {
            put("gone", true.into());
            return Value::Object(row);
        };
        let identity = &known.identity;
        let is_device = self.client.module.is_none();
        if is_device {
            put("status", identity.status.as_str().into());
            if let Some(reason) = &identity.status_reason {
                put("statusReason", reason.as_str().into());
            }
        }
        let (state, protocol) = match known.connection {
            Some((transport, since)) => (
                "Connected",
                Some(json!({"protocol": transport, "since": since.to_iso()})),
            ),
            None => ("Disconnected", None),
        };
        put("connectionState", state.into());
        if let Some(protocol) = protocol {
            put("connection", protocol);
        }
        put("lastActivityTime", known.last_activity.to_iso().into());
        put("authentication", authentication_type(identity).into());
        put("cloudToDeviceMessageCount", known.waiting.into());
        if is_device {
            put("edge", identity.iot_edge.into());
        }
        let Some(twin) = &known.twin else {
            return Value::Object(row);
        };
        if !twin.model_id().is_empty() {
            put("modelId", twin.model_id().into());
        }
        if !twin.tags().is_empty() {
            put("tags", Value::Object(twin.tags().to_map()));
        }
        Value::Object(row)
    }
}
