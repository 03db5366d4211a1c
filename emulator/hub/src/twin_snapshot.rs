//! Twins as they are at one moment, to be read without holding anybody up.

use std::ops::Bound;

use imbl::OrdMap;
use iothub_protocol::{ClientId, DeviceId};

use crate::Hub;
use crate::packed::PackedTwin;
use crate::twins::Twin;

/// Every device and module with its twin, in the order of their names.
pub struct TwinSnapshot(OrdMap<ClientId, PackedTwin>);

impl Hub {
    /// The twins as they are now; shared with the hub, so that the cost does not depend on their
    /// number.
    pub fn twin_snapshot(&self) -> TwinSnapshot {
        TwinSnapshot(self.twins.snapshot())
    }

    /// Whether the client is connected.
    pub fn is_connected(&self, client: &ClientId) -> bool {
        self.sessions.of(client).is_some()
    }
}

impl TwinSnapshot {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = Twin> {
        self.0.iter().map(unpacked)
    }

    /// A device's and those of its modules.
    pub fn of_device(&self, device: &DeviceId) -> impl Iterator<Item = Twin> + use<'_> {
        let device = device.clone();
        let first = Bound::Included(ClientId::device(device.clone()));
        self.0
            .range((first, Bound::Unbounded))
            .take_while(move |(client, _)| client.device == device)
            .map(unpacked)
    }
}

fn unpacked((client, twin): (&ClientId, &PackedTwin)) -> Twin {
    twin.unpack(client.clone())
}
