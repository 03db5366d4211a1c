//! Telemetry over AMQP, counted and checked for loss.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Args;
use iothub_protocol::amqp::performative::Role;
use iothub_protocol::amqp::{DeliveryState, Event, LinkId};

use crate::amqp::{self, Connection};
use crate::clock;
use crate::crew::{Crew, Stage, Task};
use crate::histogram::Histogram;
use crate::process::micros_each;
use crate::progress;
use crate::report::Report;
use crate::target::{Target, TargetArgs};
use crate::telemetry::record;

/// Messages of a write that are sent settled: they are not acknowledged, only credit holds them.
const BURST: u32 = 256;

/// Send telemetry from devices over AMQP, as fast as it is accepted.
#[derive(Debug, Args)]
pub(crate) struct AmqpTelemetryArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Devices that send.
    #[arg(long, default_value_t = 1)]
    devices: usize,
    /// Bytes of a message.
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Send settled messages: nobody says what became of them.
    #[arg(long)]
    settled: bool,
    /// Messages of a device that may be on their way.
    #[arg(long, default_value_t = 64)]
    window: u32,
    /// How long to send.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Messages of each device after which it stops, in place of a time.
    #[arg(long)]
    messages: Option<u64>,
    /// Threads of the fleet.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// What one device sends.
#[derive(Clone, Copy)]
struct Plan {
    size: usize,
    settled: bool,
    window: u32,
    messages: u64,
}

/// Runs the command.
pub(crate) async fn run(args: &AmqpTelemetryArgs) -> anyhow::Result<Report> {
    let target = args.target.resolve().await?;
    target.register(args.devices).await?;
    let latency = Arc::new(Mutex::new(Histogram::new()));
    let plan = Plan {
        size: args.size,
        settled: args.settled,
        window: args.window,
        messages: args.messages.unwrap_or(u64::MAX),
    };
    let tasks = (0..args.devices)
        .map(|n| task(target.clone(), n, plan, latency.clone()))
        .collect();
    let crew = Crew::muster(args.threads, tasks).await?;

    let stored_before = target.stored_events().await?;
    let cpu_before = target.process.cpu();
    let began = clock::now();
    crew.start();
    if args.messages.is_none() {
        progress::run_for(Duration::from_secs_f64(args.seconds)).await;
        crew.stop();
    }
    let tallies = crew.finish().await?;
    let messages: u64 = tallies.iter().map(|(count, _)| count).sum();
    let ended = tallies.iter().map(|(_, last)| *last).max();
    let seconds = (ended.unwrap_or(began) - began).as_secs_f64();
    let cpu_after = target.process.cpu();
    let stored = match (stored_before, target.stored_events().await?) {
        (Some(before), Some(after)) => Some(after - before),
        _ => None,
    };

    let how = if args.settled { "settled" } else { "accepted" };
    let mut report = Report::new(format!(
        "telemetry over AMQP, {how}: {} device(s), {} B",
        args.devices, args.size
    ));
    report.add("messages", "messages", messages as f64, "");
    report.add("per_second", "rate", messages as f64 / seconds, "/s");
    if !args.settled {
        report.add_latency(&latency.lock().expect("a thread of the fleet has panicked"));
    }
    report.add_known(
        "cpu_us",
        "server CPU per message",
        micros_each(cpu_before, cpu_after, messages),
        "µs",
    );
    report.add_known(
        "stored",
        "stored by the hub",
        stored.map(|it| it as f64),
        "",
    );
    let lost = stored.map(|stored| messages.saturating_sub(stored) as f64);
    report.add_known("lost", "lost", lost, "");
    Ok(report)
}

fn task(
    target: Arc<Target>,
    n: usize,
    plan: Plan,
    latency: Arc<Mutex<Histogram>>,
) -> Task<(u64, Instant)> {
    Box::new(move |stage| {
        Box::pin(async move {
            let login = async {
                let mut connection = Connection::open(&target, n).await?;
                let address = format!("/devices/{}/messages/events", target.device(n));
                let link = connection
                    .attach(Role::Sender, &address, 0, Vec::new())
                    .await?;
                Ok((connection, link))
            };
            let (mut connection, link) = stage.log_in(login).await?;
            let sent = plan.send(&mut connection, link, &stage, &latency).await?;
            // What was sent settled has been read when the good-bye is answered.
            connection.close().await?;
            Ok((sent, clock::now()))
        })
    })
}

impl Plan {
    /// Keeps the window full; messages that were accepted, or sent when they are settled.
    async fn send(
        self,
        connection: &mut Connection,
        link: LinkId,
        stage: &Stage,
        latency: &Mutex<Histogram>,
    ) -> anyhow::Result<u64> {
        let payload = amqp::message(self.size);
        let (mut sent, mut accepted) = (0, 0);
        let mut writes: VecDeque<(Instant, u64)> = VecDeque::new();
        loop {
            let room = match self.settled {
                true => u64::from(BURST),
                false => u64::from(self.window) - (sent - accepted),
            };
            let burst = match stage.is_stopped() {
                true => 0,
                false => room
                    .min(self.messages - sent)
                    .min(connection.machine.sendable(link).into()),
            };
            for _ in 0..burst {
                sent += 1;
                let payload = payload.clone();
                connection
                    .machine
                    .send(link, &sent.to_be_bytes(), 0, payload, self.settled)?;
            }
            if burst > 0 {
                writes.push_back((clock::now(), burst));
                connection.flush().await?;
            }
            let is_done = stage.is_stopped() || sent == self.messages;
            if self.settled {
                if is_done {
                    return Ok(sent);
                }
                // Writing is all there is to do while there is credit.
                if connection.machine.sendable(link) > 0 {
                    writes.clear();
                    tokio::task::yield_now().await;
                    continue;
                }
            } else if is_done && sent == accepted {
                return Ok(accepted);
            }
            connection.flush().await?;
            connection.receive().await?;
            let mut count = 0;
            while let Some(event) = connection.next()? {
                match event {
                    // What became of the token is told elsewhere.
                    Event::Outcome {
                        link: of, state, ..
                    } if of == link => {
                        let is_accepted = state == Some(DeliveryState::Accepted);
                        anyhow::ensure!(is_accepted, "a message is {state:?}");
                        count += 1;
                    }
                    _ => {}
                }
            }
            accepted += count;
            record(&mut writes, count, latency);
        }
    }
}
