//! Automatic device management and edge deployments (`spec/service.md` 7).
//!
//! A configuration is a document that is kept. Which configuration applies where follows from the
//! configurations and the twins: it is worked out whenever one of them changes
//! (`configurations/evaluation.rs`), and anew after a restart. Which leaf of a twin a configuration
//! wrote stands in the twin's metadata.

mod content;
mod evaluation;
mod metrics;
mod status;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use iothub_protocol::configuration::{Configuration, ConfigurationId, ConfigurationSpec, Content};
use iothub_protocol::registry::IfMatch;
use iothub_protocol::twin::Author;
use iothub_protocol::{Error, ErrorCode};
use serde_json::{Value, json};

use crate::Hub;
use crate::access::{Permission, Principal};
use crate::cx::{Change, Cx};
use crate::documents::{Document, DocumentKind};
use crate::query::Condition;

pub(crate) use evaluation::Due;
use evaluation::Sweep;
pub use metrics::ConfigurationReading;
use status::Statuses;

#[derive(Clone, Default)]
pub(crate) struct Configurations {
    /// By folded id.
    all: BTreeMap<String, Arc<Entry>>,
    /// The same, the first to win first.
    ranked: Vec<Arc<Entry>>,
    /// Those that are gone, while their settings may still stand in twins.
    deleted: BTreeSet<String>,
    statuses: Statuses,
    /// What still has to be looked at.
    sweep: Option<Sweep>,
    /// Who is being deleted, and so not to be configured any more.
    leaving: Option<iothub_protocol::DeviceId>,
}

/// A configuration with what follows from it.
struct Entry {
    configuration: Configuration,
    target: Target,
    author: Arc<Author>,
    /// Its id as statuses hold it.
    id: Arc<str>,
}

/// Whom a configuration is for.
enum Target {
    /// Devices or modules that satisfy the condition.
    Where(Condition),
    /// Every module: `*` beside content for modules.
    AllModules,
}

impl Hub {
    /// Creates or, with an `If-Match`, updates a configuration; answers it.
    ///
    /// Refuses with `ConfigurationAlreadyExists`, `ConfigurationNotFound`, `PreconditionFailed`,
    /// `ConfigurationCountLimitExceeded`, `InvalidConfigurationTargetCondition`,
    /// `InvalidConfigurationContent`, `CannotModifyImmutableConfigurationContent`,
    /// `InvalidConfigurationCustomMetricsQuery`, `ArgumentInvalid`.
    pub fn put_configuration(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        id: &ConfigurationId,
        spec: ConfigurationSpec,
        if_match: &IfMatch,
    ) -> Result<ConfigurationReading, Error> {
        require_write(caller)?;
        check_id(id, &spec)?;
        let old = self.configurations.all.get(&id.folded()).cloned();
        let configuration = match (&old, if_match) {
            (None, IfMatch::Absent) => self.new_configuration(cx, id, spec)?,
            (None, IfMatch::Any | IfMatch::ETag(_)) => return Err(not_found(id)),
            (Some(_), IfMatch::Absent) => {
                let detail = format!("Configuration {} already exists", id.as_str());
                return Err(Error::new(ErrorCode::ConfigurationAlreadyExists, detail));
            }
            (Some(old), _) => {
                check_etag(if_match, &old.configuration)?;
                updated(&old.configuration, spec)?
            }
        };
        let target = parse_target(&configuration)?;
        self.check_metrics(&configuration)?;

        let configuration = Configuration {
            last_updated: cx.now(),
            etag: self.entropy.identity_etag(),
            ..configuration
        };
        let reaches_others = old.is_none_or(|old| {
            let old = &old.configuration;
            (&old.target_condition, old.priority)
                != (&configuration.target_condition, configuration.priority)
        });
        keep(cx, &id.folded(), configuration.to_stored());
        if let Some(counter) = self.entropy.take_used() {
            cx.change(Change::PutEntropy(counter));
        }
        self.configurations.put(Entry::new(configuration, target));
        if reaches_others {
            self.sweep_for(cx, &id.folded());
        }
        Ok(self.reading(self.configurations.all.get(&id.folded())))
    }

