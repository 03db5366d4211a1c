//! What went over a connection, as it is kept: bytes, and whose they are.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use iothub_protocol::ClientId;

use crate::transport::TransportKind;

/// Bytes that went one way over a connection, decrypted and out of their WebSocket frames.
#[derive(Debug)]
pub struct Exchange {
    /// Over which.
    pub connection: Arc<Connection>,
    /// Which way.
    pub direction: Direction,
    /// How many bytes went that way before.
    pub offset: u64,
    /// The bytes; over HTTP, one request or answer.
    pub bytes: Box<[u8]>,
    /// How many bytes more there were, too many to keep.
    pub cut: u64,
}

/// A connection, as far as the wire tells.
#[derive(Debug)]
pub struct Connection {
    /// Names it within the timeline.
    pub id: u64,
    /// What is spoken.
    pub protocol: Protocol,
    /// The other end.
    pub peer: SocketAddr,
    /// What carries the bytes.
    pub transport: TransportKind,
    /// Guards who speaks over it; held to add one, and to look.
    clients: Mutex<Vec<ClientId>>,
}

/// What is spoken over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// MQTT 3.1.1.
    Mqtt,
    /// AMQP 1.0.
    Amqp,
    /// HTTP/1.1.
    Http,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the emulator.
    In,
    /// From the emulator.
    Out,
}

/// Clients of a connection that are remembered; an edge may speak for more.
const MOST_CLIENTS: usize = 64;

impl Connection {
    pub(super) fn new(
        id: u64,
        protocol: Protocol,
        peer: SocketAddr,
        transport: TransportKind,
    ) -> Self {
        Self {
            id,
            protocol,
            peer,
            transport,
            clients: Mutex::default(),
        }
    }

    /// Someone was let in over it.
    pub(super) fn let_in(&self, client: &ClientId) {
        let mut clients = self.lock();
        if clients.len() < MOST_CLIENTS && !clients.contains(client) {
            clients.push(client.clone());
        }
    }

    /// Who speaks over it.
    pub fn clients(&self) -> Vec<ClientId> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<ClientId>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Protocol {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Amqp => "amqp",
            Self::Http => "http",
        }
    }

    /// The port on which it is spoken in the clear.
    pub(super) fn port(self) -> u16 {
        match self {
            Self::Mqtt => 1883,
            Self::Amqp => 5672,
            Self::Http => 80,
        }
    }
}

impl Direction {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}
