//! What `serve` says when every listener accepts: the ready block and the ready file.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::http::Info;

/// The text for a person.
pub(super) fn block(info: &Info, notes: &[String]) -> String {
    let ports = info.ports();
    let host = info.hostname();
    let mut text = String::new();
    let mut line = |content: std::fmt::Arguments<'_>| {
        let _ = writeln!(text, "{content}");
    };
    line(format_args!(
        "IoT Hub emulator {} is ready.",
        env!("CARGO_PKG_VERSION")
    ));
    line(format_args!(""));
    line(format_args!("  MQTT over TLS    {host}:{}", ports.mqtts));
    line(format_args!("  MQTT             {host}:{}", ports.mqtt));
    line(format_args!("  AMQP over TLS    {host}:{}", ports.amqps));
    line(format_args!("  AMQP             {host}:{}", ports.amqp));
    line(format_args!(
        "  HTTPS, WSS       https://{host}:{}",
        ports.https
    ));
    line(format_args!(
        "  HTTP, WS         http://{host}:{}",
        ports.http
    ));
    if let Some(port) = ports.observe {
        line(format_args!(
            "  Observer bus     {host}:{port}  (mosquitto_sub -p {port} -t 'hub/#')"
        ));
    }
    if let Some(path) = info.ca_file() {
        line(format_args!("  CA certificate   {}", path.display()));
    }
    if info.needs_admin_token() {
        line(format_args!(
            "  Admin token      needed for the dashboard and the control API"
        ));
    }
    line(format_args!(""));
    for (policy, string) in info.connection_strings() {
        line(format_args!("  {policy:<19}{string}"));
    }
    if let Some(events) = info.events() {
        line(format_args!("  {:<19}{}", "events", events.tls));
        line(format_args!("  {:<19}{}", "events, plain", events.plain));
    }
    line(format_args!(""));
    line(format_args!(
        "Point SDKs to it:  eval \"$(iothub-emulator env)\""
    ));
    for note in notes {
        line(format_args!(""));
        line(format_args!("Note: {note}"));
    }
    text
}

/// Writes the ready file whole or not at all; it holds keys, so only its owner may read it.
pub(super) fn write_file(path: &Path, info: &Value) -> anyhow::Result<()> {
    let attempt = || format!("write the ready file {}", path.display());
    let mut name = path.file_name().with_context(attempt)?.to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&temporary).with_context(attempt)?;
    serde_json::to_writer_pretty(file, info).with_context(attempt)?;
    std::fs::rename(&temporary, path).with_context(attempt)
}
