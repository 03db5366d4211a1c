//! Logins, one after the other: what one costs the server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Args;

use crate::clock;
use crate::crew::{Crew, Stage, Task};
use crate::histogram::Histogram;
use crate::mqtt::Connection;
use crate::process::micros_each;
use crate::progress;
use crate::report::Report;
use crate::target::{Target, TargetArgs};

/// Devices that take turns on one place, so that a login is rarely a take-over.
const TURNS: usize = 16;

/// Connect, log in and disconnect again, over and over; with --tls, full handshakes.
#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Logins at a time.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// How long to go on.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Threads of the fleet.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// Runs the command.
pub(crate) async fn run(args: &ConnectArgs) -> anyhow::Result<Report> {
    let target = args.target.resolve().await?;
    target.register(args.concurrency * TURNS).await?;
    let latency = Arc::new(Mutex::new(Histogram::new()));
    let tasks = (0..args.concurrency)
        .map(|place| task(target.clone(), place, latency.clone()))
        .collect();
    let crew = Crew::muster(args.threads, tasks).await?;

    let cpu_before = target.process.cpu();
    let began = clock::now();
    crew.start();
    progress::run_for(Duration::from_secs_f64(args.seconds)).await;
    crew.stop();
    let logins: u64 = crew.finish().await?.iter().sum();
    let seconds = (clock::now() - began).as_secs_f64();
    let cpu_after = target.process.cpu();

    let mut report = Report::new(format!("connect: {} at a time", args.concurrency));
    report.add("logins", "logins", logins as f64, "");
    report.add("per_second", "rate", logins as f64 / seconds, "/s");
    report.add_latency(&latency.lock().expect("a thread of the fleet has panicked"));
    report.add_known(
        "cpu_us",
        "server CPU per login",
        micros_each(cpu_before, cpu_after, logins),
        "µs",
    );
    Ok(report)
}

fn task(target: Arc<Target>, place: usize, latency: Arc<Mutex<Histogram>>) -> Task<u64> {
    Box::new(move |stage| {
        Box::pin(async move {
            stage.log_in(async { Ok(()) }).await?;
            log_in_again_and_again(&target, place, &stage, &latency).await
        })
    })
}

async fn log_in_again_and_again(
    target: &Target,
    place: usize,
    stage: &Stage,
    latency: &Mutex<Histogram>,
) -> anyhow::Result<u64> {
    let mut logins = 0;
    while !stage.is_stopped() {
        let turn = usize::try_from(logins)? % TURNS;
        let began = clock::now();
        let connection = Connection::open(target, place * TURNS + turn).await?;
        latency
            .lock()
            .expect("no thread of the fleet panics")
            .record(clock::now() - began, 1);
        connection.close().await?;
        logins += 1;
    }
    Ok(logins)
}
