//! What one reader sees of the entries that it reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use iothub_protocol::ClientId;
use serde_json::Value;

use super::decode::{Conversations, Packet};
use super::entry::{Entry, What};
use super::render;
use super::wire::Protocol;
use super::wish::Wish;

/// Puts the bytes of connections together and renders entries as JSON, in the order in which its
/// reader reads them.
#[derive(Debug)]
pub struct Viewer {
    wish: Wish,
    /// Bytes of each packet that are shown.
    hex: usize,
    conversations: Conversations,
    /// Of connections that nobody is known to speak over yet, when only one client is wanted.
    held: BTreeMap<u64, Vec<Seen>>,
    /// Bytes of all of them.
    held_bytes: usize,
}

/// An entry to show.
#[derive(Debug)]
pub struct Seen {
    /// The entry.
    pub entry: Arc<Entry>,
    /// What ends with it, if it is an exchange.
    packets: Vec<Packet>,
    /// Who speaks, if only one can.
    client: Option<ClientId>,
}

/// Connections whose beginning is held until they say who they are, entries of each, and bytes of
/// all.
const MOST_HELD: usize = 256;
const MOST_ENTRIES: usize = 32;
const MOST_BYTES: usize = 4 * 1024 * 1024;

impl Viewer {
    /// Shows what `wish` says, with up to `hex` bytes of each packet.
    pub fn new(wish: Wish, hex: usize) -> Self {
        Self {
            wish,
            hex,
            conversations: Conversations::default(),
            held: BTreeMap::new(),
            held_bytes: 0,
        }
    }

    /// Looks at an entry; adds what is now to be shown. Before a connection says whose it is, its
    /// bytes are held back when only one client's are wanted.
    pub fn look(&mut self, entry: Arc<Entry>, shown: &mut Vec<Seen>) {
        let What::Exchange(exchange) = &entry.what else {
            shown.push(Seen {
                entry,
                packets: Vec::new(),
                client: None,
            });
            return;
        };
        let id = exchange.connection.id;
        let (mut packets, named) = self.conversations.read(exchange);
        let mut known = exchange.connection.clients();
        known.extend(
            named
                .iter()
                .filter(|it| !known.contains(it))
                .cloned()
                .collect::<Vec<_>>(),
        );
        let verdict = if self.wish.is_about_all() {
            Some(true)
        } else if known.is_empty() {
            None
        } else {
            // Of a connection that several share, what is another one's is left out, and of a back
            // end's requests all that name nobody.
            let may_be_silent = exchange.connection.protocol != Protocol::Http;
            packets.retain(|packet| match &packet.speaker {
                None => may_be_silent,
                speaker => self.wish.wants_client(speaker.as_ref()),
            });
            let mut known = known.iter();
            // Of a connection that speaks for very many, not all are remembered.
            let is_named = || packets.iter().any(|packet| packet.speaker.is_some());
            Some(known.any(|client| self.wish.wants_client(Some(client))) || is_named())
        };
        let client = match &known[..] {
            [only] => Some(only.clone()),
            [] | [_, ..] => None,
        };
        let seen = Seen {
            entry,
            packets,
            client,
        };
        match verdict {
            Some(true) => {
                shown.extend(self.let_go(id));
                shown.push(seen);
            }
            Some(false) => drop(self.let_go(id)),
            None => self.hold(id, seen),
        }
    }

    fn hold(&mut self, connection: u64, seen: Seen) {
        let held = self.held.entry(connection).or_default();
        if held.len() >= MOST_ENTRIES {
            return;
        }
        self.held_bytes += seen.bytes();
        held.push(seen);
        while (self.held.len() > MOST_HELD || self.held_bytes > MOST_BYTES)
            && let Some(&oldest) = self.held.keys().next()
        {
            // The oldest that is still nobody's is likely to remain so.
            self.let_go(oldest);
        }
    }

    fn let_go(&mut self, connection: u64) -> Vec<Seen> {
        let held = self.held.remove(&connection).unwrap_or_default();
        self.held_bytes -= held.iter().map(Seen::bytes).sum::<usize>();
        held
    }

    /// Renders an entry: one JSON document, or for an exchange as many as packets end with it.
    pub fn show(&self, seen: &Seen, show: &mut dyn FnMut(Value)) {
        let entry = &*seen.entry;
        if let What::Exchange(exchange) = &entry.what {
            for packet in &seen.packets {
                let client = packet.speaker.as_ref().or(seen.client.as_ref());
                show(render::packet(entry, exchange, packet, client, self.hex));
            }
        } else {
            show(render::entry(entry));
        }
    }
}

impl Seen {
    /// Bytes that it keeps, roughly: those that went over, and what was read of them.
    fn bytes(&self) -> usize {
        let read: usize = self.packets.iter().map(|packet| packet.bytes.len()).sum();
        match &self.entry.what {
            What::Exchange(exchange) => exchange.bytes.len() + read,
            _ => read,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use iothub_protocol::Timestamp;

    use super::super::wire::{Connection, Direction, Exchange};
    use super::*;
    use crate::transport::TransportKind;

    fn viewer() -> Viewer {
        let wish = Wish::kinds("wire").unwrap();
        Viewer::new(wish.about(ClientId::parse("d1").unwrap()), 0)
    }

    fn connection(id: u64) -> Arc<Connection> {
        let peer = (Ipv4Addr::LOCALHOST, 50_000).into();
        Arc::new(Connection::new(
            id,
            Protocol::Http,
            peer,
            TransportKind::Tcp,
        ))
    }

    fn entry(connection: &Arc<Connection>, bytes: &[u8]) -> Arc<Entry> {
        Arc::new(Entry {
            seq: 1,
            at: Timestamp::UNIX_EPOCH,
            what: What::Exchange(Exchange {
                connection: connection.clone(),
                direction: Direction::In,
                offset: 0,
                bytes: bytes.into(),
                cut: 0,
            }),
        })
    }

    #[test]
    fn of_a_back_end_that_speaks_of_very_many_the_one_that_is_wanted_is_shown() {
        let (mut viewer, connection) = (viewer(), connection(1));
        let mut shown = Vec::new();
        for number in 100..300 {
            let request = format!("GET /devices/d{number} HTTP/1.1\r\n\r\n");
            viewer.look(entry(&connection, request.as_bytes()), &mut shown);
        }
        assert_eq!(shown.len(), 0);

        let request = b"GET /devices/d1 HTTP/1.1\r\n\r\n";
        viewer.look(entry(&connection, request), &mut shown);

        assert_eq!(shown.len(), 1);
        assert_eq!(shown[0].packets.len(), 1);
    }

    #[test]
    fn what_is_held_back_is_bounded_in_bytes() {
        let mut viewer = viewer();
        let mut shown = Vec::new();
        let long = [b'x'; 100_000];

        for number in 0..200 {
            let connection = connection(number);
            for _ in 0..3 {
                viewer.look(entry(&connection, &long), &mut shown);
            }
        }

        let held = viewer.held.values().flatten().map(Seen::bytes);
        assert_eq!(held.sum::<usize>(), viewer.held_bytes);
        assert!(viewer.held_bytes <= MOST_BYTES, "{}", viewer.held_bytes);
        assert!(viewer.held.contains_key(&199), "the newest is held");
        assert!(shown.is_empty());
    }
}
