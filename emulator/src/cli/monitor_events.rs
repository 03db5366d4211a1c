//! `monitor-events`: telemetry as it arrives, with the words of `az iot hub monitor-events`.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use iothub_backend::{Event, EventReader, Events};
use iothub_protocol::{Clock, Timestamp};
use serde_json::{Map, Value, json};

use super::arguments::names;
use super::context::CliContext;
use super::output::{OutputFormat, print, progress};

/// Prints telemetry as it arrives, until none comes for a while or it is interrupted.
#[derive(Debug, Args)]
pub(crate) struct MonitorEventsCommand {
    #[command(flatten)]
    context: CliContext,
    #[command(flatten)]
    filter: EventFilter,
    /// Only devices that this query finds.
    #[arg(long, short = 'q')]
    device_query: Option<String>,
    /// The consumer group to read in.
    #[arg(long, visible_alias = "cg", default_value = "$Default")]
    consumer_group: String,
    /// Only these partitions.
    #[arg(long, value_delimiter = ',')]
    partitions: Vec<u32>,
    /// Start with what came at this time or later, in milliseconds since 1970 [default: now].
    #[arg(long, visible_alias = "et", value_name = "MILLISECONDS")]
    enqueued_time: Option<i64>,
    /// Start with the oldest event that is kept, or with what comes from now on.
    #[arg(long, value_enum, default_value_t, conflicts_with = "enqueued_time")]
    from: From,
    /// Stop after this many.
    #[arg(long, visible_alias = "mc")]
    message_count: Option<usize>,
    /// Stop when none has come for so long; 0: never.
    #[arg(long, short = 't', default_value_t = 300, value_name = "SECONDS")]
    timeout: u64,
    #[command(flatten)]
    shown: Shown,
    /// Taken for the sake of scripts written for `az`; there is nothing to repair.
    #[arg(long, short = 'r', hide = true)]
    repair: bool,
    /// Taken for the sake of scripts written for `az`.
    #[arg(long, short = 'y', hide = true)]
    yes: bool,
}

/// Where to start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum From {
    Earliest,
    #[default]
    Latest,
}

/// Which events to print.
#[derive(Debug, Default, Args)]
struct EventFilter {
    /// Only what this device or a module of it sent; `*` and `?` stand for any characters.
    #[arg(long, short = 'd')]
    device_id: Option<String>,
    /// Only what this module sent; `*` and `?` stand for any characters.
    #[arg(long, short = 'm')]
    module_id: Option<String>,
    /// Only what was sent under this model.
    #[arg(long, short = 'i')]
    interface: Option<String>,
}

/// What of an event to print.
#[derive(Debug, Default, Args)]
struct Shown {
    /// Which properties to show: sys (system), app (application), anno (annotations), all.
    #[arg(long, short = 'p', visible_alias = "props")]
    properties: Vec<String>,
    /// Take every body for this, whatever the event says.
    #[arg(long, visible_alias = "ct")]
    content_type: Option<String>,
}

