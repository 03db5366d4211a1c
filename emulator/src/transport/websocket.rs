//! WebSocket as a stream of bytes: the server's half of the opening handshake, and binary frames
//! whose boundaries mean nothing (`spec/device.md` 1.2).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// The largest frame or message that is taken from a client. The boundaries carry no meaning, so
/// this limits memory, not packets: four times the largest MQTT message.
const MESSAGE_LIMIT: usize = 1 << 20;
/// Allocated for as long as the connection lives, so small; it grows while large frames arrive.
const READ_BUFFER: usize = 4 * 1024;
/// The largest frame that is sent.
const WRITE_FRAME: usize = 64 * 1024;

/// Answers a request to become a WebSocket that speaks `protocol`.
///
/// The response is to be sent as it is; the upgrade then yields the stream. The subprotocol is
/// compared without case and echoed as the client spelled it. Extensions are declined by silence,
/// `permessage-deflate` among them.
///
/// # Errors
///
/// What is wrong with the request; the refusal is itself a response.
pub fn accept<B>(request: &mut Request<B>, protocol: &str) -> Result<(Response, Upgrade), Refusal> {
    let headers = request.headers();
    if request.method() != Method::GET
        || request.version() < Version::HTTP_11
        || !has_token(headers, &header::CONNECTION, "upgrade")
        || !has_token(headers, &header::UPGRADE, "websocket")
    {
        return Err(Refusal::NoUpgrade);
    }
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        return Err(Refusal::Version);
    }
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .ok_or(Refusal::NoKey)?;
    let accept_key = derive_accept_key(key.as_bytes());
    let chosen = offered(headers, protocol).ok_or(Refusal::Protocol)?;

    let response = http::Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept_key)
        .header(header::SEC_WEBSOCKET_PROTOCOL, chosen)
        .body(Body::empty())
        .map_err(|_| Refusal::Protocol)?;
    Ok((response, Upgrade(hyper::upgrade::on(request))))
}

/// Whether the client offers `protocol`, spelled in whatever case.
pub fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    offered(headers, protocol).is_some()
}

/// The subprotocol that is `wanted`, exactly as it stands in the list of those `offered`: strict
/// clients compare the echo (`spec/device.md` 1.2).
pub fn subprotocol<'a>(offered: &'a str, wanted: &str) -> Option<&'a str> {
    offered
        .split(',')
        .map(str::trim)
        .find(|name| name.eq_ignore_ascii_case(wanted))
}

/// A connection that becomes a WebSocket once the response of [`accept`] has been sent.
#[derive(Debug)]
pub struct Upgrade(OnUpgrade);

impl Upgrade {
    /// Waits for the response to leave and returns the stream of bytes.
    ///
    /// # Errors
    ///
    /// When the client left first, or the request did not come through a connection that can be
    /// upgraded.
    pub async fn into_stream(self) -> io::Result<ByteStream<TokioIo<Upgraded>>> {
        let upgraded = self.0.await.map_err(io::Error::other)?;
        Ok(ByteStream::new(TokioIo::new(upgraded)).await)
    }
}

/// Why a request does not become a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It does not ask to, in so many words.
    #[error("the request is no WebSocket upgrade")]
    NoUpgrade,
    /// It means another version of the protocol.
    #[error("the WebSocket version must be 13")]
    Version,
    /// It lacks a key to answer to.
    #[error("the request has no Sec-WebSocket-Key")]
    NoKey,
    /// It offers no subprotocol that is spoken here.
    #[error("no subprotocol offered is spoken here")]
    Protocol,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let text = self.to_string();
        match self {
            Self::Version => {
                let version = [(
                    header::SEC_WEBSOCKET_VERSION,
                    HeaderValue::from_static("13"),
                )];
                (StatusCode::UPGRADE_REQUIRED, version, text).into_response()
            }
            Self::NoUpgrade | Self::NoKey | Self::Protocol => {
                (StatusCode::BAD_REQUEST, text).into_response()
            }
        }
    }
}

/// The bytes within a WebSocket's binary frames.
///
/// Each write is a frame, sent without a flush as a socket would. Pings are answered; a close frame
/// is the end of the stream; a text frame is an error, since no endpoint speaks text.
#[derive(Debug)]
pub struct ByteStream<S> {
    socket: WebSocketStream<S>,
    /// What is left of the frame that is being read.
    unread: Bytes,
    ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ByteStream<S> {
    /// The server's end of a WebSocket over `stream`, whose opening handshake is done.
    pub async fn new(stream: S) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            // A frame is taken only when the ones before it are written, beside short answers to
            // pings: with this much waiting the peer does not read.
            .max_write_buffer_size(4 * WRITE_FRAME)
            .max_message_size(Some(MESSAGE_LIMIT))
            .max_frame_size(Some(MESSAGE_LIMIT));
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
        Self {
            socket,
            unread: Bytes::new(),
            ended: false,
        }
    }

