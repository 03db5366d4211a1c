//! TLS on accepted connections: the handshake, within a limit, and what it tells of the peer.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::{Bound, Peer, TlsPeer, TransportKind, tcp};

/// What a client has for its handshake. Half-open connections are bounded by this limit, not in
/// number: ten thousand of them stop no real client.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Serves connections over TLS until `stop` is cancelled, as [`tcp::serve`] does in the clear;
/// `serve_one` sees a connection when its handshake is done.
///
/// # Errors
///
/// As [`tcp::serve`].
pub async fn serve<S, F>(
    bound: Bound,
    config: Arc<ServerConfig>,
    stop: CancellationToken,
    serve_one: S,
) -> io::Result<()>
where
    S: Fn(Box<TlsStream<TcpStream>>, Peer, CancellationToken) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    serve_within(HANDSHAKE_LIMIT, bound, config, stop, serve_one).await
}

async fn serve_within<S, F>(
    limit: Duration,
    bound: Bound,
    config: Arc<ServerConfig>,
    stop: CancellationToken,
    serve_one: S,
) -> io::Result<()>
where
    S: Fn(Box<TlsStream<TcpStream>>, Peer, CancellationToken) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(config);
    tcp::serve(bound, stop, move |stream, peer, stop| {
        let acceptor = acceptor.clone();
        let serve_one = serve_one.clone();
        async move {
            // Boxed: what a handshake needs is not carried through the connection's idle days.
            let handshake = Box::pin(handshake(acceptor, stream, limit));
            let shaken = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                shaken = handshake => shaken,
            };
            match shaken {
                Ok(stream) => {
                    let tls = Some(Arc::new(TlsPeer::of(stream.get_ref().1)));
                    let peer = Peer {
                        tls,
                        kind: TransportKind::Tls,
                        ..peer
                    };
                    serve_one(stream, peer, stop).await;
                }
                Err(e) => log_refusal(&peer, &e),
            }
        }
    })
    .await
}

#[allow(
    clippy::disallowed_methods,
    reason = "a peer's time to shake hands is real time, whatever the hub's clock says"
)]
async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    limit: Duration,
) -> io::Result<Box<TlsStream<TcpStream>>> {
    let shake = async {
        // Until the first byte a connection costs a socket and this future, no TLS state.
        stream.readable().await?;
        acceptor.accept(stream).await.map(Box::new)
    };
    tokio::time::timeout(limit, shake)
        .await
        .unwrap_or_else(|_| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "no handshake in time",
            ))
        })
}

