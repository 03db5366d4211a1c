//! Cloud-to-device messages: sent over REST or AMQP, delivered over MQTT, acknowledged; with
//! feedback over AMQP.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use iothub_backend::Ack;
use iothub_protocol::mqtt::codec::encode_client;
use iothub_protocol::mqtt::packet::{ClientPacket, QoS, ServerPacket};
use iothub_protocol::mqtt::topic::{Feature, HubTopic};

use crate::clock;
use crate::crew::{Crew, Stage, Task};
use crate::histogram::Histogram;
use crate::mqtt::Connection;
use crate::process::micros_each;
use crate::progress;
use crate::report::Report;
use crate::target::{Target, TargetArgs};

/// Send cloud-to-device messages over REST or AMQP to devices that acknowledge them.
#[derive(Debug, Args)]
pub(crate) struct C2dArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Devices that are sent to, each by a sender of its own, one message after the other.
    #[arg(long, default_value_t = 1)]
    devices: usize,
    /// Send over AMQP, as the SDKs do, and not over the emulator's REST.
    #[arg(long)]
    amqp: bool,
    /// Wait for feedback on each message, over AMQP, before the next is sent. Tells the hub's own
    /// delay unless it is served with `--set feedback_delay=0`.
    #[arg(long, requires = "amqp")]
    feedback: bool,
    /// How long to send.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Threads of the fleet.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// Runs the command.
pub(crate) async fn run(args: &C2dArgs) -> anyhow::Result<Report> {
    let target = args.target.resolve().await?;
    target.register(args.devices).await?;
    let latency = Arc::new(Mutex::new(Histogram::new()));
    ensure!(
        !args.feedback || args.devices == 1,
        "--feedback is for one device: any receiver may get the feedback on any message"
    );
    let (over_amqp, feedback) = (args.amqp, args.feedback);
    let mut tasks: Vec<Task<u64>> = Vec::new();
    for n in 0..args.devices {
        let (target, latency) = (target.clone(), latency.clone());
        tasks.push(Box::new(move |stage| {
            Box::pin(async move {
                match over_amqp {
                    true => send_over_amqp(&target, n, feedback, &stage, &latency).await,
                    false => send(&target, n, &stage, &latency).await,
                }
            })
        }));
    }
    let crew = Crew::muster(args.threads, tasks).await?;

    let cpu_before = target.process.cpu();
    let began = clock::now();
    crew.start();
    progress::run_for(Duration::from_secs_f64(args.seconds)).await;
    crew.stop();
    let count: u64 = crew.finish().await?.iter().sum();
    let seconds = (clock::now() - began).as_secs_f64();
    let cpu_after = target.process.cpu();

    let mut report = Report::new(format!(
        "cloud-to-device messages{}: {} device(s)",
        match (args.amqp, args.feedback) {
            (_, true) => " over AMQP with feedback",
            (true, false) => " over AMQP",
            (false, false) => "",
        },
        args.devices
    ));
    report.add("messages", "messages completed", count as f64, "");
    report.add("per_second", "rate", count as f64 / seconds, "/s");
    report.add_latency(&latency.lock().expect("a thread of the fleet has panicked"));
    report.add_known(
        "cpu_us",
        "server CPU per message",
        micros_each(cpu_before, cpu_after, count),
        "µs",
    );
    Ok(report)
}

/// One device and its sender: the message has been sent, and has reached the device, which has
/// acknowledged it, before the next one is sent.
async fn send(
    target: &Target,
    n: usize,
    stage: &Stage,
    latency: &Mutex<Histogram>,
) -> anyhow::Result<u64> {
    let path = format!("/devices/{}/messages/deviceBound", target.device(n));
    let request = target.request("POST", &path, &[("iothub-messageid", "1")], "0123456789")?;
    let login = async {
        let device = listening(target, n).await?;
        let http = target.http().await.context("a sender")?;
        Ok((device, http))
    };
    let (mut device, mut http) = stage.log_in(login).await?;

    let mut count = 0;
    while !stage.is_stopped() {
        let began = clock::now();
        let sent = async { http.expect_ok(&request).await.map(drop) };
        tokio::try_join!(sent, deliver(&mut device))?;
        latency
            .lock()
            .expect("no thread of the fleet panics")
            .record(clock::now() - began, 1);
        count += 1;
    }
    Ok(count)
}

/// As [`send`], by a back end over AMQP, which may wait for what feedback says of the message.
async fn send_over_amqp(
    target: &Target,
    n: usize,
    feedback: bool,
    stage: &Stage,
    latency: &Mutex<Histogram>,
) -> anyhow::Result<u64> {
    let backend = target.backend()?;
    let device_id = target.device(n);
    let login = async {
        let device = listening(target, n).await?;
        let receiver = match feedback {
            true => Some(backend.feedback().open().await?),
            false => None,
        };
        Ok((device, receiver))
    };
    let (mut device, mut receiver) = stage.log_in(login).await?;

    let mut count: u64 = 0;
    while !stage.is_stopped() {
        let began = clock::now();
        let message = backend.c2d().message(&device_id, "0123456789");
        let message = message.message_id(count.to_string());
        let message = message.ack(if feedback { Ack::Full } else { Ack::None });
        let sent = async { Ok(message.send().await?) };
        tokio::try_join!(sent, deliver(&mut device))?;
        if let Some(receiver) = &mut receiver {
            let batch = receiver.next().await?;
            receiver.complete(&batch.lock_token).await?;
        }
        latency
            .lock()
            .expect("no thread of the fleet panics")
            .record(clock::now() - began, 1);
        count += 1;
    }
    Ok(count)
}

/// A device that is subscribed to messages for it.
async fn listening(target: &Target, n: usize) -> anyhow::Result<Connection> {
    let mut device = Connection::open(target, n).await?;
    let filter = Feature::C2d.to_filter(&target.client(n)?);
    device.subscribe(vec![(filter, QoS::AtLeastOnce)]).await?;
    Ok(device)
}

/// Waits for the next message and acknowledges it.
async fn deliver(device: &mut Connection) -> anyhow::Result<()> {
    loop {
        if let ServerPacket::Publish(publish) = device.wait().await? {
            let Some(HubTopic::C2d { .. }) = HubTopic::parse(publish.topic()) else {
                bail!("the device gets {}", publish.topic());
            };
            encode_client(&ClientPacket::PubAck(publish.packet_id), &mut device.out);
            return device.flush().await;
        }
    }
}
