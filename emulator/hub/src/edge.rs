//! Edge gateways: their system modules, and whose parent they are (`spec/service.md` 2.5).

use iothub_protocol::registry::{AuthenticationSpec, IdentitySpec};
use iothub_protocol::{ClientId, DeviceId, Error, ErrorCode, ModuleId};

use crate::Hub;
use crate::cx::Cx;
use crate::registry::Identity;

impl Hub {
    /// What an edge has from the moment it is one (`spec/service.md` 2.5).
    pub(crate) fn add_system_modules(&mut self, cx: &mut Cx<'_>, device: &DeviceId) {
        for name in ["$edgeAgent", "$edgeHub"] {
            let module = ModuleId::parse(name).expect("the names of system modules are valid");
            let client = ClientId::module(device.clone(), module);
            if self.registry.find(&client).is_none() {
                let identity = Identity {
                    managed_by: Some("iotEdge".into()),
                    ..self.new_identity(cx, client, AuthenticationSpec::Sas(None))
                };
                self.add_identity(cx, identity);
            }
        }
    }

    /// Works out `deviceScope` and `parentScopes` (`spec/service.md` 2.5): an edge keeps the scope
    /// that it was given at first and names its parent in `parentScopes`; for a leaf `deviceScope`
    /// names the parent and wins over `parentScopes`, which tools send back stale.
    pub(crate) fn scopes_for(
        &self,
        cx: &Cx<'_>,
        id: &DeviceId,
        spec: &IdentitySpec,
        old: Option<&Identity>,
    ) -> Result<(Option<String>, Vec<String>), Error> {
        let refused = |detail: String| Err(Error::new(ErrorCode::InvalidDeviceScope, detail));
        let parents = spec.parent_scopes.clone().unwrap_or_default();
        let parents: Vec<_> = parents
            .into_iter()
            .filter(|scope| !scope.is_empty())
            .collect();
        if parents.len() > 1 {
            return refused(format!("{id} would have {} parents", parents.len()));
        }
        let (own, parent) = if spec.iot_edge {
            let own = match old
                .filter(|old| old.iot_edge)
                .and_then(|old| old.device_scope.clone())
            {
                Some(own) => own,
                None => format!("ms-azure-iot-edge://{id}-{}", cx.now().dotnet_ticks()),
            };
            if spec
                .device_scope
                .as_ref()
                .is_some_and(|scope| *scope != own)
                && old.is_some()
            {
                return refused(format!("the scope of edge {id} does not change"));
            }
            (Some(own), parents.into_iter().next())
        } else {
            let given = spec.device_scope.clone();
            let parent = match old {
                None => given.or_else(|| parents.into_iter().next()),
                Some(_) => given,
            };
            (parent.clone(), parent)
        };
        if let Some(parent) = &parent {
            let known = self.registry.devices().any(|device| {
                device.iot_edge
                    && device.client.device != *id
                    && device.device_scope.as_deref() == Some(parent)
            });
            if !known {
                return refused(format!("there is no edge with the scope {parent}"));
            }
        }
        Ok((own, parent.into_iter().collect()))
    }

    /// Takes the parent away from those who had `edge` for one.
    pub(crate) fn clear_children(&mut self, cx: &mut Cx<'_>, edge: &Identity) {
        let Some(scope) = edge.device_scope.as_ref() else {
            return;
        };
        let children: Vec<_> = self
            .registry
            .devices()
            .filter(|device| device.parent_scopes.contains(scope))
            .cloned()
            .collect();
        for child in children {
            let mut child = (*child).clone();
            child.parent_scopes.clear();
            if !child.iot_edge {
                child.device_scope = None;
            }
            self.store_identity(cx, child);
        }
    }
}
