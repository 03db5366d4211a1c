//! `monitor-feedback`, with the words of `az iot hub monitor-feedback`.

use clap::Args;
use iothub_backend::{Backend, FeedbackBatch, FeedbackReceiver, FeedbackRecord};
use serde_json::json;

use super::context::CliContext;
use super::output::{OutputFormat, print, progress};

/// Prints what became of cloud-to-device messages, until it is interrupted. What it prints is gone
/// for other readers; what is not for it is left to them.
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
    /// Taken for the sake of scripts written for `az`; there is nothing to repair.
    #[arg(long, short = 'r', hide = true)]
    repair: bool,
    /// Taken for the sake of scripts written for `az`.
    #[arg(long, short = 'y', hide = true)]
    yes: bool,
}

impl MonitorFeedbackCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let backend = self.context.backend().await?;
        let device = self.device_id.as_deref();
        progress(format_args!(
            "Starting feedback monitor, use ctrl-c to stop..."
        ));
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
    let mut receiver = backend.feedback().open().await?;
    let monitored = print_until(&mut receiver, context.output, device, last).await;
    receiver.close().await;
    backend.close().await;
    monitored
}

async fn print_until(
    receiver: &mut FeedbackReceiver,
    format: OutputFormat,
    device: Option<&str>,
    last: Option<&str>,
) -> anyhow::Result<()> {
    loop {
        let batch: FeedbackBatch = receiver.next().await?;
        let is_wanted =
            |record: &&FeedbackRecord| device.is_none_or(|device| record.device_id == device);
        let mut wanted = batch.records.iter().filter(is_wanted).peekable();
        // Left under its lock, as `az` leaves it: given back it would come again at once.
        if wanted.peek().is_none() {
            continue;
        }
        for record in wanted {
            show(record, format)?;
        }
        receiver.complete(&batch.lock_token).await?;
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
