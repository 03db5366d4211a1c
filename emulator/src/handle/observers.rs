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
        let mut core = self.lock();
        // Where nothing happens, nobody else notices that observers have gone.
        core.observers.retain(|observer| !observer.is_closed());
        core.observers.push(sender);
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
    let appended = changes.iter().filter_map(Change::appended);
    let events = appended.map(|events| Observation::Events(events.into()));
    events
        .chain(notices.iter().cloned().map(Observation::Notice))
        .collect()
}

#[cfg(test)]
mod tests {
    use iothub_hub::{Hub, HubConfig, Principal};
    use iothub_protocol::DeviceId;
    use iothub_protocol::registry::{IdentitySpec, IfMatch};

    use super::*;
    use crate::activity::OperationKind;
    use crate::clock::HubClock;
    use crate::store::MemoryStore;

    async fn register(handle: &HubHandle, name: &str) {
        let device = DeviceId::parse(name).unwrap();
        let registered = handle.call(OperationKind::PutDevice.hub_wide(), |hub, cx| {
            let (operator, spec) = (Principal::operator(), IdentitySpec::default());
            hub.put_device(cx, &operator, &device, spec, &IfMatch::Absent)
        });
        registered.await.unwrap();
    }

    #[tokio::test]
    async fn observers_who_have_gone_cost_nothing() {
        let hub = Hub::new(HubConfig::default());
        let partitions = hub.partition_heads().len();
        let store = Box::new(MemoryStore::new(partitions as u16, 1 << 20));
        let handle = HubHandle::open(hub, store, Arc::new(HubClock::system())).unwrap();

        for _ in 0..10 {
            drop(handle.observe(1));
        }
        assert_eq!(handle.lock().observers.len(), 1);
        register(&handle, "d1").await;
        assert!(!handle.inner.observed.load(Ordering::Relaxed));

        let mut observer = handle.observe(1);
        register(&handle, "d2").await;
        assert!(observer.recv().await.is_some());
    }
}
