//! Configurations as JSON: automatic device management and edge deployments
//! (`spec/service.md` 7).
//!
//! What a target condition and a metric's query say is not known here: they are texts.

mod content;
mod overlay;

use serde_json::{Map, Value, json};

use crate::twin::{SectionKind, validate};
use crate::{Error, ErrorCode, Timestamp, json as members};

pub use content::{Content, ModuleContent};
pub use overlay::{Overlay, Plan, Settings};

/// The prefix of a target condition that selects modules.
pub const MODULES_PREFIX: &str = "FROM devices.modules WHERE";

/// The name of a configuration: 1 to 128 characters of those that device ids have. Two that differ
/// in case alone are the same (`spec/service.md` 7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigurationId(String);

/// What the body of `PUT /configurations/{id}` says. What is absent is left as it is by an update.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ConfigurationSpec {
    /// The name, if it is repeated.
    pub id: Option<String>,
    /// Which rules the document follows; echoed.
    pub schema_version: Option<String>,
    /// What people say of it.
    pub labels: Option<Map<String, Value>>,
    /// What it sets.
    pub content: Option<Content>,
    /// Echoed.
    pub content_type: Option<String>,
    /// Whom it is for.
    pub target_condition: Option<String>,
    /// Who wins: the higher.
    pub priority: Option<i64>,
    /// The caller's own metrics: a query for each name.
    pub metrics: Option<Map<String, Value>>,
}

/// A configuration as the hub keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// Its name, as it was first written.
    pub id: String,
    /// Which rules the document follows.
    pub schema_version: String,
    /// What people say of it.
    pub labels: Map<String, Value>,
    /// What it sets. It never changes.
    pub content: Content,
    /// Echoed.
    pub content_type: Option<String>,
    /// Whom it is for; nobody when it is empty.
    pub target_condition: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub last_updated: Timestamp,
    /// Who wins: the higher.
    pub priority: i64,
    /// The caller's own metrics: a query for each name.
    pub metrics: Map<String, Value>,
    /// Changes with every update; unquoted.
    pub etag: String,
}

/// The hub's own metrics of a configuration, by name: the query, and how many rows it has.
pub type Metrics = Vec<(String, String, u64)>;

impl ConfigurationId {
    /// Checks the grammar; 400004 otherwise.
    pub fn parse(text: &str) -> Result<Self, Error> {
        crate::DeviceId::parse(text).map_err(|_| {
            Error::argument_invalid(format!(
                "not the id of a configuration: {:?}",
                text.chars().take(140).collect::<String>()
            ))
        })?;
        Ok(Self(text.to_owned()))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What two spellings of one id have in common.
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl ConfigurationSpec {
    /// Parses the body of a PUT: 400006 when it is not JSON, 400402 for content that is none,
    /// 400004 for every other fault.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let map = members::parse_object(body)?;
        let metrics = match members::object(&map, "metrics")? {
            None => None,
            Some(metrics) => Some(texts(metrics, "queries")?.unwrap_or_default()),
        };
        Ok(Self {
            id: text(&map, "id")?,
            schema_version: text(&map, "schemaVersion")?,
            labels: texts(&map, "labels")?,
            content: match members::non_null(&map, "content") {
                None => None,
                Some(content) => Some(Content::from_value(content)?),
            },
            content_type: text(&map, "contentType")?,
            target_condition: text(&map, "targetCondition")?,
            priority: match members::non_null(&map, "priority") {
                None => None,
                Some(priority) => Some(whole(priority).ok_or_else(|| {
                    Error::argument_invalid("priority must be a whole number that is not negative")
                })?),
            },
            metrics,
        })
    }
}

impl Configuration {
    /// The object of `spec/service.md` 7, in its order. `system` are the hub's own metrics, `own`
    /// the rows of each of the caller's, in their order.
    pub fn to_json(&self, system: &Metrics, own: &[u64]) -> Value {
        let counts = |name: &String, count: u64| (name.clone(), Value::from(count));
        let queries: Map<_, _> = system
            .iter()
            .map(|(name, query, _)| (name.clone(), query.as_str().into()))
            .collect();
        let system: Map<_, _> = system
            .iter()
            .map(|(name, _, count)| counts(name, *count))
            .collect();
        let results: Map<_, _> = self
            .metrics
            .keys()
            .zip(own)
            .map(|(name, count)| counts(name, *count))
            .collect();
        let mut document = self.to_document();
        document.insert(
            "systemMetrics".into(),
            json!({"results": system, "queries": queries}),
        );
        document.insert(
            "metrics".into(),
            json!({"results": results, "queries": self.metrics}),
        );
        // The order of members is that of the service, with the etag last.
        if let Some(etag) = document.shift_remove("etag") {
            document.insert("etag".into(), etag);
        }
        Value::Object(document)
    }

