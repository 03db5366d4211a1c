//! `digital-twin`, with the words of `az iot hub digital-twin`.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::arguments::{DeviceArg, EtagArg, json_argument};
use super::context::CliContext;
use super::output::print;

/// Digital twins of Plug and Play devices.
#[derive(Debug, Args)]
pub(crate) struct DigitalTwinCommand {
    #[command(flatten)]
    context: CliContext,
    #[command(subcommand)]
    command: DigitalTwinSubcommand,
}

#[derive(Debug, Subcommand)]
enum DigitalTwinSubcommand {
    /// Show a digital twin.
    Show {
        #[command(flatten)]
        device: DeviceArg,
    },
    /// Change writable properties, and show the digital twin after it.
    Update {
        #[command(flatten)]
        device: DeviceArg,
        /// A JSON Patch with add, replace and remove, or a file of it.
        #[arg(long, visible_alias = "patch", value_name = "JSON")]
        json_patch: String,
        #[command(flatten)]
        etag: EtagArg,
    },
    /// Invoke a command of the device.
    InvokeCommand {
        #[command(flatten)]
        device: DeviceArg,
        /// The command.
        #[arg(long, visible_alias = "cn")]
        command_name: String,
        /// The component that has it [default: the root].
        #[arg(long)]
        component_path: Option<String>,
        /// What to send along, as JSON or a file of it.
        #[arg(long, value_name = "JSON", default_value = "{}")]
        payload: String,
        /// Seconds to wait for a device that is offline.
        #[arg(long, visible_alias = "cto", value_name = "SECONDS")]
        connect_timeout: Option<u64>,
        /// Seconds that the device may take to answer.
        #[arg(long, visible_alias = "rto", value_name = "SECONDS")]
        response_timeout: Option<u64>,
    },
}

impl DigitalTwinCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let backend = self.context.backend().await?;
        let twins = backend.digital_twins();
        let answer = match self.command {
            DigitalTwinSubcommand::Show { device } => {
                twins.get(&device.device_id).await?.into_json()
            }
            DigitalTwinSubcommand::Update {
                device,
                json_patch,
                etag,
            } => {
                let device = &device.device_id;
                let patch = match json_argument("--json-patch", &json_patch)? {
                    // One operation by itself is as good as a list of one.
                    one @ Value::Object(_) => Value::Array(vec![one]),
                    patch => patch,
                };
                twins.patch(device, &patch, &etag.or_any()).await?;
                twins.get(device).await?.into_json()
            }
            DigitalTwinSubcommand::InvokeCommand {
                device,
                command_name,
                component_path,
                payload,
                connect_timeout,
                response_timeout,
            } => {
                let device = &device.device_id;
                let mut command = match &component_path {
                    Some(path) => twins.invoke_component_command(device, path, &command_name),
                    None => twins.invoke_command(device, &command_name),
                }
                .payload(&json_argument("--payload", &payload)?);
                if let Some(seconds) = connect_timeout {
                    command = command.connect_timeout(Duration::from_secs(seconds));
                }
                if let Some(seconds) = response_timeout {
                    command = command.response_timeout(Duration::from_secs(seconds));
                }
                let answer = command.send().await?;
                let payload: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
                // As text, since it comes in a header.
                let status = answer.status.map(|status| status.to_string());
                json!({"payload": payload, "status": status})
            }
        };
        print(&answer, self.context.output)
    }
}
