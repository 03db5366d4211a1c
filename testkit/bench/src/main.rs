//! The emulator beside mosquitto, rumqttd and a bare TLS loop, driven by the same `fleet`.
//!
//! Rounds are interleaved over the servers, each measurement has a server process of its own, and
//! what is told is the median of the rounds. Prints Markdown; `emulator/docs/benchmarks.md` explains
//! the figures.

mod amqp;
mod cases;
mod machine;
mod postgres;
mod sample;
mod server;
mod table;
mod watched;
mod watcher;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;

use crate::cases::Bench;

fn main() -> anyhow::Result<()> {
    let mut bench = Bench {
        fleet: variable("FLEET")?,
        emulator: variable("EMULATOR")?,
        rumqttd: variable("RUMQTTD")?,
        mosquitto: variable("MOSQUITTO")?,
        postgres: variable("POSTGRES")?,
        rounds: number("ROUNDS", 3)?,
        seconds: number("DURATION", 2)?,
        scratch: std::env::temp_dir().join(format!("iothub-bench-{}", std::process::id())),
    };
    std::fs::create_dir_all(&bench.scratch)?;
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let report = bench.run(&wanted);
    std::fs::remove_dir_all(&bench.scratch)?;
    std::io::stdout().write_all(report?.as_bytes())?;
    Ok(())
}

fn variable(name: &str) -> anyhow::Result<PathBuf> {
    let value = std::env::var_os(name).with_context(|| format!("{name} is not set; use `run`"))?;
    Ok(PathBuf::from(value))
}

fn number(name: &str, default: usize) -> anyhow::Result<usize> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is no number")),
        Err(_) => Ok(default),
    }
}
