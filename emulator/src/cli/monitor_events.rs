//! `monitor-events`: telemetry as it arrives, with the words of `az iot hub monitor-events`.

use clap::Args;
use iothub_backend::Event;
use serde_json::{Map, Value, json};

use super::context::CliContext;
use super::output::{OutputFormat, print};

/// Prints telemetry as it arrives, until it is interrupted.
#[derive(Debug, Args)]
pub(crate) struct MonitorEventsCommand {
    #[command(flatten)]
    context: CliContext,
    /// Only what this device or a module of it sent.
    #[arg(long, short = 'd')]
    device_id: Option<String>,
    /// Where to start: earliest, latest, or the cursor of an event.
    #[arg(long, default_value = "latest")]
    from: String,
    /// Stop after this many.
    #[arg(long, visible_alias = "mc")]
    message_count: Option<usize>,
    /// Which properties to show: sys (system), app (application), anno (annotations), all.
    #[arg(long, short = 'p', visible_alias = "props", value_delimiter = ',')]
    properties: Vec<String>,
}

impl MonitorEventsCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let backend = self.context.backend().await?;
        let mut query = match self.from.as_str() {
            "earliest" => backend.events().from_earliest(),
            "latest" => backend.events().from_latest(),
            cursor => backend.events().from_cursor(cursor),
        }
        .follow();
        if let Some(device) = &self.device_id {
            query = query.device(device);
        }
        let mut events = query.open().await?;
        let mut seen = 0;
        while self.message_count.is_none_or(|count| seen < count)
            && let Some(event) = events.next().await?
        {
            seen += 1;
            match self.context.output {
                OutputFormat::Json => print(&self.as_az_prints(&event), OutputFormat::Json)?,
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

    fn as_az_prints(&self, event: &Event) -> Value {
        let wants = |what: &str| {
            self.properties
                .iter()
                .any(|wanted| wanted == what || wanted == "all")
        };
        let text = || Value::String(String::from_utf8_lossy(&event.body).into_owned());
        let mut properties = Map::new();
        if wants("sys") {
            properties.insert("system".into(), Value::Object(event.properties.clone()));
        }
        if wants("app") {
            let application = Value::Object(event.application_properties.clone());
            properties.insert("application".into(), application);
        }
        let mut shown = json!({
            "origin": event.device_id(),
            "module": event.module_id().unwrap_or_default(),
            "payload": event.json().unwrap_or_else(text),
        });
        if !properties.is_empty() {
            shown["properties"] = Value::Object(properties);
        }
        if wants("anno") {
            shown["annotations"] = Value::Object(event.annotations.clone());
        }
        json!({"event": shown})
    }
}
