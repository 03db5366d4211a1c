//! How much there is, told at once whatever the number of devices.

use crate::Hub;
use crate::registry::Statistics;

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Devices.
    pub devices: Statistics,
    /// Modules.
    pub modules: u64,
    /// Cloud-to-device messages that wait to be delivered or settled.
    pub c2d_waiting: u64,
}

impl Hub {
    /// How much there is.
    pub fn census(&self) -> Census {
        Census {
            devices: self.registry.device_counts(),
            modules: self.registry.module_count(),
            c2d_waiting: self.c2d.total(),
        }
    }
}
