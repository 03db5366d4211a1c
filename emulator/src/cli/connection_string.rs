//! `connection-string show`, with the words of `az iot hub connection-string show`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{CliContext, policy_string};
use super::output::print;

/// Connection strings of the hub.
#[derive(Debug, Args)]
pub(crate) struct ConnectionStringCommand {
    #[command(flatten)]
    context: CliContext,
    #[command(subcommand)]
    command: ConnectionStringSubcommand,
}

#[derive(Debug, Subcommand)]
enum ConnectionStringSubcommand {
    /// Show the connection string of a policy.
    Show {
        /// The policy.
        #[arg(long, visible_alias = "pn", default_value = "iothubowner")]
        policy_name: String,
    },
}

impl ConnectionStringCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let ConnectionStringSubcommand::Show { policy_name } = self.command;
        let string = policy_string(&self.context.info().await?, &policy_name)?;
        print(&json!({"connectionString": string}), self.context.output)
    }
}
