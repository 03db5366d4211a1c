//! `consumer-group`: who reads the built-in endpoint, with the words of `az iot hub consumer-group`.

use clap::{Args, Subcommand};
use iothub_backend::{EmulatorAddress, EmulatorConsumerGroups};

use super::context::DEFAULT_URL;
use super::output::{OutputFormat, print};

/// Consumer groups of the built-in endpoint.
#[derive(Debug, Args)]
pub(crate) struct ConsumerGroupCommand {
    /// Address of the running emulator's HTTP or HTTPS listener.
    #[arg(
        long,
        env = "IOTHUB_EMULATOR_URL",
        default_value = DEFAULT_URL,
        value_name = "URL",
        global = true
    )]
    emulator: String,
    /// The admin token that the running emulator was started with.
    #[arg(
        long,
        env = "IOTHUB_EMULATOR_ADMIN_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        global = true
    )]
    admin_token: Option<String>,
    /// Name of the hub; taken for the sake of scripts written for `az`, there is only one.
    #[arg(long, value_name = "NAME", global = true)]
    hub_name: Option<String>,
    /// Name of the event hub; taken for the same reason, there is only `events`.
    #[arg(
        long,
        value_name = "NAME",
        visible_alias = "eventhub-name",
        global = true
    )]
    event_hub_name: Option<String>,
    /// How to print.
    #[arg(long, short = 'o', value_enum, default_value_t, global = true)]
    output: OutputFormat,
    #[command(subcommand)]
    command: ConsumerGroupSubcommand,
}

#[derive(Debug, Subcommand)]
enum ConsumerGroupSubcommand {
    /// Make a consumer group.
    Create {
        #[command(flatten)]
        name: NameArg,
    },
    /// List the consumer groups.
    List,
    /// Show a consumer group.
    Show {
        #[command(flatten)]
        name: NameArg,
    },
    /// Delete a consumer group.
    Delete {
        #[command(flatten)]
        name: NameArg,
    },
}

#[derive(Debug, Args)]
struct NameArg {
    /// The consumer group.
    #[arg(long, short = 'n')]
    name: String,
}

impl ConsumerGroupCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let address = EmulatorAddress::new(self.emulator).admin_token(self.admin_token);
        let groups = EmulatorConsumerGroups::at(address)?;
        let answer = match self.command {
            ConsumerGroupSubcommand::Create { name } => groups.create(&name.name).await?,
            ConsumerGroupSubcommand::List => groups.list().await?["value"].take(),
            ConsumerGroupSubcommand::Show { name } => groups.show(&name.name).await?,
            ConsumerGroupSubcommand::Delete { name } => {
                groups.delete(&name.name).await?;
                return Ok(());
            }
        };
        print(&answer, self.output)
    }
}
