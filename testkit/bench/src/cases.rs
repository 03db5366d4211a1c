//! What is measured, with whom, and the tables of it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::machine;
use crate::postgres::Postgres;
use crate::sample::Sample;
use crate::server::{Kind, Server, emulator_command, free_ports, mosquitto_command};
use crate::table::{Table, cell, ratio};

/// Where everything is, and how much is to be done.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) fleet: PathBuf,
    pub(crate) emulator: PathBuf,
    pub(crate) rumqttd: PathBuf,
    pub(crate) mosquitto: PathBuf,
    /// The directory of PostgreSQL's programs.
    pub(crate) postgres: PathBuf,
    pub(crate) rounds: usize,
    pub(crate) seconds: usize,
    /// Removed afterwards.
    pub(crate) scratch: PathBuf,
}

/// One server under one load.
pub(crate) struct Entry {
    kind: Kind,
    tls: bool,
    /// The fleet's command and flags, without the target.
    load: Vec<String>,
    pub(crate) sample: Sample,
}

/// A verdict: measure, figure, what it is compared with, and the target.
pub(crate) type Verdict = [String; 4];

impl Bench {
    /// Runs the wanted parts, or all, and returns the tables.
    pub(crate) fn run(&mut self, wanted: &[String]) -> anyhow::Result<String> {
        let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|name| name == part);
        let about = machine::describe(&self.mosquitto);
        // Makes the certificates, which everyone who speaks TLS shares.
        drop(Server::start(self, Kind::Emulator, false)?);

        let mut tables = String::new();
        let mut verdicts = Vec::new();
        if wants("telemetry") {
            tables += &self.telemetry(&mut verdicts)?;
        }
        if wants("watched") {
            tables += &self.watched(&mut verdicts)?;
        }
        if wants("methods") {
            tables += &self.methods(&mut verdicts)?;
        }
        if wants("twins") {
            tables += &self.twins(&mut verdicts)?;
        }
        if wants("c2d") {
            tables += &self.c2d()?;
        }
        if wants("amqp") {
            tables += &self.amqp(&mut verdicts)?;
        }
        if wants("registry") {
            tables += &self.registry(&mut verdicts)?;
        }
        if wants("idle") {
            tables += &self.idle(&mut verdicts)?;
        }
        if wants("connect") {
            tables += &self.connect(&mut verdicts)?;
        }
        if wants("start") {
            tables += &self.start(&mut verdicts)?;
        }

