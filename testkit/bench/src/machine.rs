//! What the figures were measured on.

use std::fs;
use std::process::Command;

/// One line about processor, memory and kernel, one about the versions of the peers.
pub(crate) fn describe(mosquitto: &std::path::Path) -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = field(&cpuinfo, "model name").unwrap_or("unknown processor");
    let cores = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes: u64 = field(&meminfo, "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();

    let help = Command::new(mosquitto).arg("-h").output();
    let help = help
        .map(|it| String::from_utf8_lossy(&it.stdout).into_owned())
        .unwrap_or_default();
    let mosquitto = help.lines().next().unwrap_or("mosquitto").to_owned();
    format!(
        "{model}, {cores} cores, {} GiB, Linux {}; load average before the run {load}. \
         Peers: {mosquitto}; rumqttd 0.20.0.",
        kibibytes.div_ceil(1 << 20),
        kernel.trim()
    )
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}
