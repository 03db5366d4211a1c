//! Telemetry from many devices, counted and checked for loss.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use clap::Args;
use iothub_protocol::mqtt::codec::{encode_client, encode_publish};
use iothub_protocol::mqtt::packet::{ClientPacket, QoS, ServerPacket};

use crate::clock;
use crate::crew::{Crew, Stage, Task};
use crate::histogram::Histogram;
use crate::mqtt::Connection;
use crate::process::micros_each;
use crate::progress;
use crate::report::Report;
use crate::target::{Target, TargetArgs};

/// How long a subscriber may hear nothing before what is missing counts as lost.
const SILENCE: Duration = Duration::from_secs(2);

/// Send telemetry from many devices, as fast as it is acknowledged or once per interval.
#[derive(Debug, Args)]
pub(crate) struct TelemetryArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Devices that send.
    #[arg(long, default_value_t = 1)]
    devices: usize,
    /// Bytes of a message.
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// 0: not acknowledged; 1: acknowledged.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    /// Messages of a device that may be on their way.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=32_767))]
    window: u16,
    /// How long to send.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Messages of each device after which it stops, in place of a time.
    #[arg(long)]
    messages: Option<u64>,
    /// Milliseconds between two messages of a device [default: none, as fast as possible].
    #[arg(long)]
    interval: Option<u64>,
    /// Have one more connection of a broker subscribe to everything, at the same QoS.
    #[arg(long, requires = "generic")]
    subscriber: bool,
    /// Threads of the fleet.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// What one device sends.
#[derive(Clone)]
struct Plan {
    template: Template,
    qos: QoS,
    window: u16,
    messages: u64,
    interval: Option<Duration>,
}

/// A PUBLISH in which only the packet id is left to be filled in.
#[derive(Clone)]
struct Template {
    bytes: BytesMut,
    packet_id_at: Option<usize>,
}

/// What has been counted.
struct Tally {
    messages: u64,
    last: Instant,
    is_subscriber: bool,
}

/// Has devices send so many messages each, acknowledged.
pub(crate) async fn preload(
    target: &TargetArgs,
    devices: usize,
    messages: u64,
    size: usize,
) -> anyhow::Result<()> {
    let args = TelemetryArgs {
        target: target.clone(),
        devices,
        size,
        qos: 1,
        window: 1024,
        seconds: 0.0,
        messages: Some(messages),
        interval: None,
        subscriber: false,
        threads: 1,
    };
    run(&args).await.map(drop)
}

/// Runs the command.
pub(crate) async fn run(args: &TelemetryArgs) -> anyhow::Result<Report> {
    let target = args.target.resolve().await?;
    target.register(args.devices).await?;
    let latency = Arc::new(Mutex::new(Histogram::new()));
    let publishers = muster_publishers(args, &target, &latency).await?;
    let subscriber = match args.subscriber {
        true => {
            Some(Crew::muster(1, vec![subscriber(target.clone(), args.devices, qos(args))]).await?)
        }
        false => None,
    };

    let stored_before = target.stored_events().await?;
    let cpu_before = target.process.cpu();
    let began = clock::now();
    subscriber.iter().for_each(Crew::start);
    publishers.start();
    if args.messages.is_none() {
        progress::run_for(Duration::from_secs_f64(args.seconds)).await;
        publishers.stop();
    }
    let tallies = publishers.finish().await?;
    let messages: u64 = tallies.iter().map(|tally| tally.messages).sum();
    let ended = tallies
        .iter()
        .map(|tally| tally.last)
        .max()
        .unwrap_or(began);
    let delivered = match subscriber {
        None => None,
        Some(crew) => {
            crew.stop();
            Some(
                crew.finish()
                    .await?
                    .iter()
                    .filter(|it| it.is_subscriber)
                    .map(|it| it.messages)
                    .sum(),
            )
        }
    };
    let cpu_after = target.process.cpu();
    let stored = match (stored_before, target.stored_events().await?) {
        (Some(before), Some(after)) => Some(after.saturating_sub(before)),
        _ => None,
    };

    let seconds = (ended - began).as_secs_f64();
    let mut report = Report::new(format!(
        "telemetry: {} device(s), {} B, QoS {}, window {}",
        args.devices, args.size, args.qos, args.window
    ));
    let label = if args.qos == 0 {
        "messages taken by the server"
    } else {
        "messages acknowledged"
    };
    report.add("messages", label, messages as f64, "");
    report.add("seconds", "time", seconds, "s");
    report.add("per_second", "rate", messages as f64 / seconds, "/s");
    report.add_known(
        "cpu_us",
        "server CPU per message",
        micros_each(cpu_before, cpu_after, messages),
        "µs",
    );
    if args.qos == 1 {
        report.add_latency(&latency.lock().expect("a thread of the fleet has panicked"));
    }
    report.add_known(
        "stored",
        "events stored by the hub",
        stored.map(|it| it as f64),
        "",
    );
    report.add_known(
        "delivered",
        "messages delivered to the subscriber",
        delivered.map(|it: u64| it as f64),
        "",
    );
    let kept = stored.or(delivered);
    report.add_known(
        "lost",
        "lost",
        kept.map(|kept| messages as f64 - kept as f64),
        "",
    );
    report.add_known(
        "rss_bytes",
        "server memory afterwards",
        target.process.resident().map(|it| it as f64),
        "B",
    );
    Ok(report)
}

