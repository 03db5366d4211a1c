//! Reading and updating twins, from the back end's side and from the devices'.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::{Args, ValueEnum};
use iothub_protocol::mqtt::codec::encode_publish;
use iothub_protocol::mqtt::packet::{QoS, ServerPacket};
use iothub_protocol::mqtt::topic::{DeviceTopic, Feature, HubTopic};

use crate::clock;
use crate::crew::{Crew, Stage, Task};
use crate::histogram::Histogram;
use crate::mqtt::Connection;
use crate::process::micros_each;
use crate::progress;
use crate::report::Report;
use crate::target::{Target, TargetArgs};

/// Read or update twins, one request at a time for each device.
#[derive(Debug, Args)]
pub(crate) struct TwinsArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// What is done.
    #[arg(long, value_enum, default_value_t = Work::RestPatch)]
    work: Work,
    /// Devices whose twins are read or updated, each by a client of its own.
    #[arg(long, default_value_t = 1)]
    devices: usize,
    /// Requests in flight of each device, over MQTT.
    #[arg(long, default_value_t = 1)]
    window: u32,
    /// How long to work.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Threads of the fleet.
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

/// Kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Work {
    /// `GET /twins/{id}`
    RestGet,
    /// `PATCH /twins/{id}` of a tag, with the etag that the last answer had in `If-Match`
    RestPatch,
    /// the device reads its twin
    MqttGet,
    /// the device updates a reported property
    MqttPatch,
}

/// Runs the command.
pub(crate) async fn run(args: &TwinsArgs) -> anyhow::Result<Report> {
    ensure!(args.window > 0, "--window needs at least one request");
    let target = args.target.resolve().await?;
    target.register(args.devices).await?;
    let latency = Arc::new(Mutex::new(Histogram::new()));
    let (work, window) = (args.work, args.window);
    let mut tasks: Vec<Task<u64>> = Vec::new();
    for n in 0..args.devices {
        let (target, latency) = (target.clone(), latency.clone());
        tasks.push(Box::new(move |stage| {
            Box::pin(async move {
                match work {
                    Work::RestGet | Work::RestPatch => {
                        over_rest(&target, n, work, &stage, &latency).await
                    }
                    Work::MqttGet | Work::MqttPatch => {
                        over_mqtt(&target, n, work, window, &stage, &latency).await
                    }
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

    let what = match work {
        Work::RestGet => "twin reads over REST",
        Work::RestPatch => "twin updates over REST, compare and set",
        Work::MqttGet => "twin reads over MQTT",
        Work::MqttPatch => "updates of reported properties over MQTT",
    };
    let mut report = Report::new(format!("{what}: {} device(s)", args.devices));
    report.add("requests", "requests", count as f64, "");
    report.add("per_second", "rate", count as f64 / seconds, "/s");
    report.add_latency(&latency.lock().expect("a thread of the fleet has panicked"));
    report.add_known(
        "cpu_us",
        "server CPU per request",
        micros_each(cpu_before, cpu_after, count),
        "µs",
    );
    Ok(report)
}

async fn over_rest(
    target: &Target,
    n: usize,
    work: Work,
    stage: &Stage,
    latency: &Mutex<Histogram>,
) -> anyhow::Result<u64> {
    let path = format!("/twins/{}", target.device(n));
    let get = target.request("GET", &path, &[], "")?;
    let login = async {
        let mut http = target.http().await?;
        let etag = etag(&http.expect_ok(&get).await?)?;
        Ok((http, etag))
    };
    let (mut http, mut current) = stage.log_in(login).await?;
    // The token is made once: what is measured is the server.
    let with_etag = |etag: &str| {
        let body = format!(r#"{{"tags":{{"n":"{etag}"}}}}"#);
        target.request(
            "PATCH",
            &path,
            &[("If-Match", &format!("\"{etag}\""))],
            &body,
        )
    };

    let mut count = 0;
    while !stage.is_stopped() {
        let request = match work {
            Work::RestPatch => with_etag(&current)?,
            Work::RestGet | Work::MqttGet | Work::MqttPatch => get.clone(),
        };
        let began = clock::now();
        let body = http.expect_ok(&request).await?;
        let taken = clock::now() - began;
        if work == Work::RestPatch {
            current = etag(&body)?;
        }
        latency
            .lock()
            .expect("no thread of the fleet panics")
            .record(taken, 1);
        count += 1;
    }
    Ok(count)
}

/// The twin's etag, which is the first member of that name.
fn etag(twin: &[u8]) -> anyhow::Result<String> {
    let text = std::str::from_utf8(twin)?;
    let value = text
        .split_once(r#""etag":""#)
        .and_then(|(_, rest)| rest.split_once('"'));
    match value {
        Some((etag, _)) => Ok(etag.to_owned()),
        None => bail!("a twin without an etag: {text}"),
    }
}

async fn over_mqtt(
    target: &Target,
    n: usize,
    work: Work,
    window: u32,
    stage: &Stage,
    latency: &Mutex<Histogram>,
) -> anyhow::Result<u64> {
    let client = target.client(n)?;
    let topic = match work {
        Work::MqttPatch => DeviceTopic::TwinPatchReported {
            rid: "1",
            version: None,
        },
        Work::MqttGet | Work::RestGet | Work::RestPatch => DeviceTopic::TwinGet { rid: "1" },
    }
    .to_topic(&client);
    let login = async {
        let mut device = Connection::open(target, n).await?;
        let filter = Feature::TwinResponses.to_filter(&client);
        device.subscribe(vec![(filter, QoS::AtMostOnce)]).await?;
        Ok(device)
    };
    let mut device = stage.log_in(login).await?;

    let (mut sent, mut answered) = (0, 0);
    loop {
        if !stage.is_stopped() {
            // Window by window, so that what is recorded is the time of a whole one.
            for _ in 0..window {
                sent += 1;
                let body = match work {
                    Work::MqttPatch => format!(r#"{{"n":{sent}}}"#),
                    Work::MqttGet | Work::RestGet | Work::RestPatch => String::new(),
                };
                let qos = QoS::AtMostOnce;
                encode_publish(
                    &mut device.out,
                    false,
                    qos,
                    false,
                    &topic,
                    0,
                    body.as_bytes(),
                )?;
            }
        }
        let began = clock::now();
        device.flush().await?;
        let before = answered;
        while answered < sent {
            if let ServerPacket::Publish(publish) = device.wait().await? {
                match HubTopic::parse(publish.topic()) {
                    Some(HubTopic::TwinResponse { status, .. }) if status < 300 => answered += 1,
                    other => bail!("the hub answers {other:?}"),
                }
            }
        }
        latency
            .lock()
            .expect("no thread of the fleet panics")
            .record(clock::now() - began, answered - before);
        if stage.is_stopped() {
            device.close().await?;
            return Ok(answered);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twins_own_etag_is_found() {
        let twin = br#"{"deviceId":"d","etag":"AAE=","deviceEtag":"MTI="}"#;

        assert_eq!(etag(twin).unwrap(), "AAE=");
        assert!(etag(b"{}").is_err());
    }
}
