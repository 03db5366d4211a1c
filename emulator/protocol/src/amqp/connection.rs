//! One AMQP connection, either peer's half, without IO: bytes in, events out; calls in, bytes out
//! (AMQP 1.0 part 2; `spec/amqp.md` 2 and 4).
//!
//! It keeps the protocol's own rules: headers and SASL frames in their order, channels and handles,
//! windows and credit, multi-frame deliveries, heartbeats, an ordered end. Who may do what, and what
//! a delivery means, is its owner's business.
//!
//! The owner calls [`Connection::receive`] with what it read, takes every [`Event`] with
//! [`Connection::next_event`], answers by the other methods, and writes each chunk of
//! [`Connection::next_output`] by itself. Events of links that the owner has detached meanwhile may
//! still be queued; calls about links and deliveries that are gone are ignored.

mod answer;
mod attach;
mod detach;
mod disposition;
mod event;
mod flow;
mod idle;
mod ids;
mod input;
mod link;
mod names;
mod output;
mod receiver;
mod sender;
mod session;
mod start;
mod terms;
mod unsettled;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use self::idle::Clocks;
use self::ids::Table;
use self::link::Link;
use self::names::Names;
use self::output::Output;
use self::session::{Channels, Session};
use self::start::Peer;
use super::error::{AmqpError, condition};
use super::frame::encode_frame;
use super::performative::Performative;
use super::sasl::SaslCode;
use super::state::DeliveryState;
use super::value::Symbol;
use crate::Timestamp;

pub use self::event::{Delivery, Event};
pub use self::terms::{
    AcceptLink, AttachLink, ClientSasl, ConnectionConfig, DeliveryId, LinkId, SendError, SessionId,
};

/// Bytes that a peer may send ahead of the outcome of the security layer.
const MAX_AHEAD: usize = 1024 * 1024;

/// One connection.
#[derive(Debug)]
pub struct Connection {
    config: ConnectionConfig,
    stage: Stage,
    open_written: bool,
    peer: Peer,
    clocks: Clocks,
    input: BytesMut,
    output: Output,
    events: VecDeque<Event>,
    channels: Channels,
    /// Boxed: the table has free places.
    sessions: Table<SessionId, Box<Session>>,
    links: Table<LinkId, Link>,
    names: Names,
    /// Sessions that wait for the peer's open.
    planned: Vec<SessionId>,
    /// Sessions whose disposition waits to grow.
    speaking: Vec<SessionId>,
    /// Bytes of unfinished deliveries.
    unfinished: usize,
    next_session: u32,
    next_link: u32,
}

/// How far a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// Server: the first header is awaited.
    Header,
    /// Server: the peer's choice of a mechanism is awaited.
    SaslInit,
    /// Server: the owner's decision is awaited; nothing is read.
    SaslDecision,
    /// Server: the header behind the security layer is awaited.
    ServerAmqpHeader,
    /// Client: the security layer's header is awaited.
    SaslHeader(Symbol, Option<Bytes>),
    /// Client: the mechanisms are awaited.
    SaslMechanisms(Symbol, Option<Bytes>),
    /// Client: the outcome is awaited.
    SaslOutcome,
    /// Client: header and open are written, the header is awaited.
    AmqpHeader,
    /// The peer's open is awaited.
    Open,
    /// Both are open.
    Running,
    /// Our close is written.
    Closing,
    /// Over.
    Closed,
}

impl Connection {
    /// A server's half, which waits for the peer's header.
    pub fn server(config: ConnectionConfig, now: Timestamp) -> Self {
        Self::new(config, now)
    }

    /// A client's half; its header is the first output.
    pub fn client(config: ConnectionConfig, sasl: ClientSasl, now: Timestamp) -> Self {
        let mut connection = Self::new(config, now);
        connection.start_client(sasl);
        connection
    }

    fn new(config: ConnectionConfig, now: Timestamp) -> Self {
        Self {
            config,
            stage: Stage::Header,
            open_written: false,
            peer: Peer::default(),
            clocks: Clocks::new(now),
            input: BytesMut::new(),
            output: Output::default(),
            events: VecDeque::new(),
            channels: Channels::default(),
            sessions: Table::default(),
            links: Table::default(),
            names: Names::default(),
            planned: Vec::new(),
            speaking: Vec::new(),
            unfinished: 0,
            next_session: 0,
            next_link: 0,
        }
    }

