//! Making what the file says: devices in bulk calls, each with all that it has or not at all; then
//! the configurations, which find the modules there that they set.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use iothub_backend::{Backend, BulkOutcome, Configuration, ErrorCode, IfMatch};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::Aspect;
use super::device::{Device, Fault, object, place};
use super::file;
use super::plan::Plan;
use crate::cli::progress::{Bar, Progress};

/// Elements of a bulk call: the hub's own limit.
const BATCH: usize = 100;
/// Bytes of a bulk call, well below the hub's limit.
const BATCH_BYTES: usize = 512 * 1024;
/// Devices that are read ahead of what the hub has taken.
const AHEAD: usize = 2 * BATCH;

/// An import on its way.
pub(super) struct Import<'a> {
    backend: &'a Backend,
    path: PathBuf,
    plan: Arc<Plan>,
    progress: Progress,
    outcome: Outcome,
    /// Devices that were not made.
    failed: HashSet<String>,
    /// The scopes of edge devices that others are behind; `None`: there is no such edge device.
    scopes: HashMap<String, Option<String>>,
}

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    deleted: Option<(u64, u64)>,
    configurations: u64,
    devices: u64,
    modules: u64,
    left_out: Vec<String>,
    pub(super) failures: Vec<Fault>,
}

impl Outcome {
    pub(super) fn to_json(&self) -> Value {
        let mut json = json!({
            "imported": {
                "configurations": self.configurations,
                "devices": self.devices,
                "modules": self.modules,
            },
            "leftOut": self.left_out,
            "failed": self.failures.iter().map(Fault::to_json).collect::<Vec<_>>(),
        });
        if let Some((configurations, devices)) = self.deleted {
            json["deleted"] = json!({"configurations": configurations, "devices": devices});
        }
        json
    }
}

impl<'a> Import<'a> {
    pub(super) fn new(
        backend: &'a Backend,
        path: &Path,
        mut plan: Plan,
        progress: Progress,
    ) -> Self {
        let outcome = Outcome {
            left_out: std::mem::take(&mut plan.left_out),
            failures: std::mem::take(&mut plan.faults),
            ..Outcome::default()
        };
        Self {
            backend,
            path: path.to_owned(),
            plan: Arc::new(plan),
            progress,
            outcome,
            failed: HashSet::new(),
            scopes: HashMap::new(),
        }
    }

    pub(super) async fn run(
        mut self,
        aspects: &BTreeSet<Aspect>,
        replace: bool,
    ) -> anyhow::Result<Outcome> {
        if replace {
            self.make_room(aspects).await?;
        }
        let bar = self.progress.bar("importing devices", self.plan.devices);
        for pass in 0..self.plan.passes() {
            self.devices(pass, &bar).await.with_context(|| {
                format!(
                    "stopped after {} devices were imported",
                    self.outcome.devices
                )
            })?;
        }
        drop(bar);
        self.configurations().await?;
        Ok(self.outcome)
    }

    /// Deletes what there is of these aspects.
    async fn make_room(&mut self, aspects: &BTreeSet<Aspect>) -> anyhow::Result<()> {
        let mut deleted = (0, 0);
        if aspects.contains(&Aspect::Configurations) {
            let configurations = self.backend.configurations();
            for configuration in configurations.list(None).await? {
                configurations
                    .delete(configuration.id(), &IfMatch::Any)
                    .await?;
                deleted.0 += 1;
            }
        }
        if aspects.contains(&Aspect::Devices) {
            let registry = self.backend.registry();
            let total = registry.statistics().await?.total;
            let bar = self.progress.bar("deleting devices", total);
            loop {
                // The first page again and again: what was on it is gone.
                let mut query = self.backend.query("SELECT deviceId FROM devices");
                let page = query.next_page().await?;
                let rows = page.map(|page| page.items).unwrap_or_default();
                let ids: Vec<_> = rows
                    .iter()
                    .filter_map(|row| row["deviceId"].as_str())
                    .collect();
                if ids.is_empty() {
                    break;
                }
                let all: Vec<_> = ids.iter().map(|&id| (id, IfMatch::Any)).collect();
                let outcome = registry.remove_all(&all).await?;
                // Somebody else was faster; that is no reason to go on for ever.
                let gone = |failure: &iothub_backend::BulkFailure| {
                    failure.code == Some(ErrorCode::DeviceNotFound)
                };
                if let Some(other) = outcome.failures.iter().find(|failure| !gone(failure)) {
                    bail!("delete {}: {}", other.device_id, other.message);
                }
                deleted.1 += ids.len() as u64;
                bar.advance(ids.len() as u64);
            }
        }
        self.outcome.deleted = Some(deleted);
        Ok(())
    }

