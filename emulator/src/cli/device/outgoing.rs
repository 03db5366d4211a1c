//! `device send-d2c-message`: telemetry, as a device sends it.

use std::path::PathBuf;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use iothub_backend::OutgoingMessage;

use crate::cli::arguments::{DeviceArg, properties};
use crate::cli::context::CliContext;
use crate::cli::output::progress;

#[derive(Debug, Args)]
pub(super) struct SendD2cMessageArgs {
    #[command(flatten)]
    device: DeviceArg,
    /// The module that sends.
    #[arg(long, short = 'm')]
    module_id: Option<String>,
    /// The body.
    #[arg(
        long,
        visible_alias = "da",
        default_value = "Ping from Az CLI IoT Extension"
    )]
    data: String,
    /// A file with the body.
    #[arg(
        long,
        visible_alias = "dfp",
        value_name = "FILE",
        conflicts_with = "data"
    )]
    data_file_path: Option<PathBuf>,
    /// Properties: `name=value;name=value`; `$.ct`, `$.ce`, `$.mid`, `$.cid` and `$.uid` are the
    /// system's.
    #[arg(long, visible_alias = "props", short = 'p')]
    properties: Option<String>,
}

impl SendD2cMessageArgs {
    pub(super) async fn run(self, context: &CliContext) -> anyhow::Result<()> {
        let body = match &self.data_file_path {
            Some(path) => std::fs::read(path)
                .with_context(|| format!("read {}", path.display()))?
                .into(),
            None => Bytes::from(self.data),
        };
        let properties = properties(&self.properties.unwrap_or_default())?;
        let client = match &self.module_id {
            Some(module) => format!("{}/{module}", self.device.device_id),
            None => self.device.device_id,
        };
        let backend = context.backend().await?;
        let message = message(body, &properties)?;
        backend.on_behalf_of(&client).send_event(message).await?;
        progress(format_args!("sent a message of {client}"));
        Ok(())
    }
}

/// A message with properties as `az` spells them: system properties as over MQTT (`$.ct`) or as
/// over HTTP (`iothub-contenttype`).
pub(super) fn message(
    body: Bytes,
    properties: &[(String, String)],
) -> anyhow::Result<OutgoingMessage> {
    let mut message = OutgoingMessage::new(body);
    for (name, value) in properties {
        let lower = name.to_ascii_lowercase();
        message = match lower.as_str() {
            "$.ct" | "iothub-contenttype" | "content-type" => message.content_type(value),
            "$.ce" | "iothub-contentencoding" | "content-encoding" => {
                message.content_encoding(value)
            }
            "$.mid" | "iothub-messageid" => message.message_id(value),
            "$.cid" | "iothub-correlationid" => message.correlation_id(value),
            "$.uid" | "iothub-userid" => message.user_id(value),
            _ if lower.starts_with("$.") => bail!("--properties: {name} cannot be sent over HTTP"),
            _ => message.property(lower.strip_prefix("iothub-app-").unwrap_or(name), value),
        };
    }
    Ok(message)
}
