//! `device-identity parent` and `device-identity children`: edge devices and those behind them.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use iothub_backend::{DeviceIdentity, Registry};
use serde_json::Value;

use crate::cli::arguments::{DeviceArg, names};

#[derive(Debug, Subcommand)]
pub(super) enum Parent {
    /// Show it.
    Show {
        #[command(flatten)]
        device: DeviceArg,
    },
    /// Put a device behind an edge device.
    Set {
        #[command(flatten)]
        device: DeviceArg,
        /// The edge device.
        #[arg(long, visible_alias = "pd", value_name = "DEVICE")]
        parent_device_id: String,
        /// It may have another parent already.
        #[arg(long, short = 'f')]
        force: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Children {
    /// Put devices behind an edge device.
    Add {
        #[command(flatten)]
        device: DeviceArg,
        #[command(flatten)]
        children: ChildList,
        /// They may have another parent already.
        #[arg(long, short = 'f')]
        force: bool,
    },
    /// List them, by name.
    List {
        #[command(flatten)]
        device: DeviceArg,
    },
    /// Take devices from behind an edge device.
    Remove {
        #[command(flatten)]
        device: DeviceArg,
        #[command(flatten)]
        children: ChildList,
        /// All of them.
        #[arg(long, short = 'a')]
        remove_all: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct ChildList {
    /// The children, with spaces or commas.
    #[arg(long, visible_alias = "cl", value_name = "DEVICES", num_args = 1..)]
    child_list: Vec<String>,
}

impl Parent {
    pub(super) async fn run(self, registry: Registry<'_>) -> anyhow::Result<Value> {
        match self {
            Self::Show { device } => {
                let child = &device.device_id;
                let parent = registry.parent(child).await?;
                let parent = parent.with_context(|| format!("{child} has no parent"))?;
                Ok(parent.to_json())
            }
            Self::Set {
                device,
                parent_device_id,
                force,
            } => {
                let child = &device.device_id;
                let adopted = adopt(registry, child, &parent_device_id, force).await?;
                Ok(adopted.to_json())
            }
        }
    }
}

impl Children {
    pub(super) async fn run(self, registry: Registry<'_>) -> anyhow::Result<Value> {
        match self {
            Self::Add {
                device,
                children,
                force,
            } => {
                let children = names(&children.child_list);
                if children.is_empty() {
                    bail!("give --child-list");
                }
                let mut adopted = Vec::new();
                for child in children {
                    adopted.push(adopt(registry, child, &device.device_id, force).await?);
                }
                Ok(adopted.iter().map(DeviceIdentity::to_json).collect())
            }
            Self::List { device } => {
                let children = registry.children(&device.device_id).await?;
                Ok(children.into_iter().map(Value::String).collect())
            }
            Self::Remove {
                device,
                children,
                remove_all,
            } => {
                let parent = &device.device_id;
                let found = registry.children(parent).await?;
                let listed = names(&children.child_list);
                let leaving: Vec<&str> = match (remove_all, listed.is_empty()) {
                    (true, true) => found.iter().map(String::as_str).collect(),
                    (false, false) => listed,
                    (true, false) | (false, true) => bail!("give --child-list or --remove-all"),
                };
                if let Some(other) = leaving
                    .iter()
                    .find(|child| !found.iter().any(|it| it == *child))
                {
                    bail!("{other} is no child of {parent}");
                }
                let mut orphans = Vec::new();
                for child in leaving {
                    orphans.push(registry.remove_parent(child).await?);
                }
                Ok(orphans.iter().map(DeviceIdentity::to_json).collect())
            }
        }
    }
}

/// Puts `child` behind `parent`; from behind another parent only by force.
pub(super) async fn adopt(
    registry: Registry<'_>,
    child: &str,
    parent: &str,
    force: bool,
) -> anyhow::Result<DeviceIdentity> {
    let current = registry.device(child).await?;
    if !force && !current.parent_scopes.is_empty() {
        bail!("{child} has a parent already; overwrite it with --force");
    }
    Ok(registry.set_parent(child, parent).await?)
}