    /// Everything but results, to be kept.
    pub fn to_stored(&self) -> Value {
        let mut document = self.to_document();
        document.insert("metrics".into(), json!({"queries": self.metrics}));
        Value::Object(document)
    }

    /// Reads what [`Self::to_stored`] or [`Self::to_json`] prints; `None` when it is something else.
    pub fn from_value(value: &Value) -> Option<Self> {
        let map = value.as_object()?;
        let string = |name| members::string(map, name).ok().flatten();
        let time = |name| string(name).and_then(Timestamp::parse_iso);
        let metrics = members::object(map, "metrics").ok()?;
        let queries = metrics.and_then(|metrics| texts(metrics, "queries").ok().flatten());
        let content = match members::non_null(map, "content") {
            None => Content::None,
            Some(content) => Content::from_value(content).ok()?,
        };
        Some(Self {
            id: string("id")?.to_owned(),
            schema_version: string("schemaVersion").unwrap_or("1.0").to_owned(),
            labels: texts(map, "labels").ok()?.unwrap_or_default(),
            content,
            content_type: string("contentType").map(str::to_owned),
            target_condition: string("targetCondition").unwrap_or_default().to_owned(),
            created: time("createdTimeUtc")?,
            last_updated: time("lastUpdatedTimeUtc")?,
            priority: members::field(map, "priority").and_then(whole)?,
            metrics: queries.unwrap_or_default(),
            etag: string("etag").unwrap_or_default().to_owned(),
        })
    }

    fn to_document(&self) -> Map<String, Value> {
        let document = json!({
            "id": self.id,
            "schemaVersion": self.schema_version,
            "labels": self.labels,
            "content": self.content.to_json(),
            "contentType": self.content_type,
            "targetCondition": self.target_condition,
            "createdTimeUtc": self.created.to_iso(),
            "lastUpdatedTimeUtc": self.last_updated.to_iso(),
            "priority": self.priority,
            "etag": self.etag,
        });
        match document {
            Value::Object(document) => document,
            _ => unreachable!("it is written as an object just above"),
        }
    }
}

/// What `POST /configurations/testQueries` asks about.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct QueriesTest {
    /// Absent: nothing is asked about it.
    pub target_condition: Option<String>,
    /// A query for each name.
    pub metrics: Map<String, Value>,
}

impl QueriesTest {
    /// Parses the body: 400006 when it is not JSON, 400004 for every other fault.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let map = members::parse_object(body)?;
        Ok(Self {
            target_condition: text(&map, "targetCondition")?,
            metrics: texts(&map, "customMetricQueries")?.unwrap_or_default(),
        })
    }
}

/// Refuses (400402) what a twin could not hold.
fn check_settings(settings: &Map<String, Value>) -> Result<(), Error> {
    validate(SectionKind::Desired, settings).map_err(|error| invalid_content(error.detail))
}

fn invalid_content(detail: impl Into<String>) -> Error {
    Error::new(ErrorCode::InvalidConfigurationContent, detail)
}

fn text(map: &Map<String, Value>, name: &str) -> Result<Option<String>, Error> {
    Ok(members::string(map, name)?.map(str::to_owned))
}

