//! Device and module identities (`spec/service.md` 2).

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use iothub_protocol::registry::{
    Authentication, AuthenticationSpec, DeviceIdentity, IdentitySpec, IfMatch, ModuleIdentity,
    Status,
};
use iothub_protocol::{ClientId, DeviceId, Error, ErrorCode, ModuleId, Timestamp};

use crate::Hub;
use crate::access::{Permission, Principal};
use crate::cx::{Change, Cx, IdentityChange, Notice};
use crate::scopes::Scopes;

/// A device or module as the registry keeps it. Members that only devices have are at their
/// defaults in modules, and the other way round.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Its name.
    pub client: ClientId,
    /// New with every creation under the same name.
    pub generation: Arc<str>,
    /// Changes with every update of the identity.
    pub etag: String,
    /// Whether it may connect (devices).
    pub status: Status,
    /// Why, in the words of who decided (devices).
    pub status_reason: Option<String>,
    /// When the status changed (devices).
    pub status_updated: Timestamp,
    /// When it last connected or disconnected.
    pub connection_state_updated: Timestamp,
    /// When it last connected, disconnected or sent something.
    pub last_activity: Timestamp,
    /// How it proves itself.
    pub authentication: Authentication,
    /// Whether it is an edge gateway (devices).
    pub iot_edge: bool,
    /// An edge's own scope, or the scope of a leaf's parent (devices).
    pub device_scope: Option<String>,
    /// Scopes of its parents (devices).
    pub parent_scopes: Vec<String>,
    /// Who looks after it (modules).
    pub managed_by: Option<String>,
}

/// Counts of devices (`spec/service.md` 2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// All devices.
    pub total: u64,
    /// Those that may connect.
    pub enabled: u64,
    /// Those that may not.
    pub disabled: u64,
}

/// Identities in order: each device, then its modules.
#[derive(Clone, Default)]
pub(crate) struct Registry {
    identities: OrdMap<ClientId, Arc<Identity>>,
    /// Kept beside the identities, so that parents and children are found at once.
    scopes: Scopes,
    statistics: Statistics,
    last_generation: i64,
}

impl Hub {
    /// Creates or, with an `If-Match`, updates a device (`spec/service.md` 2.3).
    ///
    /// Refuses with `DeviceAlreadyExists`, `DeviceNotFound`, `PreconditionFailed`,
    /// `ArgumentInvalid`, `InvalidDeviceScope`.
    pub fn put_device(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        id: &DeviceId,
        spec: IdentitySpec,
        if_match: &IfMatch,
    ) -> Result<DeviceIdentity, Error> {
        caller.require(Permission::RegistryWrite)?;
        if *if_match == IfMatch::Absent {
            self.create_device(cx, id, spec)?;
        } else {
            self.update_device(cx, id, spec, if_match)?;
        }
        self.device_identity(id)
    }

    /// Creates or, with an `If-Match`, updates a module (`spec/service.md` 2.6).
    ///
    /// Refuses with `DeviceNotFound`, `ModuleNotFound`, `ModuleAlreadyExistsOnDevice`,
    /// `PreconditionFailed`, `TooManyModulesOnDevice`, `SystemModuleModifyUnauthorizedAccess`,
    /// `ArgumentInvalid`.
    pub fn put_module(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        device: &DeviceId,
        module: &ModuleId,
        spec: IdentitySpec,
        if_match: &IfMatch,
    ) -> Result<ModuleIdentity, Error> {
        caller.require(Permission::RegistryWrite)?;
        if *if_match == IfMatch::Absent {
            self.create_module(cx, device, module, spec)?;
        } else {
            self.update_module(cx, device, module, spec, if_match)?;
        }
        self.module_identity(device, module)
    }

    /// A device's identity; refuses with `DeviceNotFound`.
    pub fn device(&self, caller: &Principal, id: &DeviceId) -> Result<DeviceIdentity, Error> {
        caller.require(Permission::RegistryRead)?;
        self.device_identity(id)
    }

    /// A module's identity; refuses with `DeviceNotFound` or `ModuleNotFound`.
    pub fn module(
        &self,
        caller: &Principal,
        device: &DeviceId,
        module: &ModuleId,
    ) -> Result<ModuleIdentity, Error> {
        caller.require(Permission::RegistryRead)?;
        self.module_identity(device, module)
    }

