//! The device endpoint over MQTT 3.1.1 (`spec/device.md` 2 to 7).
//!
//! `admission` lets clients in; `connection` owns the stream and the timers; `session` turns packets into what is asked of the
//! hub, and the hub's deliveries and replies into packets. Neither decides anything about devices.

mod admission;
mod connection;
mod refusal;
mod session;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::handle::HubHandle;
use crate::timeline::{Protocol, Tap, Tapped};
use crate::transport::Peer;

/// The limits of the endpoint, and what it does where there is a choice.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a connection may stay silent before its CONNECT (`spec/device.md` 2.1).
    pub connect_timeout: Duration,
    /// The longest silence of a connection, whatever its keep-alive (`spec/device.md` 2.5).
    pub keep_alive_ceiling: Duration,
    /// Bytes of a packet. Larger than the largest message, so that the message limit decides.
    pub packet_limit: usize,
    /// What becomes of a PUBLISH to a topic that the hub does not have.
    pub unknown_topic: UnknownTopic,
    /// What becomes of a SUBSCRIBE to a filter that the hub does not have.
    pub unknown_filter: UnknownFilter,
    /// Filters of one SUBSCRIBE; `None`: any number (`spec/device.md` 2.8).
    pub topic_filters: Option<usize>,
    /// What becomes of a will for something else than the client's own telemetry.
    pub foreign_will: ForeignWill,
    /// How a disabled device is refused.
    pub disabled_connack: DisabledConnack,
}

/// What becomes of a PUBLISH to a topic that the hub does not have (`spec/device.md` 2.8, Q8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownTopic {
    /// The connection ends.
    #[default]
    Close,
    /// It is acknowledged and dropped.
    Drop,
}

/// What becomes of a SUBSCRIBE to a filter that the hub does not have (`spec/device.md` 2.8, Q9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownFilter {
    /// The connection ends.
    #[default]
    Close,
    /// There is no such subscription: 0x80.
    Refuse,
}

/// What becomes of a will for something else than the client's own telemetry (`spec/device.md`
/// 2.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForeignWill {
    /// The client is not let in.
    #[default]
    Refuse,
    /// It is let in without a will.
    Drop,
}

/// How a disabled device is refused (`spec/device.md` 2.4, Q1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DisabledConnack {
    /// Return code 5, as seen since 2019.
    #[default]
    NotAuthorized,
    /// Return code 3, as seen before.
    ServerUnavailable,
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
            unknown_topic: UnknownTopic::default(),
            unknown_filter: UnknownFilter::default(),
            topic_filters: Some(5),
            foreign_will: ForeignWill::default(),
            disabled_connack: DisabledConnack::default(),
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
        let tap = Tap::new(self.handle.timeline().clone(), Protocol::Mqtt, &peer);
        let stream = Tapped::new(stream, tap);
        connection::serve(&self.handle, &self.settings, stream, &peer, &shutdown).await;
    }
}
