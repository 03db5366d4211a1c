//! `device-identity`: the registry, with the words of `az iot hub device-identity`.

use anyhow::bail;
use clap::{Args, Subcommand};
use iothub_backend::{DeviceIdentity, IdentitySpec, Registry};
use serde_json::{Value, json};

use super::arguments::{DeviceArg, EtagArg, KeyType, limit};
use super::assign::Assignments;
use super::context::CliContext;
use super::output::print;
use super::settings::{Settings, StatusSettings};
use crate::cli::keys::{RenewKeyArgs, connection_string};

mod family;
mod transfer;

use family::{Children, Parent};
use transfer::{ExportArgs, ImportArgs};

/// Device identities.
#[derive(Debug, Args)]
pub(crate) struct DeviceIdentityCommand {
    #[command(flatten)]
    context: CliContext,
    #[command(subcommand)]
    command: DeviceIdentitySubcommand,
}

#[derive(Debug, Subcommand)]
enum DeviceIdentitySubcommand {
    /// Register a device.
    Create {
        #[command(flatten)]
        device: DeviceArg,
        #[command(flatten)]
        settings: Box<Settings>,
        #[command(flatten)]
        status: StatusSettings,
        /// The edge device to put it behind.
        #[arg(long, visible_alias = "pd", value_name = "DEVICE")]
        set_parent: Option<String>,
        /// Devices to put behind it, with commas.
        #[arg(
            long,
            visible_alias = "cl",
            value_name = "DEVICES",
            value_delimiter = ','
        )]
        add_children: Vec<String>,
        /// Children may have another parent already.
        #[arg(long, short = 'f')]
        force: bool,
    },
    /// List devices, as their twins.
    List {
        /// How many at most; -1: all.
        #[arg(long, default_value_t = 1000, allow_negative_numbers = true)]
        top: i64,
        /// Only edge devices.
        #[arg(long, visible_alias = "ee", num_args = 0..=1, default_missing_value = "true")]
        edge_enabled: Option<bool>,
    },
    /// Show a device.
    Show {
        #[command(flatten)]
        device: DeviceArg,
    },
    /// Change a device; what is not given stays as it is.
    Update {
        #[command(flatten)]
        device: DeviceArg,
        #[command(flatten)]
        settings: Box<Settings>,
        #[command(flatten)]
        status: StatusSettings,
        #[command(flatten)]
        assignments: Assignments,
        #[command(flatten)]
        etag: EtagArg,
    },
    /// Delete a device.
    Delete {
        #[command(flatten)]
        device: DeviceArg,
        #[command(flatten)]
        etag: EtagArg,
    },
    /// Make new keys for devices.
    RenewKey(RenewKeyArgs),
    /// A device's connection string.
    ConnectionString {
        #[command(subcommand)]
        command: ConnectionStringSubcommand,
    },
    /// The edge device that a device is behind.
    Parent {
        #[command(subcommand)]
        command: Parent,
    },
    /// The devices behind an edge device.
    Children {
        #[command(subcommand)]
        command: Children,
    },
    /// Write all identities into a blob.
    Export(ExportArgs),
    /// Carry out what a blob of identities says.
    Import(ImportArgs),
}

#[derive(Debug, Subcommand)]
enum ConnectionStringSubcommand {
    /// Show it.
    Show {
        #[command(flatten)]
        device: DeviceArg,
        /// Which of the two keys.
        #[arg(long, visible_alias = "kt", value_enum, default_value_t)]
        key_type: KeyType,
    },
}

impl DeviceIdentityCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let backend = self.context.backend().await?;
        let registry = backend.registry();
        let answer = match self.command {
            DeviceIdentitySubcommand::Create {
                device,
                settings,
                status,
                set_parent,
                add_children,
                force,
            } => {
                let id = &device.device_id;
                let spec = status.apply(settings.apply(id, IdentitySpec::default())?);
                let mut created = registry.create_device(id, &spec).await?;
                if let Some(parent) = set_parent {
                    created = registry.set_parent(id, &parent).await?;
                }
                for child in &add_children {
                    family::adopt(registry, child.trim(), id, force).await?;
                }
                created.to_json()
            }
            DeviceIdentitySubcommand::List { top, edge_enabled } => {
                let text = match edge_enabled {
                    Some(true) => "select * from devices where capabilities.iotEdge = true",
                    Some(false) => "select * from devices where capabilities.iotEdge = false",
                    None => "select * from devices",
                };
                super::query::rows(backend.query(text), limit(top)?).await?
            }
            DeviceIdentitySubcommand::Show { device } => {
                registry.device(&device.device_id).await?.to_json()
            }
            DeviceIdentitySubcommand::Update {
                device,
                settings,
                status,
                assignments,
                etag,
            } => {
                let id = &device.device_id;
                let current = registry.device(id).await?;
                let if_match = etag.or(&current.etag);
                let mut document = current.to_json();
                assignments.apply(&mut document)?;
                let spec = IdentitySpec::from_value(&document)?;
                let spec = status.apply(settings.apply(id, spec)?);
                registry
                    .update_device(id, &spec, &if_match)
                    .await?
                    .to_json()
            }
            DeviceIdentitySubcommand::Delete { device, etag } => {
                let id = &device.device_id;
                registry.delete_device(id, &etag.or_any()).await?;
                return Ok(());
            }
            DeviceIdentitySubcommand::RenewKey(args) => renew_keys(registry, &args).await?,
            DeviceIdentitySubcommand::ConnectionString {
                command: ConnectionStringSubcommand::Show { device, key_type },
            } => {
                let identity = registry.device(&device.device_id).await?;
                let client = iothub_backend::ClientId::device(identity.device_id);
                let host = self.context.host_name().await?;
                let text = connection_string(&host, client, identity.authentication, key_type)?;
                json!({"connectionString": text})
            }
            DeviceIdentitySubcommand::Parent { command } => command.run(registry).await?,
            DeviceIdentitySubcommand::Children { command } => command.run(registry).await?,
            DeviceIdentitySubcommand::Export(args) => args.run(backend.registry_jobs()).await?,
            DeviceIdentitySubcommand::Import(args) => args.run(backend.registry_jobs()).await?,
        };
        print(&answer, self.context.output)
    }
}

/// The identities with their new keys: the identity itself when there is one.
async fn renew_keys(registry: Registry<'_>, args: &RenewKeyArgs) -> anyhow::Result<Value> {
    let devices = args.devices();
    if devices.is_empty() {
        bail!("give at least one --device-id");
    }
    args.renew(registry, &devices).await?;
    let mut renewed = Vec::new();
    for device in devices {
        renewed.push(registry.device(device).await?);
    }
    Ok(match &renewed[..] {
        [one] => one.to_json(),
        all => all.iter().map(DeviceIdentity::to_json).collect(),
    })
}
