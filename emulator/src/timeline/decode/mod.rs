//! What bytes on the wire say. Worked out for who looks, never while they pass.
//!
//! Reads and writes end anywhere, so each connection's bytes are put together again first. Where
//! some are missing, reading begins anew with the next that are there, which is where a packet
//! begins, as a rule; what cannot be read is shown as it is.

mod amqp;
mod http;
mod mqtt;
mod secret;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use secret::shown as without_secrets;

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use iothub_protocol::ClientId;
use serde_json::Value;

use super::wire::{Direction, Exchange, Protocol};

/// Connections whose state is kept; beyond it, that of the one that has been silent for longest goes.
const MOST_CONNECTIONS: usize = 4096;
/// Bytes of a packet that are waited for.
const MOST_PENDING: usize = 1024 * 1024;
/// Bytes that are kept of all connections together; beyond it, what is kept of the one that has been
/// silent for longest goes, too.
const MOST_KEPT: usize = 16 * 1024 * 1024;
/// Clients that a connection's bytes may name.
const MOST_CLIENTS: usize = 64;

/// The connections that one viewer has seen.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    by_connection: HashMap<u64, Conversation>,
    /// Counts exchanges, to tell who has been silent for longest.
    turn: u64,
    /// Bytes that are kept of all of them.
    kept: usize,
}

/// One connection.
#[derive(Debug)]
struct Conversation {
    speech: Speech,
    halves: [Half; 2],
    /// Who the bytes say is speaking.
    named: Vec<ClientId>,
    last_turn: u64,
}

/// What is known of what is spoken.
#[derive(Debug)]
enum Speech {
    Mqtt(mqtt::Speech),
    Amqp(Box<amqp::Speech>),
    Http(http::Speech),
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    /// Where the next byte is expected.
    next: Option<u64>,
    /// What has not been read yet.
    pending: BytesMut,
}

/// A packet, frame or message.
#[derive(Debug, PartialEq)]
pub(super) struct Packet {
    /// One line for people.
    pub(super) summary: String,
    /// What it says; null when that is nothing that can be read.
    pub(super) detail: Value,
    /// Its bytes.
    pub(super) bytes: Bytes,
    /// The client that it names as the one who speaks.
    pub(super) speaker: Option<ClientId>,
}

/// What was found at the front of some bytes.
enum Found {
    Packet(Packet),
    /// The end of it is not there yet.
    Part,
    /// Nothing that can be read; how much of it is one piece, and why.
    Noise(usize, String),
}

impl Packet {
    fn new(summary: impl Into<String>, detail: Value, bytes: Bytes) -> Self {
        Self {
            summary: summary.into(),
            detail,
            bytes,
            speaker: None,
        }
    }
}

impl Conversations {
    /// Reads on; answers what was completed, and who the connection's bytes have named so far.
    pub(super) fn read(&mut self, exchange: &Exchange) -> (Vec<Packet>, &[ClientId]) {
        self.turn += 1;
        let id = exchange.connection.id;
        let is_new = !self.by_connection.contains_key(&id);
        while (is_new && self.by_connection.len() >= MOST_CONNECTIONS) || self.kept > MOST_KEPT {
            let silent = self.by_connection.iter().min_by_key(|it| it.1.last_turn);
            let Some(silent) = silent.map(|it| *it.0) else {
                break;
            };
            let gone = self.by_connection.remove(&silent);
            self.kept -= gone.map_or(0, |gone| gone.kept());
        }
        let conversation = self
            .by_connection
            .entry(id)
            .or_insert_with(|| Conversation::new(exchange.connection.protocol));
        conversation.last_turn = self.turn;
        let before = conversation.kept();
        let packets = conversation.read(exchange);
        self.kept = self.kept - before + conversation.kept();
        (packets, &conversation.named)
    }
}

impl Conversation {
    fn new(protocol: Protocol) -> Self {
        Self {
            speech: match protocol {
                Protocol::Mqtt => Speech::Mqtt(mqtt::Speech::default()),
                Protocol::Amqp => Speech::Amqp(Box::default()),
                Protocol::Http => Speech::Http(http::Speech::default()),
            },
            halves: Default::default(),
            named: Vec::new(),
            last_turn: 0,
        }
    }

    fn read(&mut self, exchange: &Exchange) -> Vec<Packet> {
        let mut packets = Vec::new();
        let direction = exchange.direction;
        let half = &mut self.halves[direction as usize];
        if half.next.is_some_and(|next| next != exchange.offset) {
            half.pending.clear();
        }
        half.next = Some(exchange.offset + exchange.bytes.len() as u64 + exchange.cut);
        if let Speech::Http(speech) = &mut self.speech {
            let bytes = Bytes::copy_from_slice(&exchange.bytes);
            packets.push(speech.read(direction, bytes, exchange.cut));
        } else {
            half.pending.extend_from_slice(&exchange.bytes);
            let mut pending = std::mem::take(&mut half.pending);
            while !pending.is_empty() {
                match self.next(direction, &mut pending) {
                    Found::Packet(packet) => packets.push(packet),
                    Found::Part if pending.len() < MOST_PENDING && exchange.cut == 0 => break,
                    Found::Part => {
                        let bytes = pending.split().freeze();
                        packets.push(noise(bytes, "more of a packet than is kept"));
                    }
                    Found::Noise(length, why) => {
                        let bytes = pending.split_to(length.clamp(1, pending.len())).freeze();
                        packets.push(noise(bytes, &why));
                    }
                }
            }
            self.halves[direction as usize].pending = pending;
        }
        for speaker in packets.iter().filter_map(|packet| packet.speaker.as_ref()) {
            if self.named.len() < MOST_CLIENTS && !self.named.contains(speaker) {
                self.named.push(speaker.clone());
            }
        }
        packets
    }

    /// Bytes that are kept of it, roughly.
    fn kept(&self) -> usize {
        let pending: usize = self.halves.iter().map(|half| half.pending.len()).sum();
        pending
            + match &self.speech {
                Speech::Amqp(speech) => speech.kept(),
                Speech::Mqtt(_) | Speech::Http(_) => 0,
            }
    }

    fn next(&mut self, direction: Direction, pending: &mut BytesMut) -> Found {
        match &mut self.speech {
            Speech::Mqtt(speech) => speech.next(direction, pending),
            Speech::Amqp(speech) => speech.next(direction, pending),
            Speech::Http(_) => Found::Part,
        }
    }
}

fn noise(bytes: Bytes, why: &str) -> Packet {
    let summary = format!("{} bytes that cannot be read: {why}", bytes.len());
    Packet::new(summary, Value::Null, bytes)
}

/// The client that a path or an audience names: `…/devices/{d}[/modules/{m}]…`.
pub(crate) fn client_of_path(path: &str) -> Option<ClientId> {
    let mut segments = path.split('/').skip_while(|segment| {
        let roots = ["devices", "twins", "digitaltwins"];
        !roots.iter().any(|root| segment.eq_ignore_ascii_case(root))
    });
    segments.next()?;
    let decoded = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8_lossy()
            .into_owned()
    };
    let device = decoded(segments.next().filter(|it| !it.is_empty())?);
    let module = match segments.next() {
        Some(word) if word.eq_ignore_ascii_case("modules") => segments.next().map(decoded),
        _ => None,
    };
    let device = iothub_protocol::DeviceId::parse(&device).ok()?;
    Some(match module.filter(|module| !module.is_empty()) {
        None => ClientId::device(device),
        Some(module) => ClientId::module(device, iothub_protocol::ModuleId::parse(&module).ok()?),
    })
}
