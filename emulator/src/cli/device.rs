//! `device`: what a device does, with the words of `az iot device`. The commands stand in for the
//! device over HTTPS, with the key of a policy.

use clap::{Args, Subcommand};

use super::context::CliContext;

mod c2d_message;
mod outgoing;
mod simulate;
mod upload;

/// What a device does, and the messages for it.
#[derive(Debug, Args)]
pub(crate) struct DeviceCommand {
    #[command(flatten)]
    context: CliContext,
    #[command(subcommand)]
    command: DeviceSubcommand,
}

#[derive(Debug, Subcommand)]
enum DeviceSubcommand {
    /// Cloud-to-device messages, from both sides.
    C2dMessage {
        #[command(subcommand)]
        command: c2d_message::C2dMessageSubcommand,
    },
    /// Send telemetry.
    SendD2cMessage(outgoing::SendD2cMessageArgs),
    /// Send telemetry again and again, and settle the messages that come.
    Simulate(simulate::SimulateArgs),
    /// Upload a file.
    UploadFile(upload::UploadFileArgs),
}

impl DeviceCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.command {
            DeviceSubcommand::C2dMessage { command } => command.run(&self.context).await,
            DeviceSubcommand::SendD2cMessage(args) => args.run(&self.context).await,
            DeviceSubcommand::Simulate(args) => args.run(&self.context).await,
            DeviceSubcommand::UploadFile(args) => args.run(&self.context).await,
        }
    }
}
