//! One open AMQP connection: a task that moves bytes, and the state that it shares with the links.
//!
//! `protocol::amqp::Connection` keeps the protocol's rules. Links call it under the lock and wake
//! the task, which alone reads and writes; what comes in waits in queues that credit bounds.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes, BytesMut};
use iothub_protocol::amqp::connection::{
    ClientSasl, ConnectionConfig, Delivery, DeliveryId, SessionId,
};
use iothub_protocol::amqp::sasl::SaslCode;
use iothub_protocol::amqp::{AmqpError, Connection, DeliveryState, Event, LinkId};
use iothub_protocol::{Clock, Timestamp};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

/// What a connection runs over.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A connection. Dropping it closes the stream at once; [`Wire::close`] says good-bye first.
pub(crate) struct Wire {
    pub(super) shared: Arc<Shared>,
    driver: AbortHandle,
}

/// What the task and the links share.
pub(super) struct Shared {
    state: Mutex<State>,
    /// There is something to write, or another time to wake at.
    work: Notify,
    /// The connection or a session has changed, or everything is written.
    changed: Notify,
}

/// Guarded by one lock, which is held for as long as one call of the machine takes.
pub(super) struct State {
    pub(super) connection: Connection,
    pub(super) links: HashMap<LinkId, LinkState>,
    begun: Vec<SessionId>,
    /// Deliveries sent so far; names the next.
    sent: u64,
    is_open: bool,
    /// Whether everything that was said has been written.
    is_written: bool,
    ended: Option<Ended>,
}

/// A link's part of the state.
pub(super) struct LinkState {
    /// Whether the peer has answered the attach.
    pub(super) is_attached: bool,
    /// Set when it is over: why.
    pub(super) ended: Option<Option<AmqpError>>,
    /// What has come in and nobody has taken; never more than `prefetch`.
    pub(super) deliveries: VecDeque<Delivery>,
    /// Deliveries that the peer may send, or is sending.
    pub(super) granted: u32,
    /// Deliveries that may wait here; 0 when we send.
    pub(super) prefetch: u32,
    /// Who waits for what became of a delivery of ours.
    pub(super) outcomes: HashMap<DeliveryId, oneshot::Sender<DeliveryState>>,
    /// Told of every change.
    pub(super) changed: Arc<Notify>,
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ended {
    /// The peer, or this side, has closed it.
    Closed(Option<AmqpError>),
    /// The security layer let nobody in.
    Sasl(SaslCode),
    /// The stream broke; says how.
    Broken(String),
}

/// Why nothing can be had of a link any more.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LinkEnd {
    /// Its connection is over.
    Connection(Ended),
    /// The peer has detached it.
    Detached(Option<AmqpError>),
}

impl Wire {
    /// Begins to speak over `stream`; returns before anything is answered.
    pub(crate) fn start(
        stream: impl Io,
        config: ConnectionConfig,
        sasl: ClientSasl,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let connection = Connection::client(config, sasl, clock.now());
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                connection,
                links: HashMap::new(),
                begun: Vec::new(),
                sent: 0,
                is_open: false,
                is_written: false,
                ended: None,
            }),
            work: Notify::new(),
            changed: Notify::new(),
        });
        let (reader, writer) = tokio::io::split(stream);
        let driver = Driver {
            shared: Arc::clone(&shared),
            clock,
            reader,
            writer,
            pending: VecDeque::new(),
            needs_flush: false,
        };
        let driver = tokio::spawn(driver.run()).abort_handle();
        Self { shared, driver }
    }

    /// Waits until the peer has opened.
    pub(crate) async fn opened(&self) -> Result<(), Ended> {
        self.shared.until(|state| state.is_open.then_some(())).await
    }

    /// Begins a session and waits until the peer has answered.
    pub(crate) async fn begin(&self) -> Result<SessionId, Ended> {
        let session = self.shared.act(|state| state.connection.begin());
        self.shared
            .until(|state| state.begun.contains(&session).then_some(session))
            .await
    }

    /// Whether it may be used now: also a peer that was silent for too long is given up, whether
    /// its time has been looked at since or not.
    pub(crate) fn is_usable(&self, now: Timestamp) -> bool {
        let mut state = self.shared.lock();
        state.connection.tick(now);
        state.take_events();
        let is_usable = state.ended.is_none();
        drop(state);
        self.shared.wake();
        is_usable
    }

    /// Waits until everything that was said is written.
    pub(crate) async fn flushed(&self) {
        let _ = self
            .shared
            .until(|state| state.is_written.then_some(()))
            .await;
    }

    /// Closes the connection and waits for the peer to have done so, too.
    pub(crate) async fn close(&self) {
        self.shared.act(|state| state.connection.close(None));
        let _: Result<(), _> = self.shared.until(|_| None).await;
    }

    /// Closes the connection for this reason, without waiting.
    pub(crate) fn fail(&self, error: AmqpError) {
        self.shared.act(|state| state.connection.close(Some(error)));
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something that the peer is to hear of.
    pub(super) fn act<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        state.is_written = state.ended.is_some();
        let result = act(&mut state);
        drop(state);
        self.work.notify_one();
        result
    }

    /// Has the task look for what is to be written.
    pub(super) fn wake(&self) {
        self.work.notify_one();
    }

    /// Waits until `look` finds something, or the connection is over.
    async fn until<R>(&self, look: impl Fn(&State) -> Option<R>) -> Result<R, Ended> {
        loop {
            // Before the look: a change between it and the waiting then still wakes.
            let changed = self.changed.notified();
            {
                let state = self.lock();
                if let Some(found) = look(&state) {
                    return Ok(found);
                }
                if let Some(ended) = &state.ended {
                    return Err(ended.clone());
                }
            }
            changed.await;
        }
    }

    fn end(&self, ended: Ended) {
        let mut state = self.lock();
        state.take_events();
        state.is_written = true;
        state.ended.get_or_insert(ended);
        for link in state.links.values_mut() {
            // Whoever waits for an outcome learns that there is none.
            link.outcomes.clear();
            link.changed.notify_waiters();
        }
        drop(state);
        self.changed.notify_waiters();
    }
}

