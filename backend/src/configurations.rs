//! Automatic device and module configurations, and edge deployments (`spec/service.md` 7).

use std::collections::BTreeMap;

use http::Method;
use iothub_protocol::registry::IfMatch;
use serde_json::{Value, json};

use crate::document::Document;
use crate::transport::{self, Answer, Call, Transport};
use crate::{Error, Query};

mod configuration;

pub use configuration::Configuration;

/// The configurations of a hub.
#[derive(Clone, Copy)]
pub struct Configurations<'a> {
    transport: &'a Transport,
}

impl<'a> Configurations<'a> {
    pub(crate) fn new(transport: &'a Transport) -> Self {
        Self { transport }
    }

    /// Makes a configuration, which the hub applies from then on. Refused with
    /// `ConfigurationAlreadyExists`, and with a code of its own for each part that is wrong.
    pub async fn create(self, configuration: &Configuration) -> Result<Configuration, Error> {
        self.put(configuration, &IfMatch::Absent).await
    }

    /// Replaces what may change of a configuration: its condition, priority, labels and metrics.
    /// [`IfMatch::Absent`] stands for [`IfMatch::Any`], since a PUT without a condition creates.
    pub async fn update(
        self,
        configuration: &Configuration,
        if_match: &IfMatch,
    ) -> Result<Configuration, Error> {
        let if_match = match if_match {
            IfMatch::Absent => &IfMatch::Any,
            IfMatch::Any | IfMatch::ETag(_) => if_match,
        };
        self.put(configuration, if_match).await
    }

    /// A configuration with its metrics as they stand. Refused with `ConfigurationNotFound`.
    pub async fn get(self, id: &str) -> Result<Configuration, Error> {
        let call = Call::new(Method::GET, &["configurations", id]);
        read(&self.transport.send(call).await?)
    }

    /// At most `top` configurations, edge deployments included; all when there is no limit.
    pub async fn list(self, top: Option<usize>) -> Result<Vec<Configuration>, Error> {
        let mut call = Call::new(Method::GET, &["configurations"]);
        if let Some(top) = top {
            call = call.query("top", &top.to_string());
        }
        let all = Document::read_all(&self.transport.send(call).await?, "a configuration")?;
        Ok(all.into_iter().map(Configuration::from).collect())
    }

    /// Removes a configuration, and with it what it has set.
    pub async fn delete(self, id: &str, if_match: &IfMatch) -> Result<(), Error> {
        let call = Call::new(Method::DELETE, &["configurations", id]).if_match(if_match);
        self.transport.send(call).await.map(drop)
    }

    /// Whether a target condition and metric queries can be understood, without making anything of
    /// them.
    pub async fn test_queries(
        self,
        target_condition: &str,
        custom_metric_queries: &[(&str, &str)],
    ) -> Result<QueryErrors, Error> {
        let queries: BTreeMap<_, _> = custom_metric_queries.iter().copied().collect();
        let body = json!({
            "targetCondition": target_condition,
            "customMetricQueries": queries,
        });
        let call = Call::new(Method::POST, &["configurations", "testQueries"]).json(&body);
        let answer = Document::read(&self.transport.send(call).await?, "a test of queries")?;
        Ok(QueryErrors::read(&answer))
    }

    /// Writes content to a device and its modules once; nothing is kept of it. `content` has one of
    /// `deviceContent`, `moduleContent` and `modulesContent`.
    pub async fn apply_on_device(
        self,
        device: &(impl ToString + ?Sized),
        content: &Value,
    ) -> Result<(), Error> {
        let device = transport::client_id(device)?;
        let path = transport::client_path("devices", &device, &["applyConfigurationContent"]);
        let call = Call::new(Method::POST, &path).json(content);
        self.transport.send(call).await.map(drop)
    }

    /// The rows behind one of a configuration's metrics, system or custom; `None` when it has no
    /// metric of that name.
    pub fn metric(self, configuration: &Configuration, name: &str) -> Option<Query<'a>> {
        let query = configuration
            .metric_query(name)
            .or_else(|| configuration.system_metric_query(name))?;
        Some(Query::new(self.transport, query.to_owned()))
    }

    async fn put(
        self,
        configuration: &Configuration,
        if_match: &IfMatch,
    ) -> Result<Configuration, Error> {
        let call = Call::new(Method::PUT, &["configurations", configuration.id()])
            .if_match(if_match)
            .json(&Value::Object(configuration.as_json().clone()));
        read(&self.transport.send(call).await?)
    }
}

/// What is wrong with the queries of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct QueryErrors {
    /// With its target condition.
    pub target_condition: Option<String>,
    /// With its metrics, by their names.
    pub custom_metric_queries: BTreeMap<String, String>,
}

impl QueryErrors {
    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.target_condition.is_none() && self.custom_metric_queries.is_empty()
    }

    fn read(document: &Document) -> Self {
        let queries = document.member("customMetricQueryErrors").as_object();
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Self {
            target_condition: document.text("targetConditionError").map(str::to_owned),
            custom_metric_queries: queries
                .into_iter()
                .flatten()
                .filter(|(_, error)| !error.is_null())
                .map(|(name, error)| (name.clone(), text(error)))
                .collect(),
        }
    }
}

fn read(answer: &Answer) -> Result<Configuration, Error> {
    Document::read(answer, "a configuration").map(Configuration::from)
}