    /// The first `top` devices (at most 1000), by name.
    pub fn devices(
        &self,
        caller: &Principal,
        top: Option<usize>,
    ) -> Result<Vec<DeviceIdentity>, Error> {
        caller.require(Permission::RegistryRead)?;
        let limit = self.config.limits.list_top;
        let top = top.unwrap_or(limit).min(limit);
        Ok(self
            .registry
            .devices()
            .take(top)
            .map(|identity| self.device_view(identity))
            .collect())
    }

    /// A device's modules, by name; refuses with `DeviceNotFound`.
    pub fn modules(
        &self,
        caller: &Principal,
        device: &DeviceId,
    ) -> Result<Vec<ModuleIdentity>, Error> {
        caller.require(Permission::RegistryRead)?;
        self.registry.require_device(device)?;
        Ok(self
            .registry
            .modules_of(device)
            .map(|identity| self.module_view(identity))
            .collect())
    }

    /// Deletes a device with its modules, twins, waiting messages and their feedback; ends its
    /// connections.
    ///
    /// Refuses with `DeviceNotFound`, `PreconditionFailed`.
    pub fn delete_device(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        id: &DeviceId,
        if_match: &IfMatch,
    ) -> Result<(), Error> {
        caller.require(Permission::RegistryWrite)?;
        let identity = self.registry.require_device(id)?.clone();
        check_etag(if_match, &identity)?;
        let modules: Vec<_> = self
            .registry
            .modules_of(id)
            .map(|module| module.client.clone())
            .collect();
        self.set_leaving(Some(id.clone()));
        for module in modules {
            self.remove_identity(cx, &module);
        }
        self.remove_identity(cx, &identity.client);
        self.set_leaving(None);
        if identity.iot_edge {
            self.clear_children(cx, &identity);
        }
        Ok(())
    }

    /// Deletes a module and its twin; ends its connection.
    ///
    /// Refuses with `DeviceNotFound`, `ModuleNotFound`, `PreconditionFailed`,
    /// `SystemModuleModifyUnauthorizedAccess`.
    pub fn delete_module(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        device: &DeviceId,
        module: &ModuleId,
        if_match: &IfMatch,
    ) -> Result<(), Error> {
        caller.require(Permission::RegistryWrite)?;
        let identity = self.registry.require_module(device, module)?.clone();
        check_not_system(module)?;
        check_etag(if_match, &identity)?;
        self.remove_identity(cx, &identity.client);
        Ok(())
    }

    /// Counts of devices.
    pub fn statistics(&self, caller: &Principal) -> Result<Statistics, Error> {
        caller.require(Permission::RegistryRead)?;
        Ok(self.registry.statistics)
    }

    /// The count of connected devices (modules are not devices).
    pub fn connected_devices(&self, caller: &Principal) -> Result<u64, Error> {
        caller.require(Permission::ServiceConnect)?;
        Ok(self.sessions.devices())
    }

    pub(crate) fn create_device(
        &mut self,
        cx: &mut Cx<'_>,
        id: &DeviceId,
        spec: IdentitySpec,
    ) -> Result<(), Error> {
        check_names(&spec, id, None)?;
        if self.registry.device(id).is_some() {
            return Err(Error::device_already_exists(id));
        }
        let (device_scope, parent_scopes) = self.scopes_for(cx, id, &spec, None)?;
        let client = ClientId::device(id.clone());
        let identity = Identity {
            status: spec.status,
            status_reason: spec.status_reason,
            iot_edge: spec.iot_edge,
            device_scope,
            parent_scopes,
            ..self.new_identity(cx, client, spec.authentication)
        };
        self.add_identity(cx, identity);
        if spec.iot_edge {
            self.add_system_modules(cx, id);
        }
        Ok(())
    }

