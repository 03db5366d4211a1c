//! `module-identity`: modules, with the words of `az iot hub module-identity`.

use clap::{Args, Subcommand};
use iothub_backend::{ClientId, IdentitySpec, ModuleIdentity};
use serde_json::json;

use super::arguments::{DeviceArg, EtagArg, KeyType, ModuleArg, Named, limit};
use super::assign::Assignments;
use super::context::CliContext;
use super::keys::{self, RenewKeyType, connection_string};
use super::output::print;
use super::settings::Settings;

/// Module identities.
#[derive(Debug, Args)]
pub(crate) struct ModuleIdentityCommand {
    #[command(flatten)]
    context: CliContext,
    #[command(subcommand)]
    command: ModuleIdentitySubcommand,
}

#[derive(Debug, Subcommand)]
enum ModuleIdentitySubcommand {
    /// Register a module.
    Create {
        #[command(flatten)]
        module: ModuleArg,
        #[command(flatten)]
        settings: Box<Settings>,
        /// Who takes care of it, such as `iotEdge`.
        #[arg(long)]
        managed_by: Option<String>,
    },
    /// List the modules of a device.
    List {
        #[command(flatten)]
        device: DeviceArg,
        /// How many at most; -1: all.
        #[arg(long, default_value_t = 1000, allow_negative_numbers = true)]
        top: i64,
    },
    /// Show a module.
    Show {
        #[command(flatten)]
        module: ModuleArg,
    },
    /// Change a module; what is not given stays as it is.
    Update {
        #[command(flatten)]
        module: ModuleArg,
        #[command(flatten)]
        settings: Box<Settings>,
        #[command(flatten)]
        assignments: Assignments,
        #[command(flatten)]
        etag: EtagArg,
    },
    /// Delete a module.
    Delete {
        #[command(flatten)]
        module: ModuleArg,
        #[command(flatten)]
        etag: EtagArg,
    },
    /// Make new keys for a module.
    RenewKey {
        #[command(flatten)]
        module: ModuleArg,
        /// Which key to make anew; swap exchanges the two.
        #[arg(long, visible_alias = "kt", value_enum)]
        key_type: RenewKeyType,
    },
    /// A module's connection string.
    ConnectionString {
        #[command(subcommand)]
        command: ConnectionStringSubcommand,
    },
}

#[derive(Debug, Subcommand)]
enum ConnectionStringSubcommand {
    /// Show it.
    Show {
        #[command(flatten)]
        module: ModuleArg,
        /// Which of the two keys.
        #[arg(long, visible_alias = "kt", value_enum, default_value_t)]
        key_type: KeyType,
    },
}

impl ModuleIdentityCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let backend = self.context.backend().await?;
        let registry = backend.registry();
        let answer = match self.command {
            ModuleIdentitySubcommand::Create {
                module,
                settings,
                managed_by,
            } => {
                let client = module.client();
                let spec = IdentitySpec {
                    managed_by,
                    ..settings.apply(&client, IdentitySpec::default())?
                };
                registry.create_module(&client, &spec).await?.to_json()
            }
            ModuleIdentitySubcommand::List { device, top } => {
                let modules = registry.modules(&device.device_id).await?;
                let some = modules.iter().take(limit(top)?);
                some.map(ModuleIdentity::to_json).collect()
            }
            ModuleIdentitySubcommand::Show { module } => {
                registry.module(&module.client()).await?.to_json()
            }
            ModuleIdentitySubcommand::Update {
                module,
                settings,
                assignments,
                etag,
            } => {
                let client = module.client();
                let current = registry.module(&client).await?;
                let if_match = etag.or(&current.etag);
                let mut document = current.to_json();
                assignments.apply(&mut document)?;
                let spec = settings.apply(&client, IdentitySpec::from_value(&document)?)?;
                let changed = registry.update_module(&client, &spec, &if_match).await?;
                changed.to_json()
            }
            ModuleIdentitySubcommand::Delete { module, etag } => {
                let client = module.client();
                registry.delete_module(&client, &etag.or_any()).await?;
                return Ok(());
            }
            ModuleIdentitySubcommand::RenewKey { module, key_type } => {
                let client = module.client();
                keys::renew(registry, key_type, &[&client]).await?;
                registry.module(&client).await?.to_json()
            }
            ModuleIdentitySubcommand::ConnectionString {
                command: ConnectionStringSubcommand::Show { module, key_type },
            } => {
                let identity = registry.module(&module.client()).await?;
                let client = ClientId::module(identity.device_id, identity.module_id);
                let host = self.context.host_name().await?;
                let text = connection_string(&host, client, identity.authentication, key_type)?;
                json!({"connectionString": text})
            }
        };
        print(&answer, self.context.output)
    }
}