fn qos(args: &TelemetryArgs) -> QoS {
    if args.qos == 0 {
        QoS::AtMostOnce
    } else {
        QoS::AtLeastOnce
    }
}

async fn muster_publishers(
    args: &TelemetryArgs,
    target: &Arc<Target>,
    latency: &Arc<Mutex<Histogram>>,
) -> anyhow::Result<Crew<Tally>> {
    let mut tasks: Vec<Task<Tally>> = Vec::new();
    for n in 0..args.devices {
        let plan = Plan {
            template: Template::new(&target.telemetry_topic(n), qos(args), args.size)?,
            qos: qos(args),
            window: args.window,
            messages: args.messages.unwrap_or(u64::MAX),
            interval: args.interval.map(Duration::from_millis),
        };
        let (target, latency) = (target.clone(), latency.clone());
        tasks.push(Box::new(move |stage| {
            Box::pin(async move {
                let connection = stage.log_in(Connection::open(&target, n)).await?;
                plan.carry_out(connection, &stage, &latency).await
            })
        }));
    }
    Crew::muster(args.threads, tasks).await
}

impl Plan {
    async fn carry_out(
        mut self,
        mut connection: Connection,
        stage: &Stage,
        latency: &Mutex<Histogram>,
    ) -> anyhow::Result<Tally> {
        let messages = match (self.interval, self.qos) {
            (Some(interval), _) => {
                self.send_in_time(&mut connection, stage, latency, interval)
                    .await?
            }
            (None, QoS::AtMostOnce) => self.send_unacknowledged(&mut connection, stage).await?,
            (None, QoS::AtLeastOnce | QoS::ExactlyOnce) => {
                self.send_acknowledged(&mut connection, stage, latency)
                    .await?
            }
        };
        let last = clock::now();
        connection.close().await?;
        Ok(Tally {
            messages,
            last,
            is_subscriber: false,
        })
    }

    /// Keeps the window full.
    async fn send_acknowledged(
        &mut self,
        connection: &mut Connection,
        stage: &Stage,
        latency: &Mutex<Histogram>,
    ) -> anyhow::Result<u64> {
        let (mut sent, mut acknowledged) = (0, 0);
        // When the messages of each write were sent; acknowledgements come in order.
        let mut writes: VecDeque<(Instant, u64)> = VecDeque::new();
        loop {
            let room = u64::from(self.window) - (sent - acknowledged);
            let burst = if stage.is_stopped() {
                0
            } else {
                room.min(self.messages - sent)
            };
            for _ in 0..burst {
                self.template.put(&mut connection.out);
            }
            sent += burst;
            if burst > 0 {
                writes.push_back((clock::now(), burst));
                connection.flush().await?;
            }
            if sent == acknowledged {
                return Ok(acknowledged);
            }

            connection.receive().await?;
            let mut count = 0;
            while let Some(packet) = connection.next()? {
                count += u64::from(matches!(packet, ServerPacket::PubAck(_)));
            }
            acknowledged += count;
            record(&mut writes, count, latency);
        }
    }

    async fn send_unacknowledged(
        &mut self,
        connection: &mut Connection,
        stage: &Stage,
    ) -> anyhow::Result<u64> {
        let mut sent = 0;
        while !stage.is_stopped() && sent < self.messages {
            let burst = u64::from(self.window).min(self.messages - sent);
            for _ in 0..burst {
                self.template.put(&mut connection.out);
            }
            connection.flush().await?;
            sent += burst;
        }
        connection.ping().await?;
        Ok(sent)
    }