    pub(crate) fn update_device(
        &mut self,
        cx: &mut Cx<'_>,
        id: &DeviceId,
        spec: IdentitySpec,
        if_match: &IfMatch,
    ) -> Result<(), Error> {
        check_names(&spec, id, None)?;
        let old = self.registry.require_device(id)?.clone();
        check_etag(if_match, &old)?;
        let (device_scope, parent_scopes) = self.scopes_for(cx, id, &spec, Some(&old))?;
        let identity = Identity {
            etag: self.entropy.identity_etag(),
            status: spec.status,
            status_reason: spec.status_reason,
            status_updated: if spec.status == old.status {
                old.status_updated
            } else {
                cx.now()
            },
            authentication: self.with_keys(spec.authentication),
            iot_edge: spec.iot_edge,
            device_scope,
            parent_scopes,
            ..(*old).clone()
        };
        let becomes_edge = spec.iot_edge && !old.iot_edge;
        let ceases_to_be_edge = !spec.iot_edge && old.iot_edge;
        let becomes_disabled = spec.status == Status::Disabled && old.status == Status::Enabled;
        self.write_identity(cx, identity, IdentityChange::Updated);
        if becomes_edge {
            self.add_system_modules(cx, id);
        }
        if ceases_to_be_edge {
            self.remove_system_modules(cx, id);
            self.clear_children(cx, &old);
        }
        if becomes_disabled {
            self.disconnect_family(cx, id);
        }
        self.configure(cx, &old.client);
        if ceases_to_be_edge {
            self.configure_modules(cx, &old.client);
        }
        Ok(())
    }

    pub(crate) fn create_module(
        &mut self,
        cx: &mut Cx<'_>,
        device: &DeviceId,
        module: &ModuleId,
        spec: IdentitySpec,
    ) -> Result<(), Error> {
        check_names(&spec, device, Some(module))?;
        self.registry.require_device(device)?;
        let client = ClientId::module(device.clone(), module.clone());
        if self.registry.find(&client).is_some() {
            return Err(Error::client_already_exists(&client));
        }
        check_not_system(module)?;
        let limit = self.config.limits.modules_per_device;
        if self.registry.modules_of(device).count() >= limit {
            return Err(Error::new(
                ErrorCode::TooManyModulesOnDevice,
                format!("Device {device} has {limit} modules"),
            ));
        }
        let identity = Identity {
            managed_by: spec.managed_by,
            ..self.new_identity(cx, client, spec.authentication)
        };
        self.add_identity(cx, identity);
        Ok(())
    }

    pub(crate) fn update_module(
        &mut self,
        cx: &mut Cx<'_>,
        device: &DeviceId,
        module: &ModuleId,
        spec: IdentitySpec,
        if_match: &IfMatch,
    ) -> Result<(), Error> {
        check_names(&spec, device, Some(module))?;
        let old = self.registry.require_module(device, module)?.clone();
        check_not_system(module)?;
        check_etag(if_match, &old)?;
        let identity = Identity {
            etag: self.entropy.identity_etag(),
            authentication: self.with_keys(spec.authentication),
            managed_by: spec.managed_by,
            ..(*old).clone()
        };
        self.write_identity(cx, identity, IdentityChange::Updated);
        self.configure(cx, &old.client);
        Ok(())
    }

    /// Records that a client came or went.
    pub(crate) fn note_connection_state(
        &mut self,
        cx: &mut Cx<'_>,
        client: &ClientId,
        connected: bool,
    ) {
        let Some(identity) = self.registry.identities.get(client) else {
            return;
        };
        let mut identity = (**identity).clone();
        identity.connection_state_updated = cx.now();
        if connected {
            identity.last_activity = cx.now();
        } else {
            identity.last_activity = identity.last_activity.max(cx.now());
        }
        self.store_identity(cx, identity);
        self.configure(cx, client);
    }

    /// Records that a client without a connection did something.
    pub(crate) fn note_activity(&mut self, cx: &mut Cx<'_>, client: &ClientId) {
        if let Some(identity) = self.registry.identities.get(client)
            && identity.last_activity < cx.now()
        {
            let identity = Identity {
                last_activity: cx.now(),
                ..(**identity).clone()
            };
            self.store_identity(cx, identity);
        }
    }

    pub(crate) fn device_identity(&self, id: &DeviceId) -> Result<DeviceIdentity, Error> {
        Ok(self.device_view(self.registry.require_device(id)?))
    }

    fn module_identity(
        &self,
        device: &DeviceId,
        module: &ModuleId,
    ) -> Result<ModuleIdentity, Error> {
        Ok(self.module_view(self.registry.require_module(device, module)?))
    }

