//! `device c2d-message`: cloud-to-device messages, sent by a back end and settled by a device.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{Args, Subcommand, ValueEnum};
use iothub_backend::{Ack, Backend, ReceivedMessage};
use iothub_protocol::Timestamp;
use serde_json::{Map, Value, json};

use crate::cli::arguments::{DeviceArg, properties};
use crate::cli::context::CliContext;
use crate::cli::monitor_feedback::monitor;
use crate::cli::output::{print, progress};

#[derive(Debug, Subcommand)]
pub(super) enum C2dMessageSubcommand {
    /// Send a message to a device.
    Send(Box<SendArgs>),
    /// Receive the next message in the name of a device, under a lock.
    Receive {
        #[command(flatten)]
        device: DeviceArg,
        /// Seconds for which nobody else receives it.
        #[arg(
            long,
            visible_alias = "lt",
            default_value_t = 60,
            value_name = "SECONDS"
        )]
        lock_timeout: u64,
        /// Complete it at once.
        #[arg(long, group = "settlement")]
        complete: bool,
        /// Reject it at once.
        #[arg(long, group = "settlement")]
        reject: bool,
        /// Give it back at once.
        #[arg(long, group = "settlement")]
        abandon: bool,
    },
    /// Take a message off the queue: it was wanted.
    Complete {
        #[command(flatten)]
        message: LockedMessageArg,
    },
    /// Take a message off the queue: it was not wanted.
    Reject {
        #[command(flatten)]
        message: LockedMessageArg,
    },
    /// Give a message back to the queue.
    Abandon {
        #[command(flatten)]
        message: LockedMessageArg,
    },
    /// Remove all messages that wait for a device.
    Purge {
        #[command(flatten)]
        device: DeviceArg,
    },
}

#[derive(Debug, Args)]
pub(super) struct LockedMessageArg {
    #[command(flatten)]
    device: DeviceArg,
    /// The etag that receiving printed: the lock.
    #[arg(long, short = 'e')]
    etag: String,
}

#[derive(Debug, Args)]
pub(super) struct SendArgs {
    #[command(flatten)]
    device: DeviceArg,
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
    data_file_path: Option<std::path::PathBuf>,
    /// Application properties: `name=value;name=value`.
    #[arg(long, visible_alias = "props", short = 'p')]
    properties: Option<String>,
    /// The message's id [default: a new one].
    #[arg(long, visible_alias = "mid")]
    message_id: Option<String>,
    /// What it belongs to.
    #[arg(long, visible_alias = "cid")]
    correlation_id: Option<String>,
    /// Who sends it.
    #[arg(long, visible_alias = "uid")]
    user_id: Option<String>,
    /// What the body is.
    #[arg(long, visible_alias = "ct")]
    content_type: Option<String>,
    /// How it is encoded.
    #[arg(long, visible_alias = "ce", default_value = "utf-8")]
    content_encoding: String,
    /// When it stops waiting, in milliseconds since 1970 [default: in an hour].
    #[arg(long, visible_alias = "expiry", value_name = "MILLISECONDS")]
    expiry_time_utc: Option<i64>,
    /// About which ends of it to hear.
    #[arg(long, value_enum)]
    ack: Option<AckArg>,
    /// Return only when feedback on it has come, and print that.
    #[arg(long, short = 'w')]
    wait: bool,
    /// Taken for the sake of scripts written for `az`.
    #[arg(long, short = 'y', hide = true)]
    yes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AckArg {
    Positive,
    Negative,
    Full,
}

impl C2dMessageSubcommand {
    pub(super) async fn run(self, context: &CliContext) -> anyhow::Result<()> {
        let backend = context.backend().await?;
        match self {
            Self::Send(args) => return args.run(context, &backend).await,
            Self::Receive {
                device,
                lock_timeout,
                complete,
                reject,
                abandon,
            } => {
                let device = backend.on_behalf_of(&device.device_id);
                let lock = Duration::from_secs(lock_timeout);
                let Some(message) = device.receive_c2d(Some(lock)).await? else {
                    progress(format_args!("no message waits"));
                    return Ok(());
                };
                let mut shown = as_az_prints(&message);
                if complete {
                    device.complete_c2d(&message.lock_token).await?;
                    shown["ack"] = "complete".into();
                } else if reject {
                    device.reject_c2d(&message.lock_token).await?;
                    shown["ack"] = "reject".into();
                } else if abandon {
                    device.abandon_c2d(&message.lock_token).await?;
                    shown["ack"] = "abandon".into();
                }
                return print(&shown, context.output);
            }
            Self::Complete { message } => {
                let device = backend.on_behalf_of(&message.device.device_id);
                device.complete_c2d(&message.etag).await?;
            }
            Self::Reject { message } => {
                let device = backend.on_behalf_of(&message.device.device_id);
                device.reject_c2d(&message.etag).await?;
            }
            Self::Abandon { message } => {
                let device = backend.on_behalf_of(&message.device.device_id);
                device.abandon_c2d(&message.etag).await?;
            }
            Self::Purge { device } => {
                let count = backend.c2d().purge(&device.device_id).await?;
                let purged = json!({
                    "deviceId": device.device_id,
                    "moduleId": null,
                    "totalMessagesPurged": count,
                });
                return print(&purged, context.output);
            }
        }
        Ok(())
    }
}

impl SendArgs {
    async fn run(self, context: &CliContext, backend: &Backend) -> anyhow::Result<()> {
        if self.wait && self.ack.is_none() {
            bail!("--wait needs --ack: without it there is no feedback");
        }
        let body = match &self.data_file_path {
            Some(path) => std::fs::read(path)
                .with_context(|| format!("read {}", path.display()))?
                .into(),
            None => Bytes::from(self.data),
        };
        let id = self
            .message_id
            .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let device = &self.device.device_id;
        let mut message = backend
            .c2d()
            .message(device, body)
            .message_id(&id)
            .content_encoding(self.content_encoding);
        for (name, value) in properties(&self.properties.unwrap_or_default())? {
            message = message.property(&name, value);
        }
        if let Some(correlation_id) = self.correlation_id {
            message = message.correlation_id(correlation_id);
        }
        if let Some(user_id) = self.user_id {
            message = message.user_id(user_id);
        }
        if let Some(content_type) = self.content_type {
            message = message.content_type(content_type);
        }
        if let Some(millis) = self.expiry_time_utc {
            message = message.expiry(Timestamp::from_unix_millis(millis));
        }
        match self.ack {
            None => {}
            Some(AckArg::Positive) => message = message.ack(Ack::Positive),
            Some(AckArg::Negative) => message = message.ack(Ack::Negative),
            Some(AckArg::Full) => message = message.ack(Ack::Full),
        }
        message.send().await?;
        progress(format_args!("sent message {id} to {device}"));
        if self.wait {
            return monitor(context, backend, Some(device), Some(&id)).await;
        }
        backend.close().await;
        Ok(())
    }
}

/// A received message in the form of `az iot device c2d-message receive`.
pub(super) fn as_az_prints(message: &ReceivedMessage) -> Value {
    let map = |properties: &[(String, String)]| -> Map<String, Value> {
        let pairs = properties.iter().cloned();
        pairs.map(|(name, value)| (name, value.into())).collect()
    };
    let mut shown = json!({
        "etag": message.lock_token,
        "properties": {"sys": map(&message.system_properties)},
    });
    if !message.application_properties.is_empty() {
        shown["properties"]["app"] = map(&message.application_properties).into();
    }
    if !message.body.is_empty() {
        shown["data"] = String::from_utf8_lossy(&message.body).into();
    }
    shown
}
