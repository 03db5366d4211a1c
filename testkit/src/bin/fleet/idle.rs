//! Connections that only stay: what one costs the server.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use iothub_protocol::mqtt::codec::encode_client;
use iothub_protocol::mqtt::packet::ClientPacket;

use crate::clock;
use crate::crew::{Crew, Stage, Task};
use crate::mqtt::Connection;
use crate::process::micros_each;
use crate::progress;
use crate::report::Report;
use crate::target::{Target, TargetArgs};

/// Well within the keep-alive that was agreed.
const PING_EVERY: Duration = Duration::from_secs(300);
/// The server's last work for the logins ends within this.
const SETTLE: Duration = Duration::from_secs(1);

/// Open connections with the usual subscriptions and hold them.
#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Connections to open.
    #[arg(long, default_value_t = 1000)]
    devices: usize,
    /// How long to hold them.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Threads of the fleet.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// Runs the command.
pub(crate) async fn run(args: &IdleArgs) -> anyhow::Result<Report> {
    let target = args.target.resolve().await?;
    target.register(args.devices).await?;
    let process = target.process;
    let rss_before = process.resident();
    let cpu_before = process.cpu();
    let began = clock::now();
    let tasks = (0..args.devices)
        .map(|n| connection(target.clone(), n))
        .collect();
    let crew = Crew::muster(args.threads, tasks).await?;
    let seconds = (clock::now() - began).as_secs_f64();
    let cpu_open = process.cpu();
    crew.start();
    clock::sleep(SETTLE).await;

    let rss_open = process.resident();
    let cpu_idle_before = process.cpu();
    progress::run_for(Duration::from_secs_f64(args.seconds)).await;
    let cpu_idle_after = process.cpu();
    crew.stop();
    crew.finish().await?;
    clock::sleep(SETTLE).await;

    let count = args.devices as u64;
    let each = match (rss_before, rss_open) {
        (Some(before), Some(open)) => Some((open as f64 - before as f64) / count as f64),
        _ => None,
    };
    let idle_cpu = micros_each(cpu_idle_before, cpu_idle_after, 1);
    let mebibytes = |bytes: Option<u64>| bytes.map(|it| it as f64 / f64::from(1 << 20));
    let mut report = Report::new(format!(
        "idle: {count} connections with four subscriptions each"
    ));
    report.add(
        "per_second",
        "logins with subscriptions",
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
    report.add_known(
        "rss_after_mib",
        "server memory after",
        mebibytes(process.resident()),
        "MiB",
    );
    report.add_known(
        "idle_cpu_percent",
        "server CPU while idle",
        idle_cpu.map(|micros| micros / args.seconds / 1e4),
        "%",
    );
    Ok(report)
}

fn connection(target: Arc<Target>, n: usize) -> Task<()> {
    Box::new(move |stage| {
        Box::pin(async move {
            let login = async {
                let mut connection = Connection::open(&target, n).await?;
                connection.subscribe(target.usual_filters(n)).await?;
                Ok(connection)
            };
            let connection = stage.log_in(login).await?;
            hold(connection, &stage).await
        })
    })
}

async fn hold(mut connection: Connection, stage: &Stage) -> anyhow::Result<()> {
    let mut ping_at = clock::now() + PING_EVERY;
    loop {
        // What a server sends unasked is read and left aside.
        while connection.next()?.is_some() {}
        tokio::select! {
            received = connection.receive() => received?,
            () = clock::sleep_until(ping_at) => {
                encode_client(&ClientPacket::PingReq, &mut connection.out);
                connection.flush().await?;
                ping_at += PING_EVERY;
            }
            () = stage.stopped() => return connection.close().await,
        }
    }
}