    fn device_view(&self, identity: &Identity) -> DeviceIdentity {
        DeviceIdentity {
            device_id: identity.client.device.clone(),
            generation_id: identity.generation.to_string(),
            etag: identity.etag.clone(),
            connected: self.sessions.of(&identity.client).is_some(),
            status: identity.status,
            status_reason: identity.status_reason.clone(),
            connection_state_updated: identity.connection_state_updated,
            status_updated: identity.status_updated,
            last_activity: self.last_activity(identity),
            c2d_count: self.c2d.count(&identity.client),
            authentication: identity.authentication.clone(),
            iot_edge: identity.iot_edge,
            device_scope: identity.device_scope.clone(),
            parent_scopes: identity.parent_scopes.clone(),
        }
    }

    fn module_view(&self, identity: &Identity) -> ModuleIdentity {
        let module = identity.client.module.clone();
        ModuleIdentity {
            module_id: module.expect("only identities of modules are viewed as modules"),
            managed_by: identity.managed_by.clone(),
            device_id: identity.client.device.clone(),
            generation_id: identity.generation.to_string(),
            etag: identity.etag.clone(),
            connected: self.sessions.of(&identity.client).is_some(),
            connection_state_updated: identity.connection_state_updated,
            last_activity: self.last_activity(identity),
            c2d_count: self.c2d.count(&identity.client),
            authentication: identity.authentication.clone(),
        }
    }

    pub(crate) fn last_activity(&self, identity: &Identity) -> Timestamp {
        let session = self.sessions.find(&identity.client);
        session.map_or(identity.last_activity, |(_, state)| state.last_activity)
    }

    pub(crate) fn new_identity(
        &mut self,
        cx: &Cx<'_>,
        client: ClientId,
        authentication: AuthenticationSpec,
    ) -> Identity {
        Identity {
            client,
            generation: self.registry.next_generation(cx.now()).into(),
            etag: self.entropy.identity_etag(),
            status: Status::Enabled,
            status_reason: None,
            status_updated: Timestamp::NEVER,
            connection_state_updated: Timestamp::NEVER,
            last_activity: Timestamp::NEVER,
            authentication: self.with_keys(authentication),
            iot_edge: false,
            device_scope: None,
            parent_scopes: Vec::new(),
            managed_by: None,
        }
    }

    fn with_keys(&mut self, spec: AuthenticationSpec) -> Authentication {
        match spec {
            AuthenticationSpec::Sas(Some((primary, secondary))) => {
                Authentication::Sas { primary, secondary }
            }
            AuthenticationSpec::Sas(None) => Authentication::Sas {
                primary: self.entropy.key(),
                secondary: self.entropy.key(),
            },
            AuthenticationSpec::SelfSigned { primary, secondary } => {
                Authentication::SelfSigned { primary, secondary }
            }
            AuthenticationSpec::CertificateAuthority => Authentication::CertificateAuthority,
            AuthenticationSpec::None => Authentication::None,
        }
    }

    pub(crate) fn add_identity(&mut self, cx: &mut Cx<'_>, identity: Identity) {
        let client = identity.client.clone();
        self.write_identity(cx, identity, IdentityChange::Created);
        self.create_twin(cx, client.clone());
        self.identity_created(cx, &client);
        self.configure(cx, &client);
    }

    /// Stores what somebody asked for.
    pub(crate) fn write_identity(
        &mut self,
        cx: &mut Cx<'_>,
        identity: Identity,
        how: IdentityChange,
    ) {
        let identity = self.store_identity(cx, identity);
        cx.notice(Notice::IdentityChanged { identity, how });
    }

    fn store_identity(&mut self, cx: &mut Cx<'_>, identity: Identity) -> Arc<Identity> {
        let identity = Arc::new(identity);
        self.registry.put(identity.clone());
        cx.change(Change::PutIdentity(identity.clone()));
        if let Some(counter) = self.entropy.take_used() {
            cx.change(Change::PutEntropy(counter));
        }
        identity
    }

