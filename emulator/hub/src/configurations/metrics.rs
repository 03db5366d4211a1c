//! What a configuration measures: the hub's own metrics and the caller's (`spec/service.md` 7).

use iothub_protocol::configuration::{Configuration, Content, Metrics, QueriesTest};
use iothub_protocol::{Error, ErrorCode};
use serde_json::{Map, Value, json};

use super::{Entry, Target, parse_condition, require_read};
use crate::Hub;
use crate::access::Principal;

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

    pub(super) fn with_metrics(&self, entry: &Entry) -> Value {
        let own: Vec<_> = queries(&entry.configuration.metrics)
            .map(|(_, query)| self.count_rows(query).unwrap_or_default())
            .collect();
        entry
            .configuration
            .to_json(&self.system_metrics(entry), &own)
    }

    /// The queries are word for word those of the service (`spec/service.md` 7), so that who runs
    /// them finds what was counted.
    fn system_metrics(&self, entry: &Entry) -> Metrics {
        let configuration = &entry.configuration;
        let counts = self.configurations.statuses.counts(&entry.id);
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
            let count = |query: &str| self.count_rows(query).unwrap_or_default();
            let (succeeded_count, failed_count) = (count(&succeeded), count(&failed));
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
