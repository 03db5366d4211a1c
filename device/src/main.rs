//! The quickstart's simulated device: sends temperature and humidity, and lets the back end decide
//! how often by the direct method `SetTelemetryInterval`.

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use iothub_device::{
    ConnectionState, ConnectionStates, DeviceClient, ErrorKind, Message, MethodCall,
    MethodResponse, RetryPolicy, SystemClock, json_message,
};
use iothub_protocol::Clock;
use serde_json::json;
use tokio::sync::watch;

const USAGE: &str = "\
Simulates a device with a thermometer: the quickstart's device.

Usage: simulated-device [CONNECTION_STRING] [OPTIONS]

  CONNECTION_STRING       of the device [env: IOTHUB_DEVICE_CONNECTION_STRING]
  --interval SECONDS      between two messages [default: 2]
  --count N               stop after N messages [default: go on until Ctrl-C]
  --wait SECONDS          how long to wait for the hub to be there at first [default: 10]
  --mqtt-address H:P      MQTT over plain TCP [env: IOTHUB_MQTT_ADDRESS]
  --mqtts-port PORT       TLS on another port than 8883 [env: IOTHUB_MQTTS_PORT]
  --websocket-port PORT   MQTT over WebSocket over TLS [env: IOTHUB_WEBSOCKET_PORT]
  --https-port PORT       for files, HTTPS on another port than 443 [env: IOTHUB_HTTPS_PORT]
  --ca-file FILE          trust this certificate authority [env: IOTHUB_CA_FILE]
  --certificate FILE      show this certificate (PEM), for x509=true [env: IOTHUB_CERTIFICATE]
  --key FILE              the certificate's key (PEM) [env: IOTHUB_CERTIFICATE_KEY]
  --upload FILE           upload a file first
";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let result = match Arguments::parse(std::env::args().skip(1), |name| std::env::var(name).ok()) {
        Ok(None) => say(USAGE.trim_end()),
        Ok(Some(arguments)) => run(arguments).await,
        Err(error) => Err(error.context("run with --help to see what is possible")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let builder = arguments.builder()?;
    let device = tokio::select! {
        device = builder.connect() => device.map_err(explain)?,
        () = stop_requested() => return Ok(()),
    };
    say(&format!("{} is connected. Ctrl-C ends it.", device.id()))?;
    if let Some(file) = &arguments.upload {
        tokio::select! {
            uploaded = upload(&device, file) => uploaded?,
            () = stop_requested() => return Ok(()),
        }
    }
    let (interval, interval_changes) = watch::channel(arguments.interval);
    answer_methods(&device, interval).await?;

    let sent = tokio::select! {
        sent = send_telemetry(&device, interval_changes, arguments.count) => sent,
        watched = watch_connection(device.connection_states()) => watched,
        () = stop_requested() => say("\nStopping ..."),
    };
    device.close().await;
    sent
}

/// Adds what can be done about it.
fn explain(error: iothub_device::Error) -> anyhow::Error {
    let advice = match error.kind() {
        ErrorKind::Untrusted(_) => "trust the hub's authority with --ca-file or SSL_CERT_FILE",
        ErrorKind::Unreachable(_) => "is the hub running, and on this port?",
        _ => return error.into(),
    };
    anyhow::Error::new(error).context(format!("not connected ({advice})"))
}

/// Uploads a file under its own name.
async fn upload(device: &DeviceClient, file: &str) -> anyhow::Result<()> {
    let name = Path::new(file).file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{file:?} names no file"))?;
    device
        .upload_file_from(name, file)
        .await
        .map_err(explain)
        .with_context(|| format!("upload {file}"))?;
    say(&format!("file      {name} is uploaded"))
}

/// Answers `SetTelemetryInterval`; anything else is answered with 404.
async fn answer_methods(
    device: &DeviceClient,
    interval: watch::Sender<Duration>,
) -> anyhow::Result<()> {
    let interval = Arc::new(interval);
    device
        .on_method("SetTelemetryInterval", move |call| {
            let response = set_telemetry_interval(&call, &interval);
            async move { response }
        })
        .await?;
    device
        .on_other_methods(|call| async move {
            let _ = say(&format!(
                "method    {}: there is no such method -> 404",
                call.name
            ));
            MethodResponse::json(404, &json!({"result": "Unknown method"}))
        })
        .await?;
    Ok(())
}

fn set_telemetry_interval(call: &MethodCall, interval: &watch::Sender<Duration>) -> MethodResponse {
    let payload = String::from_utf8_lossy(&call.payload);
    match call.json().as_ref().and_then(serde_json::Value::as_u64) {
        Some(seconds) if seconds > 0 => {
            let _ = say(&format!("method    {}({payload}) -> 200", call.name));
            interval.send_replace(Duration::from_secs(seconds));
            let result = format!("Executed direct method: {}", call.name);
            MethodResponse::json(200, &json!({"result": result}))
        }
        _ => {
            let _ = say(&format!("method    {}({payload}) -> 400", call.name));
            MethodResponse::json(400, &json!({"result": "Invalid parameter"}))
        }
    }
}

