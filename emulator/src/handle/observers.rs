//! Who is told what happens, events with their bodies included, as far as they keep up.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use iothub_hub::{Change, Event, Notice};
use tokio::sync::mpsc;

use super::{Core, HubHandle};

/// What an observer is told, after it has been stored. Best effort.
#[derive(Clone, Debug)]
pub enum Observation {
    /// Events were appended.
    Events(Arc<[Event]>),
    /// Something else happened.
    Notice(Notice),
}

impl HubHandle {
    /// Tells what happens from now on. What does not fit into `capacity` is dropped and counted.
    pub fn observe(&self, capacity: usize) -> mpsc::Receiver<Observation> {
        let (sender, receiver) = mpsc::channel(capacity);
        self.lock().observers.push(sender);
        self.inner.observed.store(true, Ordering::Relaxed);
        receiver
    }

    /// How many observe, and how many observations were dropped because they were slow.
    pub fn observers(&self) -> (u64, u64) {
        let core = self.lock();
        let open = core.observers.iter().filter(|it| !it.is_closed());
        (open.count() as u64, core.dropped_observations)
    }

    /// How many observations were dropped because an observer was slow.
    pub fn dropped_observations(&self) -> u64 {
        self.lock().dropped_observations
    }
}

impl Core {
    pub(super) fn tell_observers(&mut self, observations: Vec<Observation>) {
        for observation in observations {
            let mut dropped = 0;
            self.observers
                .retain(|observer| match observer.try_send(observation.clone()) {
                    Ok(()) => true,
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        dropped += 1;
                        true
                    }
                    Err(mpsc::error::TrySendError::Closed(_)) => false,
                });
            self.dropped_observations += dropped;
        }
    }
}

/// What observers are told of an operation.
pub(super) fn observations(changes: &[Change], notices: &[Notice]) -> Vec<Observation> {
    let events = changes.iter().filter_map(|change| match change {
        Change::AppendEvents(events) => Some(Observation::Events(events.as_slice().into())),
        Change::PutIdentity(_)
        | Change::DeleteIdentity(_)
        | Change::PutTwin(_)
        | Change::PutSubscriptions(..)
        | Change::DeleteSubscriptions(_)
        | Change::PutPartitionHead(..)
        | Change::PutC2d(_)
        | Change::DeleteC2d(..)
        | Change::PutDocument(_)
        | Change::DeleteDocument(..)
        | Change::PutEntropy(_)
        | Change::Reset => None,
    });
    events
        .chain(notices.iter().cloned().map(Observation::Notice))
        .collect()
}