impl MonitorEventsCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let backend = self.context.backend().await?;
        let devices = match &self.device_query {
            Some(query) => Some(
                devices_of(&backend.query(query.clone()).collect().await?)
                    .context("--device-query finds no devices")?,
            ),
            None => None,
        };
        let mut reader = self.open(&backend.events()).await?;
        progress(format_args!("{}", self.filter.announcement()));
        let printed = self.print(&mut reader, devices.as_ref()).await;
        reader.close().await;
        backend.close().await;
        printed
    }

    async fn open(&self, events: &Events) -> anyhow::Result<EventReader> {
        let builder = match (self.enqueued_time, self.from) {
            (Some(millis), _) => events.from_enqueued_time(Timestamp::from_unix_millis(millis)),
            (None, From::Earliest) => events.from_earliest(),
            (None, From::Latest) => events.from_latest(),
        };
        let builder = self.partitions.iter().fold(
            builder.consumer_group(self.consumer_group.as_str()),
            |builder, &partition| builder.partition(partition),
        );
        Ok(builder.open().await?)
    }

    async fn print(
        &self,
        reader: &mut EventReader,
        devices: Option<&HashSet<String>>,
    ) -> anyhow::Result<()> {
        let clock = self.context.clock().await?;
        let mut seen = 0;
        while self.message_count.is_none_or(|count| seen < count) {
            let silence = async {
                match self.timeout {
                    0 => std::future::pending().await,
                    seconds => {
                        let limit = clock.now() + Duration::from_secs(seconds);
                        clock.sleep_until(limit).await;
                    }
                }
            };
            let event = tokio::select! {
                event = reader.next() => event?,
                () = silence => None,
            };
            let Some(event) = event else { break };
            let is_wanted = devices.is_none_or(|devices| devices.contains(event.device_id()));
            if !is_wanted || !self.filter.takes(&event) {
                continue;
            }
            seen += 1;
            match self.context.output {
                OutputFormat::Json => print(&self.shown.of(&event), OutputFormat::Json)?,
                OutputFormat::Table => {
                    let time = event.enqueued_time;
                    let body = String::from_utf8_lossy(&event.body);
                    let line = format!("{time}  {}  {body}", event.device_id());
                    print(&Value::String(line), OutputFormat::Table)?;
                }
            }
        }
        Ok(())
    }
}

/// The ids in the rows of a query; `None`: there are none.
fn devices_of(rows: &[Value]) -> Option<HashSet<String>> {
    let ids = rows.iter().filter_map(|row| row["deviceId"].as_str());
    let ids: HashSet<String> = ids.map(str::to_owned).collect();
    (!ids.is_empty()).then_some(ids)
}

impl EventFilter {
    fn takes(&self, event: &Event) -> bool {
        let fits = |wanted: &Option<String>, id: &str| {
            wanted.as_ref().is_none_or(|wanted| matches(wanted, id))
        };
        fits(&self.device_id, event.device_id())
            && fits(&self.module_id, event.module_id().unwrap_or_default())
            && self
                .interface
                .as_ref()
                .is_none_or(|wanted| interface(event) == wanted)
    }

    fn announcement(&self) -> String {
        let mut text = "Starting event monitor,".to_owned();
        let filters = [
            ("device", &self.device_id),
            ("module", &self.module_id),
            ("interface", &self.interface),
        ];
        for (what, id) in filters {
            if let Some(id) = id {
                text.push_str(&format!(" filtering on {what}: {id},"));
            }
        }
        text.push_str(" use ctrl-c to stop...");
        text
    }
}