/// Sends a message each interval; a new interval counts at once.
async fn send_telemetry(
    device: &DeviceClient,
    mut interval: watch::Receiver<Duration>,
    count: Option<u64>,
) -> anyhow::Result<()> {
    let mut sent = 0;
    while count.is_none_or(|count| sent < count) {
        let (line, message) = measurement();
        device
            .send_telemetry(message)
            .await
            .context("send telemetry")?;
        say(&line)?;
        sent += 1;
        let next = SystemClock.now() + *interval.borrow_and_update();
        tokio::select! {
            () = SystemClock.sleep_until(next) => {}
            Ok(()) = interval.changed() => {}
        }
    }
    Ok(())
}

/// A temperature of 20 to 35 degrees and a humidity of 60 to 80 percent, with an alert above 30.
fn measurement() -> (String, Message) {
    let temperature = 20.0 + 15.0 * random_fraction();
    let humidity = 60.0 + 20.0 * random_fraction();
    let [temperature, humidity] = [temperature, humidity].map(|x| (x * 100.0).round() / 100.0);
    let alert = if temperature > 30.0 { "true" } else { "false" };
    let mut message = json_message(&json!({"temperature": temperature, "humidity": humidity}));
    message.properties.push("temperatureAlert", alert);
    let mark = if alert == "true" { "  (alert)" } else { "" };
    (
        format!("telemetry {temperature:5.2} °C  {humidity:5.2} %{mark}"),
        message,
    )
}

/// At least 0, less than 1: a new hasher is seeded by the operating system.
fn random_fraction() -> f64 {
    (RandomState::new().hash_one(0) >> 11) as f64 / (1_u64 << 53) as f64
}

/// Says what becomes of the connection; ends with it.
async fn watch_connection(mut states: ConnectionStates) -> anyhow::Result<()> {
    let mut was_lost = false;
    while let Some(state) = states.changed().await {
        match state {
            ConnectionState::Retrying { reason, delay } => {
                was_lost = true;
                say(&format!(
                    "offline   {reason}; next attempt in {:.1} s",
                    delay.as_secs_f64()
                ))?;
            }
            ConnectionState::Connected if was_lost => say("online    connected again")?,
            ConnectionState::Connected | ConnectionState::Connecting => {}
            ConnectionState::Closed {
                reason: Some(reason),
            } => return Err(reason.into()),
            ConnectionState::Closed { reason: None } => break,
        }
    }
    Ok(())
}

/// Returns on Ctrl-C, and on what `docker stop` sends.
async fn stop_requested() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// Writes to standard output; a reader that went away is no reason to panic.
fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("write to standard output")
}

#[derive(Debug, PartialEq)]
struct Arguments {
    connection_string: String,
    interval: Duration,
    count: Option<u64>,
    wait: u64,
    mqtt_address: Option<String>,
    mqtts_port: Option<u16>,
    websocket_port: Option<u16>,
    https_port: Option<u16>,
    ca_file: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
    upload: Option<String>,
}

