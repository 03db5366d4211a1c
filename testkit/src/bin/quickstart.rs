//! The quickstart "control a device", told while it happens: a hub, a simulated device and a back
//! end in one process, over the same wire as everywhere else.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use iothub_backend::{Backend, EventReader};
use iothub_protocol::Timestamp;
use iothub_testkit::{DeviceClient, MethodResponse, TestHub, json_message};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const DEVICE: &str = "quickstart-device";
/// Between two messages, at first and after the back end has spoken.
const SLOW: Duration = Duration::from_secs(1);
const FAST: Duration = Duration::from_millis(200);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the quickstart failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let story = Story::new();
    story.say(story.bold("Azure IoT Hub on your machine: control a device"))?;

    let hub = start_hub(&story).await?;
    let backend = connect_backend(&story, &hub)?;
    let (device, telemetry) = start_device(&story, &hub).await?;
    watch_and_change_the_pace(&story, &hub, &backend).await?;
    ask_for_what_cannot_be(&story, &backend).await?;
    agree_by_twin(&story, &backend, &device).await?;
    telemetry.abort();
    device.close().await;
    hub.wait_until_disconnected(DEVICE).await;
    call_nobody(&story, &backend).await?;
    close(&story, hub).await
}

async fn start_hub(story: &Story) -> anyhow::Result<TestHub> {
    story.chapter("A hub starts")?;
    let hub = TestHub::start().await;
    let ports = hub.ports();
    story.line(format!(
        "ready on 127.0.0.1: MQTT over TLS on {}, HTTPS on {} (any free port will do here)",
        ports.mqtts, ports.https
    ))?;
    story
        .line("its certificate comes from an authority of its own, which both sides below trust")?;
    Ok(hub)
}

fn connect_backend(story: &Story, hub: &TestHub) -> anyhow::Result<Backend> {
    story.chapter("A back end gets its connection string")?;
    let connection_string = hub.service_connection_string();
    story.line(without_key(&connection_string))?;
    let backend = Backend::builder(&connection_string)
        .https_address(format!("localhost:{}", hub.ports().https))
        .ca_pem(hub.ca_pem())
        .build()?;
    Ok(backend)
}

async fn start_device(
    story: &Story,
    hub: &TestHub,
) -> anyhow::Result<(DeviceClient, JoinHandle<()>)> {
    story.chapter("A device is registered and connects")?;
    let connection_string = hub.device_connection_string(DEVICE).await;
    story.line(without_key(&connection_string))?;
    let device = DeviceClient::builder(&connection_string)
        .mqtts_address(format!("localhost:{}", hub.ports().mqtts))
        .ca_pem(hub.ca_pem())
        .connect()
        .await
        .context("connect the device")?;
    let (set_interval, interval) = watch::channel(SLOW);
    device
        .on_method("SetTelemetryInterval", move |call| {
            let answer = set_telemetry_interval(call.json().as_ref(), &set_interval);
            async move { answer }
        })
        .await?;
    story.line("connected with a token signed by its key; it answers SetTelemetryInterval")?;
    let clock = hub.clock().shared();
    let telemetry = tokio::spawn(send_telemetry(device.clone(), interval, clock));
    Ok((device, telemetry))
}

/// The device's side of the method: a number of seconds, or 400.
fn set_telemetry_interval(
    payload: Option<&Value>,
    interval: &watch::Sender<Duration>,
) -> MethodResponse {
    let wanted = payload
        .and_then(Value::as_f64)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|wanted| !wanted.is_zero());
    match wanted {
        Some(wanted) => {
            interval.send_replace(wanted);
            MethodResponse::json(200, &json!({"interval": wanted.as_secs_f64()}))
        }
        None => MethodResponse::json(400, &json!({"message": "not a number of seconds"})),
    }
}

async fn send_telemetry(
    device: DeviceClient,
    mut interval: watch::Receiver<Duration>,
    clock: std::sync::Arc<dyn iothub_protocol::Clock>,
) {
    for count in 0_u32.. {
        // A thermometer that wanders up and down, the same way in every run.
        let phase = f64::from(count) * 0.9;
        let temperature = ((25.0 + 8.0 * phase.sin()) * 10.0).round() / 10.0;
        let humidity = ((60.0 + 15.0 * phase.cos()) * 10.0).round() / 10.0;
        let mut message = json_message(&json!({"temperature": temperature, "humidity": humidity}));
        let alert = if temperature > 30.0 { "true" } else { "false" };
        message.properties.push("temperatureAlert", alert);
        if device.send_telemetry(message).await.is_err() {
            // The device was closed.
            return;
        }
        let pause = *interval.borrow_and_update();
        tokio::select! {
            () = clock.sleep_until(clock.now() + pause) => {}
            Ok(()) = interval.changed() => {}
        }
    }
}

async fn watch_and_change_the_pace(
    story: &Story,
    hub: &TestHub,
    backend: &Backend,
) -> anyhow::Result<()> {
    story.chapter("The back end reads telemetry as it arrives")?;
    let mut events = backend
        .events()
        .from_earliest()
        .device(DEVICE)
        .open()
        .await?;
    let mut previous = None;
    for _ in 0..3 {
        show_next(story, &mut events, &mut previous).await?;
    }

    story.chapter("It wants to see more, and calls a direct method on the device")?;
    let faster = json!(FAST.as_secs_f64());
    let begin = hub.clock().now();
    let answer = backend
        .methods()
        .invoke(DEVICE, "SetTelemetryInterval")
        .payload(&faster)
        .send()
        .await
        .context("call SetTelemetryInterval")?;
    let took = hub.clock().now().since(begin).as_secs_f64() * 1000.0;
    story.line(format!("SetTelemetryInterval({faster})"))?;
    story.line(format!(
        "-> {} {}   in {took:.1} ms",
        answer.status,
        text(&answer.payload)
    ))?;
    ensure!(
        answer.status == 200,
        "the device answered {}",
        answer.status
    );
    for _ in 0..8 {
        show_next(story, &mut events, &mut previous).await?;
    }
    Ok(())
}

