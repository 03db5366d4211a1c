//! `device simulate`: a device that sends, and settles what it receives.

use std::time::Duration;

use clap::{Args, ValueEnum};
use iothub_backend::OnBehalf;
use iothub_protocol::Clock;
use serde_json::json;

use super::c2d_message::as_az_prints;
use super::outgoing::message;
use crate::cli::arguments::{DeviceArg, properties};
use crate::cli::context::CliContext;
use crate::cli::output::{OutputFormat, print, progress};

#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    #[command(flatten)]
    device: DeviceArg,
    /// What every message says, beside an id and the time.
    #[arg(
        long,
        visible_alias = "da",
        default_value = "Ping from Az CLI IoT Extension"
    )]
    data: String,
    /// Properties: `name=value;name=value`.
    #[arg(
        long,
        visible_alias = "props",
        short = 'p',
        default_value = "$.ct=application/json;$.ce=utf-8"
    )]
    properties: String,
    /// How many messages to send.
    #[arg(long, visible_alias = "mc", default_value_t = 100)]
    msg_count: usize,
    /// Seconds between two of them.
    #[arg(
        long,
        visible_alias = "mi",
        default_value_t = 3,
        value_name = "SECONDS"
    )]
    msg_interval: u64,
    /// How to settle the messages that come.
    #[arg(long, visible_alias = "rs", value_enum, default_value_t)]
    receive_settle: Settle,
    /// How to speak to the hub.
    #[arg(long, visible_alias = "proto", value_enum, default_value_t)]
    protocol: Protocol,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Settle {
    #[default]
    Complete,
    Abandon,
    Reject,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Protocol {
    #[default]
    Http,
}

impl SimulateArgs {
    pub(super) async fn run(self, context: &CliContext) -> anyhow::Result<()> {
        let properties = properties(&self.properties)?;
        let backend = context.backend().await?;
        let clock = context.clock().await?;
        let device = backend.on_behalf_of(&self.device.device_id);
        for number in 1..=self.msg_count {
            let body = json!({
                "id": uuid::Uuid::new_v4().to_string(),
                "timestamp": clock.now().to_iso(),
                "data": format!("{} #{number}", self.data),
            });
            let message = message(body.to_string().into(), &properties)?;
            device.send_event(message).await?;
            progress(format_args!("sent {number} of {}", self.msg_count));
            self.settle_all(&device, context.output).await?;
            if number < self.msg_count {
                let pause = Duration::from_secs(self.msg_interval);
                clock.sleep_until(clock.now() + pause).await;
            }
        }
        Ok(())
    }

    /// Settles what waits. An abandoned message waits again, so that only one is taken then.
    async fn settle_all(&self, device: &OnBehalf<'_>, output: OutputFormat) -> anyhow::Result<()> {
        while let Some(received) = device.receive_c2d(None).await? {
            print(&as_az_prints(&received), output)?;
            match self.receive_settle {
                Settle::Complete => device.complete_c2d(&received.lock_token).await?,
                Settle::Reject => device.reject_c2d(&received.lock_token).await?,
                Settle::Abandon => {
                    device.abandon_c2d(&received.lock_token).await?;
                    break;
                }
            }
        }
        Ok(())
    }
}