/// An object all of whose members are texts; those that are `null` are left out.
fn texts(map: &Map<String, Value>, name: &str) -> Result<Option<Map<String, Value>>, Error> {
    let Some(texts) = members::object(map, name)? else {
        return Ok(None);
    };
    texts
        .iter()
        .filter(|(_, text)| !text.is_null())
        .map(|(key, text)| match text {
            Value::String(_) => Ok((key.clone(), text.clone())),
            _ => Err(Error::argument_invalid(format!(
                "the members of {name} must be strings"
            ))),
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

/// A whole number that is not negative; some clients write it with a fraction of zero.
fn whole(value: &Value) -> Option<i64> {
    let number = match (value.as_i64(), value.as_f64()) {
        (Some(number), _) => Some(number),
        (None, Some(number)) if number.fract() == 0.0 && number.abs() < 2f64.powi(53) => {
            Some(number as i64)
        }
        _ => None,
    };
    number.filter(|number| *number >= 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec(body: &Value) -> Result<ConfigurationSpec, Error> {
        ConfigurationSpec::parse(body.to_string().as_bytes())
    }

    fn configuration(content: &Value) -> Configuration {
        Configuration {
            id: "c1".into(),
            schema_version: "1.0".into(),
            labels: Map::from_iter([("k".to_owned(), "v".into())]),
            content: Content::from_value(content).unwrap(),
            content_type: None,
            target_condition: "tags.site='A'".into(),
            created: Timestamp::UNIX_EPOCH,
            last_updated: Timestamp::UNIX_EPOCH,
            priority: 10,
            metrics: Map::from_iter([("mine".to_owned(), "SELECT deviceId FROM devices".into())]),
            etag: "MQ==".into(),
        }
    }

    #[test]
    fn a_configuration_is_printed_in_the_order_of_the_service() {
        let content = json!({"deviceContent": {"properties.desired.chiller": {"temp": 66}}});
        let system = vec![("targetedCount".into(), "q".into(), 3)];

        assert_eq!(
            configuration(&content).to_json(&system, &[1]).to_string(),
            concat!(
                r#"{"id":"c1","schemaVersion":"1.0","labels":{"k":"v"},"#,
                r#""content":{"deviceContent":{"properties.desired.chiller":{"temp":66}}},"#,
                r#""contentType":null,"targetCondition":"tags.site='A'","#,
                r#""createdTimeUtc":"1970-01-01T00:00:00.0000000Z","#,
                r#""lastUpdatedTimeUtc":"1970-01-01T00:00:00.0000000Z","priority":10,"#,
                r#""systemMetrics":{"results":{"targetedCount":3},"#,
                r#""queries":{"targetedCount":"q"}},"#,
                r#""metrics":{"results":{"mine":1},"#,
                r#""queries":{"mine":"SELECT deviceId FROM devices"}},"etag":"MQ=="}"#,
            )
        );
    }

    #[test]
    fn what_is_kept_is_read_back() {
        for content in [
            json!({}),
            json!({"deviceContent": {"properties.desired": {"a": 1}}}),
            json!({"moduleContent": {"properties.desired.a": null}}),
            json!({"modulesContent": {"$edgeAgent": {"properties.desired": {"a": {}}}, "m": {}}}),
        ] {
            let configuration = configuration(&content);
            let read = Configuration::from_value(&configuration.to_stored());
            assert_eq!(read, Some(configuration));
        }
        assert_eq!(Configuration::from_value(&json!({"id": "c1"})), None);
    }

    #[test]
    fn what_clients_send_is_understood() {
        // Node: nothing but what the caller set, and the schema version.
        let node = spec(&json!({"id": "c1", "schemaVersion": "1.0", "priority": 2})).unwrap();
        assert_eq!((node.priority, node.content), (Some(2), None));
        // .NET and the CLI: siblings that are null, and an etag that means nothing here.
        let other = spec(&json!({
            "Id": "c1", "etag": "*", "labels": null, "priority": 2.0, "systemMetrics": {},
            "content": {"deviceContent": {"properties.desired.a": 1}, "modulesContent": null,
                        "moduleContent": null},
            "metrics": {"results": {}, "queries": {"a": "SELECT *"}},
        }))
        .unwrap();
        assert_eq!(
            other.content.unwrap().to_json(),
            json!({"deviceContent": {"properties.desired.a": 1}})
        );
        assert_eq!(other.metrics.unwrap().len(), 1);
    }

    #[test]
    fn bodies_that_say_something_else_are_refused() {
        for (body, code) in [
            (json!([]), ErrorCode::ArgumentInvalid),
            (json!({"priority": -1}), ErrorCode::ArgumentInvalid),
            (json!({"priority": 0.5}), ErrorCode::ArgumentInvalid),
            (json!({"labels": {"a": 1}}), ErrorCode::ArgumentInvalid),
            (
                json!({"metrics": {"queries": []}}),
                ErrorCode::ArgumentInvalid,
            ),
            (
                json!({"content": 1}),
                ErrorCode::InvalidConfigurationContent,
            ),
        ] {
            assert_eq!(spec(&body).unwrap_err().code, code, "{body}");
        }
        let garbled = ConfigurationSpec::parse(b"{").unwrap_err();
        assert_eq!(garbled.code, ErrorCode::IotHubFormatError);
    }

    #[test]
    fn ids_have_the_characters_of_device_ids() {
        assert_eq!(ConfigurationId::parse("A_b-c").unwrap().folded(), "a_b-c");
        for id in ["", "a b", "a/b", "a\"b", "é"] {
            assert!(ConfigurationId::parse(id).is_err(), "{id}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = ConfigurationSpec::parse(&body);
            let _ = QueriesTest::parse(&body);
        }
    }
}
