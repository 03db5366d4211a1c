//! `device-twin`: twins, with the words of `az iot hub device-twin`.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use iothub_protocol::registry::IfMatch;
use serde_json::{Map, Value, json};

use super::context::CliContext;
use super::device_identity::DeviceArg;
use super::output::print;

/// Device twins.
#[derive(Debug, Args)]
pub(crate) struct DeviceTwinCommand {
    #[command(flatten)]
    context: CliContext,
    #[command(subcommand)]
    command: DeviceTwinSubcommand,
}

#[derive(Debug, Subcommand)]
enum DeviceTwinSubcommand {
    /// Show a twin.
    Show {
        #[command(flatten)]
        device: DeviceArg,
    },
    /// Merge into tags and desired properties; null removes.
    Update {
        #[command(flatten)]
        device: DeviceArg,
        /// Desired properties, as JSON.
        #[arg(long)]
        desired: Option<String>,
        /// Tags, as JSON.
        #[arg(long)]
        tags: Option<String>,
        /// Only if the twin still has this etag.
        #[arg(long, short = 'e')]
        etag: Option<String>,
    },
}

impl DeviceTwinCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let backend = self.context.backend().await?;
        let twin = match self.command {
            DeviceTwinSubcommand::Show { device } => backend.twins().get(&device.device_id).await?,
            DeviceTwinSubcommand::Update {
                device,
                desired,
                tags,
                etag,
            } => {
                let mut patch = Map::new();
                if let Some(tags) = tags {
                    patch.insert("tags".into(), json_argument("--tags", &tags)?);
                }
                if let Some(desired) = desired {
                    let desired = json_argument("--desired", &desired)?;
                    patch.insert("properties".into(), json!({"desired": desired}));
                }
                if patch.is_empty() {
                    bail!("nothing to update: give --desired or --tags");
                }
                let if_match = etag.map_or(IfMatch::Any, IfMatch::ETag);
                backend
                    .twins()
                    .patch(&device.device_id, &Value::Object(patch), &if_match)
                    .await?
            }
        };
        print(&twin.into_json(), self.context.output)
    }
}

/// An argument that is JSON.
pub(super) fn json_argument(name: &str, text: &str) -> anyhow::Result<Value> {
    serde_json::from_str(text).with_context(|| format!("{name} is not JSON: {text}"))
}