/// Whether `id` fits a pattern of literal characters, `*` and `?`.
fn matches(pattern: &str, id: &str) -> bool {
    // The place behind the last star, and what of the id it stands for: where to go on when what
    // follows the star does not fit.
    let (pattern, id) = (pattern.as_bytes(), id.as_bytes());
    let (mut at, mut from) = (0, 0);
    let mut star = None;
    while from < id.len() {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                star = Some((at, from));
            }
            Some(&wanted) if wanted == b'?' || wanted == id[from] => {
                at += 1;
                from += 1;
            }
            _ => match &mut star {
                Some((behind, taken)) => {
                    *taken += 1;
                    (at, from) = (*behind, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// The model that an event was sent under.
fn interface(event: &Event) -> &str {
    event.annotation("dt-dataschema").unwrap_or_default()
}

impl Shown {
    /// An event in the form of `az iot hub monitor-events`.
    fn of(&self, event: &Event) -> Value {
        let properties = names(&self.properties);
        let wants = |what: &str| {
            properties
                .iter()
                .any(|&wanted| wanted == what || wanted == "all")
        };
        let mut shown = json!({
            "origin": event.device_id(),
            "module": event.module_id().unwrap_or_default(),
            "interface": interface(event),
            "component": event.annotation("dt-subject").unwrap_or_default(),
        });
        if !properties.is_empty() {
            shown["properties"] = json!({});
        }
        if wants("anno") {
            shown["annotations"] = Value::Object(event.annotations.clone());
        }
        if wants("sys") && !event.properties.is_empty() {
            shown["properties"]["system"] = Value::Object(system(event));
        }
        if wants("app") {
            let application = Value::Object(event.application_properties.clone());
            shown["properties"]["application"] = application;
        }
        shown["payload"] = self.payload(event);
        json!({"event": shown})
    }

    /// JSON where the event, or the user, says that it is; otherwise text.
    fn payload(&self, event: &Event) -> Value {
        let said = event.properties.get("content-type").and_then(Value::as_str);
        let content_type = self.content_type.as_deref().or(said).unwrap_or_default();
        let is_json = content_type
            .to_ascii_lowercase()
            .contains("application/json");
        let json = is_json.then(|| event.json()).flatten();
        json.unwrap_or_else(|| String::from_utf8_lossy(&event.body).into())
    }
}

/// The standard properties, named as Python names them.
fn system(event: &Event) -> Map<String, Value> {
    let properties = event.properties.iter();
    properties
        .map(|(name, value)| (name.replace('-', "_"), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(content_type: Option<&str>) -> Event {
        let mut properties = Map::new();
        if let Some(content_type) = content_type {
            properties.insert("content-type".into(), content_type.into());
        }
        let annotations = json!({
            "iothub-connection-device-id": "device-7",
            "iothub-connection-module-id": "m1",
            "dt-dataschema": "dtmi:a:b;1",
            "dt-subject": "thermostat",
        });
        let Value::Object(annotations) = annotations else {
            unreachable!("it is written as one")
        };
        Event {
            partition: 0,
            sequence_number: 1,
            offset: "1".into(),
            enqueued_time: Timestamp::UNIX_EPOCH,
            annotations,
            properties,
            application_properties: Map::new(),
            body: r#"{"a":1}"#.into(),
        }
    }

    #[test]
    fn patterns_are_matched_to_the_end() {
        for (pattern, id, fits) in [
            ("device-7", "device-7", true),
            ("device-7", "device-70", false),
            ("device*", "device-7", true),
            ("*-7", "device-7", true),
            ("d*e*7", "device-7", true),
            ("device-?", "device-7", true),
            ("device-?", "device-", false),
            ("*", "", true),
            ("", "a", false),
            ("a*b", "acbd", false),
        ] {
            assert_eq!(matches(pattern, id), fits, "{pattern} on {id}");
        }
    }

    #[test]
    fn events_are_filtered_by_device_module_and_interface() {
        let filter = |device: &str, module: &str, interface: &str| {
            let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            EventFilter {
                device_id: some(device),
                module_id: some(module),
                interface: some(interface),
            }
        };
        let event = event(None);

        assert!(filter("", "", "").takes(&event));
        assert!(filter("device*", "m?", "dtmi:a:b;1").takes(&event));
        assert!(!filter("device-1", "", "").takes(&event));
        assert!(!filter("", "m2", "").takes(&event));
        assert!(!filter("", "", "dtmi:a").takes(&event));
    }

    #[test]
    fn payload_is_json_where_it_is_said_to_be() {
        let plain = Shown::default();
        let hinted = Shown {
            content_type: Some("application/json".into()),
            ..Shown::default()
        };

        let text = json!("{\"a\":1}");
        assert_eq!(plain.payload(&event(None)), text);
        assert_eq!(plain.payload(&event(Some("text/plain"))), text);
        let json = json!({"a": 1});
        assert_eq!(plain.payload(&event(Some("Application/JSON"))), json);
        assert_eq!(hinted.payload(&event(None)), json);
    }

    #[test]
    fn properties_are_shown_as_they_are_asked_for() {
        let shown = |properties: &str| {
            let shown = Shown {
                properties: vec![properties.into()],
                ..Shown::default()
            };
            shown.of(&event(Some("text/plain")))["event"].clone()
        };

        let all = shown("all");
        assert_eq!(
            all["properties"]["system"],
            json!({"content_type": "text/plain"})
        );
        assert_eq!(all["properties"]["application"], json!({}));
        assert_eq!(all["component"], "thermostat");
        assert_eq!(all["annotations"]["dt-subject"], "thermostat");
        assert_eq!(shown("app sys")["annotations"], Value::Null);
        assert_eq!(shown("anno")["properties"], json!({}));
        assert_eq!(shown("")["properties"], Value::Null);
    }
}
