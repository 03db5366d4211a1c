//! Devices and modules that are present by a connection: a session of the hub for each.

/// The devices and modules of a connection.
#[derive(Debug, Default)]
pub(super) struct Devices {}
