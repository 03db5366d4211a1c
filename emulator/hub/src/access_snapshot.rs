//! The hub as it is at one moment, to be asked whom it lets in without holding anybody up.

use std::sync::Arc;

use iothub_protocol::{ClientId, DeviceId, Error};

use crate::authorities::Authority;
use crate::registry::Identity;
use crate::{AccessPolicy, Hub, Permission, Principal};

/// A copy of what decides who is let in. What is kept for devices is structurally shared, so that
/// its cost does not depend on their number.
pub struct AccessSnapshot {
    hub: Hub,
}

impl Hub {
    /// The hub as it is now, for somebody who may see the keys of its identities; refuses who lacks
    /// `RegistryRead`.
    pub fn access_snapshot(&self, caller: &Principal) -> Result<AccessSnapshot, Error> {
        caller.require(Permission::RegistryRead)?;
        Ok(AccessSnapshot {
            hub: self.without_connections(),
        })
    }
}

impl AccessSnapshot {
    /// The hub itself, which authenticates as it did then.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// The shared access policies.
    pub fn policies(&self) -> &[AccessPolicy] {
        &self.hub.config.policies
    }

    /// A device or module.
    pub fn identity(&self, client: &ClientId) -> Option<&Arc<Identity>> {
        self.hub.registry.find(client)
    }

    /// Whether the device may not connect, nor may its modules.
    pub fn is_disabled(&self, device: &DeviceId) -> bool {
        self.hub.registry.is_disabled(device)
    }

    /// Every device, and behind it its modules, in order.
    pub fn identities(&self) -> impl Iterator<Item = &Arc<Identity>> {
        self.hub.registry.identities()
    }

    /// The registered certificate authorities.
    pub fn authorities(&self) -> impl Iterator<Item = &Arc<Authority>> {
        self.hub.authorities.iter()
    }

    /// Whether a token or a connection for this host is one for this hub.
    pub fn is_ours(&self, host: &str) -> bool {
        self.hub.check_is_ours(host).is_ok()
    }
}