    /// Fills `unread`, unless the stream has ended.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.unread.is_empty() && !self.ended {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                // Answered by the library, on the way to the next frame.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Text(_))) => {
                    self.ended = true;
                    let error = "text frame where only binary frames are spoken";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
                Some(Ok(Message::Close(_))) => {
                    self.ended = true;
                    // The answer to it, as far as the peer still reads; the end is no news to it.
                    let _ = Pin::new(&mut self.socket).poll_flush(cx);
                }
                None => self.ended = true,
                Some(Err(e)) => {
                    self.ended = true;
                    return match e {
                        // As on a plain socket that is closed: an end, whether announced or not.
                        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => break,
                        e => Poll::Ready(Err(io_error(e))),
                    };
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ByteStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_frame(cx))?;
        let taken = this.unread.len().min(buffer.remaining());
        buffer.put_slice(&this.unread[..taken]);
        this.unread.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ByteStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let socket = &mut self.get_mut().socket;
        ready!(Pin::new(&mut *socket).poll_ready(cx)).map_err(io_error)?;
        let frame = &bytes[..bytes.len().min(WRITE_FRAME)];
        let message = Message::Binary(Bytes::copy_from_slice(frame));
        Pin::new(socket).start_send(message).map_err(io_error)?;
        Poll::Ready(Ok(frame.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket)
            .poll_flush(cx)
            .map_err(io_error)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket)
            .poll_close(cx)
            .map_err(io_error)
    }
}

fn io_error(e: Error) -> io::Error {
    match e {
        Error::Io(e) => e,
        Error::ConnectionClosed | Error::AlreadyClosed => {
            io::Error::new(io::ErrorKind::BrokenPipe, e)
        }
        e => io::Error::new(io::ErrorKind::InvalidData, e),
    }
}

