//! AMQP connections that only stay: what one costs the server, and what a link does.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use iothub_protocol::amqp::performative::Role;

use crate::amqp::Connection;
use crate::clock;
use crate::crew::{Crew, Stage, Task};
use crate::process::micros_each;
use crate::progress;
use crate::report::Report;
use crate::target::{Target, TargetArgs};

/// Well within the silence that the hub allows.
const SPEAK_EVERY: Duration = Duration::from_secs(60);
/// The server's last work for the logins ends within this.
const SETTLE: Duration = Duration::from_secs(1);

/// Open AMQP connections of devices, each with a token and some links, and hold them.
#[derive(Debug, Args)]
pub(crate) struct AmqpIdleArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Connections to open.
    #[arg(long, default_value_t = 1000)]
    devices: usize,
    /// Links of each: telemetry.
    #[arg(long, default_value_t = 1)]
    links: u32,
    /// How long to hold them.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Threads of the fleet.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// Runs the command.
pub(crate) async fn run(args: &AmqpIdleArgs) -> anyhow::Result<Report> {
    let target = args.target.resolve().await?;
    target.register(args.devices).await?;
    let process = target.process;
    let rss_before = process.resident();
    let cpu_before = process.cpu();
    let began = clock::now();
    let tasks = (0..args.devices)
        .map(|n| connection(target.clone(), n, args.links))
        .collect();
    let crew = Crew::muster(args.threads, tasks).await?;
    let seconds = (clock::now() - began).as_secs_f64();
    let cpu_open = process.cpu();
    crew.start();
    clock::sleep(SETTLE).await;
    let rss_open = process.resident();
    progress::run_for(Duration::from_secs_f64(args.seconds)).await;
    crew.stop();
    crew.finish().await?;

    let count = args.devices as u64;
    let each = match (rss_before, rss_open) {
        (Some(before), Some(open)) => Some((open as f64 - before as f64) / count as f64),
        _ => None,
    };
    let mebibytes = |bytes: Option<u64>| bytes.map(|it| it as f64 / f64::from(1 << 20));
    let mut report = Report::new(format!(
        "idle over AMQP: {count} connections with {} link(s) each",
        args.links
    ));
    report.add(
        "per_second",
        "logins with links",
        count as f64 / seconds,
        "/s",
    );
    report.add_known(
        "cpu_us",
        "server CPU per login",
        micros_each(cpu_before, cpu_open, count),
        "µs",
    );
    report.add_known("rss_each", "server memory per connection", each, "B");
    report.add_known(
        "rss_before_mib",
        "server memory before",
        mebibytes(rss_before),
        "MiB",
    );
    report.add_known(
        "rss_open_mib",
        "server memory with all",
        mebibytes(rss_open),
        "MiB",
    );
    Ok(report)
}

fn connection(target: Arc<Target>, n: usize, links: u32) -> Task<()> {
    Box::new(move |stage| {
        Box::pin(async move {
            let login = async {
                let mut connection = Connection::open(&target, n).await?;
                let address = format!("/devices/{}/messages/events", target.device(n));
                for _ in 0..links {
                    connection
                        .attach(Role::Sender, &address, 0, Vec::new())
                        .await?;
                }
                Ok(connection)
            };
            let connection = stage.log_in(login).await?;
            hold(connection, &stage).await
        })
    })
}

async fn hold(mut connection: Connection, stage: &Stage) -> anyhow::Result<()> {
    loop {
        let speak_at = clock::now() + SPEAK_EVERY;
        while connection.next()?.is_some() {}
        connection.flush().await?;
        tokio::select! {
            received = connection.receive() => received?,
            () = clock::sleep_until(speak_at) => connection.machine.tick(clock::wall()),
            () = stage.stopped() => return connection.close().await,
        }
    }
}
