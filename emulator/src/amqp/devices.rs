//! Devices and modules that are present by a connection: a session of the hub for each.

use iothub_hub::End;
use iothub_protocol::ClientId;

use super::shared::Shared;

/// The devices and modules of a connection.
#[derive(Debug, Default)]
pub(super) struct Devices {}

/// Hands to the hub what one burst has brought for several deliveries at once. Called after each
/// burst, before anything is written.
pub(super) async fn flush(shared: &mut Shared) {
    let _ = shared;
}

/// Sends what the hub has for the connection's devices. Called after each burst and whenever
/// [`Shared::wake`] was notified.
pub(super) async fn drain(shared: &mut Shared) {
    let _ = shared;
}

/// A token of this client has been put, or with `None` one that may be for any: sessions that rest
/// on an older one rest on it from now on.
pub(super) async fn renewed(shared: &mut Shared, client: Option<&ClientId>) {
    let _ = (shared, client);
}

/// The connection is over: ends every session. Called after every node was closed.
pub(super) async fn close(shared: &mut Shared, end: End) {
    let _ = (shared, end);
}