    /// One message at a time.
    async fn send_in_time(
        &mut self,
        connection: &mut Connection,
        stage: &Stage,
        latency: &Mutex<Histogram>,
        interval: Duration,
    ) -> anyhow::Result<u64> {
        let mut sent = 0;
        let mut due = clock::now();
        while !stage.is_stopped() && sent < self.messages {
            let began = clock::now();
            self.template.put(&mut connection.out);
            connection.flush().await?;
            if self.qos != QoS::AtMostOnce {
                while !matches!(connection.wait().await?, ServerPacket::PubAck(_)) {}
            }
            sent += 1;
            let taken = clock::now() - began;
            latency
                .lock()
                .expect("a thread of the fleet has panicked")
                .record(taken, 1);
            due += interval;
            tokio::select! {
                () = clock::sleep_until(due) => {}
                () = stage.stopped() => {}
            }
        }
        connection.ping().await?;
        Ok(sent)
    }
}

/// Takes `count` acknowledged messages off the writes.
pub(crate) fn record(
    writes: &mut VecDeque<(Instant, u64)>,
    mut count: u64,
    latency: &Mutex<Histogram>,
) {
    let now = clock::now();
    let mut latency = latency.lock().expect("a thread of the fleet has panicked");
    while let Some((sent, left)) = writes.front_mut() {
        let taken = count.min(*left);
        latency.record(now - *sent, taken);
        *left -= taken;
        count -= taken;
        if *left > 0 {
            break;
        }
        writes.pop_front();
    }
}

impl Template {
    fn new(topic: &str, qos: QoS, size: usize) -> anyhow::Result<Self> {
        let payload = vec![b'x'; size];
        let mut bytes = BytesMut::new();
        encode_publish(&mut bytes, false, qos, false, topic, 1, &payload)?;
        let has_id = qos != QoS::AtMostOnce;
        let packet_id_at = has_id.then(|| bytes.len() - size - 2);
        Ok(Self {
            bytes,
            packet_id_at,
        })
    }

    /// Appends the message with the next packet id.
    fn put(&mut self, out: &mut BytesMut) {
        out.put_slice(&self.bytes);
        if let Some(at) = self.packet_id_at {
            let id = u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]);
            let next = id.checked_add(1).unwrap_or(1);
            self.bytes[at..at + 2].copy_from_slice(&next.to_be_bytes());
        }
    }
}

/// Counts what a broker delivers of the devices' telemetry.
fn subscriber(target: Arc<Target>, devices: usize, qos: QoS) -> Task<Tally> {
    Box::new(move |stage| {
        Box::pin(async move {
            let login = async {
                let mut connection = Connection::open(&target, devices).await?;
                connection.subscribe(vec![("t/#".into(), qos)]).await?;
                Ok(connection)
            };
            let mut connection = stage.log_in(login).await?;
            let mut messages = 0;
            let mut last = clock::now();
            let mut stopped = false;
            loop {
                while let Some(packet) = connection.next()? {
                    let ServerPacket::Publish(publish) = packet else {
                        continue;
                    };
                    messages += 1;
                    if publish.qos == QoS::AtLeastOnce {
                        encode_client(
                            &ClientPacket::PubAck(publish.packet_id),
                            &mut connection.out,
                        );
                    }
                }
                connection.flush().await?;
                tokio::select! {
                    biased;
                    received = connection.receive() => {
                        received?;
                        last = clock::now();
                    }
                    () = stage.stopped(), if !stopped => stopped = true,
                    () = clock::sleep_until(last + SILENCE), if stopped => break,
                }
            }
            connection.close().await?;
            Ok(Tally {
                messages,
                last,
                is_subscriber: true,
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_ids_of_a_template_count_up_and_skip_zero() {
        let mut template = Template::new("t/1", QoS::AtLeastOnce, 3).unwrap();
        let mut ids = Vec::new();
        for _ in 0..65_536 {
            let mut out = BytesMut::new();
            template.put(&mut out);
            ids.push(u16::from_be_bytes([out[7], out[8]]));
        }

        assert_eq!(ids[..3], [1, 2, 3]);
        assert_eq!(ids[65_534..], [65_535, 1]);
    }
}
