//! `edge`: deployments and modules of edge devices, with the words of `az iot edge`.

use clap::{Args, Subcommand};
use iothub_backend::{Backend, ModuleIdentity};
use serde_json::{Map, Value, json};

use super::arguments::{DeviceArg, json_argument};
use super::configuration::{ConfigurationSubcommand, DeploymentArg, Kind};
use super::context::CliContext;
use super::output::print;

/// Edge devices.
#[derive(Debug, Args)]
pub(crate) struct EdgeCommand {
    #[command(flatten)]
    context: CliContext,
    #[command(subcommand)]
    command: EdgeSubcommand,
}

#[derive(Debug, Subcommand)]
enum EdgeSubcommand {
    /// Deployments: configurations of the modules of many edge devices.
    Deployment {
        #[command(subcommand)]
        command: ConfigurationSubcommand<DeploymentArg>,
    },
    /// Set the modules of one edge device, once.
    SetModules {
        #[command(flatten)]
        device: DeviceArg,
        /// The modules, as JSON or a file of it.
        #[arg(long, short = 'k', value_name = "JSON")]
        content: String,
    },
    /// Print the modules of one edge device as content for another.
    ExportModules {
        #[command(flatten)]
        device: DeviceArg,
    },
}

impl EdgeCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let backend = self.context.backend().await?;
        let answer = match self.command {
            EdgeSubcommand::Deployment { command } => return command.run(&self.context).await,
            EdgeSubcommand::SetModules { device, content } => {
                let content = json_argument("--content", &content)?;
                let content = Kind::EdgeDeployment.content(content)?;
                let device = &device.device_id;
                let configurations = backend.configurations();
                configurations.apply_on_device(device, &content).await?;
                let modules = backend.registry().modules(device).await?;
                modules.iter().map(ModuleIdentity::to_json).collect()
            }
            EdgeSubcommand::ExportModules { device } => {
                export_modules(&backend, &device.device_id).await?
            }
        };
        print(&answer, self.context.output)
    }
}

/// The desired properties of every module, without what the hub adds.
async fn export_modules(backend: &Backend, device: &str) -> anyhow::Result<Value> {
    let mut content = Map::new();
    for module in backend.registry().modules(device).await? {
        let name = module.module_id.to_string();
        let twin = backend.twins().get(&format!("{device}/{name}")).await?;
        let desired: Map<_, _> = twin
            .desired()
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| !name.starts_with('$'))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        content.insert(name, json!({"properties.desired": desired}));
    }
    Ok(json!({"content": {"modulesContent": content}}))
}
