//! Which edge has which scope, and who is below it (`spec/service.md` 2.5).

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use iothub_protocol::DeviceId;

use crate::registry::Identity;

/// The scopes of a registry's identities. Those who have none cost nothing.
#[derive(Clone, Default)]
pub(crate) struct Scopes {
    edges: OrdMap<Arc<str>, DeviceId>,
    /// By the parent's scope.
    children: OrdSet<(Arc<str>, DeviceId)>,
}

impl Scopes {
    pub(crate) fn add(&mut self, identity: &Identity) {
        let device = &identity.client.device;
        if let Some(scope) = own_scope(identity) {
            self.edges.insert(scope.into(), device.clone());
        }
        for scope in &identity.parent_scopes {
            self.children
                .insert((scope.as_str().into(), device.clone()));
        }
    }

    /// Undoes [`Scopes::add`]; what another identity has by now stays.
    pub(crate) fn remove(&mut self, identity: &Identity) {
        let device = &identity.client.device;
        if let Some(scope) = own_scope(identity)
            && self.edges.get(scope) == Some(device)
        {
            self.edges.remove(scope);
        }
        for scope in &identity.parent_scopes {
            self.children
                .remove(&(scope.as_str().into(), device.clone()));
        }
    }

    /// The edge whose scope it is.
    pub(crate) fn edge(&self, scope: &str) -> Option<&DeviceId> {
        self.edges.get(scope)
    }

    /// Who names the scope as its parent's, by name.
    pub(crate) fn children(&self, scope: &str) -> impl Iterator<Item = &DeviceId> {
        // Sorts before every other: an exclamation mark is the first character that an id may have.
        let lowest = DeviceId::parse("!").expect("an exclamation mark is a valid id");
        let scope: Arc<str> = scope.into();
        self.children
            .range((scope.clone(), lowest)..)
            .take_while(move |(of, _)| *of == scope)
            .map(|(_, child)| child)
    }
}

fn own_scope(identity: &Identity) -> Option<&str> {
    let scope = identity.device_scope.as_deref();
    scope.filter(|_| identity.iot_edge)
}