    /// A configuration; refuses with `ConfigurationNotFound`.
    pub fn configuration(
        &self,
        caller: &Principal,
        id: &ConfigurationId,
    ) -> Result<ConfigurationReading, Error> {
        require_read(caller)?;
        let entry = self.configurations.all.get(&id.folded());
        Ok(self.reading([entry.ok_or_else(|| not_found(id))?]))
    }

    /// The configurations by name: all of them, or the first `top`.
    pub fn configurations(
        &self,
        caller: &Principal,
        top: Option<usize>,
    ) -> Result<ConfigurationReading, Error> {
        require_read(caller)?;
        let all = self.configurations.all.values();
        Ok(self.reading(all.take(top.unwrap_or(usize::MAX))))
    }

    /// Deletes a configuration; what it set goes, and what it kept others from setting comes.
    ///
    /// Refuses with `ConfigurationNotFound`, `PreconditionFailed`.
    pub fn delete_configuration(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        id: &ConfigurationId,
        if_match: &IfMatch,
    ) -> Result<(), Error> {
        require_write(caller)?;
        let key = id.folded();
        let entry = self
            .configurations
            .all
            .get(&key)
            .ok_or_else(|| not_found(id))?;
        check_etag(if_match, &entry.configuration)?;
        self.configurations.remove(&key);
        self.configurations.deleted.insert(key.clone());
        self.sweep_for(cx, &key);
        if self.configurations.deleted.contains(&key) {
            // A restart must not forget what is left to be removed.
            keep(cx, &key, json!({"deleted": true}));
        }
        Ok(())
    }

    /// The configurations as an export writes them, without results of metrics.
    pub fn configurations_json(&self) -> Vec<Value> {
        self.configurations
            .all
            .values()
            .map(|entry| entry.configuration.to_stored())
            .collect()
    }

    fn new_configuration(
        &self,
        cx: &Cx<'_>,
        id: &ConfigurationId,
        spec: ConfigurationSpec,
    ) -> Result<Configuration, Error> {
        let limit = self.config.limits.configurations;
        if self.configurations.all.len() >= limit {
            let detail = format!("the hub has {limit} configurations");
            return Err(Error::new(
                ErrorCode::ConfigurationCountLimitExceeded,
                detail,
            ));
        }
        Ok(Configuration {
            id: id.as_str().to_owned(),
            schema_version: spec.schema_version.unwrap_or_else(|| "1.0".into()),
            labels: spec.labels.unwrap_or_default(),
            content: spec.content.unwrap_or_default(),
            content_type: spec.content_type,
            target_condition: spec.target_condition.unwrap_or_default(),
            created: cx.now(),
            last_updated: cx.now(),
            priority: spec.priority.unwrap_or_default(),
            metrics: spec.metrics.unwrap_or_default(),
            etag: String::new(),
        })
    }
}

impl Configurations {
    /// Takes back what [`keep`] wrote down. Everything is looked at anew once time goes on.
    pub(crate) fn restore_configuration(&mut self, key: &str, document: Option<&Value>) {
        self.remove(key);
        self.deleted.remove(key);
        let Some(document) = document else {
            return;
        };
        match Configuration::from_value(document) {
            Some(configuration) => {
                // It was understood when it was written.
                if let Ok(target) = parse_target(&configuration) {
                    self.put(Entry::new(configuration, target));
                }
            }
            None => {
                self.deleted.insert(key.to_owned());
            }
        }
        self.sweep = Some(Sweep::of_everything());
    }

    fn put(&mut self, entry: Entry) {
        let key = entry.configuration.id.to_ascii_lowercase();
        self.deleted.remove(&key);
        self.all.insert(key, Arc::new(entry));
        self.rank();
    }

    fn remove(&mut self, key: &str) {
        if self.all.remove(key).is_some() {
            self.rank();
        }
    }

    /// The higher priority wins, among equals the younger (`spec/service.md` 7).
    fn rank(&mut self) {
        self.ranked = self.all.values().cloned().collect();
        self.ranked.sort_by(|a, b| {
            let key = |entry: &Entry| (entry.configuration.priority, entry.configuration.created);
            key(b).cmp(&key(a)).then_with(|| a.id.cmp(&b.id))
        });
    }
}

impl Entry {
    fn new(configuration: Configuration, target: Target) -> Self {
        let author = Author {
            configuration: configuration.id.as_str().into(),
            // A tick count, as captured (`spec/service.md` 15 item 12); content never changes.
            digest: configuration.created.dotnet_ticks().to_string().into(),
        };
        Self {
            id: configuration.id.as_str().into(),
            author: Arc::new(author),
            configuration,
            target,
        }
    }
}