async fn show_next(
    story: &Story,
    events: &mut EventReader,
    previous: &mut Option<Timestamp>,
) -> anyhow::Result<()> {
    let event = events
        .next()
        .await?
        .context("the stream of telemetry ended")?;
    let pause = previous
        .replace(event.enqueued_time)
        .map_or(String::new(), |previous| {
            format!(
                "+{:.1} s",
                event.enqueued_time.since(previous).as_secs_f64()
            )
        });
    let alert = match event.application_properties.get("temperatureAlert") {
        Some(value) if value == "true" => story.bold("  hot!"),
        _ => String::new(),
    };
    story.line(format!("{pause:>7}  {}{alert}", text(&event.body)))
}

async fn ask_for_what_cannot_be(story: &Story, backend: &Backend) -> anyhow::Result<()> {
    story.chapter("Not everything can be asked of it")?;
    for (method, payload) in [
        ("SetTelemetryInterval", json!("soon")),
        ("Fly", json!(null)),
    ] {
        let call = backend.methods().invoke(DEVICE, method).payload(&payload);
        let answer = call.send().await?;
        let payload_text = text(&answer.payload);
        story.line(format!(
            "{method}({payload})  -> {} {payload_text}",
            answer.status
        ))?;
    }
    Ok(())
}

async fn agree_by_twin(
    story: &Story,
    backend: &Backend,
    device: &DeviceClient,
) -> anyhow::Result<()> {
    story.chapter("What is to last goes into the device's twin")?;
    let mut wishes = device.desired_updates().await?;
    backend
        .twins()
        .patch_desired(DEVICE, &json!({"color": "green"}))
        .await?;
    story.line(r#"the back end desires   {"color":"green"}"#)?;
    let wish = wishes.next().await.context("the device was closed")?;
    let wished = Value::Object(wish.properties.values);
    story.line(format!("the device is told     {wished}"))?;
    device.patch_reported(&wished).await?;
    let twin = backend.twins().get(DEVICE).await?;
    let reported = json!({"color": twin.reported()["color"]});
    story.line(format!(
        "and reports            {reported}   (twin version {})",
        twin.version()
    ))
}

async fn call_nobody(story: &Story, backend: &Backend) -> anyhow::Result<()> {
    story.chapter("The device leaves")?;
    let call = backend
        .methods()
        .invoke(DEVICE, "SetTelemetryInterval")
        .payload(&json!(1));
    let refusal = call
        .send()
        .await
        .err()
        .context("a device that is gone answered")?;
    let code = refusal.code().context("the hub was to refuse")?;
    story.line(format!(
        "calling it now is refused as in the cloud: {} {}",
        code.number(),
        code.name()
    ))
}

async fn close(story: &Story, hub: TestHub) -> anyhow::Result<()> {
    let stored = hub.telemetry_from(DEVICE).so_far().len();
    hub.shutdown().await;
    let seconds = story.seconds();
    story.say(format!(
        "\n{}  {stored} messages stored, 3 methods answered, 1 twin agreed on, in {seconds:.1} s; \
         everything has stopped.",
        story.bold("Done.")
    ))?;
    story.say(format!(
        "\n{}
  cargo run --release -p iothub-emulator      a hub that stays: SDKs connect to it on the usual
                                              ports, and it prints the settings that they need
  cargo run -p iothub-device -- --help        the simulated device, on its own
  cargo run -p iothub-backend -- --help       the back-end application, on its own
  cargo test                                  all tests; `cargo doc --open -p iothub-testkit`
                                              shows how to have a hub in yours",
        story.bold("What next?")
    ))
}

/// A connection string that may be shown.
fn without_key(connection_string: &str) -> String {
    match connection_string.split_once("SharedAccessKey=") {
        Some((rest, _)) => format!("{rest}SharedAccessKey=..."),
        None => connection_string.to_owned(),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Tells what happens, to a person.
struct Story {
    begin: Timestamp,
    chapters: std::cell::Cell<u32>,
    has_colors: bool,
}

impl Story {
    fn new() -> Self {
        let has_colors = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            begin: now(),
            chapters: std::cell::Cell::new(0),
            has_colors,
        }
    }

    fn chapter(&self, title: &str) -> anyhow::Result<()> {
        let number = self.chapters.get() + 1;
        self.chapters.set(number);
        self.say(format!("\n{}", self.bold(&format!("{number}. {title}"))))
    }

    fn line(&self, line: impl Display) -> anyhow::Result<()> {
        self.say(format!("   {line}"))
    }

    /// A reader that went away is no reason to panic.
    fn say(&self, line: impl Display) -> anyhow::Result<()> {
        writeln!(io::stdout(), "{line}").context("write to standard output")
    }

    fn bold(&self, text: &str) -> String {
        if self.has_colors {
            format!("\x1b[1m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn seconds(&self) -> f64 {
        now().since(self.begin).as_secs_f64()
    }
}

fn now() -> Timestamp {
    iothub_protocol::Clock::now(&iothub_backend::SystemClock)
}
