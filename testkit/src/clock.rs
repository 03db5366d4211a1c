//! The time of a [`TestHub`](crate::TestHub).

use std::sync::Arc;
use std::time::Duration;

use iothub_emulator::HubHandle;
use iothub_protocol::{Clock, Timestamp};

/// Reads and moves the time of one hub.
#[derive(Clone, Copy)]
pub struct TestClock<'a> {
    handle: &'a HubHandle,
}

impl<'a> TestClock<'a> {
    pub(crate) fn new(handle: &'a HubHandle) -> Self {
        Self { handle }
    }

    /// The time now.
    pub fn now(self) -> Timestamp {
        self.handle.clock().now()
    }

    /// Moves the time forward. What falls due on the way happens in order, and is sent out before
    /// what falls due next. What then happens at the clients may still be under way when this
    /// returns: wait for it.
    ///
    /// A client that is silent for one and a half times its keep-alive is taken for dead, in
    /// virtual time as in any other.
    pub async fn advance(self, by: Duration) {
        self.handle.advance(by).await;
    }

    /// Stops the time where it is.
    pub fn freeze(self) {
        self.handle.clock().freeze();
    }

    /// Lets the time run on from where it stands.
    pub fn resume(self) {
        self.handle.clock().resume();
    }

    /// Whether the time stands still.
    pub fn is_frozen(self) -> bool {
        self.handle.clock().is_frozen()
    }

    /// The same clock for whoever takes one, such as clients of this hub.
    pub fn shared(self) -> Arc<dyn Clock> {
        self.handle.clock().clone()
    }
}
