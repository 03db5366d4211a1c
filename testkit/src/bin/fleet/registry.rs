//! A large registry: how fast it is made, and what it weighs.

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::clock;
use crate::histogram::Histogram;
use crate::http::HttpConnection;
use crate::process::micros_each;
use crate::report::Report;
use crate::target::{Target, TargetArgs};

/// Devices in one bulk call (`spec/service.md` 2.7).
const BULK: usize = 100;

/// Register many devices with small twins through bulk calls.
#[derive(Debug, Args)]
pub(crate) struct RegistryArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Devices to register.
    #[arg(long, default_value_t = 100_000)]
    devices: usize,
    /// Connections that calls are made on.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// A query to run afterwards, as often as it says.
    #[arg(long)]
    query: Option<String>,
    /// How often.
    #[arg(long, default_value_t = 20)]
    queries: usize,
}

/// Runs the command.
pub(crate) async fn run(args: &RegistryArgs) -> anyhow::Result<Report> {
    let target = args.target.resolve().await?;
    let (cpu_before, resident_before) = (target.process.cpu(), target.process.resident());
    let began = clock::now();
    let share = args.devices.div_ceil(args.connections.max(1));
    let mut shares = JoinSet::new();
    for first in (0..args.devices).step_by(share.max(1)) {
        let (target, last) = (target.clone(), args.devices.min(first + share));
        shares.spawn(async move {
            let mut http = target.http().await?;
            for from in (first..last).step_by(BULK) {
                register(&target, &mut http, from..last.min(from + BULK)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(share) = shares.join_next().await {
        share.context("a task of the fleet has panicked")??;
    }
    let seconds = (clock::now() - began).as_secs_f64();
    let (cpu_after, resident_after) = (target.process.cpu(), target.process.resident());

    let count = args.devices as f64;
    let mut report = Report::new(format!("registry: {} devices", args.devices));
    report.add("per_second", "registered", count / seconds, "/s");
    report.add_known(
        "cpu_us",
        "server CPU per device",
        micros_each(cpu_before, cpu_after, args.devices as u64),
        "µs",
    );
    if let (Some(before), Some(after)) = (resident_before, resident_after) {
        report.add("rss_bytes", "server memory", after as f64, "B");
        report.add(
            "rss_each",
            "memory per device",
            (after - before) as f64 / count,
            "B",
        );
    }
    if let Some(query) = &args.query {
        ask(args, &target, query, &mut report).await?;
    }
    Ok(report)
}

async fn register(
    target: &Target,
    http: &mut HttpConnection,
    numbers: std::ops::Range<usize>,
) -> anyhow::Result<()> {
    let elements: Vec<Value> = numbers
        .map(|n| {
            json!({
                "id": target.device(n),
                "importMode": "create",
                "tags": {"site": format!("s{}", n % 1000), "floor": n % 10},
                "properties": {"desired": {"interval": n % 60}},
            })
        })
        .collect();
    let post = target.request("POST", "/devices", &[], &Value::Array(elements).to_string())?;
    http.expect_ok(&post).await.context("register devices")?;
    Ok(())
}

async fn ask(
    args: &RegistryArgs,
    target: &Target,
    query: &str,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut http = target.http().await?;
    let body = json!({ "query": query }).to_string();
    let post = target.request("POST", "/devices/query", &[], &body)?;
    let mut latency = Histogram::new();
    let mut rows = 0;
    for _ in 0..args.queries {
        let began = clock::now();
        let answer = http.expect_ok(&post).await?;
        latency.record(clock::now() - began, 1);
        let page: Vec<Value> = serde_json::from_slice(&answer)?;
        rows = page.len();
    }
    report.add("rows", "rows of the first page", rows as f64, "");
    report.add_latency(&latency);
    Ok(())
}
