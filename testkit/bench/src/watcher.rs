//! Those who look on while devices send: clients that read whatever comes and throw it away.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::thread::JoinHandle;

use anyhow::{Context, ensure};

/// A connection that is read until it is dropped.
pub(crate) struct Watcher {
    stream: TcpStream,
    reader: Option<JoinHandle<u64>>,
}

/// CONNECT of MQTT 3.1.1 with a clean session, without keep-alive and client id.
const CONNECT: &[u8] = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00";
/// CONNACK, accepted.
const ACCEPTED: [u8; 4] = [0x20, 2, 0, 0];

impl Watcher {
    /// Subscribes to a filter of the observer bus; it is in force when this returns.
    pub(crate) fn of_bus(port: u16, filter: &str) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.write_all(CONNECT)?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        ensure!(answer == ACCEPTED, "the observer bus refuses: {answer:?}");
        let length = u8::try_from(filter.len()).context("a long filter")?;
        let mut subscribe = vec![0x82, length + 5, 0, 1, 0, length];
        subscribe.extend_from_slice(filter.as_bytes());
        subscribe.push(0);
        stream.write_all(&subscribe)?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        ensure!(answer == [0x90, 3, 0, 1, 0], "{filter}: {answer:?}");
        Self::reading(stream)
    }

    /// Follows a stream of server-sent events.
    pub(crate) fn of_events(port: u16, path: &str) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.write_all(
            format!(
                "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n\r\n"
            )
            .as_bytes(),
        )?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        let told = String::from_utf8_lossy(&status);
        ensure!(&status == b"HTTP/1.1 200", "{path}: {told}");
        Self::reading(stream)
    }

    fn reading(stream: TcpStream) -> anyhow::Result<Self> {
        let mut source = stream.try_clone()?;
        let reader = std::thread::spawn(move || {
            let mut buffer = vec![0; 256 * 1024];
            let mut bytes = 0;
            loop {
                match source.read(&mut buffer) {
                    Ok(0) => return bytes,
                    Ok(count) => bytes += count as u64,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => return bytes,
                }
            }
        });
        Ok(Self {
            stream,
            reader: Some(reader),
        })
    }

    /// Ends it; answers how many bytes came.
    pub(crate) fn end(mut self) -> u64 {
        // Whoever sent may have closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
        let reader = self.reader.take();
        reader.and_then(|it| it.join().ok()).unwrap_or_default()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
