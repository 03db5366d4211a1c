//! `fleet`: many simulated devices on few threads, to try a hub with or to measure one.
//!
//! The devices speak with the project's own codec to a running emulator, whose addresses and keys
//! are asked of its HTTP port, or to any MQTT broker (`--generic`). Each command prints a table, or
//! JSON. How the figures are taken is in `emulator/docs/benchmarks.md`.

mod accept_loop;
mod amqp;
mod amqp_idle;
mod amqp_telemetry;
mod c2d;
mod clock;
mod connect;
mod crew;
mod events;
mod histogram;
mod http;
mod idle;
mod methods;
mod mqtt;
mod process;
mod progress;
mod registry;
mod report;
mod start;
mod target;
mod telemetry;
mod twins;

use std::future::Future;

use clap::{Parser, Subcommand};

use crate::report::Report;

/// Many simulated devices on few threads: a load generator for IoT hubs and MQTT brokers.
#[derive(Debug, Parser)]
#[command(name = "fleet", version, after_help = EXAMPLES)]
struct Cli {
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Do not show how far it has come.
    #[arg(long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Telemetry(telemetry::TelemetryArgs),
    Methods(methods::MethodsArgs),
    Twins(twins::TwinsArgs),
    C2d(c2d::C2dArgs),
    Events(events::EventsArgs),
    Registry(registry::RegistryArgs),
    Idle(idle::IdleArgs),
    Connect(connect::ConnectArgs),
    AcceptLoop(accept_loop::AcceptLoopArgs),
    Start(start::StartArgs),
    AmqpTelemetry(amqp_telemetry::AmqpTelemetryArgs),
    AmqpIdle(amqp_idle::AmqpIdleArgs),
}

const EXAMPLES: &str = "\
Examples:
  fleet telemetry --devices 100 --interval 1000 --seconds 60
      100 devices of the emulator at 127.0.0.1:8080 send once a second
  fleet telemetry --devices 50 --size 1024 --tls
      50 devices send as fast as they are acknowledged; tells whether anything was lost
  fleet methods --devices 20
      20 devices are called over REST, one call at a time each
  fleet idle --devices 10000
      what an idle connection costs the server
  fleet telemetry --generic 127.0.0.1:1883 --subscriber --pid $(pidof mosquitto)
      the same load on any MQTT broker";

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if cli.quiet {
        progress::be_quiet();
    }
    process::raise_file_limit();
    let report = match &cli.command {
        Command::Telemetry(args) => block_on(telemetry::run(args))?,
        Command::Methods(args) => block_on(methods::run(args))?,
        Command::Twins(args) => block_on(twins::run(args))?,
        Command::C2d(args) => block_on(c2d::run(args))?,
        Command::Events(args) => block_on(events::run(args))?,
        Command::Registry(args) => block_on(registry::run(args))?,
        Command::Idle(args) => block_on(idle::run(args))?,
        Command::Connect(args) => block_on(connect::run(args))?,
        Command::Start(args) => start::run(args)?,
        Command::AmqpTelemetry(args) => block_on(amqp_telemetry::run(args))?,
        Command::AmqpIdle(args) => block_on(amqp_idle::run(args))?,
        Command::AcceptLoop(args) => return accept_loop::run(args),
    };
    report.print(cli.json)?;
    Ok(())
}

fn block_on(run: impl Future<Output = anyhow::Result<Report>>) -> anyhow::Result<Report> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run)
}