    pub(crate) fn remove_identity(&mut self, cx: &mut Cx<'_>, client: &ClientId) {
        let identity = self.registry.find(client).cloned();
        self.fail_waiting_calls(cx, client);
        if let Some(session) = self.sessions.of(client) {
            let code = match client.module {
                None => ErrorCode::DeviceNotFound,
                Some(_) => ErrorCode::ModuleNotFound,
            };
            self.force_out(cx, session, code, "deleted");
        }
        self.identity_deleted(cx, client);
        self.drop_c2d(cx, client);
        if client.module.is_none() {
            self.forget_uploads_of(cx, &client.device);
        }
        self.registry.remove(client);
        self.twins.remove(client);
        self.sessions.forget(client);
        self.forget_configurations_of(client);
        cx.change(Change::DeleteIdentity(client.clone()));
        if let Some(identity) = identity {
            let how = IdentityChange::Deleted;
            cx.notice(Notice::IdentityChanged { identity, how });
        }
    }

    fn disconnect_family(&mut self, cx: &mut Cx<'_>, device: &DeviceId) {
        let modules = self
            .registry
            .modules_of(device)
            .map(|module| module.client.clone());
        let family: Vec<_> = std::iter::once(ClientId::device(device.clone()))
            .chain(modules)
            .collect();
        for client in family {
            self.fail_waiting_calls(cx, &client);
            if let Some(session) = self.sessions.of(&client) {
                self.force_out(cx, session, ErrorCode::DeviceDisabled, "disabled");
            }
        }
    }
}

impl Registry {
    /// Every identity as it is now; costs the same whatever their number.
    pub(crate) fn snapshot(&self) -> OrdMap<ClientId, Arc<Identity>> {
        self.identities.clone()
    }

    pub(crate) fn find(&self, client: &ClientId) -> Option<&Arc<Identity>> {
        self.identities.get(client)
    }

    pub(crate) fn device(&self, id: &DeviceId) -> Option<&Arc<Identity>> {
        self.find(&ClientId::device(id.clone()))
    }

    /// Whether the device is registered and may not connect, nor may its modules.
    pub(crate) fn is_disabled(&self, id: &DeviceId) -> bool {
        self.device(id)
            .is_some_and(|device| device.status == Status::Disabled)
    }

    pub(crate) fn require_device(&self, id: &DeviceId) -> Result<&Arc<Identity>, Error> {
        self.device(id).ok_or_else(|| Error::device_not_found(id))
    }

    pub(crate) fn require_module(
        &self,
        device: &DeviceId,
        module: &ModuleId,
    ) -> Result<&Arc<Identity>, Error> {
        self.require_device(device)?;
        let client = ClientId::module(device.clone(), module.clone());
        self.identities
            .get(&client)
            .ok_or_else(|| Error::client_not_found(&client))
    }

    /// The identity, or the refusal that fits its kind.
    pub(crate) fn require(&self, client: &ClientId) -> Result<&Arc<Identity>, Error> {
        match &client.module {
            None => self.require_device(&client.device),
            Some(module) => self.require_module(&client.device, module),
        }
    }

    /// Counts of devices.
    pub(crate) fn device_counts(&self) -> Statistics {
        self.statistics
    }

    pub(crate) fn module_count(&self) -> u64 {
        (self.identities.len() as u64).saturating_sub(self.statistics.total)
    }

    /// Everybody, in order: each device, then its modules.
    pub(crate) fn identities(&self) -> impl Iterator<Item = &Arc<Identity>> {
        self.identities.values()
    }

    pub(crate) fn devices(&self) -> impl Iterator<Item = &Arc<Identity>> {
        self.identities
            .values()
            .filter(|identity| identity.client.module.is_none())
    }

    /// Every device by name, in order.
    pub(crate) fn device_ids(&self) -> impl Iterator<Item = &DeviceId> {
        let devices = self.identities.keys();
        devices
            .filter(|client| client.module.is_none())
            .map(|client| &client.device)
    }

    /// Everybody in a range, in order.
    pub(crate) fn range(
        &self,
        range: (Bound<ClientId>, Bound<ClientId>),
    ) -> impl Iterator<Item = (&ClientId, &Arc<Identity>)> {
        self.identities.range(range)
    }

