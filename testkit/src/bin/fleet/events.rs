//! Reading events over AMQP: how fast one consumer that only counts gets them, and how long an
//! event takes from a device to a consumer.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::BytesMut;
use clap::Args;
use iothub_protocol::amqp::cbs::{PutToken, SAS_KINDS, status_of};
use iothub_protocol::amqp::connection::{AttachLink, ClientSasl, ConnectionConfig, Delivery};
use iothub_protocol::amqp::message::AmqpMessage;
use iothub_protocol::amqp::performative::{
    ReceiverSettleMode, Role, SenderSettleMode, Source, Target as LinkTarget,
};
use iothub_protocol::amqp::selector::EventPosition;
use iothub_protocol::amqp::{
    Connection as Machine, DeliveryState, Event, LinkId, SessionId, Value,
};
use iothub_protocol::mqtt::codec::encode_publish;
use iothub_protocol::mqtt::packet::{QoS, ServerPacket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clock;
use crate::histogram::Histogram;
use crate::mqtt::Connection;
use crate::process::micros_each;
use crate::report::Report;
use crate::target::{Target, TargetArgs};
use crate::telemetry;

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
            consumer.attach(partition, &position);
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
        consumer.attach(partition, &EventPosition::Latest);
    }
    consumer.attached(partitions).await?;
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
    stream: TcpStream,
    machine: Machine,
    session: SessionId,
    input: BytesMut,
    entity: String,
    settled: bool,
    credit: u32,
}

impl Consumer {
    /// Connects and puts a token.
    async fn open(target: &Target, args: &EventsArgs) -> anyhow::Result<Self> {
        let reader = target.events()?;
        let stream = TcpStream::connect(&reader.address)
            .await
            .with_context(|| format!("connect to {}", reader.address))?;
        stream.set_nodelay(true)?;
        let config = ConnectionConfig {
            container_id: "fleet".into(),
            hostname: Some(reader.host.clone()),
            max_frame_size: 1 << 20,
            max_sessions: 4,
            max_links: 1024,
            incoming_window: 1 << 16,
            idle_timeout: None,
            sasl_mechanisms: Vec::new(),
            max_unfinished: 16 << 20,
        };
        let mut machine = Machine::client(config, ClientSasl::None, clock::wall());
        let session = machine.begin();
        let mut consumer = Self {
            stream,
            machine,
            session,
            input: BytesMut::with_capacity(READ),
            entity: reader.entity,
            settled: args.settled,
            credit: args.credit,
        };
        consumer.put_token(&reader.audience, reader.token).await?;
        Ok(consumer)
    }

    async fn put_token(&mut self, audience: &str, token: String) -> anyhow::Result<()> {
        let put = PutToken {
            kind: SAS_KINDS[0].to_owned(),
            audience: audience.to_owned(),
            token,
            message_id: Value::Ulong(1),
            reply_to: None,
        };
        let mut request = BytesMut::new();
        put.to_message().encode(&mut request);
        let answers = link("answers", Role::Receiver, "$cbs", 10);
        self.machine.attach(self.session, answers);
        let requests = link("requests", Role::Sender, "$cbs", 0);
        let requests = self.machine.attach(self.session, requests);
        while self.machine.sendable(requests) == 0 {
            self.event().await?;
        }
        self.machine
            .send(requests, &[0; 16], 0, request.freeze(), true)?;
        let answer = self.delivery().await?;
        match status_of(&AmqpMessage::decode(answer.payload)?) {
            Some((200, _)) => Ok(()),
            other => bail!("the token is answered with {other:?}"),
        }
    }

    /// Begins to read a partition.
    fn attach(&mut self, partition: usize, position: &EventPosition) -> LinkId {
        let node = format!(
            "{}/ConsumerGroups/$Default/Partitions/{partition}",
            self.entity
        );
        let mut link = link(&node, Role::Receiver, &node, self.credit);
        link.source.filter = position.to_filter();
        if self.settled {
            link.snd_settle_mode = SenderSettleMode::Settled;
        }
        self.machine.attach(self.session, link)
    }

    /// Waits until so many links are attached.
    async fn attached(&mut self, links: usize) -> anyhow::Result<()> {
        for _ in 0..links {
            while !matches!(self.event().await?, Event::LinkAttached { .. }) {}
        }
        Ok(())
    }

    /// Takes so many events.
    async fn read(&mut self, count: u64) -> anyhow::Result<()> {
        for _ in 0..count {
            self.delivery().await?;
        }
        Ok(())
    }

    async fn delivery(&mut self) -> anyhow::Result<Delivery> {
        loop {
            if let Event::Delivery(delivery) = self.event().await? {
                // What is settled already only frees credit.
                let state = DeliveryState::Accepted;
                self.machine.settle(delivery.link, delivery.id, state);
                return Ok(delivery);
            }
        }
    }

    async fn event(&mut self) -> anyhow::Result<Event> {
        loop {
            match self.machine.next_event() {
                Some(Event::LinkDetached { error, .. } | Event::Closed(error)) => {
                    bail!("the server ends it: {error:?}")
                }
                Some(event) => return Ok(event),
                None => {}
            }
            while let Some(chunk) = self.machine.next_output() {
                self.stream.write_all(&chunk).await?;
            }
            self.input.clear();
            self.input.reserve(READ);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                bail!("the server has closed the connection");
            }
            self.machine.receive(clock::wall(), &self.input);
        }
    }
}

/// Bytes that are read at a time.
const READ: usize = 256 * 1024;

fn link(name: &str, role: Role, node: &str, credit: u32) -> AttachLink {
    let node = Some(node.to_owned());
    let (source, target) = match role {
        Role::Receiver => (node, None),
        Role::Sender => (None, node),
    };
    AttachLink {
        name: name.to_owned(),
        role,
        source: Source {
            address: source,
            ..Source::default()
        },
        target: LinkTarget {
            address: target,
            ..LinkTarget::default()
        },
        snd_settle_mode: SenderSettleMode::Unsettled,
        rcv_settle_mode: ReceiverSettleMode::First,
        credit,
        max_message_size: None,
        properties: Vec::new(),
        desired_capabilities: Vec::new(),
    }
}
