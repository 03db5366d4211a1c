//! Edge gateways: their system modules, and whose parent they are (`spec/service.md` 2.5).

use iothub_protocol::registry::{AuthenticationSpec, IdentitySpec};
use iothub_protocol::{ClientId, DeviceId, Error, ErrorCode, ModuleId};

use crate::Hub;
use crate::cx::{Cx, IdentityChange};
use crate::registry::Identity;

/// How every scope begins; the edge's id and the ticks of its creation follow.
const SCOPE: &str = "ms-azure-iot-edge://";

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

    /// What only an edge has goes when it is none any more: nobody else could remove it.
    pub(crate) fn remove_system_modules(&mut self, cx: &mut Cx<'_>, device: &DeviceId) {
        let modules: Vec<_> = self
            .registry
            .modules_of(device)
            .map(|identity| identity.client.clone())
            .filter(|client| client.module.as_ref().is_some_and(ModuleId::is_system))
            .collect();
        for module in modules {
            self.remove_identity(cx, &module);
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
        let parents: Vec<&String> = spec
            .parent_scopes
            .iter()
            .flatten()
            .filter(|scope| !scope.is_empty())
            .collect();
        if parents.len() > 1 {
            return refused(format!("{id} would have {} parents", parents.len()));
        }
        let named = parents.first().copied();
        let old_scope = old
            .filter(|old| old.iot_edge)
            .and_then(|old| old.device_scope.as_ref());
        let (own, parent) = if spec.iot_edge {
            let given = spec.device_scope.as_ref();
            if let (Some(own), Some(given)) = (old_scope, given)
                && own != given
            {
                return refused(format!("the scope of edge {id} does not change"));
            }
            let own = match (old_scope, given) {
                (Some(own), _) => own.clone(),
                // As an export has it, so that its children find it again.
                (None, Some(given)) if is_scope_of(id, given) => given.clone(),
                (None, _) => format!("{SCOPE}{id}-{}", cx.now().dotnet_ticks()),
            };
            (Some(own), named.cloned())
        } else {
            // An edge that becomes a leaf is sent back with the scope that was its own, which
            // names no parent.
            let given = spec
                .device_scope
                .as_ref()
                .filter(|scope| Some(*scope) != old_scope);
            let parent = match old {
                Some(old) if !old.iot_edge => given,
                Some(_) | None => given.or(named),
            };
            (parent.cloned(), parent.cloned())
        };
        if let Some(parent) = &parent {
            self.check_parent(id, parent)?;
        }
        Ok((own, parent.into_iter().collect()))
    }

    /// A parent is an edge, and not one below its child.
    fn check_parent(&self, id: &DeviceId, scope: &str) -> Result<(), Error> {
        let Some(parent) = self.registry.edge_with_scope(scope) else {
            return refused(format!("there is no edge with the scope {scope}"));
        };
        let mut above = Some(parent);
        // There is no cycle yet, so that the way up ends.
        while let Some(edge) = above {
            if edge.client.device == *id {
                return refused(format!("{id} would be above and below {scope}"));
            }
            let next = edge.parent_scopes.first();
            above = next.and_then(|scope| self.registry.edge_with_scope(scope));
        }
        Ok(())
    }

    /// Takes the parent away from those who had `edge` for one.
    pub(crate) fn clear_children(&mut self, cx: &mut Cx<'_>, edge: &Identity) {
        let Some(scope) = edge.device_scope.as_ref() else {
            return;
        };
        for child in self.registry.children_of(scope) {
            let mut child = (*child).clone();
            child.etag = self.entropy.identity_etag();
            child.parent_scopes.clear();
            if !child.iot_edge {
                child.device_scope = None;
            }
            let client = child.client.clone();
            self.write_identity(cx, child, IdentityChange::Updated);
            self.configure(cx, &client);
        }
    }
}

fn refused<R>(detail: String) -> Result<R, Error> {
    Err(Error::new(ErrorCode::InvalidDeviceScope, detail))
}

/// Whether a scope may be that of this edge.
fn is_scope_of(edge: &DeviceId, scope: &str) -> bool {
    let rest = scope.strip_prefix(SCOPE);
    let rest = rest.and_then(|rest| rest.strip_prefix(edge.as_str()));
    let ticks = rest.and_then(|rest| rest.strip_prefix('-'));
    ticks.is_some_and(|ticks| !ticks.is_empty() && ticks.bytes().all(|byte| byte.is_ascii_digit()))
}