    /// Reads the file and makes the devices of one pass.
    async fn devices(&mut self, pass: usize, bar: &Bar) -> anyhow::Result<()> {
        let (sender, mut devices) = mpsc::channel(AHEAD);
        let (path, plan) = (self.path.clone(), Arc::clone(&self.plan));
        let reader = tokio::task::spawn_blocking(move || {
            file::read(&path, |id, entry| {
                if !plan.includes(id) || plan.pass_of(id) != pass {
                    return Ok(());
                }
                match Device::parse(id, &entry) {
                    Ok(device) => sender
                        .blocking_send(device)
                        .context("nobody takes the devices"),
                    Err(fault) => bail!("the file has changed at {}: {}", fault.place, fault.why),
                }
            })
        });
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(device) = devices.recv().await {
            bytes += device.size();
            batch.push(device);
            if batch.len() == BATCH || bytes > BATCH_BYTES {
                self.make(std::mem::take(&mut batch), bar).await?;
                bytes = 0;
            }
        }
        reader.await.context("read the file")??;
        self.make(batch, bar).await
    }

    /// Makes up to a batch of devices with their modules and twins.
    async fn make(&mut self, batch: Vec<Device>, bar: &Bar) -> anyhow::Result<()> {
        let count = batch.len() as u64;
        let mut batch = self.behind_parents(batch).await?;

        let items: Vec<_> = batch.iter().map(|device| device.item.clone()).collect();
        let failures = self.bulk(&items).await?.failures;
        for failure in failures {
            let fault = Fault::new(place(&failure.device_id), failure.message);
            batch.retain(|device| device.id.as_str() != failure.device_id);
            self.fail(&failure.device_id, fault);
        }

        let mut incomplete = Vec::new();
        let rounds = batch
            .iter()
            .map(|device| device.modules.len())
            .max()
            .unwrap_or(0);
        // A bulk call names each device once, so that its modules take a call each.
        for round in 0..rounds {
            for part in [Part::Identity, Part::Twin] {
                let items: Vec<_> = batch
                    .iter()
                    .filter_map(|device| part.of(device.modules.get(round)?))
                    .cloned()
                    .collect();
                for failure in self.bulk(&items).await?.failures {
                    let module = failure.module_id.unwrap_or_default();
                    let place = format!("{}/modules/{module}", place(&failure.device_id));
                    batch.retain(|device| device.id.as_str() != failure.device_id);
                    self.fail(&failure.device_id, Fault::new(place, failure.message));
                    incomplete.push(failure.device_id);
                }
            }
        }
        if !incomplete.is_empty() {
            let all: Vec<_> = incomplete
                .iter()
                .map(|id| (id.as_str(), IfMatch::Any))
                .collect();
            self.backend.registry().remove_all(&all).await?;
        }

        self.outcome.devices += batch.len() as u64;
        self.outcome.modules += batch
            .iter()
            .map(|device| {
                device
                    .modules
                    .iter()
                    .filter(|it| it.identity.is_some())
                    .count() as u64
            })
            .sum::<u64>();
        bar.advance(count);
        Ok(())
    }

    /// Names the scope of its parent in each device that has one; those whose parent is not there
    /// fail.
    async fn behind_parents(&mut self, batch: Vec<Device>) -> anyhow::Result<Vec<Device>> {
        let mut ready = Vec::with_capacity(batch.len());
        for mut device in batch {
            let Some(parent) = device.parent.clone() else {
                ready.push(device);
                continue;
            };
            if !self.scopes.contains_key(&parent) {
                let scope = self.scope(&parent).await?;
                self.scopes.insert(parent.clone(), scope);
            }
            if let Some(scope) = self.scopes.get(&parent).and_then(Option::as_ref) {
                device.item["parentScopes"] = json!([scope]);
                ready.push(device);
                continue;
            }
            let why = if self.failed.contains(&parent) || !self.plan.includes(&parent) {
                format!("the edge device {parent} was not imported")
            } else {
                format!("there is no edge device {parent}, neither in the file nor in the hub")
            };
            let fault = Fault::new(format!("{}/parent", device.place()), why);
            self.fail(device.id.as_str(), fault);
        }
        Ok(ready)
    }

