//! MQTT over TLS, plain TCP or WebSocket: where to connect, and what a failure means.

use std::sync::Arc;
use std::time::Duration;

use iothub_protocol::ClientId;
use rumqttc::{
    ConnectReturnCode, ConnectionError, MqttOptions, StateError, TlsConfiguration, TlsError,
};
use tokio_rustls::rustls::ClientConfig;

use crate::trust::is_untrusted;
use crate::{ConnectRefusal, Error, ErrorKind};

/// How the hub is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// MQTT over TLS.
    Tls { host: String, port: u16 },
    /// MQTT over plain TCP; no hub but an emulator has it.
    Tcp { host: String, port: u16 },
    /// MQTT over WebSocket over TLS (`spec/device.md` 1.2).
    SecureWebSocket { host: String, port: u16 },
    /// MQTT over WebSocket over plain TCP; no hub but an emulator has it.
    WebSocket { host: String, port: u16 },
}

/// Everything about a connection but the password.
pub(crate) struct Transport {
    pub(crate) endpoint: Endpoint,
    /// Of no use on plain endpoints, and absent there.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) client: ClientId,
    pub(crate) user_name: String,
    pub(crate) keep_alive: Duration,
}

impl Transport {
    /// The options of one connection.
    pub(crate) fn options(&self, password: &str) -> MqttOptions {
        let (host, port) = match &self.endpoint {
            Endpoint::Tls { host, port } | Endpoint::Tcp { host, port } => (host.clone(), *port),
            // The port of the URL counts.
            Endpoint::SecureWebSocket { port, .. } | Endpoint::WebSocket { port, .. } => {
                (self.endpoint.url(), *port)
            }
        };
        let mut options = MqttOptions::new(self.client.to_string(), host, port);
        options
            .set_transport(self.rumqttc_transport())
            .set_credentials(&self.user_name, password)
            .set_clean_session(false)
            .set_keep_alive(self.keep_alive)
            .set_max_packet_size(LARGEST_PACKET, LARGEST_PACKET)
            .set_inflight(crate::session::WINDOW as u16)
            // An acknowledgement of a cloud-to-device message completes it, so it has its time.
            .set_manual_acks(true);
        options
    }

    /// What a failure of the connection means to the caller.
    pub(crate) fn explain(&self, error: ConnectionError) -> Error {
        let address = || self.endpoint.url();
        let kind = match &error {
            ConnectionError::ConnectionRefused(code) => match code {
                ConnectReturnCode::RefusedProtocolVersion => {
                    ErrorKind::ConnectionRefused(ConnectRefusal::ProtocolVersion)
                }
                ConnectReturnCode::BadClientId => {
                    ErrorKind::ConnectionRefused(ConnectRefusal::ClientId)
                }
                ConnectReturnCode::ServiceUnavailable => {
                    ErrorKind::ConnectionRefused(ConnectRefusal::Unavailable)
                }
                ConnectReturnCode::BadUserNamePassword => {
                    ErrorKind::ConnectionRefused(ConnectRefusal::Credentials)
                }
                ConnectReturnCode::NotAuthorized => {
                    ErrorKind::ConnectionRefused(ConnectRefusal::NotAuthorized)
                }
                ConnectReturnCode::Success => ErrorKind::Interrupted,
            },
            _ if is_untrusted(&error) => ErrorKind::Untrusted(address()),
            ConnectionError::MqttState(StateError::Deserialization(_))
            | ConnectionError::NotConnAck(_) => {
                ErrorKind::UnexpectedAnswer("not the MQTT that was expected".into())
            }
            ConnectionError::MqttState(_) | ConnectionError::FlushTimeout => ErrorKind::Interrupted,
            _ => ErrorKind::Unreachable(address()),
        };
        match (kind, error) {
            // The code says all there is.
            (kind @ ErrorKind::ConnectionRefused(_), _) => Error::new(kind),
            // These only repeat what they wrap.
            (
                kind,
                ConnectionError::Io(error)
                | ConnectionError::Tls(TlsError::Io(error))
                | ConnectionError::MqttState(StateError::Io(error)),
            ) => Error::caused_by(kind, error),
            (kind, error) => Error::caused_by(kind, error),
        }
    }

