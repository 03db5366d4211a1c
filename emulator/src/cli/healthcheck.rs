//! `healthcheck`: for containers, which have no shell to ask with.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use super::output;

/// Asks a running emulator whether it is ready.
#[derive(Debug, Args)]
pub(crate) struct HealthcheckCommand {
    /// Host and port of the emulator's HTTP listener.
    #[arg(
        long,
        env = "IOTHUB_EMULATOR_HEALTH_ADDRESS",
        default_value = "127.0.0.1:8080"
    )]
    address: String,
    /// Print what listens where, what the hub does, and what it refused last.
    #[arg(long, short)]
    verbose: bool,
    /// The admin token that the running emulator was started with, for --verbose.
    #[arg(
        long,
        env = "IOTHUB_EMULATOR_ADMIN_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    admin_token: Option<String>,
}

const LIMIT: Duration = Duration::from_secs(3);
/// Bytes of an answer that are read.
const LONGEST: u64 = 64 * 1024;

impl HealthcheckCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let address = &self.address;
        let target = address
            .to_socket_addrs()
            .with_context(|| format!("look up {address}"))?
            .next()
            .with_context(|| format!("{address} has no address"))?;
        let mut stream = TcpStream::connect_timeout(&target, LIMIT)
            .with_context(|| format!("no emulator answers at {address}"))?;
        stream.set_read_timeout(Some(LIMIT))?;
        let kind = match self.verbose {
            true => "text/plain",
            false => "application/json",
        };
        let proof = match self.admin_token.filter(|_| self.verbose) {
            Some(token) => format!("Authorization: Bearer {token}\r\n"),
            None => String::new(),
        };
        let request = format!(
            "GET /_emulator/health HTTP/1.1\r\nHost: {address}\r\nAccept: {kind}\r\n{proof}\
             Connection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream
            .take(LONGEST)
            .read_to_end(&mut answer)
            .context("read the answer")?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, report) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if self.verbose && head.contains("text/plain") {
            output::text(report)?;
        }
        if !answer.starts_with("HTTP/1.1 200") {
            bail!(
                "not ready: {}",
                answer.lines().next().unwrap_or("no answer")
            );
        }
        Ok(())
    }
}