        let mut summary = Table::new(
            "Summary",
            &["measure", "emulator", "beside the peer", "target"],
        );
        for verdict in &verdicts {
            summary.row(verdict);
        }
        Ok(format!(
            "{about} Medians of {} interleaved rounds of {} s.\n{}{tables}",
            self.rounds,
            self.seconds,
            summary.into_text()
        ))
    }

    /// Where the certificates are.
    pub(crate) fn certificates(&self) -> PathBuf {
        self.scratch.join("certificates")
    }

    fn telemetry(&self, verdicts: &mut Vec<Verdict>) -> anyhow::Result<String> {
        let columns = [
            "load",
            "server",
            "acknowledged/s",
            "server CPU each",
            "p50",
            "p99",
            "lost (worst round)",
            "memory afterwards",
        ];
        let mut table = Table::new("Telemetry, QoS 1", &columns);
        for (name, devices, size, window) in [
            ("1 × 100 B", 1, 100, 64),
            ("50 × 100 B", 50, 100, 16),
            ("50 × 1 KiB", 50, 1024, 16),
        ] {
            let load = format!(
                "telemetry --devices {devices} --size {size} --window {window} --seconds {}",
                self.seconds
            );
            let subscribed = format!("{load} --subscriber");
            let entries = self.measure(vec![
                Entry::new(Kind::Emulator, &load),
                Entry::new(Kind::Mosquitto, &subscribed),
                Entry::new(Kind::Rumqttd, &subscribed),
            ])?;
            for entry in &entries {
                table.row(&[
                    name.into(),
                    entry.kind.name().into(),
                    entry.cell("per_second", 1.0, ""),
                    entry.cell("cpu_us", 1.0, "µs"),
                    entry.cell("p50_us", 1.0, "µs"),
                    entry.cell("p99_us", 1.0, "µs"),
                    cell(entry.sample.max("lost"), ""),
                    entry.cell("rss_bytes", 1e-6, "MB"),
                ]);
            }
            let rate = |index: usize| entries[index].sample.median("per_second");
            verdicts.push([
                format!("telemetry QoS 1, {name}, acknowledged/s"),
                cell(rate(0), ""),
                format!(
                    "{} mosquitto, {} rumqttd",
                    ratio(rate(0), rate(1)),
                    ratio(rate(0), rate(2))
                ),
                "≥ 10 × mosquitto, ≥ 1.5 × rumqttd, none lost".into(),
            ]);
            verdicts.push([
                format!("server CPU per message, {name}"),
                entries[0].cell("cpu_us", 1.0, "µs"),
                format!(
                    "mosquitto {}, rumqttd {}",
                    entries[1].cell("cpu_us", 1.0, "µs"),
                    entries[2].cell("cpu_us", 1.0, "µs")
                ),
                "≤ 1.5 µs".into(),
            ]);
        }
        Ok(table.into_text())
    }

    fn methods(&self, verdicts: &mut Vec<Verdict>) -> anyhow::Result<String> {
        let columns = ["load", "server", "calls/s", "p50", "p99", "server CPU each"];
        let mut table = Table::new("Request and response", &columns);
        for (name, devices) in [("1 at a time", 1), ("20 in flight, 20 devices", 20)] {
            let load = format!("methods --devices {devices} --seconds {}", self.seconds);
            let (qos_0, qos_1) = (format!("{load} --qos 0"), format!("{load} --qos 1"));
            let entries = self.measure(vec![
                Entry::new(Kind::Emulator, &load),
                Entry::new(Kind::Mosquitto, &qos_0),
                Entry::new(Kind::Mosquitto, &qos_1),
                Entry::new(Kind::Rumqttd, &qos_0),
            ])?;
            let labels = [
                "emulator: REST, device, REST",
                "mosquitto: MQTT round trip, QoS 0",
                "mosquitto: MQTT round trip, QoS 1",
                "rumqttd: MQTT round trip, QoS 0",
            ];
            for (entry, label) in entries.iter().zip(labels) {
                table.row(&[
                    name.into(),
                    label.into(),
                    entry.cell("per_second", 1.0, ""),
                    entry.cell("p50_us", 1.0, "µs"),
                    entry.cell("p99_us", 1.0, "µs"),
                    entry.cell("cpu_us", 1.0, "µs"),
                ]);
            }
            let figure = |index: usize, name: &str| entries[index].sample.median(name);
            let verdict = if devices == 1 {
                let p50 = |index| figure(index, "p50_us");
                [
                    "direct method, 1 at a time, p50".into(),
                    cell(p50(0), "µs"),
                    format!("{} mosquitto QoS 1", ratio(p50(0), p50(2))),
                    "≤ 1 ×".into(),
                ]
            } else {
                let rate = |index| figure(index, "per_second");
                [
                    "direct methods, 20 in flight, calls/s".into(),
                    cell(rate(0), ""),
                    format!(
                        "{} mosquitto QoS 1, {} QoS 0",
                        ratio(rate(0), rate(2)),
                        ratio(rate(0), rate(1))
                    ),
                    "≥ 40k/s".into(),
                ]
            };
            verdicts.push(verdict);
        }
        Ok(table.into_text())
    }

    fn twins(&self, verdicts: &mut Vec<Verdict>) -> anyhow::Result<String> {
        let columns = [
            "load",
            "clients",
            "requests/s",
            "p50",
            "p99",
            "server CPU each",
        ];
        let mut table = Table::new("Twins", &columns);
        for devices in [1, 20] {
            let load = |work: &str, window: u32| {
                format!(
                    "twins --work {work} --window {window} --devices {devices} --seconds {}",
                    self.seconds
                )
            };
            let entries = self.measure(vec![
                Entry::new(Kind::Emulator, &load("rest-patch", 1)),
                Entry::new(Kind::Emulator, &load("rest-get", 1)),
                Entry::new(Kind::Emulator, &load("mqtt-patch", 1)),
                Entry::new(Kind::Emulator, &load("mqtt-get", 1)),
                Entry::new(Kind::Emulator, &load("mqtt-patch", 16)),
            ])?;
            let labels = [
                "PATCH /twins/{id}, compare and set",
                "GET /twins/{id}",
                "reported properties over MQTT",
                "GET of the own twin over MQTT",
                "reported properties over MQTT, window 16",
            ];
            for (entry, label) in entries.iter().zip(labels) {
                table.row(&[
                    label.into(),
                    devices.to_string(),
                    entry.cell("per_second", 1.0, ""),
                    entry.cell("p50_us", 1.0, "µs"),
                    entry.cell("p99_us", 1.0, "µs"),
                    entry.cell("cpu_us", 1.0, "µs"),
                ]);
            }
            let mut peer = Sample::default();
            for round in 1..=self.rounds {
                eprintln!("round {round}: PostgreSQL, {devices} client(s)");
                let directory = self.scratch.join(format!("postgres-{devices}-{round}"));
                let postgres = Postgres::start(&self.postgres, &directory, devices)?;
                peer.add(&postgres.update(devices, self.seconds)?);
            }
            table.row(&[
                "PostgreSQL: UPDATE … WHERE id AND etag, jsonb".into(),
                devices.to_string(),
                cell(peer.median("per_second"), ""),
                format!("mean {}", cell(peer.median("mean_us"), "µs")),
                String::new(),
                String::new(),
            ]);
            let rate = entries[0].sample.median("per_second");
            verdicts.push([
                format!("twin compare-and-set over REST, {devices} client(s), updates/s"),
                cell(rate, ""),
                format!("{} PostgreSQL", ratio(rate, peer.median("per_second"))),
                String::new(),
            ]);
            verdicts.push([
                format!("reported properties over MQTT, {devices} device(s), window 16, updates/s"),
                entries[4].cell("per_second", 1.0, ""),
                String::new(),
                "≥ 100k/s in memory".into(),
            ]);
        }
        Ok(table.into_text())
    }

    fn c2d(&self) -> anyhow::Result<String> {
        let columns = ["devices", "messages/s", "p50", "p99", "server CPU each"];
        let mut table = Table::new(
            "Cloud-to-device: REST send, delivery over MQTT, PUBACK",
            &columns,
        );
        for devices in [1, 20] {
            let load = format!("c2d --devices {devices} --seconds {}", self.seconds);
            let entries = self.measure(vec![Entry::new(Kind::Emulator, &load)])?;
            table.row(&[
                devices.to_string(),
                entries[0].cell("per_second", 1.0, ""),
                entries[0].cell("p50_us", 1.0, "µs"),
                entries[0].cell("p99_us", 1.0, "µs"),
                entries[0].cell("cpu_us", 1.0, "µs"),
            ]);
        }
        Ok(table.into_text())
    }

    fn registry(&self, verdicts: &mut Vec<Verdict>) -> anyhow::Result<String> {
        let columns = [
            "afterwards, 20 times",
            "registered/s",
            "memory",
            "memory each",
            "rows of the first page",
            "query p50",
            "query p99",
        ];
        let mut table = Table::new("1,000,000 devices with small twins, bulk calls", &columns);
        let queries = [
            "SELECT * FROM devices WHERE tags.site = 's500' AND tags.floor = 0",
            "SELECT deviceId FROM devices WHERE properties.desired.interval > 58",
            "SELECT tags.floor, COUNT() AS n FROM devices GROUP BY tags.floor",
            "SELECT * FROM devices WHERE deviceId = 'fleet-777777'",
        ];
        for query in queries {
            let mut entry = Entry::new(Kind::Emulator, "registry --devices 1000000");
            entry.load.extend(["--query".into(), query.into()]);
            // One round: a million devices weigh the same every time.
            let server = Server::start(self, entry.kind, entry.tls)?;
            eprintln!("registry: {query}");
            let mut command = Command::new(&self.fleet);
            command
                .arg("--json")
                .args(&entry.load)
                .args(server.target());
            entry.sample.add(&run_fleet(&mut command)?);
            table.row(&[
                format!("`{query}`"),
                entry.cell("per_second", 1.0, ""),
                entry.cell("rss_bytes", 1e-6, "MB"),
                entry.cell("rss_each", 1.0, "B"),
                entry.cell("rows", 1.0, ""),
                entry.cell("p50_us", 1.0, "µs"),
                entry.cell("p99_us", 1.0, "µs"),
            ]);
            verdicts.push([
                format!("1,000,000 devices: p99 of `{query}`"),
                entry.cell("p99_us", 1.0, "µs"),
                String::new(),
                "≤ 200 ms".into(),
            ]);
            if query == queries[0] {
                verdicts.push([
                    "memory of 1,000,000 devices with small twins".into(),
                    entry.cell("rss_bytes", 1e-6, "MB"),
                    String::new(),
                    "≤ 1 GB".into(),
                ]);
            }
        }
        Ok(table.into_text())
    }

    fn idle(&self, verdicts: &mut Vec<Verdict>) -> anyhow::Result<String> {
        let columns = [
            "connections",
            "server",
            "memory each",
            "memory before, with all, after",
            "logins/s",
            "CPU per login",
        ];
        let mut table = Table::new("Idle connections, four subscriptions each", &columns);
        for (name, devices, tls, target) in [
            ("10,000 plain", 10_000, false, "≤ 4 KB, then ≤ 2.5 KB"),
            ("2,000 TLS", 2_000, true, "≤ 16 KB"),
        ] {
            let load = format!("idle --devices {devices} --seconds 1");
            let entries = self.measure(vec![
                Entry {
                    tls,
                    ..Entry::new(Kind::Emulator, &load)
                },
                Entry {
                    tls,
                    ..Entry::new(Kind::Mosquitto, &load)
                },
            ])?;
            for entry in &entries {
                let memory = ["rss_before_mib", "rss_open_mib", "rss_after_mib"]
                    .map(|figure| entry.cell(figure, 1.0, ""));
                table.row(&[
                    name.into(),
                    entry.kind.name().into(),
                    entry.cell("rss_each", 1.0 / 1024.0, "KiB"),
                    format!("{} MiB", memory.join(", ")),
                    entry.cell("per_second", 1.0, ""),
                    entry.cell("cpu_us", 1.0, "µs"),
                ]);
            }
            let each = |index: usize| entries[index].sample.median("rss_each");
            verdicts.push([
                format!("memory per idle connection, {name}"),
                entries[0].cell("rss_each", 1.0 / 1024.0, "KiB"),
                format!("{} mosquitto", ratio(each(0), each(1))),
                target.into(),
            ]);
        }
        Ok(table.into_text())
    }

    fn connect(&self, verdicts: &mut Vec<Verdict>) -> anyhow::Result<String> {
        let columns = ["server", "logins/s", "server CPU each", "p50", "p99"];
        let mut table = Table::new(
            "New TLS connections, full handshake, P-256, 16 at a time",
            &columns,
        );
        let load = format!("connect --seconds {}", self.seconds);
        let entries = self.measure(
            [Kind::Emulator, Kind::BareTls, Kind::Mosquitto]
                .map(|kind| Entry {
                    tls: true,
                    ..Entry::new(kind, &load)
                })
                .into(),
        )?;
        for entry in &entries {
            let label = match entry.kind {
                Kind::Emulator => "emulator, with SAS",
                Kind::BareTls => "bare rustls loop",
                Kind::Mosquitto => "mosquitto, anonymous",
                Kind::Rumqttd => "rumqttd",
            };
            table.row(&[
                label.into(),
                entry.cell("per_second", 1.0, ""),
                entry.cell("cpu_us", 1.0, "µs"),
                entry.cell("p50_us", 1.0, "µs"),
                entry.cell("p99_us", 1.0, "µs"),
            ]);
        }
        let cpu = |index: usize| entries[index].sample.median("cpu_us");
        verdicts.push([
            "server CPU per new TLS connection with SAS".into(),
            cell(cpu(0), "µs"),
            format!(
                "{} bare loop, {} mosquitto",
                ratio(cpu(0), cpu(1)),
                ratio(cpu(0), cpu(2))
            ),
            "≤ 1.25 × the bare loop".into(),
        ]);
        Ok(table.into_text())
    }

    fn start(&self, verdicts: &mut Vec<Verdict>) -> anyhow::Result<String> {
        let columns = [
            "server",
            "start to every listener answering",
            "stop",
            "memory at rest",
        ];
        let mut table = Table::new("Start and rest, certificates present", &columns);
        let mut samples = Vec::new();
        for _ in 0..self.rounds {
            let ports = free_ports::<4>()?;
            let emulator = emulator_command(self, ports);
            let health = ports[3];
            samples.push((0, self.start_once(&emulator, &ports, Some(health))?));
            let ports = free_ports::<2>()?;
            let mosquitto = mosquitto_command(self, ports[0], ports[1])?;
            samples.push((1, self.start_once(&mosquitto, &ports, None)?));
        }
        let mut entries = [
            Entry::new(Kind::Emulator, "start"),
            Entry::new(Kind::Mosquitto, "start"),
        ];
        for (index, report) in &samples {
            entries[*index].sample.add(report);
        }
        for entry in &entries {
            table.row(&[
                entry.kind.name().into(),
                entry.cell("ready_ms", 1.0, "ms"),
                entry.cell("stop_ms", 1.0, "ms"),
                entry.cell("rss_mib", 1.0, "MiB"),
            ]);
        }
        for (measure, figure, unit, target) in [
            (
                "process start to every listener answering",
                "ready_ms",
                "ms",
                "≤ 10 ms",
            ),
            ("resident memory at rest", "rss_mib", "MiB", "≤ 10 MB"),
        ] {
            verdicts.push([
                measure.into(),
                entries[0].cell(figure, 1.0, unit),
                format!("mosquitto {}", entries[1].cell(figure, 1.0, unit)),
                target.into(),
            ]);
        }
        let size = std::fs::metadata(&self.emulator)?.len() as f64 / 1e6;
        verdicts.push([
            "release binary".into(),
            cell(Some(size), "MB"),
            String::new(),
            "≤ 12 MB".into(),
        ]);
        Ok(table.into_text())
    }

    fn start_once(
        &self,
        server: &Command,
        ports: &[u16],
        health: Option<u16>,
    ) -> anyhow::Result<Value> {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        let mut command = Command::new(&self.fleet);
        command.args([
            "--json",
            "start",
            "--rounds",
            "7",
            "--ports",
            &ports.join(","),
        ]);
        if let Some(port) = health {
            command.args(["--health", &port.to_string()]);
        }
        command
            .arg("--")
            .arg(server.get_program())
            .args(server.get_args());
        run_fleet(&mut command)
    }

    /// Runs each entry once a round, one after the other.
    pub(crate) fn measure(&self, mut entries: Vec<Entry>) -> anyhow::Result<Vec<Entry>> {
        for round in 1..=self.rounds {
            for entry in &mut entries {
                eprintln!(
                    "round {round}: {} {}{}",
                    entry.kind.name(),
                    entry.load.join(" "),
                    if entry.tls { " --tls" } else { "" }
                );
                let server = Server::start(self, entry.kind, entry.tls)?;
                let mut command = Command::new(&self.fleet);
                command
                    .arg("--json")
                    .args(&entry.load)
                    .args(server.target());
                entry.sample.add(&run_fleet(&mut command)?);
            }
        }
        Ok(entries)
    }
}

impl Entry {
    pub(crate) fn new(kind: Kind, load: &str) -> Self {
        Self {
            kind,
            tls: false,
            load: load.split(' ').map(str::to_owned).collect(),
            sample: Sample::default(),
        }
    }

    pub(crate) fn cell(&self, figure: &str, scale: f64, unit: &str) -> String {
        cell(self.sample.median(figure).map(|value| value * scale), unit)
    }
}

pub(crate) fn run_fleet(command: &mut Command) -> anyhow::Result<Value> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context("run the fleet")?;
    ensure!(output.status.success(), "{command:?} has failed");
    Ok(serde_json::from_slice(&output.stdout)?)
}
