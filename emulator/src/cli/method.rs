//! `invoke-device-method`, with the words of `az iot hub invoke-device-method`.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::context::CliContext;
use super::device_identity::DeviceArg;
use super::device_twin::json_argument;
use super::output::print;

/// Calls a direct method of a device.
#[derive(Debug, Args)]
pub(crate) struct InvokeDeviceMethodCommand {
    #[command(flatten)]
    context: CliContext,
    #[command(flatten)]
    device: DeviceArg,
    /// The method.
    #[arg(long, visible_alias = "mn")]
    method_name: String,
    /// What to send along, as JSON.
    #[arg(long, visible_alias = "mp", default_value = "{}")]
    method_payload: String,
    /// Seconds that the device may take to connect, and again to answer.
    #[arg(long, visible_alias = "to", default_value_t = 30, value_parser = clap::value_parser!(u64).range(10..=300))]
    timeout: u64,
}

impl InvokeDeviceMethodCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let payload = json_argument("--method-payload", &self.method_payload)?;
        let timeout = Duration::from_secs(self.timeout);
        let backend = self.context.backend().await?;
        let answer = backend
            .methods()
            .invoke(&self.device.device_id, self.method_name)
            .payload(&payload)
            .connect_timeout(timeout)
            .response_timeout(timeout)
            .send()
            .await?;
        let payload: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
        print(
            &json!({"status": answer.status, "payload": payload}),
            self.context.output,
        )
    }
}
