//! Whether the client is connected, for those who want to watch.

use std::time::Duration;

use tokio::sync::watch;

use crate::Error;

/// What the connection is doing.
#[derive(Clone, Debug)]
pub enum ConnectionState {
    /// It is being opened.
    Connecting,
    /// The hub accepted it.
    Connected,
    /// It failed or was lost, and will be tried again.
    Retrying {
        /// What happened.
        reason: Error,
        /// How long it waits before it tries.
        delay: Duration,
    },
    /// It is over: the client was closed, or the hub refused it for good.
    Closed {
        /// What ended it; nothing when the client was closed.
        reason: Option<Error>,
    },
}

/// Follows the state of a connection. Sees the newest state; what was there only briefly in between
/// may be missed.
#[derive(Clone)]
pub struct ConnectionStates {
    receiver: watch::Receiver<ConnectionState>,
}

impl ConnectionStates {
    pub(crate) fn new(receiver: watch::Receiver<ConnectionState>) -> Self {
        Self { receiver }
    }

    /// The state now.
    pub fn current(&self) -> ConnectionState {
        self.receiver.borrow().clone()
    }

    /// Waits for another state than the last one seen; `None` once there will be none.
    pub async fn changed(&mut self) -> Option<ConnectionState> {
        self.receiver.changed().await.ok()?;
        Some(self.receiver.borrow_and_update().clone())
    }
}
