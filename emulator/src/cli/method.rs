//! `invoke-device-method` and `invoke-module-method`, with the words of `az iot hub`.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::arguments::{DeviceArg, ModuleArg, Named, json_argument};
use super::context::CliContext;
use super::output::print;

/// Calls a direct method of a device.
#[derive(Debug, Args)]
pub(crate) struct InvokeDeviceMethodCommand {
    #[command(flatten)]
    context: CliContext,
    #[command(flatten)]
    device: DeviceArg,
    #[command(flatten)]
    call: MethodArgs,
}

/// Calls a direct method of a module.
#[derive(Debug, Args)]
pub(crate) struct InvokeModuleMethodCommand {
    #[command(flatten)]
    context: CliContext,
    #[command(flatten)]
    module: ModuleArg,
    #[command(flatten)]
    call: MethodArgs,
}

#[derive(Debug, Args)]
struct MethodArgs {
    /// The method.
    #[arg(long, visible_alias = "mn")]
    method_name: String,
    /// What to send along, as JSON or a file of it.
    #[arg(long, visible_alias = "mp", default_value = "{}")]
    method_payload: String,
    /// Seconds that it may take to connect, and again to answer.
    #[arg(long, visible_alias = "to", default_value_t = 30, value_parser = clap::value_parser!(u64).range(10..=300))]
    timeout: u64,
}

impl InvokeDeviceMethodCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        self.call.run(&self.context, &self.device.client()).await
    }
}

impl InvokeModuleMethodCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        self.call.run(&self.context, &self.module.client()).await
    }
}

impl MethodArgs {
    async fn run(self, context: &CliContext, client: &str) -> anyhow::Result<()> {
        let payload = json_argument("--method-payload", &self.method_payload)?;
        let timeout = Duration::from_secs(self.timeout);
        let backend = context.backend().await?;
        let answer = backend
            .methods()
            .invoke(client, self.method_name)
            .payload(&payload)
            .connect_timeout(timeout)
            .response_timeout(timeout)
            .send()
            .await?;
        let payload: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
        print(
            &json!({"status": answer.status, "payload": payload}),
            context.output,
        )
    }
}
