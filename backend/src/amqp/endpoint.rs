//! Where AMQP is spoken, and how to get there: TCP, TLS, WebSocket (`spec/amqp.md` 1).

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::websocket;
use super::wire::Io;
use crate::{Error, ErrorKind};

/// The port of AMQP in TLS (`spec/amqp.md` 1, table).
pub(crate) const AMQPS_PORT: u16 = 5671;
/// Where a hub takes WebSockets.
pub(crate) const HUB_PATH: &str = "/$iothub/websocket";
/// Where an event hub does.
pub(crate) const EVENTS_PATH: &str = "/$servicebus/websocket";

/// Where AMQP is spoken.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// The peer's name, as it is told to it; without a port.
    pub(crate) host_name: String,
    /// The host and port to connect to.
    pub(crate) address: String,
    /// `None`: without TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// Within a WebSocket at this path.
    pub(crate) websocket: Option<&'static str>,
}

impl Endpoint {
    /// Opens the stream.
    pub(crate) async fn dial(&self) -> Result<Box<dyn Io>, Error> {
        let unreachable = |error| self.unreachable(error);
        let stream = TcpStream::connect(&self.address)
            .await
            .map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        match &self.tls {
            None => self.within(stream).await,
            Some(tls) => {
                let name = ServerName::try_from(self.host().to_owned()).map_err(|error| {
                    let what = format!("no host name that TLS could check: {}", self.host());
                    Error::caused_by(ErrorKind::Configuration(what), error)
                })?;
                let stream = TlsConnector::from(Arc::clone(tls))
                    .connect(name, stream)
                    .await
                    .map_err(unreachable)?;
                self.within(stream).await
            }
        }
    }

    async fn within<S: Io>(&self, stream: S) -> Result<Box<dyn Io>, Error> {
        let Some(path) = self.websocket else {
            return Ok(Box::new(stream));
        };
        match websocket::connect(stream, self.tls.is_some(), &self.address, path).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(self.unreachable(error)),
        }
    }

    /// The host of the address.
    fn host(&self) -> &str {
        let host = crate::transport::without_port(&self.address);
        host.trim_matches(['[', ']'])
    }

    pub(super) fn unreachable(
        &self,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        Error::caused_by(ErrorKind::Unreachable(self.address.clone()), error)
    }
}
