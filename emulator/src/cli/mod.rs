//! The command line: `serve`, and client commands with the words of `az iot hub`.

mod arguments;
mod assign;
mod auth;
mod az_state;
mod certificate;
mod certs;
mod configuration;
mod connection_string;
mod consumer_group;
mod context;
mod device;
mod device_identity;
mod digital_twin;
mod edge;
mod env;
mod healthcheck;
mod job;
mod keys;
mod message_route;
mod method;
mod module_identity;
mod monitor_events;
mod monitor_feedback;
mod otlp;
mod output;
mod progress;
mod query;
mod ready;
mod sas;
mod self_signed;
mod serve;
mod settings;
mod tail;
mod top;
mod twin;

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
    Serve(Box<serve::ServeCommand>),
    /// Print the shell lines that point SDKs to a running emulator.
    Env(env::EnvCommand),
    /// Exit with 0 if a running emulator is ready.
    Healthcheck(healthcheck::HealthcheckCommand),
    /// Why a credential is refused, and how to mend it.
    Auth(auth::AuthCommand),
    /// Certificate authorities that devices' certificates may come from.
    Certificate(certificate::CertificateCommand),
    /// Certificates: the authority that clients have to trust, and devices' own.
    Certs(certs::CertsCommand),
    /// Device identities.
    DeviceIdentity(device_identity::DeviceIdentityCommand),
    /// Module identities.
    ModuleIdentity(module_identity::ModuleIdentityCommand),
    /// Connection strings of the hub.
    ConnectionString(connection_string::ConnectionStringCommand),
    /// Device twins.
    DeviceTwin(twin::DeviceTwinCommand),
    /// Module twins.
    ModuleTwin(twin::ModuleTwinCommand),
    /// Ask the hub in its query language.
    Query(query::QueryCommand),
    /// Call a direct method of a device.
    InvokeDeviceMethod(method::InvokeDeviceMethodCommand),
    /// Call a direct method of a module.
    InvokeModuleMethod(method::InvokeModuleMethodCommand),
    /// Digital twins of Plug and Play devices.
    DigitalTwin(digital_twin::DigitalTwinCommand),
    /// Scheduled jobs.
    Job(job::JobCommand),
    /// Automatic device and module configurations.
    Configuration(configuration::ConfigurationCommand),
    /// Edge devices: deployments and modules.
    Edge(edge::EdgeCommand),
    /// What a device does, and the messages for it.
    Device(device::DeviceCommand),
    /// Consumer groups of the built-in endpoint.
    ConsumerGroup(consumer_group::ConsumerGroupCommand),
    /// Message routes.
    MessageRoute(message_route::MessageRouteCommand),
    /// Print telemetry as it arrives.
    MonitorEvents(monitor_events::MonitorEventsCommand),
    /// Show rates, connections, the busiest devices and the slowest calls, live.
    Top(top::TopCommand),
    /// Print what became of cloud-to-device messages.
    MonitorFeedback(monitor_feedback::MonitorFeedbackCommand),
    /// Take over what a file holds.
    Import(az_state::ImportCommand),
    /// Write what the hub holds into a file.
    Export(az_state::ExportCommand),
    /// Print what happens, as it happens.
    Tail(tail::TailCommand),
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
        Some(Command::Auth(command)) => block_on(command.run()),
        Some(Command::Certificate(command)) => block_on(command.run()),
        Some(Command::Certs(command)) => command.run(),
        Some(Command::DeviceIdentity(command)) => block_on(command.run()),
        Some(Command::ModuleIdentity(command)) => block_on(command.run()),
        Some(Command::ConnectionString(command)) => block_on(command.run()),
        Some(Command::DeviceTwin(command)) => block_on(command.run()),
        Some(Command::ModuleTwin(command)) => block_on(command.run()),
        Some(Command::Query(command)) => block_on(command.run()),
        Some(Command::InvokeDeviceMethod(command)) => block_on(command.run()),
        Some(Command::InvokeModuleMethod(command)) => block_on(command.run()),
        Some(Command::DigitalTwin(command)) => block_on(command.run()),
        Some(Command::Job(command)) => block_on(command.run()),
        Some(Command::Configuration(command)) => block_on(command.run()),
        Some(Command::Edge(command)) => block_on(command.run()),
        Some(Command::Device(command)) => block_on(command.run()),
        Some(Command::ConsumerGroup(command)) => block_on(command.run()),
        Some(Command::MessageRoute(command)) => block_on(command.run()),
        Some(Command::MonitorEvents(command)) => block_on(command.run()),
        Some(Command::Top(command)) => block_on(command.run()),
        Some(Command::MonitorFeedback(command)) => block_on(command.run()),
        Some(Command::Import(command)) => block_on(command.run()),
        Some(Command::Export(command)) => block_on(command.run()),
        Some(Command::Tail(command)) => block_on(command.run()),
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn no_two_options_of_a_command_are_in_each_others_way() {
        Cli::command().debug_assert();
    }
}
