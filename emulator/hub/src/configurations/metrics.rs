//! What a configuration measures: the hub's own metrics and the caller's (`spec/service.md` 7).

use std::sync::Arc;

use iothub_protocol::configuration::{Configuration, Content, Metrics, QueriesTest};
use iothub_protocol::{Error, ErrorCode};
use serde_json::{Map, Value, json};

use super::status::Counts;
use super::{Entry, Target, parse_condition, require_read};
use crate::Hub;
use crate::access::Principal;
use crate::query::QuerySnapshot;

/// Configurations as they were at one moment, to be counted and printed without holding anybody up.
pub struct ConfigurationReading {
    entries: Vec<(Arc<Entry>, Counts)>,
    /// Only if there is something to be counted.
    snapshot: Option<QuerySnapshot>,
}

impl Hub {
    /// Which of the texts are none: `{"targetConditionError": .., "customMetricQueryErrors": {..}}`.
    pub fn test_configuration_queries(
        &self,
        caller: &Principal,
        test: &QueriesTest,
    ) -> Result<Value, Error> {
        require_read(caller)?;
        let condition = test
            .target_condition
            .as_deref()
            .and_then(|text| parse_condition(text.trim()).err());
        let errors: Map<_, _> = queries(&test.metrics)
            .filter_map(|(name, query)| {
                let error = Self::check_query(query).err()?;
                Some((name.clone(), error.detail.into()))
            })
            .collect();
        Ok(json!({
            "targetConditionError": condition.map(|error| error.detail),
            "customMetricQueryErrors": errors,
        }))
    }

    /// Refuses with `InvalidConfigurationCustomMetricsQuery`.
    pub(super) fn check_metrics(&self, configuration: &Configuration) -> Result<(), Error> {
        for (name, query) in queries(&configuration.metrics) {
            Self::check_query(query).map_err(|error| {
                let code = ErrorCode::InvalidConfigurationCustomMetricsQuery;
                Error::new(code, format!("metric {name}: {}", error.detail))
            })?;
        }
        Ok(())
    }

    /// Takes down what is asked for, and with it the hub if there is something to be counted.
    pub(super) fn reading<'a>(
        &self,
        entries: impl IntoIterator<Item = &'a Arc<Entry>>,
    ) -> ConfigurationReading {
        let entries: Vec<_> = entries
            .into_iter()
            .map(|entry| {
                (
                    entry.clone(),
                    self.configurations.statuses.counts(&entry.id),
                )
            })
            .collect();
        let counts = |(entry, _): &(Arc<Entry>, Counts)| {
            let configuration = &entry.configuration;
            !configuration.metrics.is_empty() || matches!(configuration.content, Content::Edge(_))
        };
        let snapshot = entries.iter().any(counts).then(|| self.snapshot());
        ConfigurationReading { entries, snapshot }
    }
}

impl ConfigurationReading {
    /// Whether nothing has to be counted, which takes its time when there are many devices.
    pub fn is_quick(&self) -> bool {
        self.snapshot.is_none()
    }

    /// The configurations with their metrics, each with its etag (unquoted).
    pub fn to_json(&self) -> Vec<(Value, String)> {
        self.entries
            .iter()
            .map(|(entry, counts)| {
                let configuration = &entry.configuration;
                let own: Vec<_> = queries(&configuration.metrics)
                    .map(|(_, query)| self.count(query))
                    .collect();
                let system = self.system_metrics(entry, *counts);
                (
                    configuration.to_json(&system, &own),
                    configuration.etag.clone(),
                )
            })
            .collect()
    }

    /// What was checked when it was written counts nothing if it is no query after all.
    fn count(&self, query: &str) -> u64 {
        let snapshot = self.snapshot.as_ref();
        snapshot
            .and_then(|snapshot| snapshot.count_rows(query).ok())
            .unwrap_or_default()
    }

    /// The queries are word for word those of the service (`spec/service.md` 7), so that who runs
    /// them finds what was counted.
    fn system_metrics(&self, entry: &Entry, counts: Counts) -> Metrics {
        let configuration = &entry.configuration;
        let id = &configuration.id;
        let condition = configuration.target_condition.trim();
        let applied = format!("configurations.[[{id}]].status = 'Applied'");
        let metric = |name: &str, query: String, count| (name.to_owned(), query, count);
        let of_devices = |also: &str| match condition {
            "" => String::new(),
            "*" if also.is_empty() => "select deviceId from devices".into(),
            "*" => format!("select deviceId from devices where {also}"),
            condition if also.is_empty() => {
                format!("select deviceId from devices where {condition}")
            }
            condition => format!("select deviceId from devices where {also} and ({condition})"),
        };
        let for_modules = match &entry.target {
            Target::AllModules => true,
            Target::Where(condition) => condition.selects_modules(),
        };
        if matches!(configuration.content, Content::Edge(_)) {
            let agents = format!(
                "select deviceId from devices.modules where moduleId = '$edgeAgent' and {applied}"
            );
            let version = "properties.desired.$version = properties.reported.lastDesiredVersion";
            let code = "properties.reported.lastDesiredStatus.code";
            let succeeded = format!("{agents} and {version} and {code} = 200");
            let failed = format!("{agents} and {version} and {code} != 200");
            let (succeeded_count, failed_count) = (self.count(&succeeded), self.count(&failed));
            let targeted = of_devices("capabilities.iotEdge = true");
            return vec![
                metric("targetedCount", targeted, counts.targeted),
                metric("appliedCount", agents, counts.applied),
                metric("reportedSuccessfulCount", succeeded, succeeded_count),
                metric("reportedFailedCount", failed, failed_count),
            ];
        }
        let (targeted, applied) = if for_modules {
            let select = "select deviceId, moduleId from devices.modules";
            let targeted = match modules_condition(condition) {
                None => select.to_owned(),
                Some(condition) => format!("{select} where {condition}"),
            };
            (targeted, format!("{select} where {applied}"))
        } else {
            (
                of_devices(""),
                format!("select deviceId from devices where {applied}"),
            )
        };
        vec![
            metric("targetedCount", targeted, counts.targeted),
            metric("appliedCount", applied, counts.applied),
        ]
    }
}

/// What stands after `FROM devices.modules WHERE`; nothing for `*`.
fn modules_condition(text: &str) -> Option<&str> {
    let at = text.to_ascii_lowercase().find("where")?;
    Some(text[at + "where".len()..].trim()).filter(|condition| *condition != "*")
}

fn queries(metrics: &Map<String, Value>) -> impl Iterator<Item = (&String, &str)> {
    metrics
        .iter()
        .map(|(name, query)| (name, query.as_str().unwrap_or_default()))
}