fn offered<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .find_map(|value| subprotocol(value, wanted))
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| {
            value
                .split(',')
                .any(|part| part.trim().eq_ignore_ascii_case(token))
        })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{SinkExt, StreamExt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// Our end and a client's.
    async fn pair() -> (ByteStream<DuplexStream>, WebSocketStream<DuplexStream>) {
        let (server, client) = duplex(1 << 20);
        let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        (ByteStream::new(server).await, client)
    }

    async fn read(stream: &mut ByteStream<DuplexStream>, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    #[test]
    fn a_subprotocol_is_matched_without_case_and_echoed_as_offered() {
        assert_eq!(subprotocol("mqtt", "mqtt"), Some("mqtt"));
        assert_eq!(subprotocol("MQTT", "mqtt"), Some("MQTT"));
        assert_eq!(subprotocol("amqp , Mqtt,x", "mqtt"), Some("Mqtt"));
        assert_eq!(subprotocol("mqttv3.1", "mqtt"), None);
        assert_eq!(subprotocol("", "mqtt"), None);
    }

    #[tokio::test]
    async fn frame_boundaries_mean_nothing() {
        let (mut stream, mut client) = pair().await;

        for frame in [&b"ab"[..], b"", b"cdef"] {
            client.send(Message::binary(frame)).await.unwrap();
        }

        assert_eq!(read(&mut stream, 1).await, b"a");
        assert_eq!(read(&mut stream, 4).await, b"bcde");
        assert_eq!(read(&mut stream, 1).await, b"f");
    }

    #[tokio::test]
    async fn a_masked_frame_in_fragments_is_read_from_its_literal_bytes() {
        let (server, mut client) = duplex(1024);
        let mut stream = ByteStream::new(server).await;

        // Binary, not final, mask 1 2 3 4, then the continuation, final, with a zero mask.
        client
            .write_all(&[0x02, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'e' ^ 2])
            .await
            .unwrap();
        client
            .write_all(&[0x80, 0x83, 0, 0, 0, 0, b'l', b'l', b'o'])
            .await
            .unwrap();

        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"hello");
    }

    #[tokio::test]
    async fn a_write_is_one_binary_frame_and_needs_no_flush() {
        let (server, mut client) = duplex(1024);
        let mut stream = ByteStream::new(server).await;

        stream.write_all(b"hello").await.unwrap();

        let mut frame = [0; 7];
        client.read_exact(&mut frame).await.unwrap();
        assert_eq!(&frame, b"\x82\x05hello");
    }

    #[tokio::test]
    async fn a_long_write_waits_for_a_slow_reader_and_arrives_whole() {
        let (server, client) = duplex(1024);
        let mut stream = ByteStream::new(server).await;
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let sent: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let expected = sent.clone();

        let writer = tokio::spawn(async move {
            stream.write_all(&sent).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        let mut received = Vec::new();
        while let Some(Ok(Message::Binary(bytes))) = client.next().await {
            received.extend_from_slice(&bytes);
        }

        writer.await.unwrap();
        assert!(
            received == expected,
            "{} of {} bytes",
            received.len(),
            expected.len()
        );
    }

    #[tokio::test]
    async fn a_ping_is_answered_while_we_read() {
        let (mut stream, mut client) = pair().await;
        client
            .send(Message::Ping(Bytes::from_static(b"there?")))
            .await
            .unwrap();
        client.send(Message::binary(&b"x"[..])).await.unwrap();

        assert_eq!(read(&mut stream, 1).await, b"x");
        assert_eq!(
            client.next().await.unwrap().unwrap(),
            Message::Pong(Bytes::from_static(b"there?"))
        );
    }

    #[tokio::test]
    async fn a_close_frame_is_the_end_and_is_answered() {
        let (mut stream, mut client) = pair().await;
        client.send(Message::binary(&b"last"[..])).await.unwrap();
        client.send(Message::Close(None)).await.unwrap();

        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();

        assert_eq!(bytes, b"last");
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Close(None));
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_peer_that_leaves_without_a_word_is_an_end_too() {
        let (mut stream, client) = pair().await;
        drop(client);

        assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_text_frame_an_unmasked_frame_and_a_giant_are_errors() {
        let giant = [&[0x82, 0xff][..], &(1_u64 << 40).to_be_bytes(), &[0; 4]].concat();
        for bytes in [
            &[0x81, 0x81, 0, 0, 0, 0, b'x'][..],
            &[0x82, 0x01, b'x'],
            &giant,
        ] {
            let (server, mut client) = duplex(1024);
            let mut stream = ByteStream::new(server).await;
            client.write_all(bytes).await.unwrap();

            let refused = stream.read(&mut [0; 8]).await.unwrap_err();

            assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn our_shutdown_sends_a_close_frame() {
        let (mut stream, mut client) = pair().await;

        stream.write_all(b"bye").await.unwrap();
        stream.shutdown().await.unwrap();

        assert_eq!(
            client.next().await.unwrap().unwrap(),
            Message::binary(&b"bye"[..])
        );
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Close(None));
    }

    /// A server whose every request becomes a WebSocket that echoes one byte; the client's end.
    fn upgrading_server() -> DuplexStream {
        let (server, client) = duplex(64 * 1024);
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|mut request| async move {
                Ok::<_, Infallible>(match accept(&mut request, "mqtt") {
                    Err(refusal) => refusal.into_response(),
                    Ok((response, upgrade)) => {
                        tokio::spawn(async move {
                            let mut stream = upgrade.into_stream().await.unwrap();
                            let byte = stream.read_u8().await.unwrap();
                            stream.write_u8(byte).await.unwrap();
                        });
                        response
                    }
                })
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(server), service)
                .with_upgrades()
                .await;
        });
        client
    }

    const REQUEST: &str = "GET /$iothub/websocket HTTP/1.1\r\nHost: localhost:443\r\n\
        Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: MQTT\r\n\r\n";

    async fn head(client: &mut DuplexStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap().to_ascii_lowercase()
    }

    #[tokio::test]
    async fn a_request_becomes_a_stream_of_bytes() {
        let mut client = upgrading_server();
        // The first frame may follow the request at once.
        client.write_all(REQUEST.as_bytes()).await.unwrap();
        client
            .write_all(&[0x82, 0x81, 0, 0, 0, 0, b'x'])
            .await
            .unwrap();

        let head = head(&mut client).await;
        let mut frame = [0; 3];
        client.read_exact(&mut frame).await.unwrap();

        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
        assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
        // RFC 6455 1.3, the answer to its example key.
        assert!(
            head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"),
            "{head}"
        );
        assert!(
            head.contains("\r\nsec-websocket-protocol: mqtt\r\n"),
            "{head}"
        );
        assert!(!head.contains("sec-websocket-extensions"), "{head}");
        assert_eq!(&frame, &[0x82, 0x01, b'x']);
    }

    #[tokio::test]
    async fn a_request_that_asks_for_something_else_is_refused() {
        let check = async |from: &str, to: &str, status: &str| {
            let mut client = upgrading_server();
            let request = REQUEST.replace(from, to);
            assert_ne!(request, REQUEST);
            client.write_all(request.as_bytes()).await.unwrap();
            let head = head(&mut client).await;
            assert!(
                head.starts_with(&format!("http/1.1 {status}")),
                "{to:?}: {head}"
            );
        };

        check("Protocol: MQTT", "Protocol: AMQPWSB10", "400").await;
        check("Sec-WebSocket-Protocol: MQTT\r\n", "", "400").await;
        check("Version: 13", "Version: 8", "426").await;
        check("Upgrade: WebSocket", "Upgrade: h2c", "400").await;
        check("keep-alive, Upgrade", "keep-alive", "400").await;
        check("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", "400").await;
        check("GET", "POST", "400").await;
    }

    #[test]
    fn the_echo_keeps_the_clients_spelling() {
        let mut request = Request::builder()
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("Sec-WebSocket-Protocol", "amqp, MQTT")
            .body(())
            .unwrap();

        let (response, _) = accept(&mut request, "mqtt").unwrap();

        assert_eq!(response.headers()[header::SEC_WEBSOCKET_PROTOCOL], "MQTT");
    }
}