fn log_refusal(peer: &Peer, e: &io::Error) {
    let address = peer.address;
    match e
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        Some(rustls::Error::AlertReceived(alert)) => tracing::info!(
            %address,
            ?alert,
            "the client refused the TLS handshake: does it trust the emulator's CA, and is the \
             name that it dialled in the certificate?"
        ),
        _ => tracing::debug!(%address, error = %e, "TLS handshake failed"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::mpsc;
    use tokio_rustls::TlsConnector;

    use super::super::bind;
    use super::*;
    use iothub_protocol::Clock;

    use crate::certificates::{CertificateOptions, Certificates, ClientCertificate};
    use crate::clock::HubClock;

    const DEVICE: &[u8] = include_bytes!("../certificates/testdata/device-v1.pem");

    struct Fixture {
        address: SocketAddr,
        certificates: Certificates,
        peers: mpsc::Receiver<Peer>,
        stop: CancellationToken,
    }

    /// A TLS server that greets every client with one byte and tells who it was.
    fn fixture(limit: Duration) -> Fixture {
        let now = HubClock::system().now();
        let certificates =
            Certificates::load_or_create(&CertificateOptions::default(), now).unwrap();
        let bound = bind(&[IpAddr::V4(Ipv4Addr::LOCALHOST)], 0).unwrap();
        let address = bound.addresses()[0];
        let (tell, peers) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let config = certificates.server_config();
        let greet = move |mut stream: Box<TlsStream<TcpStream>>, peer, _stop| {
            let tell = tell.clone();
            async move {
                let _ = stream.write_all(b"!").await;
                let _ = stream.shutdown().await;
                let _ = tell.send(peer).await;
            }
        };
        tokio::spawn(serve_within(limit, bound, config, stop.clone(), greet));
        Fixture {
            address,
            certificates,
            peers,
            stop,
        }
    }

    impl Fixture {
        fn client(&self, version: &'static rustls::SupportedProtocolVersion) -> ClientConfig {
            self.builder(version).with_no_client_auth()
        }

        /// A client that presents the device's certificate and signs with `key`. (rustls' usual
        /// way to configure a certificate takes no version 1.)
        fn device(
            &self,
            version: &'static rustls::SupportedProtocolVersion,
            key: PrivateKeyDer<'static>,
        ) -> ClientConfig {
            let certificate = CertificateDer::from_pem_slice(DEVICE).unwrap();
            let provider = rustls::crypto::ring::default_provider();
            let signer = provider.key_provider.load_private_key(key).unwrap();
            let device = rustls::sign::CertifiedKey::new(vec![certificate], signer);
            let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(device));
            self.builder(version).with_client_cert_resolver(resolver)
        }

        fn builder(
            &self,
            version: &'static rustls::SupportedProtocolVersion,
        ) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificates.ca_der().clone()).unwrap();
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots)
        }

        /// Connects, reads the greeting, and returns what the client knows of the handshake.
        async fn greeted(
            &mut self,
            config: Arc<ClientConfig>,
        ) -> (Option<ProtocolVersion>, Option<HandshakeKind>, Peer) {
            let tcp = TcpStream::connect(self.address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = TlsConnector::from(config).connect(name, tcp).await.unwrap();
            let mut greeting = Vec::new();
            stream.read_to_end(&mut greeting).await.unwrap();
            assert_eq!(greeting, b"!");
            let connection = stream.get_ref().1;
            let peer = self.peers.recv().await.unwrap();
            (
                connection.protocol_version(),
                connection.handshake_kind(),
                peer,
            )
        }
    }

    #[tokio::test]
    async fn both_versions_are_spoken_and_the_server_name_is_told() {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let mut fixture = fixture(HANDSHAKE_LIMIT);
            let config = Arc::new(fixture.client(version));

            let (spoken, _, peer) = fixture.greeted(config).await;

            assert_eq!(spoken, Some(version.version));
            assert_eq!(peer.kind, TransportKind::Tls);
            let tls = TlsPeer {
                server_name: Some("localhost".to_owned()),
                certificates: Vec::new(),
            };
            assert_eq!(peer.tls, Some(Arc::new(tls)));
        }
    }

    #[tokio::test]
    async fn a_client_certificate_of_any_issuer_is_kept_and_survives_resumption() {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let mut fixture = fixture(HANDSHAKE_LIMIT);
            let key = PrivateKeyDer::from_pem_slice(DEVICE).unwrap();
            let config = Arc::new(fixture.device(version, key));

            let (_, first, full) = fixture.greeted(config.clone()).await;
            let (_, second, resumed) = fixture.greeted(config).await;

            assert_eq!(first, Some(HandshakeKind::Full));
            assert_eq!(second, Some(HandshakeKind::Resumed));
            assert_eq!(full.tls, resumed.tls);
            let certificates = &full.tls.unwrap().certificates;
            assert_eq!(certificates.len(), 1);
            let read = ClientCertificate::parse(&certificates[0]).unwrap();
            assert_eq!(read.common_name.as_deref(), Some("d1"));
        }
    }

    #[tokio::test]
    async fn a_certificate_without_its_key_is_refused() {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let fixture = fixture(HANDSHAKE_LIMIT);
            let other = rcgen::KeyPair::generate().unwrap();
            let key = PrivateKeyDer::Pkcs8(other.serialize_der().into());
            let config = fixture.device(version, key);

            let tcp = TcpStream::connect(fixture.address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let refused = match TlsConnector::from(Arc::new(config))
                .connect(name, tcp)
                .await
            {
                Ok(mut stream) => stream.read_u8().await.map(|_| ()),
                Err(e) => Err(e),
            };

            assert!(refused.is_err());
        }
    }

    #[tokio::test]
    async fn half_open_connections_stop_no_real_one_and_end_at_the_limit() {
        let mut fixture = fixture(Duration::from_millis(200));
        let mut half_open = Vec::new();
        for nth in 0..200 {
            let mut stream = TcpStream::connect(fixture.address).await.unwrap();
            if nth % 2 == 0 {
                // The start of a record that never ends.
                stream.write_all(&[22, 3, 1, 1, 0]).await.unwrap();
            }
            half_open.push(stream);
        }

        let config = Arc::new(fixture.client(&rustls::version::TLS13));
        fixture.greeted(config).await;

        for mut stream in half_open {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            assert_eq!(rest, b"");
        }
    }

    #[tokio::test]
    async fn bytes_that_are_not_tls_end_their_own_connection_only() {
        let mut fixture = fixture(HANDSHAKE_LIMIT);
        let mut plain = TcpStream::connect(fixture.address).await.unwrap();

        plain
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        let mut rest = Vec::new();
        let _ = plain.read_to_end(&mut rest).await;

        assert!(rest.len() <= 7, "an alert at most, not {rest:?}");
        let config = Arc::new(fixture.client(&rustls::version::TLS12));
        fixture.greeted(config).await;
    }

    #[tokio::test]
    async fn a_stop_ends_a_handshake_under_way() {
        let fixture = fixture(HANDSHAKE_LIMIT);
        let mut silent = TcpStream::connect(fixture.address).await.unwrap();

        fixture.stop.cancel();

        let mut rest = Vec::new();
        let _ = silent.read_to_end(&mut rest).await;
        assert_eq!(rest, b"");
    }

    #[tokio::test]
    async fn any_alpn_offer_is_passed_over() {
        let mut fixture = fixture(HANDSHAKE_LIMIT);
        let mut config = fixture.client(&rustls::version::TLS13);
        config.alpn_protocols = vec![b"mqtt".to_vec(), b"http/1.1".to_vec()];

        fixture.greeted(Arc::new(config)).await;
    }
}
