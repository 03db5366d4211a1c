//! Reading events over AMQP: how fast one consumer that only counts gets them, and how long an
//! event takes from a device to a consumer.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use iothub_protocol::amqp::performative::{Role, SenderSettleMode};
use iothub_protocol::amqp::selector::EventPosition;
use iothub_protocol::amqp::{DeliveryState, Event};
use iothub_protocol::mqtt::codec::encode_publish;
use iothub_protocol::mqtt::packet::{QoS, ServerPacket};

use crate::clock;
use crate::histogram::Histogram;
use crate::mqtt::Connection;
use crate::process::micros_each;
use crate::report::Report;
use crate::target::{Target, TargetArgs};
use crate::{amqp, telemetry};

/// Read events of all partitions over one AMQP connection, only counting them; then time single
/// messages from a device to the consumer.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Devices that send the events beforehand.
    #[arg(long, default_value_t = 16)]
    devices: usize,
    /// Events, sent before anything is measured.
    #[arg(long, default_value_t = 400_000)]
    messages: u64,
    /// Bytes of an event's body.
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// How often all of them are read.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Ask for deliveries that are settled already.
    #[arg(long)]
    settled: bool,
    /// Credit of each partition.
    #[arg(long, default_value_t = 5000)]
    credit: u32,
    /// Messages whose way is timed, one after the other.
    #[arg(long, default_value_t = 1000)]
    timed: u64,
}

/// Runs the command.
pub(crate) async fn run(args: &EventsArgs) -> anyhow::Result<Report> {
    let target = args.target.resolve().await?;
    let each = args.messages.div_ceil(args.devices as u64);
    let before = partitions(&target).await?;
    telemetry::preload(&args.target, args.devices, each, args.size).await?;
    let after = partitions(&target).await?;

    let mut spent = Duration::ZERO;
    let (cpu_before, mut count) = (target.process.cpu(), 0);
    for _ in 0..args.rounds {
        let mut consumer = Consumer::open(&target, args).await?;
        let began = clock::now();
        for partition in 0..after.len() {
            let first = before.get(partition).copied().unwrap_or(0);
            let position = EventPosition::Sequence {
                sequence: i64::try_from(first)?,
                inclusive: true,
            };
            consumer.attach(partition, &position).await?;
        }
        let wanted = after.iter().sum::<u64>() - before.iter().sum::<u64>();
        consumer.read(wanted).await?;
        spent += clock::now() - began;
        count += wanted;
    }
    let cpu_after = target.process.cpu();

    let latency = time_single_messages(&target, args, after.len()).await?;
    let seconds = spent.as_secs_f64();
    let mut report = Report::new(format!(
        "events over AMQP: {} bytes, {}",
        args.size,
        if args.settled { "settled" } else { "unsettled" }
    ));
    report.add("events", "events read", count as f64, "");
    report.add("per_second", "rate", count as f64 / seconds, "/s");
    let cpu = micros_each(cpu_before, cpu_after, count);
    report.add_known("cpu_us", "server CPU per event", cpu, "µs");
    let share = cpu.map(|micros| micros * count as f64 / 1e6 / seconds * 100.0);
    report.add_known("cpu_percent", "server CPU", share, "%");
    report.add_latency(&latency);
    Ok(report)
}

/// The next sequence number of each partition.
async fn partitions(target: &Target) -> anyhow::Result<Vec<u64>> {
    let next = target.next_sequences().await?;
    next.context("only an emulator has events")
}

/// From before a device publishes until the consumer has the event.
async fn time_single_messages(
    target: &Target,
    args: &EventsArgs,
    partitions: usize,
) -> anyhow::Result<Histogram> {
    let mut consumer = Consumer::open(target, args).await?;
    for partition in 0..partitions {
        consumer.attach(partition, &EventPosition::Latest).await?;
    }
    let mut device = Connection::open(target, 0).await?;
    let topic = target.telemetry_topic(0);
    let payload = vec![b'x'; args.size];
    let mut latency = Histogram::new();
    for _ in 0..args.timed {
        let began = clock::now();
        encode_publish(
            &mut device.out,
            false,
            QoS::AtLeastOnce,
            false,
            &topic,
            1,
            &payload,
        )?;
        device.flush().await?;
        consumer.read(1).await?;
        latency.record(clock::now() - began, 1);
        while !matches!(device.wait().await?, ServerPacket::PubAck(_)) {}
    }
    device.close().await?;
    Ok(latency)
}

/// One connection that reads and counts.
struct Consumer {
    connection: amqp::Connection,
    entity: String,
    settle_mode: SenderSettleMode,
    credit: u32,
}

impl Consumer {
    /// Connects and puts a token.
    async fn open(target: &Target, args: &EventsArgs) -> anyhow::Result<Self> {
        let (entity, audience, token) = target.event_hub()?;
        Ok(Self {
            connection: amqp::Connection::open_with(target, audience, token).await?,
            entity,
            settle_mode: match args.settled {
                true => SenderSettleMode::Settled,
                false => SenderSettleMode::Unsettled,
            },
            credit: args.credit,
        })
    }

    /// Begins to read a partition.
    async fn attach(&mut self, partition: usize, position: &EventPosition) -> anyhow::Result<()> {
        let node = format!(
            "{}/ConsumerGroups/$Default/Partitions/{partition}",
            self.entity
        );
        let filter = position.to_filter();
        let (credit, mode) = (self.credit, self.settle_mode);
        self.connection
            .attach_as(Role::Receiver, &node, credit, filter, mode)
            .await?;
        Ok(())
    }

    /// Takes so many events.
    async fn read(&mut self, count: u64) -> anyhow::Result<()> {
        let mut left = count;
        loop {
            while let Some(event) = self.connection.next()? {
                let Event::Delivery(delivery) = event else {
                    continue;
                };
                // What is settled already only frees credit.
                let state = DeliveryState::Accepted;
                let machine = &mut self.connection.machine;
                machine.settle(delivery.link, delivery.id, state);
                left -= 1;
                if left == 0 {
                    return self.connection.flush().await;
                }
            }
            self.connection.flush().await?;
            self.connection.receive().await?;
        }
    }
}
