//! `healthcheck`: for containers, which have no shell to ask with.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

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
}

const LIMIT: Duration = Duration::from_secs(3);

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
        let request = format!(
            "GET /_emulator/health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream
            .take(4096)
            .read_to_end(&mut answer)
            .context("read the answer")?;
        if !answer.starts_with(b"HTTP/1.1 200") {
            let answer = String::from_utf8_lossy(&answer);
            bail!(
                "not ready: {}",
                answer.lines().next().unwrap_or("no answer")
            );
        }
        Ok(())
    }
}