    /// At most `count` clients from `next` on, or from the first.
    pub(crate) fn clients_from(&self, next: Option<&ClientId>, count: usize) -> Vec<ClientId> {
        let clients = |identities: &mut dyn Iterator<Item = (&ClientId, &Arc<Identity>)>| {
            identities
                .take(count)
                .map(|(client, _)| client.clone())
                .collect()
        };
        match next {
            None => clients(&mut self.identities.iter()),
            Some(next) => clients(&mut self.identities.range(next.clone()..)),
        }
    }

    pub(crate) fn modules_of<'a>(
        &'a self,
        device: &'a DeviceId,
    ) -> impl Iterator<Item = &'a Arc<Identity>> {
        // A device sorts directly before its modules.
        self.identities
            .range(ClientId::device(device.clone())..)
            .map(|(_, identity)| identity)
            .take_while(move |identity| identity.client.device == *device)
            .filter(|identity| identity.client.module.is_some())
    }

    /// Devices and modules after `cursor`, in order: each device, then its modules.
    pub(crate) fn clients_after(
        &self,
        cursor: Option<&ClientId>,
    ) -> impl Iterator<Item = &ClientId> {
        let from = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        self.identities
            .range::<_, ClientId>((from, Bound::Unbounded))
            .map(|(client, _)| client)
    }

    pub(crate) fn put(&mut self, identity: Arc<Identity>) {
        self.last_generation = self
            .last_generation
            .max(identity.generation.parse().unwrap_or_default());
        self.count(&identity.client, identity.status, 1);
        let new = identity.clone();
        let old = self.identities.insert(identity.client.clone(), identity);
        if let Some(old) = old {
            self.count(&old.client, old.status, -1);
            self.scopes.remove(&old);
        }
        // Last, since the old one may have had the same.
        self.scopes.add(&new);
    }

    pub(crate) fn remove(&mut self, client: &ClientId) {
        if let Some(old) = self.identities.remove(client) {
            self.count(client, old.status, -1);
            self.scopes.remove(&old);
        }
    }

    /// The edge whose scope it is.
    pub(crate) fn edge_with_scope(&self, scope: &str) -> Option<&Arc<Identity>> {
        self.device(self.scopes.edge(scope)?)
    }

    /// The devices that have the edge with this scope for a parent, by name.
    pub(crate) fn children_of(&self, scope: &str) -> Vec<Arc<Identity>> {
        let children = self.scopes.children(scope);
        children
            .filter_map(|child| self.device(child).cloned())
            .collect()
    }

    fn count(&mut self, client: &ClientId, status: Status, by: i64) {
        if client.module.is_some() {
            return;
        }
        let statistics = &mut self.statistics;
        statistics.total = statistics.total.wrapping_add_signed(by);
        let part = match status {
            Status::Enabled => &mut statistics.enabled,
            Status::Disabled => &mut statistics.disabled,
        };
        *part = part.wrapping_add_signed(by);
    }

    /// Ticks of the time of creation, and never the same twice.
    fn next_generation(&mut self, now: Timestamp) -> String {
        self.last_generation = now.dotnet_ticks().max(self.last_generation + 1);
        self.last_generation.to_string()
    }
}

pub(crate) fn check_etag(if_match: &IfMatch, identity: &Identity) -> Result<(), Error> {
    if if_match.matches(&identity.etag) {
        return Ok(());
    }
    Err(Error::precondition_failed(&identity.etag))
}

pub(crate) fn check_not_system(module: &ModuleId) -> Result<(), Error> {
    if module.is_system() {
        return Err(Error::new(
            ErrorCode::SystemModuleModifyUnauthorizedAccess,
            format!("{module} belongs to the system"),
        ));
    }
    Ok(())
}

/// The names in the body, where there are any, are those in the path.
fn check_names(
    spec: &IdentitySpec,
    device: &DeviceId,
    module: Option<&ModuleId>,
) -> Result<(), Error> {
    let differs =
        |given: &Option<String>, wanted: &str| given.as_ref().is_some_and(|given| given != wanted);
    if differs(&spec.device_id, device.as_str()) {
        return Err(Error::argument_invalid(format!(
            "deviceId in the body is not the {device} of the path"
        )));
    }
    if let Some(module) = module
        && differs(&spec.module_id, module.as_str())
    {
        return Err(Error::argument_invalid(format!(
            "moduleId in the body is not the {module} of the path"
        )));
    }
    Ok(())
}