impl Arguments {
    /// Arguments before environment before default; `None` when help is asked for.
    fn parse(
        mut arguments: impl Iterator<Item = String>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Option<Self>> {
        let mut connection_string = environment("IOTHUB_DEVICE_CONNECTION_STRING");
        let port = |name: &str| {
            environment(name)
                .map(|text| number(name, &text))
                .transpose()
        };
        let mut parsed = Self {
            connection_string: String::new(),
            interval: Duration::from_secs(2),
            count: None,
            wait: 10,
            mqtt_address: environment("IOTHUB_MQTT_ADDRESS"),
            mqtts_port: port("IOTHUB_MQTTS_PORT")?,
            websocket_port: port("IOTHUB_WEBSOCKET_PORT")?,
            https_port: port("IOTHUB_HTTPS_PORT")?,
            ca_file: environment("IOTHUB_CA_FILE"),
            certificate: environment("IOTHUB_CERTIFICATE"),
            key: environment("IOTHUB_CERTIFICATE_KEY"),
            upload: None,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .with_context(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "-h" | "--help" => return Ok(None),
                "--interval" => {
                    let seconds: f64 = number(&argument, &value()?)?;
                    parsed.interval = Duration::try_from_secs_f64(seconds)
                        .with_context(|| format!("{argument} needs a number of seconds"))?;
                }
                "--count" => parsed.count = Some(number(&argument, &value()?)?),
                "--wait" => parsed.wait = number(&argument, &value()?)?,
                "--mqtt-address" => parsed.mqtt_address = Some(value()?),
                "--mqtts-port" => parsed.mqtts_port = Some(number(&argument, &value()?)?),
                "--websocket-port" => parsed.websocket_port = Some(number(&argument, &value()?)?),
                "--https-port" => parsed.https_port = Some(number(&argument, &value()?)?),
                "--ca-file" => parsed.ca_file = Some(value()?),
                "--certificate" => parsed.certificate = Some(value()?),
                "--key" => parsed.key = Some(value()?),
                "--upload" => parsed.upload = Some(value()?),
                text if text.starts_with('-') => bail!("unknown option {text}"),
                text => connection_string = Some(text.into()),
            }
        }
        parsed.connection_string = connection_string.context(
            "no connection string: give it as an argument or in IOTHUB_DEVICE_CONNECTION_STRING",
        )?;
        Ok(Some(parsed))
    }

    fn builder(&self) -> anyhow::Result<iothub_device::ClientBuilder<DeviceClient>> {
        let mut builder = DeviceClient::builder(&self.connection_string).retry(self.retry());
        if let Some(address) = &self.mqtt_address {
            builder = builder.mqtt_address(address);
        } else if let Some(port) = self.websocket_port {
            builder = builder.websocket_port(port);
        } else if let Some(port) = self.mqtts_port {
            builder = builder.mqtts_port(port);
        }
        if let Some(port) = self.https_port {
            builder = builder.https_port(port);
        }
        if let Some(file) = &self.ca_file {
            builder = builder.ca_file(file);
        }
        if let Some(certificate) = &self.certificate {
            let key = self.key.as_ref().context("--certificate needs its --key")?;
            let read = |file: &String| std::fs::read(file).with_context(|| format!("read {file}"));
            builder = builder.certificate(read(certificate)?, read(key)?);
        }
        Ok(builder)
    }

    /// About one attempt a second while the hub is not there yet.
    fn retry(&self) -> RetryPolicy {
        RetryPolicy {
            first_delay: Duration::from_millis(500),
            longest_delay: Duration::from_secs(1),
            first_connection_attempts: u32::try_from(self.wait).unwrap_or(u32::MAX).max(1),
            seed: None,
        }
    }
}

fn number<T: FromStr>(name: &str, text: &str) -> anyhow::Result<T> {
    text.parse()
        .ok()
        .with_context(|| format!("{name} needs a number, not {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Option<Arguments>> {
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        Arguments::parse(arguments, |name| {
            let found = environment.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn call(payload: &str) -> (MethodResponse, Duration) {
        let (interval, receiver) = watch::channel(Duration::from_secs(2));
        let payload = payload.to_owned().into();
        let call = MethodCall {
            name: "SetTelemetryInterval".into(),
            payload,
        };
        let response = set_telemetry_interval(&call, &interval);
        let interval = *receiver.borrow();
        (response, interval)
    }

    #[test]
    fn set_telemetry_interval_changes_the_interval() {
        let (response, interval) = call("10");

        let result = json!({"result": "Executed direct method: SetTelemetryInterval"});
        assert_eq!(response, MethodResponse::json(200, &result));
        assert_eq!(interval, Duration::from_secs(10));
    }

    #[test]
    fn payload_that_is_no_number_of_seconds_changes_nothing() {
        for payload in ["", "null", "0", "-1", "1.5", "\"10\"", "{}"] {
            let (response, interval) = call(payload);

            let result = json!({"result": "Invalid parameter"});
            assert_eq!(response, MethodResponse::json(400, &result), "{payload}");
            assert_eq!(interval, Duration::from_secs(2));
        }
    }

    #[test]
    fn measurement_says_whether_it_is_too_hot() {
        for _ in 0..50 {
            let (_, message) = measurement();
            let body: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
            let temperature = body["temperature"].as_f64().unwrap();

            assert!((20.0..=35.0).contains(&temperature));
            assert!((60.0..=80.0).contains(&body["humidity"].as_f64().unwrap()));
            let alert = message.properties.get("temperatureAlert").unwrap();
            assert_eq!(alert, (temperature > 30.0).to_string());
        }
    }

    #[test]
    fn arguments_win_over_the_environment() {
        let environment = [
            ("IOTHUB_DEVICE_CONNECTION_STRING", "env"),
            ("IOTHUB_MQTTS_PORT", "1"),
        ];

        let parsed = parse(
            &["arg", "--interval", "0.5", "--mqtts-port", "9"],
            &environment,
        );

        let parsed = parsed.unwrap().unwrap();
        assert_eq!(parsed.connection_string, "arg");
        assert_eq!(parsed.mqtts_port, Some(9));
        assert_eq!(parsed.interval, Duration::from_millis(500));
    }

    #[test]
    fn unusable_arguments_are_explained() {
        for (arguments, expected) in [
            (&[] as &[&str], "IOTHUB_DEVICE_CONNECTION_STRING"),
            (&["cs", "--interval"], "--interval needs a value"),
            (&["cs", "--interval", "-1"], "needs a number of seconds"),
            (&["cs", "--count", "x"], "needs a number"),
            (&["cs", "--what"], "unknown option --what"),
        ] {
            let error = parse(arguments, &[]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let half = parse(&["cs", "--certificate", "d1.pem"], &[]).unwrap();
        let error = half.unwrap().builder().err().unwrap().to_string();
        assert!(error.contains("--certificate needs its --key"), "{error}");
    }
}
