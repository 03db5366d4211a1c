//! Writing the file: what the hub's own answers hold, in the shape that `az` makes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, bail};
use futures_util::StreamExt;
use iothub_backend::{Backend, Error, ErrorCode};
use serde_json::{Map, Value, json};

use super::{Aspect, text};
use crate::cli::progress::Progress;

/// Devices that are asked about at a time.
const AT_A_TIME: usize = 16;

/// Members of a device's twin that a hub makes anew; `az` leaves them out.
const NOT_OF_DEVICES: [&str; 10] = [
    "cloudToDeviceMessageCount",
    "configurations",
    "deviceEtag",
    "deviceId",
    "deviceScope",
    "etag",
    "lastActivityTime",
    "parentScopes",
    "statusUpdateTime",
    "version",
];
/// The same of a module's identity.
const NOT_OF_MODULES: [&str; 7] = [
    "cloudToDeviceMessageCount",
    "connectionStateUpdatedTime",
    "deviceId",
    "etag",
    "generationId",
    "lastActivityTime",
    "moduleId",
];
/// The same of a module's twin, and what its identity has already.
const NOT_OF_MODULE_TWINS: [&str; 11] = [
    "authenticationType",
    "cloudToDeviceMessageCount",
    "connectionState",
    "deviceEtag",
    "deviceId",
    "etag",
    "lastActivityTime",
    "moduleId",
    "statusUpdateTime",
    "version",
    "x509Thumbprint",
];
/// The same of a configuration.
///
/// Differs: `az` leaves these in edge deployments, where nothing reads them; without them two
/// exports of one state are the same.
const NOT_OF_CONFIGURATIONS: [&str; 4] = [
    "createdTimeUtc",
    "etag",
    "lastUpdatedTimeUtc",
    "schemaVersion",
];

/// Writes the file whole or not at all; answers how much is in it.
pub(super) async fn export(
    backend: &Backend,
    path: &Path,
    aspects: &BTreeSet<Aspect>,
    progress: Progress,
) -> anyhow::Result<Value> {
    let attempt = || format!("write {}", path.display());
    let mut name = path.file_name().with_context(attempt)?.to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = Temporary(path.with_file_name(name));
    let file = temporary.create().with_context(attempt)?;
    let mut file = BufWriter::with_capacity(1 << 16, file);

    let mut counts = Map::new();
    file.write_all(b"{").with_context(attempt)?;
    let mut first = true;
    let mut begin = |file: &mut BufWriter<File>, name: &str| {
        if !std::mem::take(&mut first) {
            file.write_all(b",")?;
        }
        text::line(file, 1)?;
        write!(file, "\"{name}\": ")
    };
    if aspects.contains(&Aspect::Configurations) {
        begin(&mut file, Aspect::Configurations.member()).with_context(attempt)?;
        let (count, all) = configurations(backend).await?;
        text::write(&mut file, all, 1).with_context(attempt)?;
        counts.insert("configurations".into(), count.into());
    }
    if aspects.contains(&Aspect::Devices) {
        begin(&mut file, Aspect::Devices.member()).with_context(attempt)?;
        let (devices, modules) = write_devices(backend, &mut file, progress).await?;
        counts.insert("devices".into(), devices.into());
        counts.insert("modules".into(), modules.into());
    }
    text::line(&mut file, 0)
        .and_then(|()| file.write_all(b"}"))
        .and_then(|()| file.flush())
        .with_context(attempt)?;
    drop(file);
    std::fs::rename(&temporary.0, path).with_context(attempt)?;
    Ok(json!({"file": path, "exported": counts}))
}

/// The file until it is whole; removed when that fails.
struct Temporary(std::path::PathBuf);

impl Temporary {
    fn create(&self) -> std::io::Result<File> {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&self.0)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After the renaming there is nothing to remove.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// All configurations, by kind and name.
async fn configurations(backend: &Backend) -> anyhow::Result<(usize, Value)> {
    let all = backend.configurations().list(None).await?;
    let count = all.len();
    let mut kinds = [Map::new(), Map::new()];
    for configuration in all {
        let kind = usize::from(configuration.is_edge_deployment());
        let id = configuration.id().to_owned();
        let mut document = configuration.as_json().clone();
        document.retain(|name, _| !NOT_OF_CONFIGURATIONS.contains(&name.as_str()));
        kinds[kind].insert(id, Value::Object(document));
    }
    let [adm, edge] = kinds;
    Ok((
        count,
        json!({"admConfigurations": adm, "edgeDeployments": edge}),
    ))
}

/// Writes the devices, in the order of their names, a page of the hub's at a time.
async fn write_devices(
    backend: &Backend,
    file: &mut BufWriter<File>,
    progress: Progress,
) -> anyhow::Result<(u64, u64)> {
    let modules = modules(backend).await?;
    let total = backend.registry().statistics().await?.total;
    let bar = progress.bar("exporting devices", total);
    let (mut devices, mut module_count) = (0, 0);
    let mut last = String::new();
    let mut query = backend.query("SELECT * FROM devices");
    file.write_all(b"{")?;
    while let Some(page) = query.next_page().await? {
        let rows = page.items.into_iter();
        let entries = futures_util::stream::iter(rows.map(|row| device(backend, &modules, row)))
            .buffered(AT_A_TIME)
            .collect::<Vec<_>>()
            .await;
        for entry in entries {
            let Some((id, entry)) = entry? else { continue };
            if id <= last {
                bail!("the hub lists its devices in no order: {id} after {last}");
            }
            if devices > 0 {
                file.write_all(b",")?;
            }
            module_count += entry["modules"].as_object().map_or(0, Map::len) as u64;
            text::line(file, 2)?;
            write!(file, "\"{id}\": ")?;
            text::write(file, entry, 2)?;
            devices += 1;
            last = id;
            bar.advance(1);
        }
    }
    if devices > 0 {
        text::line(file, 1)?;
    }
    file.write_all(b"}")?;
    Ok((devices, module_count))
}

/// Which devices have modules, and which.
async fn modules(backend: &Backend) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let mut modules: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut query = backend.query("SELECT deviceId, moduleId FROM devices.modules");
    while let Some(row) = query.next().await? {
        if let (Some(device), Some(module)) = (row["deviceId"].as_str(), row["moduleId"].as_str()) {
            modules
                .entry(device.into())
                .or_default()
                .push(module.into());
        }
    }
    Ok(modules)
}