    /// Takes what was read. Bytes that break the protocol end the connection, with the error told
    /// to the peer and as [`Event::Closed`].
    pub fn receive(&mut self, now: Timestamp, input: &[u8]) {
        if self.stage == Stage::Closed {
            return;
        }
        self.clocks.hear(now);
        self.input.extend_from_slice(input);
        self.read();
        if self.stage == Stage::SaslDecision && self.input.len() > MAX_AHEAD {
            let text = "too much was sent ahead of the outcome of SASL";
            self.fail(AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text));
        }
    }

    /// The next thing that happened.
    pub fn next_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        match &event {
            Some(Event::Credit { link, .. }) => self.announcement_taken(*link),
            // What a burst of events needed is not kept.
            None if self.events.capacity() > 0 => self.events = VecDeque::new(),
            _ => {}
        }
        event
    }

    /// The next bytes to write, each chunk in a write of its own (`spec/amqp.md` 4, refusal).
    pub fn next_output(&mut self) -> Option<Bytes> {
        self.flush_all_said();
        let chunk = self.output.take();
        if chunk.is_some() {
            self.clocks.speak();
        }
        chunk
    }

    /// When [`Connection::tick`] is to be called next.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        self.timeout()
    }

    /// Sends a sign of life if one is due; ends the connection of a peer that gave none.
    pub fn tick(&mut self, now: Timestamp) {
        self.pass(now);
    }

    /// Whether the connection is over: once the output is written, the stream is to be closed.
    pub fn is_closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    /// Server: whether the peer is let in.
    pub fn sasl_outcome(&mut self, code: SaslCode) {
        self.decide_sasl(code);
    }

    /// Begins a session.
    pub fn begin(&mut self) -> SessionId {
        self.begin_session()
    }

    /// Attaches a link.
    pub fn attach(&mut self, session: SessionId, link: AttachLink) -> LinkId {
        self.attach_link(session, link)
    }

    /// Takes a link of the peer's.
    pub fn accept_link(&mut self, link: LinkId, answer: AcceptLink) {
        self.accept(link, answer);
    }

    /// Refuses a link of the peer's: an answer, and in a write of its own the detach.
    pub fn refuse_link(&mut self, link: LinkId, error: AmqpError) {
        self.refuse(link, error);
    }

    /// When we receive: the deliveries that the peer may send from now on.
    pub fn grant(&mut self, link: LinkId, credit: u32) {
        self.grant_credit(link, credit);
    }

    /// When we send: how many deliveries can be sent now. 0 while the session's window is shut or
    /// earlier deliveries wait for it.
    pub fn sendable(&self, link: LinkId) -> u32 {
        self.sendable_on(link)
    }

    /// When we send: the credit that the receiver has granted and that is not used, whatever the
    /// session's window.
    pub fn credit(&self, link: LinkId) -> u32 {
        self.credit_of(link)
    }

    /// Sends a delivery under this tag; its parts follow as the window allows.
    pub fn send(
        &mut self,
        link: LinkId,
        tag: &[u8],
        format: u32,
        payload: Bytes,
        settled: bool,
    ) -> Result<DeliveryId, SendError> {
        self.send_payload(link, tag, format, payload, settled)
    }

    /// As [`Connection::send`], with a payload that is written straight into its frame, unless it
    /// is too long for one or has to wait. `encode` only appends.
    pub fn send_with(
        &mut self,
        link: LinkId,
        tag: &[u8],
        format: u32,
        settled: bool,
        encode: impl FnOnce(&mut BytesMut),
    ) -> Result<DeliveryId, SendError> {
        self.send_encoded(link, tag, format, settled, encode)
    }

    /// When we send: nothing is left for a drain; unused credit lapses.
    pub fn drained(&mut self, link: LinkId) {
        self.end_drain(link);
    }

    /// When we receive: settles a delivery. Runs of the same state leave as one disposition.
    pub fn settle(&mut self, link: LinkId, delivery: DeliveryId, state: DeliveryState) {
        self.settle_received(link, delivery, state);
    }

    /// When we receive, with the settle mode second: tells a state without settling.
    pub fn tell(&mut self, link: LinkId, delivery: DeliveryId, state: DeliveryState) {
        self.tell_received(link, delivery, state);
    }

    /// When we send: settles a delivery whose outcome the peer has told unsettled.
    pub fn settle_sent(&mut self, link: LinkId, delivery: DeliveryId, state: DeliveryState) {
        self.settle_delivery(link, delivery, state);
    }

    /// Detaches a link for good.
    pub fn detach(&mut self, link: LinkId, error: Option<AmqpError>) {
        self.detach_link(link, error);
    }

    /// Ends a session and its links.
    pub fn end(&mut self, session: SessionId, error: Option<AmqpError>) {
        self.end_session(session, error);
    }

    /// Closes the connection.
    pub fn close(&mut self, error: Option<AmqpError>) {
        self.close_connection(error);
    }

    /// Its numbers.
    pub fn config(&self) -> &ConnectionConfig {
        &self.config
    }

    /// Bytes that wait to be written: a reason for its owner to send no more for now.
    pub fn output_len(&self) -> usize {
        self.output.len()
    }

    /// Whether both sides have opened and neither has closed.
    pub fn is_open(&self) -> bool {
        self.stage == Stage::Running
    }

    /// Writes a performative that needs no order among those of its session.
    fn write(&mut self, channel: u16, performative: &Performative) {
        encode_frame(channel, performative, &[], self.output.buffer());
    }

    /// Writes a performative of a session, behind what has been said there.
    fn write_on(&mut self, session: SessionId, performative: &Performative) {
        self.flush_said(session);
        if let Some(session) = self.sessions.get(&session) {
            let channel = session.channel;
            self.write(channel, performative);
        }
    }
}
