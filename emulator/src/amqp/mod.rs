//! The AMQP 1.0 endpoint: devices, back ends, and readers of events (`spec/amqp.md`).
//!
//! `connection` owns the stream and the timers, `protocol::amqp::Connection` the protocol's rules,
//! `nodes` what an address means: one file per node, chosen by one table. Nothing here decides
//! anything about devices.

mod authority;
mod connection;
mod devices;
mod nodes;
mod output;
mod responder;
mod shared;
mod signals;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::handle::HubHandle;
use crate::timeline::{Protocol, Tap, Tapped};
use crate::transport::Peer;

pub(crate) use authority::is_event_hub;

/// The limits of the endpoint.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a connection may take until it is open.
    pub open_timeout: Duration,
    /// How long an open connection may take until it has proved who it is or has a link.
    pub authentication_timeout: Duration,
    /// Silence of a peer that is told to it as the limit (`spec/amqp.md` 2.3).
    pub idle_timeout: Duration,
    /// Bytes of a frame that are taken.
    pub max_frame_size: u32,
    /// Sessions of a connection.
    pub max_sessions: u16,
    /// Links of a connection.
    pub max_links: u32,
    /// Bytes of a connection's unfinished deliveries, of all links together.
    pub max_unfinished: usize,
    /// The port that readers of events are sent to from the hub's own address (`spec/amqp.md` 6.1).
    pub redirect_port: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            open_timeout: Duration::from_secs(30),
            authentication_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(240),
            max_frame_size: 64 * 1024,
            max_sessions: 1024,
            max_links: 8192,
            max_unfinished: 4 * 1024 * 1024,
            redirect_port: 5671,
        }
    }
}

/// Serves AMQP connections. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint {
    handle: HubHandle,
    settings: Arc<Settings>,
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
        let tap = Tap::new(self.handle.timeline().clone(), Protocol::Amqp, &peer);
        let stream = Tapped::new(stream, tap);
        connection::serve(&self.handle, &self.settings, stream, peer, shutdown).await;
    }
}
