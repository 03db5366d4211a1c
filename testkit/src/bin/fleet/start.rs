//! From the start of a process to its first answers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};

use crate::clock;
use crate::process::Process;
use crate::report::Report;

/// How often a port is tried.
const POLL: Duration = Duration::from_micros(100);
/// How long a process may take to answer.
const LIMIT: Duration = Duration::from_secs(30);
/// A process at rest has done what it does after its start.
const REST: Duration = Duration::from_millis(500);

/// Start a server again and again: how soon it answers, its memory at rest, how soon it ends.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Ports of 127.0.0.1 that have to accept connections.
    #[arg(long, value_delimiter = ',', required = true)]
    ports: Vec<u16>,
    /// Port at which `GET /_emulator/health` has to answer 200, too.
    #[arg(long)]
    health: Option<u16>,
    /// How often to start it; the median is told.
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// The server's command line.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Of one start.
struct Start {
    ready: Duration,
    stop: Duration,
    resident: Option<u64>,
}

/// Runs the command.
pub(crate) fn run(args: &StartArgs) -> anyhow::Result<Report> {
    let starts: Vec<Start> = (0..args.rounds.max(1))
        .map(|_| once(args))
        .collect::<anyhow::Result<_>>()?;
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let millis = |duration: Duration| duration.as_secs_f64() * 1e3;

    let ready = median(starts.iter().map(|start| millis(start.ready)).collect());
    let stop = median(starts.iter().map(|start| millis(start.stop)).collect());
    let resident = median(
        starts
            .iter()
            .filter_map(|start| Some(start.resident? as f64))
            .collect(),
    );
    let mut report = Report::new(format!("start: median of {}", starts.len()));
    report.add_known(
        "ready_ms",
        "from start to every listener answering",
        ready,
        "ms",
    );
    report.add_known("stop_ms", "from SIGTERM to the end", stop, "ms");
    let mebibytes = resident.map(|bytes| bytes / f64::from(1 << 20));
    report.add_known("rss_mib", "memory at rest", mebibytes, "MiB");
    Ok(report)
}

fn once(args: &StartArgs) -> anyhow::Result<Start> {
    for port in &args.ports {
        ensure!(!accepts(*port), "port {port} is in use already");
    }
    let (program, arguments) = args.command.split_first().context("a command is needed")?;
    let began = clock::now();
    let mut child = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("start {program}"))?;
    let ready = wait_until_ready(args, &mut child, began);
    clock::block(REST);
    let resident = Process::new(Some(child.id())).resident();

    let stopping = clock::now();
    kill_process(Pid::from_child(&child), Signal::TERM)?;
    child.wait()?;
    Ok(Start {
        ready: ready?,
        stop: clock::now() - stopping,
        resident,
    })
}

fn wait_until_ready(
    args: &StartArgs,
    child: &mut Child,
    began: Instant,
) -> anyhow::Result<Duration> {
    loop {
        let is_ready = args.ports.iter().all(|port| accepts(*port))
            && args
                .health
                .is_none_or(|port| is_healthy(port).unwrap_or(false));
        if is_ready {
            return Ok(clock::now() - began);
        }
        if let Some(status) = child.try_wait()? {
            bail!("{} has ended: {status}", args.command.join(" "));
        }
        ensure!(
            clock::now() - began < LIMIT,
            "{} does not answer",
            args.command.join(" ")
        );
        clock::block(POLL);
    }
}

fn accepts(port: u16) -> bool {
    connect(port).is_ok()
}

fn is_healthy(port: u16) -> std::io::Result<bool> {
    let mut stream = connect(port)?;
    stream.write_all(
        b"GET /_emulator/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    Ok(stream)
}
