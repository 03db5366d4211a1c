//! Direct methods: REST request, device, REST answer; or what comes nearest with a plain broker, a
//! request and its response between two connections.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use clap::Args;
use iothub_protocol::mqtt::codec::{encode_client, encode_publish};
use iothub_protocol::mqtt::packet::{ClientPacket, Publish, QoS, ServerPacket};
use iothub_protocol::mqtt::topic::{DeviceTopic, Feature, HubTopic};
use iothub_protocol::{ClientId, DeviceId};

use crate::clock;
use crate::crew::{Crew, Stage, Task};
use crate::histogram::Histogram;
use crate::mqtt::Connection;
use crate::process::micros_each;
use crate::progress;
use crate::report::Report;
use crate::target::{Target, TargetArgs};

/// Call direct methods of devices over REST; of a broker, measure request and response over MQTT.
#[derive(Debug, Args)]
pub(crate) struct MethodsArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Devices that are called, each by a caller of its own, one call after the other.
    #[arg(long, default_value_t = 1)]
    devices: usize,
    /// Of request and response between two connections of a broker.
    #[arg(long, default_value_t = 0, requires = "generic")]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=1))]
    qos: u8,
    /// How long to call.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Threads of the fleet.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// Runs the command.
pub(crate) async fn run(args: &MethodsArgs) -> anyhow::Result<Report> {
    let target = args.target.resolve().await?;
    target.register(args.devices).await?;
    let latency = Arc::new(Mutex::new(Histogram::new()));
    let qos = if args.qos == 0 {
        QoS::AtMostOnce
    } else {
        QoS::AtLeastOnce
    };
    let mut tasks: Vec<Task<u64>> = Vec::new();
    for n in 0..args.devices {
        let (target, latency) = (target.clone(), latency.clone());
        tasks.push(Box::new(move |stage| {
            Box::pin(async move {
                if target.is_hub() {
                    call_methods(&target, n, &stage, &latency).await
                } else {
                    exchange(&target, n, qos, &stage, &latency).await
                }
            })
        }));
    }
    let is_hub = target.is_hub();
    let crew = Crew::muster(args.threads, tasks).await?;

    let cpu_before = target.process.cpu();
    let began = clock::now();
    crew.start();
    progress::run_for(Duration::from_secs_f64(args.seconds)).await;
    crew.stop();
    let calls: u64 = crew.finish().await?.iter().sum();
    let seconds = (clock::now() - began).as_secs_f64();
    let cpu_after = target.process.cpu();

    let what = if is_hub {
        "direct methods over REST".to_owned()
    } else {
        format!("request and response over MQTT at QoS {}", args.qos)
    };
    let mut report = Report::new(format!("{what}: {} device(s)", args.devices));
    report.add("calls", "calls", calls as f64, "");
    report.add("per_second", "rate", calls as f64 / seconds, "/s");
    report.add_latency(&latency.lock().expect("a thread of the fleet has panicked"));
    report.add_known(
        "cpu_us",
        "server CPU per call",
        micros_each(cpu_before, cpu_after, calls),
        "µs",
    );
    Ok(report)
}

