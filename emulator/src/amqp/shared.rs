//! What every node of a connection uses.

use std::sync::Arc;

use iothub_protocol::amqp::Connection;
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
}
