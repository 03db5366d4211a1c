//! What it costs devices that somebody looks on: through the observer bus, and through the
//! dashboard, whose page holds the streams that a watcher here holds.

use serde_json::json;

use crate::cases::{Bench, Verdict, run_fleet};
use crate::sample::Sample;
use crate::server::Server;
use crate::table::{Table, cell, ratio};
use crate::watcher::Watcher;

/// Who looks on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// Nobody, and the bus has no port.
    Nobody,
    /// Nobody; the bus listens.
    BusOpen,
    /// An observer of a device that never says anything.
    BusIdle,
    /// An observer of everything.
    BusSaturated,
    /// The page is open where nothing but rates is shown.
    PageIdle,
    /// Pages are open that show rates, telemetry as it comes, and the timeline.
    PageBusy,
}

const LOOKS: [(Look, &str, &str); 6] = [
    (Look::Nobody, "nobody", ""),
    (Look::BusOpen, "observer bus on, no observer", ""),
    (Look::BusIdle, "observer bus, one of a silent device", ""),
    (Look::BusSaturated, "observer bus, one of `hub/#`", ""),
    (Look::PageIdle, "dashboard open and idle: rates", "≥ 0.99 ×"),
    (
        Look::PageBusy,
        "dashboard under load: rates, telemetry, timeline",
        "≥ 0.90 ×",
    ),
];

const STATS: &str = "/_emulator/stats?interval=1000";
const TELEMETRY: &str = "/_emulator/events?from=latest&sample=500";
const TIMELINE: &str = "/_emulator/timeline?follow=true&after=latest&kinds=notice,operation";

impl Bench {
    pub(crate) fn watched(&self, verdicts: &mut Vec<Verdict>) -> anyhow::Result<String> {
        let columns = [
            "load",
            "who looks on",
            "acknowledged/s",
            "beside nobody",
            "server CPU each",
            "beside nobody",
            "p99",
            "lost (worst round)",
            "watched, MB/s",
        ];
        let title = "Telemetry, QoS 1, while somebody looks on";
        let mut table = Table::new(title, &columns);
        for (name, devices, size, window, interval) in [
            ("1 × 100 B", 1, 100, 64, None),
            ("50 × 100 B", 50, 100, 16, None),
            ("40 × 100 B, 20,000/s", 40, 100, 16, Some(2)),
        ] {
            let mut load = format!(
                "telemetry --devices {devices} --size {size} --window {window} --seconds {}",
                self.seconds
            );
            if let Some(millis) = interval {
                load += &format!(" --interval {millis}");
            }
            let samples = self.looked_on(&load)?;
            let figure = |at: usize, name: &str| samples[at].median(name);
            for (at, (_, who, target)) in LOOKS.iter().enumerate() {
                let rate = ratio(figure(at, "per_second"), figure(0, "per_second"));
                table.row(&[
                    name.into(),
                    (*who).into(),
                    cell(figure(at, "per_second"), ""),
                    rate.clone(),
                    cell(figure(at, "cpu_us"), "µs"),
                    ratio(figure(at, "cpu_us"), figure(0, "cpu_us")),
                    cell(figure(at, "p99_us"), "µs"),
                    cell(samples[at].max("lost"), ""),
                    cell(figure(at, "watched_mb"), ""),
                ]);
                if at > 0 && interval.is_none() {
                    verdicts.push([
                        format!("telemetry QoS 1, {name}, {who}"),
                        cell(figure(at, "per_second"), ""),
                        format!("{rate} nobody"),
                        (*target).into(),
                    ]);
                }
            }
        }
        Ok(table.into_text())
    }

    /// The load under each look, interleaved.
    fn looked_on(&self, load: &str) -> anyhow::Result<[Sample; LOOKS.len()]> {
        let mut samples = LOOKS.map(|_| Sample::default());
        for round in 1..=self.rounds {
            for ((look, who, _), sample) in LOOKS.iter().zip(&mut samples) {
                eprintln!("round {round}: {load}; {who}");
                let (server, info) = match look {
                    Look::Nobody | Look::PageIdle | Look::PageBusy => Server::told(self, &[])?,
                    Look::BusOpen | Look::BusIdle | Look::BusSaturated => {
                        Server::told(self, &["--observe", "0"])?
                    }
                };
                let port = |name: &str| info["ports"][name].as_u64().unwrap_or_default() as u16;
                let bus = |filter| Watcher::of_bus(port("observe"), filter);
                let page = |path| Watcher::of_events(port("http"), path);
                let watchers = match look {
                    Look::Nobody | Look::BusOpen => vec![],
                    Look::BusIdle => vec![bus("hub/+/devices/nobody/connection")?],
                    Look::BusSaturated => vec![bus("hub/#")?],
                    Look::PageIdle => vec![page(STATS)?],
                    Look::PageBusy => vec![page(STATS)?, page(TELEMETRY)?, page(TIMELINE)?],
                };
                let mut command = std::process::Command::new(&self.fleet);
                command
                    .arg("--json")
                    .args(load.split(' '))
                    .args(server.target());
                sample.add(&run_fleet(&mut command)?);
                let bytes: u64 = watchers.into_iter().map(Watcher::end).sum();
                let per_second = bytes as f64 / 1e6 / self.seconds as f64;
                sample.add(&json!({"watched_mb": per_second}));
            }
        }
        Ok(samples)
    }
}
