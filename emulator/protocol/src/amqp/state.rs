//! What became of a delivery (AMQP 1.0 part 3, 3.4).

use super::error::AmqpError;
use super::value::{Map, Value};

/// The state of a delivery.
#[derive(Clone, Debug, PartialEq)]
pub enum DeliveryState {
    /// Partly received.
    Received {
        /// The section.
        section_number: u32,
        /// Bytes of it.
        section_offset: u64,
    },
    /// Taken.
    Accepted,
    /// Refused for good.
    Rejected(Option<AmqpError>),
    /// Given back, not looked at.
    Released,
    /// Given back, changed.
    Modified {
        /// Whether it counts as an attempt.
        delivery_failed: bool,
        /// Whether this receiver does not want it again.
        undeliverable_here: bool,
        /// What to add to its annotations.
        annotations: Map,
    },
    /// A state of an extension, as it was sent.
    Other(Value),
}