    fn rumqttc_transport(&self) -> rumqttc::Transport {
        let tls = || {
            let config = self
                .tls
                .as_ref()
                .expect("the builder configures TLS where it is spoken");
            TlsConfiguration::Rustls(Arc::clone(config))
        };
        match &self.endpoint {
            Endpoint::Tls { .. } => rumqttc::Transport::tls_with_config(tls()),
            Endpoint::Tcp { .. } => rumqttc::Transport::tcp(),
            Endpoint::SecureWebSocket { .. } => rumqttc::Transport::wss_with_config(tls()),
            Endpoint::WebSocket { .. } => rumqttc::Transport::ws(),
        }
    }
}

impl Endpoint {
    /// Whether TLS is spoken there.
    pub(crate) fn is_secure(&self) -> bool {
        matches!(self, Self::Tls { .. } | Self::SecureWebSocket { .. })
    }

    /// The address in a form that says it all.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Tls { host, port } => format!("mqtts://{host}:{port}"),
            Self::Tcp { host, port } => format!("mqtt://{host}:{port}"),
            Self::SecureWebSocket { host, port } => format!("wss://{host}:{port}{PATH}"),
            Self::WebSocket { host, port } => format!("ws://{host}:{port}{PATH}"),
        }
    }
}

const PATH: &str = "/$iothub/websocket";
/// More than any message of the hub has: twins with 64 KiB, method calls with 128 KiB, and telemetry
/// with 256 KiB, each with its topic.
const LARGEST_PACKET: usize = 512 * 1024;

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use tokio_rustls::rustls;

    use super::*;

    fn transport(endpoint: Endpoint) -> Transport {
        Transport {
            endpoint,
            tls: None,
            client: ClientId::parse("d1/m1").unwrap(),
            user_name: "user".into(),
            keep_alive: Duration::from_secs(60),
        }
    }

    fn plain() -> Transport {
        transport(Endpoint::Tcp {
            host: "h".into(),
            port: 1,
        })
    }

    #[test]
    fn refusals_by_the_hub_are_final_unless_it_is_unavailable() {
        for (code, refusal, is_final) in [
            (
                ConnectReturnCode::NotAuthorized,
                ConnectRefusal::NotAuthorized,
                true,
            ),
            (
                ConnectReturnCode::BadUserNamePassword,
                ConnectRefusal::Credentials,
                true,
            ),
            (
                ConnectReturnCode::BadClientId,
                ConnectRefusal::ClientId,
                true,
            ),
            (
                ConnectReturnCode::RefusedProtocolVersion,
                ConnectRefusal::ProtocolVersion,
                true,
            ),
            (
                ConnectReturnCode::ServiceUnavailable,
                ConnectRefusal::Unavailable,
                false,
            ),
        ] {
            let error = plain().explain(ConnectionError::ConnectionRefused(code));

            assert_eq!(error.kind(), &ErrorKind::ConnectionRefused(refusal));
            assert_eq!(error.is_final(), is_final, "{refusal:?}");
        }
    }

    #[test]
    fn certificate_that_is_not_trusted_is_found_inside_an_io_error() {
        let cause = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let io = std::io::Error::new(std::io::ErrorKind::InvalidData, cause);

        let error = plain().explain(ConnectionError::Io(io));

        assert_eq!(error.kind(), &ErrorKind::Untrusted("mqtt://h:1".into()));
        let source = error.source().map(ToString::to_string);
        assert_eq!(
            source.as_deref(),
            Some("invalid peer certificate: UnknownIssuer")
        );
        assert!(error.is_final());
    }

    #[test]
    fn lost_and_unreachable_connections_are_tried_again() {
        let lost = plain().explain(ConnectionError::MqttState(StateError::ConnectionAborted));
        let unreachable = plain().explain(ConnectionError::NetworkTimeout);

        assert_eq!(lost.kind(), &ErrorKind::Interrupted);
        assert_eq!(
            unreachable.kind(),
            &ErrorKind::Unreachable("mqtt://h:1".into())
        );
        assert!(!lost.is_final() && !unreachable.is_final());
    }

    #[test]
    fn connection_keeps_its_session_and_names_its_client() {
        let options = plain().options("secret");

        assert!(!options.clean_session());
        assert_eq!(options.client_id(), "d1/m1");
        assert_eq!(options.keep_alive(), Duration::from_secs(60));
        assert_eq!(options.broker_address(), ("h".into(), 1));
    }

    #[test]
    fn web_socket_has_its_path() {
        let endpoint = Endpoint::WebSocket {
            host: "h".into(),
            port: 8080,
        };

        let options = transport(endpoint).options("secret");

        assert_eq!(options.broker_address().0, "ws://h:8080/$iothub/websocket");
    }
}
