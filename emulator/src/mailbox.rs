//! From the hub to a connection: a bounded queue of deliveries, and the word to end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use iothub_hub::Delivery;
use iothub_protocol::ErrorCode;
use tokio::sync::Notify;

/// Counts the calls of the hub. Deliveries of earlier steps go before a later step's reply, so
/// that order on the wire follows order in the hub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step(pub u64);

/// A connection that does not take what it is sent is ended when this much waits for it.
const CAPACITY: usize = 4096;

/// What waits for one connection.
#[derive(Debug, Default)]
pub struct Mailbox {
    /// Guards the queue and the end; held for a push or a take.
    state: Mutex<State>,
    bell: Bell,
}

/// Who is woken when something changes.
#[derive(Debug)]
enum Bell {
    /// Who waits for this mailbox.
    Own(Notify),
    /// Who waits for several mailboxes at once.
    Shared(Arc<Notify>),
}

impl Default for Bell {
    fn default() -> Self {
        Self::Own(Notify::new())
    }
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<(Step, Delivery)>,
    closed: Option<ErrorCode>,
}

impl Mailbox {
    /// One of several that wake the same connection.
    pub(crate) fn waking(bell: Arc<Notify>) -> Self {
        Self {
            state: Mutex::default(),
            bell: Bell::Shared(bell),
        }
    }

    /// Adds a delivery; a full mailbox is closed instead and its connection ended.
    pub(crate) fn push(&self, step: Step, delivery: Delivery) {
        let mut state = self.lock();
        if state.queue.len() >= CAPACITY {
            state.queue.clear();
            state.closed = Some(ErrorCode::DeviceMaximumQueueSizeExceeded);
        } else if state.closed.is_none() {
            state.queue.push_back((step, delivery));
        }
        drop(state);
        self.bell().notify_one();
    }

    /// Tells the connection to end.
    pub(crate) fn close(&self, code: ErrorCode) {
        self.lock().closed.get_or_insert(code);
        self.bell().notify_one();
    }

    /// Takes the next delivery of a step before `before`, or any when `None`.
    pub fn take(&self, before: Option<Step>) -> Option<Delivery> {
        let mut state = self.lock();
        let (step, _) = state.queue.front()?;
        if before.is_some_and(|before| *step >= before) {
            return None;
        }
        state.queue.pop_front().map(|(_, delivery)| delivery)
    }

    /// Why the connection has to end, if it has to.
    pub fn closed(&self) -> Option<ErrorCode> {
        self.lock().closed
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lock().queue.is_empty()
    }

    /// Completes when something may have changed. Safe to drop half-way.
    pub async fn changed(&self) {
        self.bell().notified().await;
    }

    fn bell(&self) -> &Notify {
        match &self.bell {
            Bell::Own(bell) => bell,
            Bell::Shared(bell) => bell,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