    /// The scope of an edge device in the hub.
    async fn scope(&self, id: &str) -> anyhow::Result<Option<String>> {
        match self.backend.registry().device(id).await {
            Ok(device) => Ok(device.device_scope.filter(|_| device.iot_edge)),
            Err(error) if error.code() == Some(ErrorCode::DeviceNotFound) => Ok(None),
            // Names that no device can have are no device's.
            Err(error)
                if error.code().is_none() && iothub_protocol::DeviceId::parse(id).is_err() =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn bulk(&self, items: &[Value]) -> anyhow::Result<BulkOutcome> {
        if items.is_empty() {
            return Ok(BulkOutcome {
                failures: Vec::new(),
            });
        }
        Ok(self.backend.registry().bulk(items).await?)
    }

    fn fail(&mut self, id: &str, fault: Fault) {
        self.failed.insert(id.to_owned());
        self.outcome.failures.push(fault);
    }

    /// Makes the configurations, those last that go on top of others, as `az` does.
    async fn configurations(&mut self) -> anyhow::Result<()> {
        let Some(all) = self.plan.configurations.clone() else {
            return Ok(());
        };
        let mut documents = Vec::new();
        for member in ["admConfigurations", "edgeDeployments"] {
            let place = format!("/configurations/{member}");
            match all.get(member) {
                None | Some(Value::Null) => {}
                Some(Value::Object(members)) => {
                    for (id, entry) in members {
                        match document(id, entry, &format!("{place}/{id}")) {
                            Ok(document) => documents.push((format!("{place}/{id}"), document)),
                            Err(fault) => self.outcome.failures.push(fault),
                        }
                    }
                }
                Some(_) => self
                    .outcome
                    .failures
                    .push(Fault::new(place, "is no object")),
            }
        }
        documents.sort_by_key(|(_, document)| is_layered(document));
        let bar = self
            .progress
            .bar("importing configurations", documents.len() as u64);
        for (place, document) in documents {
            let configuration = Configuration::from_json(document);
            match self.backend.configurations().create(&configuration).await {
                Ok(_) => self.outcome.configurations += 1,
                Err(error) if error.code().is_some() => {
                    let why = format!("{:#}", anyhow::Error::from(error));
                    self.outcome.failures.push(Fault::new(place, why));
                }
                Err(error) => return Err(error.into()),
            }
            bar.advance(1);
        }
        Ok(())
    }
}

/// What of a module a bulk call is about.
#[derive(Clone, Copy)]
enum Part {
    Identity,
    Twin,
}

impl Part {
    fn of(self, module: &super::device::Module) -> Option<&Value> {
        match self {
            Self::Identity => module.identity.as_ref(),
            Self::Twin => module.twin.as_ref(),
        }
    }
}

/// What is asked of the hub, out of what it once printed.
fn document(id: &str, entry: &Value, place: &str) -> Result<Map<String, Value>, Fault> {
    let members = object(entry, place)?;
    let or_empty = |value: Option<&Value>| match value {
        None | Some(Value::Null) => json!({}),
        Some(value) => value.clone(),
    };
    let content = members.get("content").unwrap_or(&Value::Null);
    let mut content = object(content, &format!("{place}/content"))?.clone();
    content.retain(|_, content| !content.is_null());
    let mut document = Map::new();
    for (name, value) in [
        ("id", Value::String(id.to_lowercase())),
        ("schemaVersion", "2.0".into()),
        ("labels", or_empty(members.get("labels"))),
        ("content", Value::Object(content)),
        (
            "targetCondition",
            members.get("targetCondition").cloned().unwrap_or_default(),
        ),
        (
            "priority",
            members.get("priority").cloned().unwrap_or(0.into()),
        ),
        (
            "metrics",
            json!({"queries": or_empty(entry["metrics"].get("queries"))}),
        ),
    ] {
        document.insert(name.into(), value);
    }
    Ok(document)
}

/// Whether an edge deployment goes on top of another: it leaves the agent's properties as a whole
/// to that.
fn is_layered(document: &Map<String, Value>) -> bool {
    let modules = document
        .get("content")
        .and_then(|content| content.get("modulesContent"));
    modules.is_some_and(|modules| modules["$edgeAgent"].get("properties.desired").is_none())
}