/// What an update leaves of the old.
fn updated(old: &Configuration, spec: ConfigurationSpec) -> Result<Configuration, Error> {
    let old = old.clone();
    // Content that says nothing is content that is absent.
    if let Some(content) = spec.content
        && content != Content::None
        && content != old.content
    {
        let detail = format!("the content of configuration {} cannot be changed", old.id);
        return Err(Error::new(
            ErrorCode::CannotModifyImmutableConfigurationContent,
            detail,
        ));
    }
    Ok(Configuration {
        schema_version: spec.schema_version.unwrap_or(old.schema_version),
        labels: spec.labels.unwrap_or(old.labels),
        content_type: spec.content_type.or(old.content_type),
        target_condition: spec.target_condition.unwrap_or(old.target_condition),
        priority: spec.priority.unwrap_or(old.priority),
        metrics: spec.metrics.unwrap_or(old.metrics),
        ..old
    })
}

/// Refuses (400401) a condition that says nothing, that is about desired properties, and one about
/// devices beside content for modules or the other way round.
fn parse_target(configuration: &Configuration) -> Result<Target, Error> {
    let text = configuration.target_condition.trim();
    let for_modules = matches!(configuration.content, Content::Module(_));
    if for_modules && text == "*" {
        return Ok(Target::AllModules);
    }
    let condition = parse_condition(text)?;
    if !text.is_empty()
        && configuration.content != Content::None
        && condition.selects_modules() != for_modules
    {
        return Err(invalid_target(if for_modules {
            "content for modules needs a condition that begins with FROM devices.modules WHERE"
        } else {
            "a condition over devices.modules needs content for modules"
        }));
    }
    Ok(Target::Where(condition))
}

/// A target condition: tags, reported properties and identities, not desired properties.
fn parse_condition(text: &str) -> Result<Condition, Error> {
    let condition = Condition::parse(text).map_err(|error| invalid_target(error.detail))?;
    if mentions_desired(text) {
        return Err(invalid_target(
            "a target condition has no desired properties",
        ));
    }
    Ok(condition)
}

/// Whether `properties.desired` stands in the text outside of quotes.
fn mentions_desired(text: &str) -> bool {
    let mut outside = String::new();
    let mut quote = None;
    for c in text.chars() {
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            None if !c.is_whitespace() => outside.push(c.to_ascii_lowercase()),
            Some(open) if c == open => {
                quote = None;
                outside.push(' ');
            }
            None | Some(_) => {}
        }
    }
    outside.contains("properties.desired")
}

fn invalid_target(detail: impl Into<String>) -> Error {
    Error::new(ErrorCode::InvalidConfigurationTargetCondition, detail)
}

fn keep(cx: &mut Cx<'_>, key: &str, value: Value) {
    cx.change(Change::PutDocument(Document {
        kind: DocumentKind::Configuration,
        key: key.into(),
        value: Arc::new(value),
    }));
}

fn check_id(id: &ConfigurationId, spec: &ConfigurationSpec) -> Result<(), Error> {
    match &spec.id {
        Some(given) if !given.eq_ignore_ascii_case(id.as_str()) => Err(Error::argument_invalid(
            format!("id in the body is not the {} of the path", id.as_str()),
        )),
        Some(_) | None => Ok(()),
    }
}

fn check_etag(if_match: &IfMatch, configuration: &Configuration) -> Result<(), Error> {
    if if_match.matches(&configuration.etag) {
        return Ok(());
    }
    Err(Error::precondition_failed(&configuration.etag))
}

fn not_found(id: &ConfigurationId) -> Error {
    let detail = format!("Configuration {} not found", id.as_str());
    Error::new(ErrorCode::ConfigurationNotFound, detail)
}

/// `spec/service.md` 1.2: both rights to write, either to read.
fn require_write(caller: &Principal) -> Result<(), Error> {
    caller.require(Permission::RegistryWrite)?;
    caller.require(Permission::ServiceConnect)
}

fn require_read(caller: &Principal) -> Result<(), Error> {
    caller
        .require(Permission::RegistryRead)
        .or_else(|_| caller.require(Permission::ServiceConnect))
}
