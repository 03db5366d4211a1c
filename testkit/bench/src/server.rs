//! Server processes, each for one measurement.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::cases::Bench;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The product.
    Emulator,
    /// The broker of Debian.
    Mosquitto,
    /// The broker of the crate.
    Rumqttd,
    /// `fleet accept-loop`.
    BareTls,
}

/// A running server; ends on drop.
pub(crate) struct Server {
    child: Child,
    /// What the fleet needs to be told to reach it.
    target: Vec<String>,
}

/// How often a server is asked whether it is there.
const POLL: Duration = Duration::from_millis(5);
const ATTEMPTS: usize = 4000;

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Emulator => "emulator",
            Self::Mosquitto => "mosquitto",
            Self::Rumqttd => "rumqttd",
            Self::BareTls => "bare TLS loop",
        }
    }
}

impl Server {
    /// Starts a server and waits until it answers.
    pub(crate) fn start(bench: &Bench, kind: Kind, tls: bool) -> anyhow::Result<Self> {
        match kind {
            Kind::Emulator => Self::emulator(bench, tls),
            Kind::Mosquitto => Self::mosquitto(bench, tls),
            Kind::Rumqttd => Self::rumqttd(bench),
            Kind::BareTls => Self::bare_tls(bench),
        }
        .with_context(|| format!("start {}", kind.name()))
    }

    /// How the fleet reaches it.
    pub(crate) fn target(&self) -> &[String] {
        &self.target
    }

    fn emulator(bench: &Bench, tls: bool) -> anyhow::Result<Self> {
        let (mut server, _) = Self::told(bench, &[])?;
        if tls {
            server.target.push("--tls".into());
        }
        Ok(server)
    }

    /// An emulator with more arguments, and what it tells about itself.
    pub(crate) fn told(bench: &Bench, arguments: &[&str]) -> anyhow::Result<(Self, Value)> {
        let ready_file = bench.scratch.join("ready.json");
        if ready_file.exists() {
            fs::remove_file(&ready_file)?;
        }
        let mut command = emulator_command(bench, [0; 4]);
        command.arg("--ready-file").arg(&ready_file).args(arguments);
        let mut child = spawn(&mut command)?;
        let info = wait_for(&mut child, || {
            serde_json::from_slice::<Value>(&fs::read(&ready_file).ok()?).ok()
        })?;
        let port = &info["ports"]["http"];
        let target = vec!["--hub".to_owned(), format!("127.0.0.1:{port}")];
        Ok((Self { child, target }, info))
    }

    fn mosquitto(bench: &Bench, tls: bool) -> anyhow::Result<Self> {
        let [port, tls_port] = free_ports()?;
        let mut child = spawn(&mut mosquitto_command(bench, port, tls_port)?)?;
        let port = if tls { tls_port } else { port };
        wait_for(&mut child, || connect(port))?;
        Ok(Self {
            target: broker(bench, &child, port, tls),
            child,
        })
    }

    fn rumqttd(bench: &Bench) -> anyhow::Result<Self> {
        let [port] = free_ports()?;
        let mut child = spawn(Command::new(&bench.rumqttd).arg(port.to_string()))?;
        wait_for(&mut child, || connect(port))?;
        Ok(Self {
            target: broker(bench, &child, port, false),
            child,
        })
    }

    fn bare_tls(bench: &Bench) -> anyhow::Result<Self> {
        let certificate = bench.certificates().join("server.pem");
        let mut child = Command::new(&bench.fleet)
            .arg("accept-loop")
            .arg("--cert")
            .arg(&certificate)
            .arg("--key")
            .arg(&certificate)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("no output")?).read_line(&mut line)?;
        let document: Value = serde_json::from_str(&line)?;
        let address = document["address"].as_str().context("no address")?;
        let port = address.rsplit(':').next().unwrap_or_default().parse()?;
        Ok(Self {
            target: broker(bench, &child, port, true),
            child,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The emulator at ports mqtts, mqtt, https and http.
pub(crate) fn emulator_command(bench: &Bench, ports: [u16; 4]) -> Command {
    let mut command = Command::new(&bench.emulator);
    command.args([
        "serve",
        "--listen",
        "127.0.0.1",
        "--log",
        "warn",
        "--in-memory",
        "--amqps-port=0",
        "--amqp-port=0",
        // A trip with feedback tells the trip, not how long the hub collects feedback.
        "--set",
        "feedback_delay=0",
    ]);
    command.arg("--cert-dir").arg(bench.certificates());
    for (flag, port) in ["--mqtts-port", "--mqtt-port", "--https-port", "--http-port"]
        .iter()
        .zip(ports)
    {
        command.arg(flag).arg(port.to_string());
    }
    command
}

/// mosquitto without limits of its own and without Nagle's delays.
pub(crate) fn mosquitto_command(
    bench: &Bench,
    port: u16,
    tls_port: u16,
) -> anyhow::Result<Command> {
    let config = bench.scratch.join("mosquitto.conf");
    let certificates = bench.certificates();
    let certificates = certificates.display();
    fs::write(
        &config,
        format!(
            "user root\nallow_anonymous true\npersistence false\nlog_dest none\n\
             set_tcp_nodelay true\nmax_queued_messages 0\nmax_inflight_messages 0\n\
             listener {port} 127.0.0.1\nlistener {tls_port} 127.0.0.1\n\
             certfile {certificates}/server.pem\nkeyfile {certificates}/server.pem\n"
        ),
    )?;
    let mut command = Command::new(&bench.mosquitto);
    command.arg("-c").arg(config);
    Ok(command)
}

/// Ports that nobody listens on now.
pub(crate) fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

fn broker(bench: &Bench, child: &Child, port: u16, tls: bool) -> Vec<String> {
    // The certificate is for this name; a broker without TLS does not care.
    let host = if tls { "localhost" } else { "127.0.0.1" };
    let mut target = vec!["--generic".to_owned(), format!("{host}:{port}")];
    target.extend(["--pid".into(), child.id().to_string()]);
    if tls {
        let authority = bench.certificates().join("ca.pem");
        target.extend(["--tls".into(), "--ca-file".into(), path_text(&authority)]);
    }
    target
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn spawn(command: &mut Command) -> anyhow::Result<Child> {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("start {command:?}"))
}

fn connect(port: u16) -> Option<TcpStream> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
}

/// Asks until there is something.
#[expect(clippy::disallowed_methods, reason = "another process is waited for")]
pub(crate) fn wait_for<T>(
    child: &mut Child,
    mut ask: impl FnMut() -> Option<T>,
) -> anyhow::Result<T> {
    for _ in 0..ATTEMPTS {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if let Some(status) = child.try_wait()? {
            bail!("it has ended: {status}");
        }
        std::thread::sleep(POLL);
    }
    // The caller does not get to own it.
    let _ = child.kill();
    bail!("it does not answer")
}