impl State {
    /// Why the connection is over, if it is.
    pub(super) fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// A name for a delivery of ours.
    pub(super) fn next_tag(&mut self) -> [u8; 8] {
        self.sent += 1;
        self.sent.to_be_bytes()
    }

    /// Files what happened where it is waited for; whether the connection itself has changed.
    fn take_events(&mut self) -> bool {
        let mut has_changed = false;
        while let Some(event) = self.connection.next_event() {
            match event {
                Event::SaslEnded(SaslCode::Ok) | Event::SaslInit { .. } => {}
                Event::SaslEnded(code) => {
                    self.ended.get_or_insert(Ended::Sasl(code));
                }
                Event::Opened(_) => {
                    self.is_open = true;
                    has_changed = true;
                }
                Event::SessionBegun(session) => {
                    self.begun.push(session);
                    has_changed = true;
                }
                Event::SessionEnded(session, error) => {
                    self.begun.retain(|&begun| begun != session);
                    // Everything here runs in one session: without it the connection is of no use.
                    self.connection.close(None);
                    self.ended.get_or_insert(Ended::Closed(error));
                    has_changed = true;
                }
                Event::Closed(error) => {
                    self.ended.get_or_insert(Ended::Closed(error));
                    has_changed = true;
                }
                Event::LinkAttached { link, ours, .. } => match self.links.get_mut(&link) {
                    Some(state) if ours => {
                        state.is_attached = true;
                        if state.prefetch > 0 {
                            state.granted = state.prefetch;
                            self.connection.grant(link, state.prefetch);
                        }
                        state.changed.notify_waiters();
                    }
                    Some(_) => {}
                    // A service attaches nothing to its clients; or ours was given up meanwhile.
                    None => self.connection.detach(link, None),
                },
                Event::LinkDetached { link, error, .. } => {
                    if let Some(state) = self.links.get_mut(&link) {
                        state.ended = Some(error);
                        state.outcomes.clear();
                        state.changed.notify_waiters();
                    }
                }
                Event::Delivery(delivery) => {
                    if let Some(state) = self.links.get_mut(&delivery.link) {
                        state.granted = state.granted.saturating_sub(1);
                        state.deliveries.push_back(delivery);
                        state.changed.notify_waiters();
                    }
                }
                Event::Credit { link, drain, .. } => {
                    if drain {
                        self.connection.drained(link);
                    }
                    if let Some(state) = self.links.get(&link) {
                        state.changed.notify_waiters();
                    }
                }
                Event::Outcome {
                    link,
                    delivery,
                    state: outcome,
                    settled,
                } => {
                    // Settled without a word is as good as accepted (AMQP 1.0 part 3, 3.4).
                    let outcome = outcome.unwrap_or(DeliveryState::Accepted);
                    if !settled {
                        self.connection.settle_sent(link, delivery, outcome.clone());
                    }
                    let waiting = self
                        .links
                        .get_mut(&link)
                        .and_then(|state| state.outcomes.remove(&delivery));
                    if let Some(waiting) = waiting {
                        // Who has stopped waiting does not want to know.
                        let _ = waiting.send(outcome);
                    }
                }
            }
        }
        has_changed
    }
}

