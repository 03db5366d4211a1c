//! Working out which configuration applies where, and writing it into twins (`spec/service.md` 7,
//! the evaluation model).
//!
//! A client is looked at when its tags, reported properties or identity change, and in a sweep over
//! all of them when a configuration changes. A sweep goes slice by slice, so that a million devices
//! do not keep everyone else waiting. What a configuration writes is no reason to look again.

use std::collections::BTreeSet;
use std::sync::Arc;

use iothub_protocol::configuration::{Content, ModuleContent, Overlay};
use iothub_protocol::registry::AuthenticationSpec;
use iothub_protocol::{ClientId, ModuleId, Timestamp};

use super::status::Status;
use super::{Entry, Target};
use crate::Hub;
use crate::cx::{Change, Cx};
use crate::deadlines;
use crate::documents::DocumentKind;
use crate::registry::Identity;

/// What falls due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The next slice of the sweep.
    Sweep,
}

/// What is left of a look at all clients.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sweep {
    /// Whoever sorts before has been looked at.
    next: Option<ClientId>,
    /// The folded ids of the configurations because of which; `None` is because of all.
    only: Option<BTreeSet<String>>,
}

/// A deployment that targets an edge.
struct Deployment {
    entry: Arc<Entry>,
    /// Whether its modules are written.
    in_force: bool,
}

impl Hub {
    /// Looks at a client that has changed. Costs next to nothing when there is no configuration.
    pub(crate) fn configure(&mut self, cx: &mut Cx<'_>, client: &ClientId) {
        let configurations = &self.configurations;
        if configurations.all.is_empty() && configurations.deleted.is_empty() {
            return;
        }
        if configurations.leaving.as_ref() == Some(&client.device) {
            return;
        }
        match &client.module {
            None => self.configure_device(cx, client),
            Some(_) => {
                let deployments = self.deployments_of(&ClientId::device(client.device.clone()));
                self.configure_module(cx, client, &deployments);
            }
        }
    }

    /// Looks at a device's modules, which depend on the device when it is an edge.
    pub(crate) fn configure_modules(&mut self, cx: &mut Cx<'_>, device: &ClientId) {
        let modules = self.registry.modules_of(&device.device);
        let modules: Vec<_> = modules.map(|module| module.client.clone()).collect();
        for module in modules {
            self.configure(cx, &module);
        }
    }

    /// Looks at all clients, because of one configuration: at the first slice of them at once.
    pub(super) fn sweep_for(&mut self, cx: &mut Cx<'_>, key: &str) {
        let only = match self.configurations.sweep.take() {
            Some(Sweep { only: None, .. }) => None,
            Some(Sweep {
                only: Some(mut keys),
                ..
            }) => {
                keys.insert(key.to_owned());
                Some(keys)
            }
            None => Some(BTreeSet::from([key.to_owned()])),
        };
        self.configurations.sweep = Some(Sweep { next: None, only });
        self.sweep_slice(cx);
    }

    pub(crate) fn configurations_due(&mut self, cx: &mut Cx<'_>, due: &Due) {
        match due {
            Due::Sweep => self.sweep_slice(cx),
        }
    }

    /// Sets the deadlines of what was restored or copied.
    pub(crate) fn configurations_rearm(&mut self) {
        if self.configurations.sweep.is_some() {
            let due = deadlines::Due::Configurations(Due::Sweep);
            self.deadlines.set(Timestamp::NEVER, due);
        }
    }

    /// The client and with it its statuses are gone.
    pub(crate) fn forget_configurations_of(&mut self, client: &ClientId) {
        self.configurations.statuses.forget(client);
    }

    /// While a device is deleted, nothing about it is configured.
    pub(crate) fn set_leaving(&mut self, device: Option<iothub_protocol::DeviceId>) {
        self.configurations.leaving = device;
    }

