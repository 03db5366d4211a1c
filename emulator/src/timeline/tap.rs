//! Taking down what goes over a connection, while somebody asks for it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use iothub_protocol::ClientId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::entry::What;
use super::log::{Interest, Timeline};
use super::wire::{Connection, Direction, Exchange, Protocol};
use crate::transport::{Peer, TransportKind};

/// A stream whose bytes are taken down while somebody asks for it. Otherwise it costs a counter and
/// one look at a flag.
#[derive(Debug)]
pub(crate) struct Tapped<S> {
    stream: S,
    tap: Tap,
}

/// One connection's place in the timeline.
#[derive(Debug)]
pub(crate) struct Tap {
    timeline: Arc<Timeline>,
    protocol: Protocol,
    transport: TransportKind,
    peer: SocketAddr,
    /// There from the first bytes on that are taken down.
    connection: Option<Arc<Connection>>,
    /// Who was let in, for then.
    clients: Vec<ClientId>,
    /// Bytes that have gone each way, taken down or not: what is missing shows.
    gone: [u64; 2],
}

/// Bytes that are kept of what goes over at once.
const MOST_BYTES: usize = 128 * 1024;
/// Clients that are remembered, as [`Connection`] does.
const MOST_CLIENTS: usize = 64;

impl<S> Tapped<S> {
    pub(crate) fn new(stream: S, tap: Tap) -> Self {
        Self { stream, tap }
    }

    /// Someone was let in over this connection.
    pub(crate) fn let_in(&mut self, client: &ClientId) {
        self.tap.let_in(client);
    }
}

impl Tap {
    pub(crate) fn new(timeline: Arc<Timeline>, protocol: Protocol, peer: &Peer) -> Self {
        Self {
            timeline,
            protocol,
            transport: peer.kind,
            peer: peer.address,
            connection: None,
            clients: Vec::new(),
            gone: [0; 2],
        }
    }

    /// Whether somebody asks for what goes over.
    pub(crate) fn is_on(&self) -> bool {
        self.timeline.is_asked_for(Interest::Wire)
    }

    fn let_in(&mut self, client: &ClientId) {
        if self.clients.len() < MOST_CLIENTS && !self.clients.contains(client) {
            // Nearly always the only one.
            self.clients.reserve_exact(1);
            self.clients.push(client.clone());
        }
        if let Some(connection) = &self.connection {
            connection.let_in(client);
        }
    }

    #[inline]
    fn passed(&mut self, direction: Direction, bytes: &[u8]) {
        if self.is_on() && !bytes.is_empty() {
            self.take_down(direction, bytes, 0);
        }
        self.gone[direction as usize] += bytes.len() as u64;
    }

    /// One HTTP message; `cut` bytes of its body are not in `bytes`.
    pub(crate) fn message(&mut self, direction: Direction, bytes: &[u8], cut: u64) {
        self.take_down(direction, bytes, cut);
        self.gone[direction as usize] += bytes.len() as u64 + cut;
    }

    #[cold]
    fn take_down(&mut self, direction: Direction, bytes: &[u8], cut: u64) {
        let connection = match &self.connection {
            Some(connection) => connection,
            None => {
                let id = self.timeline.next_connection();
                let connection = Connection::new(id, self.protocol, self.peer, self.transport);
                self.clients.iter().for_each(|it| connection.let_in(it));
                self.connection.insert(Arc::new(connection))
            }
        };
        let kept = bytes.len().min(MOST_BYTES);
        self.timeline.push(What::Exchange(Exchange {
            connection: connection.clone(),
            direction,
            offset: self.gone[direction as usize],
            bytes: bytes[..kept].into(),
            cut: cut + (bytes.len() - kept) as u64,
        }));
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.tap.passed(Direction::In, &buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.tap.passed(Direction::Out, &bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
