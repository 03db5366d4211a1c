//! `monitor-feedback`, with the words of `az iot hub monitor-feedback`.

use std::time::Duration;

use clap::Args;
use iothub_backend::{Backend, FeedbackRecord};
use iothub_protocol::Clock;
use serde_json::json;

use super::context::CliContext;
use super::output::{OutputFormat, print};

/// Prints what became of cloud-to-device messages, until it is interrupted. What it prints is gone
/// for other readers.
#[derive(Debug, Args)]
pub(crate) struct MonitorFeedbackCommand {
    #[command(flatten)]
    context: CliContext,
    /// Only print what is about this device.
    #[arg(long, short = 'd')]
    device_id: Option<String>,
    /// Stop when feedback on this message has come.
    #[arg(long, short = 'w', value_name = "MESSAGE_ID")]
    wait_on_msg: Option<String>,
}

impl MonitorFeedbackCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let backend = self.context.backend().await?;
        let device = self.device_id.as_deref();
        monitor(&self.context, &backend, device, self.wait_on_msg.as_deref()).await
    }
}

/// Prints feedback until there is some on `last`.
pub(super) async fn monitor(
    context: &CliContext,
    backend: &Backend,
    device: Option<&str>,
    last: Option<&str>,
) -> anyhow::Result<()> {
    let clock = context.clock().await?;
    let feedback = backend.feedback();
    loop {
        let Some(batch) = feedback.receive().await? else {
            clock.sleep_until(clock.now() + PAUSE).await;
            continue;
        };
        for record in &batch.records {
            if device.is_none_or(|device| record.device_id == device) {
                show(record, context.output)?;
            }
        }
        feedback.complete(&batch.lock_token).await?;
        let ended =
            |record: &FeedbackRecord| last.is_some_and(|last| record.original_message_id == last);
        if batch.records.iter().any(ended) {
            return Ok(());
        }
    }
}

fn show(record: &FeedbackRecord, format: OutputFormat) -> anyhow::Result<()> {
    let time = record.enqueued_time.map(|time| time.to_iso());
    let shown = json!({
        "originalMessageId": record.original_message_id,
        "enqueuedTimeUtc": time,
        "statusCode": record.status.as_str(),
        "description": record.description,
        "deviceId": record.device_id,
        "deviceGenerationId": record.device_generation_id,
    });
    match format {
        OutputFormat::Json => print(&json!({"feedback": shown}), format),
        OutputFormat::Table => {
            let line = format!(
                "{}  {}  {}  {}",
                time.unwrap_or_default(),
                record.device_id,
                record.original_message_id,
                record.status.as_str()
            );
            print(&line.into(), format)
        }
    }
}

/// Between two looks at an empty queue.
const PAUSE: Duration = Duration::from_secs(1);
