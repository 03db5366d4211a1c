//! The hub as it is at one moment, to be asked without holding anybody up.

use std::collections::HashMap;

use iothub_protocol::{ClientId, DeviceId, Error, ModuleId, Timestamp};
use serde_json::Value;

use super::rows::View;
use super::select::{ItemType, Page, Query};
use crate::{Hub, Permission, Principal};

/// A copy of what queries look at. What is kept for devices is structurally shared, so that its
/// cost does not depend on their number.
pub struct QuerySnapshot {
    hub: Hub,
    present: HashMap<ClientId, Timestamp>,
}

impl QuerySnapshot {
    pub(super) fn view(&self) -> View<'_> {
        View {
            hub: &self.hub,
            present: Some(&self.present),
        }
    }

    /// Every device by name, in order; looks at names alone.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceId> {
        self.hub.registry.device_ids()
    }

    /// How many rows a whole SELECT has.
    pub(crate) fn count_rows(&self, text: &str) -> Result<u64, Error> {
        Ok(Query::parse(text, false)?.count(self.view()))
    }
}

impl Hub {
    /// Refuses who lacks `ServiceConnect`, before they learn anything of their query
    /// (`spec/service.md` 1.2).
    pub fn may_query(&self, caller: &Principal) -> Result<(), Error> {
        caller.require(Permission::ServiceConnect)
    }

    /// What a query by `caller` may look at, together with everybody who is connected; refuses who
    /// lacks `ServiceConnect` (`spec/service.md` 1.2).
    pub fn query_snapshot(&self, caller: &Principal) -> Result<QuerySnapshot, Error> {
        caller.require(Permission::ServiceConnect)?;
        Ok(self.snapshot())
    }

    /// The hub as it is now.
    pub(crate) fn snapshot(&self) -> QuerySnapshot {
        QuerySnapshot {
            hub: self.without_connections(),
            present: self.sessions.present(),
        }
    }

    /// What this query by `caller` looks at. Copying who is connected would hold up all of them, so
    /// that it is done only for a query that asks for it; the pages of another one want
    /// [`Hub::tell_presence`].
    pub fn snapshot_for(&self, caller: &Principal, query: &Query) -> Result<QuerySnapshot, Error> {
        if query.asks_who_is_connected() {
            return self.query_snapshot(caller);
        }
        self.snapshot_without_presence(caller)
    }

    /// What `caller` may look at, in which nobody is connected. Costs the same whatever the number
    /// of devices and connections.
    pub fn snapshot_without_presence(&self, caller: &Principal) -> Result<QuerySnapshot, Error> {
        caller.require(Permission::ServiceConnect)?;
        Ok(QuerySnapshot {
            hub: self.without_connections(),
            present: HashMap::new(),
        })
    }

    /// Completes a page of whole twins by who of them is connected now.
    pub fn tell_presence(&self, page: &mut Page) {
        if page.item_type != ItemType::Twin {
            return;
        }
        for twin in &mut page.items {
            let Some(client) = client_of(twin) else {
                continue;
            };
            if let Some((_, session)) = self.sessions.find(&client) {
                twin["connectionState"] = "Connected".into();
                twin["lastActivityTime"] = session.last_activity.to_iso().into();
            }
        }
    }
}

fn client_of(twin: &Value) -> Option<ClientId> {
    let device = DeviceId::parse(twin["deviceId"].as_str()?).ok()?;
    let module = match twin["moduleId"].as_str() {
        Some(module) => Some(ModuleId::parse(module).ok()?),
        None => None,
    };
    Some(ClientId { device, module })
}