/// A device's entry out of its twin, and what only its identity tells; `None` when it has gone
/// meanwhile.
async fn device(
    backend: &Backend,
    modules: &BTreeMap<String, Vec<String>>,
    twin: Value,
) -> anyhow::Result<Option<(String, Value)>> {
    let id = twin["deviceId"].as_str().unwrap_or_default().to_owned();
    let Some(identity) = there(backend.registry().device(&id).await)? else {
        return Ok(None);
    };
    let identity = identity.to_json();
    let Value::Object(mut twin) = twin else {
        bail!("the hub answers with a twin that is no object")
    };
    let mut entry = Map::new();
    // Not every hub tells of parents where there are none.
    let scope = twin.get("parentScopes").and_then(|all| all[0].as_str());
    if let Some(parent) = scope.and_then(parent) {
        entry.insert("parent".into(), parent.into());
    }
    entry.insert("twin".into(), sections(&mut twin));

    let mut authentication = Map::new();
    authentication.insert("type".into(), take(&mut twin, "authenticationType"));
    authentication.insert("x509Thumbprint".into(), take(&mut twin, "x509Thumbprint"));
    if authentication["type"] == "sas" {
        let keys = identity["authentication"]["symmetricKey"].clone();
        authentication.insert("symmetricKey".into(), keys);
    }
    twin.retain(|name, _| !NOT_OF_DEVICES.contains(&name.as_str()));
    twin.insert("authentication".into(), Value::Object(authentication));
    if !identity["statusReason"].is_null() {
        twin.insert("statusReason".into(), identity["statusReason"].clone());
    }
    entry.insert("identity".into(), Value::Object(twin));

    let mut of_device = Map::new();
    for name in modules.get(&id).into_iter().flatten() {
        if let Some(module) = module(backend, &id, name).await? {
            of_device.insert(name.clone(), module);
        }
    }
    if !of_device.is_empty() {
        entry.insert("modules".into(), Value::Object(of_device));
    }
    Ok(Some((id, Value::Object(entry))))
}

/// A module's entry; `None` when it has gone meanwhile.
async fn module(backend: &Backend, device: &str, module: &str) -> anyhow::Result<Option<Value>> {
    let client = format!("{device}/{module}");
    let Some(identity) = there(backend.registry().module(&client).await)? else {
        return Ok(None);
    };
    let Some(twin) = there(backend.twins().get(&client).await)? else {
        return Ok(None);
    };
    let is_system = identity.module_id.is_system();
    let Value::Object(mut identity) = identity.to_json() else {
        bail!("an identity is an object")
    };
    if is_system {
        // Nobody can write the keys of the system's modules, so they are of no use in a file.
        identity.insert(
            "authentication".into(),
            json!({
                "symmetricKey": {"primaryKey": null, "secondaryKey": null},
                "type": "none",
                "x509Thumbprint": {"primaryThumbprint": null, "secondaryThumbprint": null},
            }),
        );
    }
    identity.retain(|name, value| !NOT_OF_MODULES.contains(&name.as_str()) && !value.is_null());
    let mut members = twin.as_json().clone();
    let sections = sections(&mut members);
    members.retain(|name, _| !NOT_OF_MODULE_TWINS.contains(&name.as_str()));
    if let Value::Object(sections) = sections {
        members.extend(sections);
    }
    Ok(Some(json!({"identity": identity, "twin": members})))
}

/// Tags and desired properties, taken out of a twin, without what the hub adds to them.
fn sections(twin: &mut Map<String, Value>) -> Value {
    let mut desired = take(twin, "properties")["desired"].take();
    if let Value::Object(desired) = &mut desired {
        desired.retain(|name, _| !matches!(name.as_str(), "$metadata" | "$version"));
    }
    let mut sections = json!({"properties": {"desired": desired}});
    let tags = take(twin, "tags");
    if tags.as_object().is_some_and(|tags| !tags.is_empty()) {
        sections["tags"] = tags;
    }
    sections
}

/// The edge device that a scope belongs to.
fn parent(scope: &str) -> Option<&str> {
    let (_, name) = scope.split_once("://")?;
    name.rsplit_once('-').map(|(id, _)| id)
}

fn take(members: &mut Map<String, Value>, name: &str) -> Value {
    members.shift_remove(name).unwrap_or_default()
}

/// What the hub answers, unless it no longer has it.
fn there<T>(answer: Result<T, Error>) -> anyhow::Result<Option<T>> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error)
            if matches!(
                error.code(),
                Some(ErrorCode::DeviceNotFound | ErrorCode::ModuleNotFound)
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