/// Moves the bytes of one connection.
struct Driver<S> {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    /// Chunks that are to be written, each in a write of its own (`spec/amqp.md` 4).
    pending: VecDeque<Bytes>,
    needs_flush: bool,
}

/// Bytes that are read at once.
const READ_SIZE: usize = 64 * 1024;

impl<S: Io> Driver<S> {
    async fn run(mut self) {
        let ended = match self.drive().await {
            Ok(()) => Ended::Closed(None),
            Err(error) => Ended::Broken(error.to_string()),
        };
        self.shared.end(ended);
        // The peer's TLS layer likes to be told; the stream is closed either way.
        let _ = self.writer.shutdown().await;
    }

    async fn drive(&mut self) -> std::io::Result<()> {
        let mut input = BytesMut::with_capacity(READ_SIZE);
        loop {
            let (deadline, is_closed) = self.take_output();
            if self.pending.is_empty() && !self.needs_flush {
                if is_closed {
                    return Ok(());
                }
                self.shared.lock().is_written = true;
                self.shared.changed.notify_waiters();
            }
            let timer = async {
                match deadline {
                    Some(deadline) => self.clock.sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let writing = write_some(&mut self.writer, self.pending.front(), self.needs_flush);
            // Each branch may be dropped half-way: bytes are either in a buffer or in the stream.
            tokio::select! {
                read = self.reader.read_buf(&mut input) => {
                    if read? == 0 {
                        return Err(std::io::ErrorKind::UnexpectedEof.into());
                    }
                    self.take_input(&input);
                    input.clear();
                }
                written = writing => match written? {
                    Some(length) => {
                        self.needs_flush = true;
                        if let Some(chunk) = self.pending.front_mut() {
                            chunk.advance(length);
                            if chunk.is_empty() {
                                self.pending.pop_front();
                            }
                        }
                    }
                    None => self.needs_flush = false,
                },
                () = self.shared.work.notified() => {}
                () = timer => self.tick(),
            }
        }
    }

    fn take_output(&mut self) -> (Option<Timestamp>, bool) {
        let mut state = self.shared.lock();
        while let Some(chunk) = state.connection.next_output() {
            if !chunk.is_empty() {
                self.pending.push_back(chunk);
            }
        }
        (
            state.connection.next_timeout(),
            state.connection.is_closed(),
        )
    }

    fn take_input(&self, input: &[u8]) {
        let mut state = self.shared.lock();
        state.connection.receive(self.clock.now(), input);
        self.file(state);
    }

    fn tick(&self) {
        let mut state = self.shared.lock();
        state.connection.tick(self.clock.now());
        self.file(state);
    }

    fn file(&self, mut state: MutexGuard<'_, State>) {
        let has_changed = state.take_events();
        drop(state);
        if has_changed {
            self.shared.changed.notify_waiters();
        }
    }
}

/// Writes of the chunk: how much; or, without one, flushes: `None`. Never ends when neither is due.
async fn write_some<W: AsyncWrite + Unpin>(
    writer: &mut W,
    chunk: Option<&Bytes>,
    needs_flush: bool,
) -> std::io::Result<Option<usize>> {
    match chunk {
        Some(chunk) => match writer.write(chunk).await? {
            0 => Err(std::io::ErrorKind::WriteZero.into()),
            length => Ok(Some(length)),
        },
        None if needs_flush => writer.flush().await.map(|()| None),
        None => std::future::pending().await,
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(None) => f.write_str("the connection is closed"),
            Self::Closed(Some(error)) => write!(f, "closed by the hub: {}", describe(error)),
            Self::Sasl(code) => write!(f, "the security layer answered {code:?}"),
            Self::Broken(how) => f.write_str(how),
        }
    }
}

impl std::error::Error for Ended {}

/// An error of the peer's for a person.
pub(super) fn describe(error: &AmqpError) -> String {
    match &error.description {
        Some(description) => format!("{}: {description}", error.condition.as_str()),
        None => error.condition.as_str().to_owned(),
    }
}
