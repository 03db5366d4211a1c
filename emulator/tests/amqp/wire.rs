//! What carries a client's bytes: TCP, TLS, or WebSocket.
#![allow(dead_code, reason = "each set of tests uses its part of this")]

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::{SinkExt, StreamExt};
use iothub_emulator::Emulator;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsConnector, rustls};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// What carries a client's bytes.
pub(crate) enum Wire {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    WebSocket(Box<WebSocketStream<TcpStream>>),
}

impl Wire {
    /// To the listener in the clear.
    pub(crate) async fn tcp(emulator: &Emulator) -> Self {
        Self::Tcp(dial(emulator.ports().amqp).await)
    }

    /// To the TLS listener, trusting the emulator's authority.
    pub(crate) async fn tls(emulator: &Emulator) -> Self {
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots(emulator))
            .with_no_client_auth();
        Self::handshake(emulator, config).await
    }

    /// As [`Self::tls`], with a client certificate: its chain and its key as PEM texts.
    pub(crate) async fn tls_as(emulator: &Emulator, chain: &str, key: &str) -> Self {
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots(emulator))
            .with_client_auth_cert(chain, key)
            .unwrap();
        Self::handshake(emulator, config).await
    }

    async fn handshake(emulator: &Emulator, config: rustls::ClientConfig) -> Self {
        let stream = dial(emulator.ports().amqps).await;
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        Self::Tls(Box::new(connector.connect(name, stream).await.unwrap()))
    }

    /// To the HTTP listener, by a path with whatever query.
    pub(crate) async fn websocket(emulator: &Emulator, path: &str) -> Self {
        let port = emulator.ports().http;
        let mut request = format!("ws://127.0.0.1:{port}{path}")
            .into_client_request()
            .unwrap();
        let protocol = "AMQPWSB10".parse().unwrap();
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", protocol);
        let stream = dial(port).await;
        let (socket, response) = tokio_tungstenite::client_async(request, stream)
            .await
            .unwrap();
        assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "AMQPWSB10");
        Self::WebSocket(Box::new(socket))
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes).await,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
            Self::WebSocket(socket) => {
                let message = Message::binary(bytes.to_vec());
                socket.send(message).await.map_err(io::Error::other)
            }
        }
    }

    /// Appends what comes next; 0 at the end, however it came about.
    pub(crate) async fn read(&mut self, buffer: &mut BytesMut) -> usize {
        // A read takes no more than there is room for.
        buffer.reserve(64 * 1024);
        match self {
            Self::Tcp(stream) => stream.read_buf(buffer).await.unwrap_or(0),
            Self::Tls(stream) => stream.read_buf(buffer).await.unwrap_or(0),
            Self::WebSocket(socket) => loop {
                match socket.next().await {
                    Some(Ok(Message::Binary(bytes))) if !bytes.is_empty() => {
                        buffer.extend_from_slice(&bytes);
                        return bytes.len();
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return 0,
                    Some(Ok(_)) => {}
                }
            },
        }
    }
}

async fn dial(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn roots(emulator: &Emulator) -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(emulator.info().ca_pem().as_bytes()).unwrap();
    roots.add(ca).unwrap();
    roots
}
