//! Keeps events in memory and nothing else: the hub itself holds the rest.

use iothub_hub::{Change, PartitionId};

use super::recent::Recent;
use super::{EventRun, OnDurable, Store, StoreError, Ticket};

/// A store that forgets everything when the process ends. Commits are durable, in its sense, at
/// once.
#[derive(Debug)]
pub struct MemoryStore {
    partitions: Vec<Recent>,
    /// Bytes that each partition may keep.
    budget: u64,
    committed: Ticket,
}

impl MemoryStore {
    /// Keeps about the newest `retention_bytes` of events, spread evenly over `partitions`.
    pub fn new(partitions: u16, retention_bytes: u64) -> Self {
        let count = usize::from(partitions.max(1));
        let budget = retention_bytes / count as u64;
        Self {
            partitions: (0..count).map(|_| Recent::new(budget, 0)).collect(),
            budget,
            committed: Ticket::default(),
        }
    }
}

impl Store for MemoryStore {
    fn load(&mut self, _each: &mut dyn FnMut(Change)) -> Result<(), StoreError> {
        Ok(())
    }

    fn commit(&mut self, changes: Vec<Change>) -> Result<Ticket, StoreError> {
        for change in changes {
            match change {
                Change::AppendEvents(events) => {
                    let Some(first) = events.first() else {
                        continue;
                    };
                    let index = usize::from(first.partition);
                    if let Some(partition) = self.partitions.get_mut(index) {
                        partition.append(events);
                    }
                }
                Change::Reset => {
                    for partition in &mut self.partitions {
                        *partition = Recent::new(self.budget, 0);
                    }
                }
                Change::PutPartitionHead(partition, head) => {
                    if let Some(partition) = self.partitions.get_mut(usize::from(partition)) {
                        *partition = Recent::new(self.budget, head.next_sequence);
                    }
                }
                // The hub holds these itself, and nothing here outlives the process.
                Change::PutIdentity(_)
                | Change::DeleteIdentity(_)
                | Change::PutTwin(..)
                | Change::PutSubscriptions(..)
                | Change::DeleteSubscriptions(_)
                | Change::PutC2d(_)
                | Change::DeleteC2d(..)
                | Change::PutDocument(_)
                | Change::DeleteDocument(..)
                | Change::PutEntropy(_) => {}
            }
        }
        self.committed.0 += 1;
        Ok(self.committed)
    }

    fn durable(&self) -> Ticket {
        self.committed
    }

    fn check(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn on_durable(&mut self, _call: OnDurable) {}

    fn read_run(
        &self,
        partition: PartitionId,
        from: u64,
        max: usize,
    ) -> Result<EventRun, StoreError> {
        let partition = self.partitions.get(usize::from(partition));
        Ok(partition.map_or_else(EventRun::default, |partition| partition.read(from, max)))
    }

    fn first_sequence(&self, partition: PartitionId) -> u64 {
        self.partitions
            .get(usize::from(partition))
            .map_or(0, Recent::first)
    }

    fn close(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
