//! What one reader sees of the entries that it reads.

use std::collections::HashMap;
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
    held: HashMap<u64, Vec<Seen>>,
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

/// Connections whose beginning is held until they say who they are, and entries of each.
const MOST_HELD: usize = 256;
const MOST_ENTRIES: usize = 32;

impl Viewer {
    /// Shows what `wish` says, with up to `hex` bytes of each packet.
    pub fn new(wish: Wish, hex: usize) -> Self {
        Self {
            wish,
            hex,
            conversations: Conversations::default(),
            held: HashMap::new(),
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
            Some(known.any(|client| self.wish.wants_client(Some(client))))
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
                shown.extend(self.held.remove(&id).into_iter().flatten());
                shown.push(seen);
            }
            Some(false) => drop(self.held.remove(&id)),
            None => {
                if self.held.len() >= MOST_HELD && !self.held.contains_key(&id) {
                    // The oldest that is still nobody's is likely to remain so.
                    let oldest = self.held.keys().min().copied();
                    oldest.and_then(|oldest| self.held.remove(&oldest));
                }
                let held = self.held.entry(id).or_default();
                if held.len() < MOST_ENTRIES {
                    held.push(seen);
                }
            }
        }
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
