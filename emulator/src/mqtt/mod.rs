//! The device endpoint over MQTT 3.1.1 (`spec/device.md` 2 to 7).
//!
//! `connection` owns the stream and the timers; `session` turns packets into what is asked of the
//! hub, and the hub's deliveries and replies into packets. Neither decides anything about devices.

mod connection;
mod read;
mod refusal;
mod session;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::handle::HubHandle;
use crate::transport::Peer;

/// The limits of the endpoint.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a connection may stay silent before its CONNECT (`spec/device.md` 2.1).
    pub connect_timeout: Duration,
    /// The longest silence of a connection, whatever its keep-alive (`spec/device.md` 2.5).
    pub keep_alive_ceiling: Duration,
    /// Bytes of a packet. Larger than the largest message, so that the message limit decides.
    pub packet_limit: usize,
}

/// Serves MQTT connections. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint {
    handle: HubHandle,
    settings: Arc<Settings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(30),
            keep_alive_ceiling: Duration::from_secs(1767),
            packet_limit: 256 * 1024 + 64 * 1024 + 8,
        }
    }
}

impl Endpoint {
    /// An endpoint of this hub.
    pub fn new(handle: HubHandle, settings: Settings) -> Self {
        Self {
            handle,
            settings: Arc::new(settings),
        }
    }

    /// Serves one connection to its end, or until `shutdown`.
    pub async fn serve<S>(&self, stream: S, peer: Peer, shutdown: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        connection::serve(&self.handle, &self.settings, stream, &peer, &shutdown).await;
    }
}