/// One device of a hub and its caller.
async fn call_methods(
    target: &Target,
    n: usize,
    stage: &Stage,
    latency: &Mutex<Histogram>,
) -> anyhow::Result<u64> {
    let client = ClientId::device(DeviceId::parse(&target.device(n))?);
    let login = async {
        let mut device = Connection::open(target, n).await?;
        let filter = Feature::Methods.to_filter(&client);
        device.subscribe(vec![(filter, QoS::AtMostOnce)]).await?;
        let caller = target
            .method_caller(n)
            .await?
            .context("a broker has no direct methods")?;
        Ok((device, caller))
    };
    let (mut device, (mut http, request)) = stage.log_in(login).await?;

    let calls = async {
        let mut calls = 0;
        while !stage.is_stopped() {
            let began = clock::now();
            let answer = http.send(&request).await?;
            ensure!(
                answer.status == 200,
                "the hub answers {}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            );
            latency
                .lock()
                .expect("no thread of the fleet panics")
                .record(clock::now() - began, 1);
            calls += 1;
        }
        anyhow::Ok(calls)
    };
    let answers = async {
        loop {
            while let Some(packet) = device.next()? {
                if let ServerPacket::Publish(publish) = packet {
                    answer_call(&client, &publish, &mut device.out)?;
                }
            }
            device.flush().await?;
            device.receive().await?;
        }
    };
    tokio::select! {
        calls = calls => calls,
        failure = answers => failure,
    }
}

/// Answers as a device of the SDKs does: status 200, at QoS 0.
fn answer_call(client: &ClientId, publish: &Publish, out: &mut BytesMut) -> anyhow::Result<()> {
    let Some(HubTopic::MethodRequest { rid, .. }) = HubTopic::parse(publish.topic()) else {
        bail!(
            "the device gets {} and expects a method call",
            publish.topic()
        );
    };
    let topic = DeviceTopic::MethodResponse {
        status: 200,
        rid: &rid,
    }
    .to_topic(client);
    encode_publish(
        out,
        false,
        QoS::AtMostOnce,
        false,
        &topic,
        0,
        &publish.payload,
    )?;
    Ok(())
}

/// Two connections of a broker: one asks, the other answers.
async fn exchange(
    target: &Target,
    n: usize,
    qos: QoS,
    stage: &Stage,
    latency: &Mutex<Histogram>,
) -> anyhow::Result<u64> {
    let (request, response) = (format!("d/{n}/request"), format!("d/{n}/response"));
    let login = async {
        let mut caller = Connection::open(target, 2 * n).await?;
        caller.subscribe(vec![(response.clone(), qos)]).await?;
        let mut device = Connection::open(target, 2 * n + 1).await?;
        device.subscribe(vec![(request.clone(), qos)]).await?;
        Ok((
            Peer::new(caller, request.clone(), qos),
            Peer::new(device, response.clone(), qos),
        ))
    };
    let (mut caller, mut device) = stage.log_in(login).await?;

    let calls = async {
        let mut calls = 0;
        while !stage.is_stopped() {
            let began = clock::now();
            caller.send(br#"{"n":1}"#).await?;
            caller.wait().await?;
            latency
                .lock()
                .expect("no thread of the fleet panics")
                .record(clock::now() - began, 1);
            calls += 1;
        }
        anyhow::Ok(calls)
    };
    let answers = async {
        loop {
            let publish = device.wait().await?;
            device.send(&publish.payload).await?;
        }
    };
    tokio::select! {
        calls = calls => calls,
        failure = answers => failure,
    }
}

/// One side of the exchange.
struct Peer {
    connection: Connection,
    topic: String,
    qos: QoS,
    packet_id: u16,
}

impl Peer {
    fn new(connection: Connection, topic: String, qos: QoS) -> Self {
        Self {
            connection,
            topic,
            qos,
            packet_id: 0,
        }
    }

    /// Sends a message, with the acknowledgements that are due.
    async fn send(&mut self, payload: &[u8]) -> anyhow::Result<()> {
        self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
        let out = &mut self.connection.out;
        encode_publish(
            out,
            false,
            self.qos,
            false,
            &self.topic,
            self.packet_id,
            payload,
        )?;
        self.connection.flush().await
    }

    /// Waits for the other side's message; its acknowledgement leaves with the next write.
    async fn wait(&mut self) -> anyhow::Result<Publish> {
        loop {
            if let ServerPacket::Publish(publish) = self.connection.wait().await? {
                if publish.qos == QoS::AtLeastOnce {
                    let acknowledgement = ClientPacket::PubAck(publish.packet_id);
                    encode_client(&acknowledgement, &mut self.connection.out);
                }
                return Ok(publish);
            }
        }
    }
}