    fn sweep_slice(&mut self, cx: &mut Cx<'_>) {
        let Some(sweep) = self.configurations.sweep.take() else {
            return;
        };
        let slice = self.config.limits.evaluation_slice;
        let mut clients = self.registry.clients_from(sweep.next.as_ref(), slice + 1);
        let next = if clients.len() > slice {
            clients.pop()
        } else {
            None
        };
        for client in clients {
            if self.concerns(&sweep, &client) {
                self.configure(cx, &client);
            }
        }
        if next.is_some() {
            let due = deadlines::Due::Configurations(Due::Sweep);
            // An older sweep's deadline may still be there; the slice that finds nothing to do ends.
            self.deadlines.set(cx.now(), due);
            self.configurations.sweep = Some(Sweep { next, ..sweep });
            return;
        }
        for key in std::mem::take(&mut self.configurations.deleted) {
            let kind = DocumentKind::Configuration;
            cx.change(Change::DeleteDocument(kind, key.into()));
        }
    }

    /// Whether one of the configurations that the sweep is for targets the client, or did.
    fn concerns(&self, sweep: &Sweep, client: &ClientId) -> bool {
        let Some(keys) = &sweep.only else {
            return true;
        };
        let did = |client: &ClientId| {
            let statuses = &self.configurations.statuses;
            statuses.has(client, |id| keys.contains(id))
        };
        if did(client) || (client.module.is_none() && did(&agent_of(client))) {
            return true;
        }
        keys.iter()
            .filter_map(|key| self.configurations.all.get(key))
            .any(|entry| self.targets(entry, client))
    }

    fn targets(&self, entry: &Entry, client: &ClientId) -> bool {
        match &entry.target {
            Target::AllModules => client.module.is_some(),
            Target::Where(condition) => {
                condition.selects_modules() == client.module.is_some()
                    && self.satisfies(condition, client)
            }
        }
    }

    fn configure_device(&mut self, cx: &mut Cx<'_>, device: &ClientId) {
        let Some(identity) = self.registry.find(device).cloned() else {
            return;
        };
        let mut overlay = Overlay::default();
        let mut statuses = Vec::new();
        for entry in &self.configurations.ranked {
            let won = match &entry.configuration.content {
                Content::Device(content) if self.targets(entry, device) => {
                    overlay.add(content.settings(), &entry.author)
                }
                Content::None if self.targets(entry, device) => true,
                Content::None | Content::Device(_) | Content::Module(_) | Content::Edge(_) => {
                    continue;
                }
            };
            statuses.push((entry.id.clone(), status(won)));
        }
        self.write_overlay(cx, device, &overlay, false, statuses);
        if identity.iot_edge && self.has_deployments(device) {
            let deployments = self.deployments_of(device);
            self.add_deployed_modules(cx, device, &deployments);
            let modules = self.registry.modules_of(&device.device);
            let modules: Vec<_> = modules.map(|module| module.client.clone()).collect();
            for module in modules {
                self.configure_module(cx, &module, &deployments);
            }
        }
    }

    fn configure_module(&mut self, cx: &mut Cx<'_>, client: &ClientId, deployments: &[Deployment]) {
        let Some(name) = client.module.as_ref() else {
            return;
        };
        let is_agent = name.as_str() == "$edgeAgent";
        let mut overlay = Overlay::default();
        let mut statuses = Vec::new();
        // What is said of the whole module hides what deployments of lower rank say of it.
        let mut whole = false;
        for entry in &self.configurations.ranked {
            match &entry.configuration.content {
                Content::Module(content) if self.targets(entry, client) => {
                    let won = overlay.add(content.settings(), &entry.author);
                    statuses.push((entry.id.clone(), status(won)));
                }
                Content::Edge(modules) => {
                    let deployment = deployments.iter().find(|it| Arc::ptr_eq(&it.entry, entry));
                    let Some(Deployment { in_force, .. }) = deployment else {
                        continue;
                    };
                    if let Some(content) = content_of(modules, name).filter(|_| *in_force && !whole)
                    {
                        overlay.add(content.settings(), &entry.author);
                        whole = content.is_whole();
                    }
                    if is_agent {
                        statuses.push((entry.id.clone(), status(*in_force)));
                    }
                }
                Content::None if client.module.is_some() && self.targets(entry, client) => {
                    statuses.push((entry.id.clone(), Status::Applied));
                }
                Content::None | Content::Device(_) | Content::Module(_) => {}
            }
        }
        self.write_overlay(cx, client, &overlay, whole, statuses);
    }

