//! Who is at the other end of a connection.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_rustls::rustls::ServerConnection;

/// The other end of a connection, as far as the transport knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where the connection comes from.
    pub address: SocketAddr,
    /// What the TLS handshake told, if there was one.
    pub tls: Option<Arc<TlsPeer>>,
    /// What carries the bytes.
    pub kind: TransportKind,
}

/// What the TLS handshake told of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsPeer {
    /// The host that the client believes to speak to (SNI); none if it dialled an address.
    pub server_name: Option<String>,
    /// The certificates that the client presented, its own first, in DER form. The client holds the
    /// key of the first; nobody vouches for the rest (`spec/device.md` 1.3).
    pub certificates: Vec<Vec<u8>>,
}

/// What carries the bytes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportKind {
    /// TCP, in the clear.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket frames over HTTP in the clear.
    WebSocket,
    /// WebSocket frames over HTTPS.
    SecureWebSocket,
}

impl Peer {
    /// The same peer, once its HTTP connection has become a WebSocket.
    #[must_use]
    pub fn over_websocket(&self) -> Self {
        let kind = match self.kind {
            TransportKind::Tcp | TransportKind::WebSocket => TransportKind::WebSocket,
            TransportKind::Tls | TransportKind::SecureWebSocket => TransportKind::SecureWebSocket,
        };
        Self {
            kind,
            ..self.clone()
        }
    }
}

impl TlsPeer {
    pub(super) fn of(connection: &ServerConnection) -> Self {
        let certificates = connection.peer_certificates().unwrap_or_default();
        Self {
            server_name: connection.server_name().map(str::to_owned),
            certificates: certificates
                .iter()
                .map(|der| der.as_ref().to_vec())
                .collect(),
        }
    }
}
