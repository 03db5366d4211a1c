//! The quickstart's back-end application: changes how often the simulated device sends telemetry,
//! and shows what arrives.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use iothub_backend::{Backend, BackendBuilder, Event, EventReader};
use serde_json::Value;

const USAGE: &str = "\
Changes the telemetry interval of the quickstart's device by a direct method.

Usage: backend-application [CONNECTION_STRING] [OPTIONS]

  CONNECTION_STRING       of a policy with the service right
                          [env: IOTHUB_CONNECTION_STRING]
  --device-id ID          the device to call [default: quickstart-device]
  --interval SECONDS      the interval to set [default: 10]
  --connect-timeout S     how long to wait for the device to be online [default: 0]
  --read-telemetry N      then print the next N messages of the device
  --http-address H:P      plain HTTP to this address [env: IOTHUB_HTTP_ADDRESS]
  --https-port PORT       HTTPS on another port than 443 [env: IOTHUB_HTTPS_PORT]
  --ca-file FILE          trust this certificate authority [env: IOTHUB_CA_FILE]
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
    let backend = arguments.backend()?;
    let telemetry = match arguments.read_telemetry {
        // Opened before the call, so that the change of pace is seen from its first message on.
        Some(_) => Some(
            backend
                .events()
                .from_latest()
                .device(&arguments.device_id)
                .open()
                .await?,
        ),
        None => None,
    };
    invoke(&backend, &arguments).await?;
    if let (Some(count), Some(telemetry)) = (arguments.read_telemetry, telemetry) {
        say(&format!(
            "\nThe next {count} messages of {}:",
            arguments.device_id
        ))?;
        print_telemetry(telemetry, count).await?;
    }
    backend.close().await;
    Ok(())
}

async fn invoke(backend: &Backend, arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments {
        device_id,
        interval,
        ..
    } = arguments;
    say(&format!(
        "Calling SetTelemetryInterval({interval}) on {device_id} ..."
    ))?;
    let response = backend
        .methods()
        .invoke(device_id, "SetTelemetryInterval")
        .payload(interval)
        .connect_timeout(arguments.connect_timeout)
        .send()
        .await
        .with_context(|| format!("call SetTelemetryInterval on {device_id}"))?;
    say(&format!("Response status: {}", response.status))?;
    say(&format!(
        "Response payload: {}",
        String::from_utf8_lossy(&response.payload)
    ))
}

async fn print_telemetry(mut telemetry: EventReader, count: usize) -> anyhow::Result<()> {
    for _ in 0..count {
        match telemetry.next().await? {
            Some(event) => say(&line(&event))?,
            None => bail!("the hub ended the stream of telemetry"),
        }
    }
    Ok(())
}

/// One message on one line: when, who, what, and the properties.
fn line(event: &Event) -> String {
    let time = event.enqueued_time.to_iso();
    let time = time.get(11..19).unwrap_or(&time);
    let body = String::from_utf8_lossy(&event.body);
    let properties: Vec<String> = event
        .application_properties
        .iter()
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        })
        .collect();
    format!(
        "{time}  {}  {body}  {}",
        event.device_id(),
        properties.join(" ")
    )
    .trim_end()
    .into()
}

/// Writes to standard output; a reader that went away is no reason to panic.
fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("write to standard output")
}

#[derive(Debug, PartialEq)]
struct Arguments {
    connection_string: String,
    device_id: String,
    interval: Value,
    connect_timeout: Duration,
    read_telemetry: Option<usize>,
    http_address: Option<String>,
    https_port: Option<u16>,
    ca_file: Option<String>,
}

impl Arguments {
    /// Arguments before environment before default; `None` when help is asked for.
    fn parse(
        mut arguments: impl Iterator<Item = String>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Option<Self>> {
        let mut connection_string = environment("IOTHUB_CONNECTION_STRING");
        let mut parsed = Self {
            connection_string: String::new(),
            device_id: "quickstart-device".into(),
            interval: 10.into(),
            connect_timeout: Duration::ZERO,
            read_telemetry: None,
            http_address: environment("IOTHUB_HTTP_ADDRESS"),
            https_port: environment("IOTHUB_HTTPS_PORT")
                .map(|port| number("IOTHUB_HTTPS_PORT", &port))
                .transpose()?,
            ca_file: environment("IOTHUB_CA_FILE"),
        };
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .with_context(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "-h" | "--help" => return Ok(None),
                "--device-id" | "-d" => parsed.device_id = value()?,
                // Sent as it is when it is no number: to see what the device answers to that.
                "--interval" => {
                    let text = value()?;
                    parsed.interval = serde_json::from_str(&text).unwrap_or(Value::String(text));
                }
                "--connect-timeout" => {
                    parsed.connect_timeout = Duration::from_secs(number(&argument, &value()?)?);
                }
                "--read-telemetry" => parsed.read_telemetry = Some(number(&argument, &value()?)?),
                "--http-address" => parsed.http_address = Some(value()?),
                "--https-port" => parsed.https_port = Some(number(&argument, &value()?)?),
                "--ca-file" => parsed.ca_file = Some(value()?),
                text if text.starts_with('-') => bail!("unknown option {text}"),
                text => connection_string = Some(text.into()),
            }
        }
        parsed.connection_string = connection_string.context(
            "no connection string: give it as an argument or in IOTHUB_CONNECTION_STRING",
        )?;
        Ok(Some(parsed))
    }

    fn backend(&self) -> anyhow::Result<Backend> {
        let mut builder: BackendBuilder = Backend::builder(&self.connection_string);
        if let Some(address) = &self.http_address {
            builder = builder.http_address(address);
        } else if let Some(port) = self.https_port {
            builder = builder.https_port(port);
        }
        if let Some(file) = &self.ca_file {
            builder = builder.ca_file(file);
        }
        Ok(builder.build()?)
    }
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> anyhow::Result<T> {
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

    #[test]
    fn arguments_win_over_the_environment() {
        let environment = [
            ("IOTHUB_CONNECTION_STRING", "env"),
            ("IOTHUB_HTTPS_PORT", "8443"),
        ];
        let parsed = parse(
            &["arg", "--interval", "5", "--https-port", "9"],
            &environment,
        );

        let parsed = parsed.unwrap().unwrap();

        assert_eq!(parsed.connection_string, "arg");
        assert_eq!(parsed.https_port, Some(9));
        assert_eq!(parsed.interval, 5);
        assert_eq!(parsed.device_id, "quickstart-device");
    }

    #[test]
    fn interval_that_is_no_number_is_sent_as_text() {
        let parsed = parse(&["cs", "--interval", "soon"], &[]).unwrap().unwrap();

        assert_eq!(parsed.interval, "soon");
    }

    #[test]
    fn unusable_arguments_are_explained() {
        for (arguments, expected) in [
            (&[] as &[&str], "IOTHUB_CONNECTION_STRING"),
            (&["cs", "--device-id"], "--device-id needs a value"),
            (&["cs", "--read-telemetry", "x"], "needs a number"),
            (&["cs", "--what"], "unknown option --what"),
        ] {
            let error = parse(arguments, &[]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn help_needs_no_connection_string() {
        assert_eq!(parse(&["--help"], &[]).unwrap(), None);
    }
}
