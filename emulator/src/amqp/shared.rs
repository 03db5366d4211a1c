//! What every node of a connection uses.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use iothub_protocol::amqp::{AmqpError, Connection, ConnectionConfig, LinkId, Symbol};
use iothub_protocol::{Clock, Error};
use tokio::sync::Notify;

use super::Settings;
use super::authority::Authority;
use super::devices::Devices;
use super::responder::Responder;
use crate::handle::HubHandle;
use crate::transport::Peer;

/// What every node of a connection uses.
pub(super) struct Shared {
    /// The hub.
    pub(super) handle: HubHandle,
    /// The endpoint's numbers.
    pub(super) settings: Arc<Settings>,
    /// The other end.
    pub(super) peer: Peer,
    /// The host that the peer believes to speak to, without a port; once it has said so.
    pub(super) host: Option<String>,
    /// The protocol's rules. Nodes accept links, send and settle by it.
    pub(super) machine: Connection,
    /// What the peer has proved so far.
    pub(super) authority: Authority,
    /// The devices and modules that are present by this connection.
    pub(super) devices: Devices,
    /// Links that answers of `$cbs` go to.
    pub(super) cbs: Responder,
    /// Links that answers of `$management` go to.
    pub(super) management: Responder,
    /// Wakes the connection from elsewhere: a mailbox, a displaced reader.
    pub(super) wake: Arc<Notify>,
    /// Links that stopped because too much waits to be written, and whether to drain them once they
    /// have gone on.
    congested: BTreeMap<LinkId, bool>,
    /// The link that went on last: the next one is the one behind it, so that all have their turn.
    resumed: Option<LinkId>,
    /// Why the connection is over, once it is.
    pub(super) parting: Option<String>,
    /// Links that were detached from here and whose nodes are still to be told.
    detached: Vec<LinkId>,
}

/// Mechanisms that are offered (`spec/amqp.md` 2.2).
const MECHANISMS: [Symbol; 4] = [
    Symbol::of("MSSBCBS"),
    Symbol::of("PLAIN"),
    Symbol::of("ANONYMOUS"),
    Symbol::of("EXTERNAL"),
];
/// Names a refusal in what is told beside its sentence.
const TRACKING_ID: Symbol = Symbol::of("com.microsoft:tracking-id");
/// Bytes that wait to be written, beyond which nodes add nothing.
const OUTPUT_LIMIT: usize = 256 * 1024;
/// Characters of a peer's texts that are told in a log.
const SHOWN: usize = 256;
/// Transfers of a session that are taken before its window is opened again (`spec/amqp.md` 2.3).
const INCOMING_WINDOW: u32 = 5000;

impl Shared {
    pub(super) fn new(handle: HubHandle, settings: Arc<Settings>, peer: Peer) -> Self {
        let hub_name = handle.inspect(|hub| hub.config().name.clone());
        let config = ConnectionConfig {
            container_id: hub_name.clone(),
            hostname: None,
            max_frame_size: settings.max_frame_size,
            max_sessions: settings.max_sessions,
            max_links: settings.max_links,
            incoming_window: INCOMING_WINDOW,
            // Half of it is told to the peer (`spec/amqp.md` 2.4).
            idle_timeout: Some(settings.idle_timeout * 2),
            sasl_mechanisms: MECHANISMS.to_vec(),
            max_unfinished: settings.max_unfinished,
        };
        let machine = Connection::server(config, handle.clock().now());
        Self {
            handle,
            settings,
            peer,
            host: None,
            machine,
            authority: Authority::new(hub_name),
            devices: Devices::default(),
            cbs: Responder::default(),
            management: Responder::default(),
            wake: Arc::default(),
            congested: BTreeMap::new(),
            resumed: None,
            parting: None,
            detached: Vec::new(),
        }
    }

    /// What the peer is told when the hub refuses, with the id that C# shows (`spec/amqp.md` 4.1).
    pub(super) fn refusal(&self, error: &Error) -> AmqpError {
        let id = self.handle.tracking_id();
        AmqpError::from(error).with_info(TRACKING_ID, id.as_str())
    }

    /// Detaches a link from here; its node is closed next, even if nothing else happens.
    pub(super) fn detach(&mut self, link: LinkId, error: Option<AmqpError>) {
        self.machine.detach(link, error);
        self.detached.push(link);
        self.wake.notify_one();
    }

    /// A link that was detached from here and whose node is to be closed.
    pub(super) fn next_detached(&mut self) -> Option<LinkId> {
        self.detached.pop()
    }

    /// Whether a node may send more on this link now. To be asked before each delivery of many: when
    /// too much waits to be written the node stops, and its `credit` is called again once there is
    /// room.
    pub(super) fn has_room(&mut self, link: LinkId) -> bool {
        if !self.is_congested() {
            return true;
        }
        self.congested.entry(link).or_default();
        false
    }

    /// Whether so much waits to be written that nothing is to be added but answers.
    pub(super) fn is_congested(&self) -> bool {
        is_congested(&self.machine)
    }

    /// The peer wants the link drained: remembered for later when the node has stopped half-way.
    pub(super) fn drained(&mut self, link: LinkId) {
        match self.congested.get_mut(&link) {
            Some(drain) => *drain = true,
            None => self.machine.drained(link),
        }
    }

    /// A link that may go on, when everything has been written, and whether to drain it. Links take
    /// turns: one that stops again at once is behind the others.
    pub(super) fn next_congested(&mut self) -> Option<(LinkId, bool)> {
        let behind = self.resumed.map_or(Bound::Unbounded, Bound::Excluded);
        let mut later = self.congested.range((behind, Bound::Unbounded));
        let next = later.next().or_else(|| self.congested.iter().next());
        let link = *next?.0;
        self.resumed = Some(link);
        self.congested.remove_entry(&link)
    }
}

/// Whether so much waits to be written that nothing is to be added but answers.
pub(super) fn is_congested(machine: &Connection) -> bool {
    machine.output_len() >= OUTPUT_LIMIT
}

/// The beginning of a text that may be of any length, for a log.
pub(super) fn shown(text: &str) -> &str {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// A host without its port. An address of IPv6 stands in brackets, as in a URI.
pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    }
}