    /// Writes what is wanted and not there, and notes the statuses. What does not fit into the twin
    /// is not applied.
    fn write_overlay(
        &mut self,
        cx: &mut Cx<'_>,
        client: &ClientId,
        overlay: &Overlay,
        whole: bool,
        mut statuses: Vec<(Arc<str>, Status)>,
    ) {
        let Ok(twin) = self.twins.read(client) else {
            return;
        };
        let plan = overlay.plan(&twin.desired, whole);
        if !plan.is_empty() && self.write_configured(cx, client, &plan).is_err() {
            for (_, status) in &mut statuses {
                *status = Status::Targeted;
            }
        }
        self.configurations.statuses.set(client, statuses);
    }

    /// Whether there are any, or were when the edge was last looked at.
    fn has_deployments(&self, edge: &ClientId) -> bool {
        let is_edge = |entry: &Arc<Entry>| matches!(entry.configuration.content, Content::Edge(_));
        let configurations = &self.configurations;
        configurations.ranked.iter().any(is_edge)
            || configurations.statuses.has(&agent_of(edge), |_| true)
    }

    /// The deployments that target an edge, the first to win first: the first one that says
    /// everything is in force, and with it those of higher priority that lie on top of it.
    fn deployments_of(&self, device: &ClientId) -> Vec<Deployment> {
        let is_edge = |identity: &Arc<Identity>| identity.iot_edge;
        if !self.registry.find(device).is_some_and(is_edge) {
            return Vec::new();
        }
        let targeting: Vec<_> = self
            .configurations
            .ranked
            .iter()
            .filter(|entry| {
                matches!(entry.configuration.content, Content::Edge(_))
                    && self.targets(entry, device)
            })
            .cloned()
            .collect();
        let base = targeting
            .iter()
            .find(|entry| !entry.configuration.content.is_layered())
            .cloned();
        targeting
            .into_iter()
            .map(|entry| {
                let in_force = base.as_ref().is_some_and(|base| {
                    Arc::ptr_eq(base, &entry)
                        || (entry.configuration.content.is_layered()
                            && entry.configuration.priority > base.configuration.priority)
                });
                Deployment { entry, in_force }
            })
            .collect()
    }

    fn add_deployed_modules(
        &mut self,
        cx: &mut Cx<'_>,
        device: &ClientId,
        deployments: &[Deployment],
    ) {
        for deployment in deployments.iter().filter(|it| it.in_force) {
            if let Content::Edge(modules) = &deployment.entry.configuration.content {
                for (module, _) in modules {
                    self.add_deployed_module(cx, device, module);
                }
            }
        }
    }

    /// Registers a module that a deployment names, unless there is no room. It stays when the
    /// deployment goes: removing it is up to the edge's own runtime.
    pub(super) fn add_deployed_module(
        &mut self,
        cx: &mut Cx<'_>,
        device: &ClientId,
        module: &ModuleId,
    ) {
        let client = ClientId::module(device.device.clone(), module.clone());
        let limit = self.config.limits.modules_per_device;
        if self.registry.find(&client).is_some()
            || module.is_system()
            || self.registry.modules_of(&device.device).count() >= limit
        {
            return;
        }
        let identity = Identity {
            managed_by: Some("iotEdge".into()),
            ..self.new_identity(cx, client, AuthenticationSpec::Sas(None))
        };
        self.add_identity(cx, identity);
    }
}

impl Sweep {
    pub(super) fn of_everything() -> Self {
        Self {
            next: None,
            only: None,
        }
    }
}

fn agent_of(device: &ClientId) -> ClientId {
    let agent = ModuleId::parse("$edgeAgent").expect("the name of a system module is valid");
    ClientId::module(device.device.clone(), agent)
}

fn content_of<'a>(
    modules: &'a [(ModuleId, ModuleContent)],
    name: &ModuleId,
) -> Option<&'a ModuleContent> {
    modules
        .iter()
        .find(|(module, _)| module == name)
        .map(|(_, content)| content)
}

fn status(won: bool) -> Status {
    if won {
        Status::Applied
    } else {
        Status::Targeted
    }
}
