//! A configuration: what to set, where, and how to see that it is set.

use iothub_protocol::Timestamp;
use serde_json::{Map, Value, json};

use crate::document::Document;

/// A configuration, new or as the hub printed it (`spec/service.md` 7). The hub keeps exactly one
/// kind of content.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    document: Document,
}

impl Configuration {
    /// A configuration without content, for nobody, of priority 0.
    pub fn new(id: impl Into<String>) -> Self {
        let id: String = id.into();
        Self::from(Document(
            [
                ("id".to_owned(), Value::String(id)),
                ("schemaVersion".to_owned(), "1.0".into()),
                ("labels".to_owned(), json!({})),
                ("content".to_owned(), json!({})),
                ("targetCondition".to_owned(), "".into()),
                ("priority".to_owned(), 0.into()),
                ("metrics".to_owned(), json!({"queries": {}})),
            ]
            .into_iter()
            .collect(),
        ))
    }

    /// What devices' twins get: paths below `properties.desired`, with their values.
    #[must_use]
    pub fn with_device_content(self, content: &Value) -> Self {
        self.with("content", json!({"deviceContent": content}))
    }

    /// What module twins get. Such a configuration's condition begins with
    /// `FROM devices.modules WHERE`.
    #[must_use]
    pub fn with_module_content(self, content: &Value) -> Self {
        self.with("content", json!({"moduleContent": content}))
    }

    /// What the modules of edge devices get, by their names: an edge deployment.
    #[must_use]
    pub fn with_modules_content(self, content: &Value) -> Self {
        self.with("content", json!({"modulesContent": content}))
    }

    /// For whom it is: the body of a WHERE, `*` for everybody, empty for nobody.
    #[must_use]
    pub fn with_target_condition(self, condition: impl Into<String>) -> Self {
        self.with("targetCondition", Value::String(condition.into()))
    }

    /// Which of two configurations wins: the higher.
    #[must_use]
    pub fn with_priority(self, priority: i64) -> Self {
        self.with("priority", priority.into())
    }

    /// A label, for people.
    #[must_use]
    pub fn with_label(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with_entry(&["labels"], name.into(), value.into())
    }

    /// A metric: a query of which the hub counts the rows.
    #[must_use]
    pub fn with_metric(self, name: impl Into<String>, query: impl Into<String>) -> Self {
        self.with_entry(&["metrics", "queries"], name.into(), query.into())
    }

    /// Its name.
    pub fn id(&self) -> &str {
        self.document.text("id").unwrap_or_default()
    }

    /// The etag, without quotes: for [`IfMatch::ETag`](crate::IfMatch::ETag).
    pub fn etag(&self) -> &str {
        self.document.text("etag").unwrap_or_default()
    }

    /// For whom it is.
    pub fn target_condition(&self) -> &str {
        self.document.text("targetCondition").unwrap_or_default()
    }

    /// Which of two wins.
    pub fn priority(&self) -> i64 {
        self.document
            .member("priority")
            .as_i64()
            .unwrap_or_default()
    }

    /// The one kind of content that it has, in an object.
    pub fn content(&self) -> &Value {
        self.document.member("content")
    }

    /// Whether it is an edge deployment.
    pub fn is_edge_deployment(&self) -> bool {
        !self.content()["modulesContent"].is_null()
    }

    /// When it was made.
    pub fn created_time(&self) -> Option<Timestamp> {
        self.document.time("createdTimeUtc")
    }

    /// When it was last changed.
    pub fn last_updated_time(&self) -> Option<Timestamp> {
        self.document.time("lastUpdatedTimeUtc")
    }

    /// The query of a metric of one's own.
    pub fn metric_query(&self, name: &str) -> Option<&str> {
        self.document.member("metrics")["queries"][name].as_str()
    }

    /// The query of a metric that the hub has by itself, such as `appliedCount`.
    pub fn system_metric_query(&self, name: &str) -> Option<&str> {
        self.document.member("systemMetrics")["queries"][name].as_str()
    }

    /// How many rows a metric of one's own has.
    pub fn metric_result(&self, name: &str) -> Option<u64> {
        self.document.member("metrics")["results"][name].as_u64()
    }

    /// How many rows a metric of the hub's has.
    pub fn system_metric_result(&self, name: &str) -> Option<u64> {
        self.document.member("systemMetrics")["results"][name].as_u64()
    }

    /// The whole document.
    pub fn as_json(&self) -> &Map<String, Value> {
        &self.document.0
    }

    /// The whole document.
    pub fn into_json(self) -> Value {
        Value::Object(self.document.0)
    }

    /// A configuration out of a whole document.
    pub fn from_json(document: Map<String, Value>) -> Self {
        Self::from(Document(document))
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.document.0.insert(name.into(), value);
        self
    }

    fn with_entry(mut self, path: &[&str], name: String, value: String) -> Self {
        let mut members = &mut self.document.0;
        for step in path {
            let member = members.entry(*step).or_insert_with(|| json!({}));
            if !member.is_object() {
                *member = json!({});
            }
            members = member.as_object_mut().expect("it was made one just now");
        }
        members.insert(name, Value::String(value));
        self
    }
}

impl From<Document> for Configuration {
    fn from(document: Document) -> Self {
        Self { document }
    }
}
