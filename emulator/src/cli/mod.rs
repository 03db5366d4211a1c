//! The command line: `serve`, and client commands with the words of `az iot hub`.

mod certificate;
mod certs;
mod connection_string;
mod context;
mod device_identity;
mod device_twin;
mod env;
mod healthcheck;
mod method;
mod monitor_events;
mod output;
mod ready;
mod sas;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A local Azure IoT Hub. Without a command it serves.
#[derive(Debug, Parser)]
#[command(
    name = "iothub-emulator",
    version,
    about,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Settings of `serve`, the default command.
    #[command(flatten)]
    serve: serve::ServeCommand,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the hub.
    Serve(serve::ServeCommand),
    /// Print the shell lines that point SDKs to a running emulator.
    Env(env::EnvCommand),
    /// Exit with 0 if a running emulator is ready.
    Healthcheck(healthcheck::HealthcheckCommand),
    /// Certificate authorities that devices' certificates may come from.
    Certificate(certificate::CertificateCommand),
    /// Certificates: the authority that clients have to trust, and devices' own.
    Certs(certs::CertsCommand),
    /// Device identities.
    DeviceIdentity(device_identity::DeviceIdentityCommand),
    /// Connection strings of the hub.
    ConnectionString(connection_string::ConnectionStringCommand),
    /// Device twins.
    DeviceTwin(device_twin::DeviceTwinCommand),
    /// Call a direct method of a device.
    InvokeDeviceMethod(method::InvokeDeviceMethodCommand),
    /// Print telemetry as it arrives.
    MonitorEvents(monitor_events::MonitorEventsCommand),
    /// Make a SAS token.
    GenerateSasToken(sas::GenerateSasTokenCommand),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        None => cli.serve.run(),
        Some(Command::Serve(command)) => command.run(),
        Some(Command::Env(command)) => block_on(command.run()),
        Some(Command::Healthcheck(command)) => block_on(command.run()),
        Some(Command::Certificate(command)) => block_on(command.run()),
        Some(Command::Certs(command)) => command.run(),
        Some(Command::DeviceIdentity(command)) => block_on(command.run()),
        Some(Command::ConnectionString(command)) => block_on(command.run()),
        Some(Command::DeviceTwin(command)) => block_on(command.run()),
        Some(Command::InvokeDeviceMethod(command)) => block_on(command.run()),
        Some(Command::MonitorEvents(command)) => block_on(command.run()),
        Some(Command::GenerateSasToken(command)) => block_on(command.run()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(command)
}
