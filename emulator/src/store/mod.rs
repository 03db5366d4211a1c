//! Where changes are written down. A store knows no rules: it keeps what it is given, in order.

#[cfg(test)]
mod contract;
mod file;
mod memory;
mod recent;
mod run;
#[cfg(test)]
mod samples;

use std::path::PathBuf;

use iothub_hub::{Change, Event, PartitionId};

pub use file::{FileOptions, FileStore};
pub use memory::MemoryStore;
pub use run::EventRun;

/// Names a commit; later commits have greater tickets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What the machine did not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Reading or writing failed.
    #[error("{attempt}")]
    Io {
        /// What was tried, with what.
        attempt: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// What was read is not what was written.
    #[error("{what} is damaged: {detail}")]
    Damaged {
        /// Which part: a file, and where in it.
        what: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Another process, or another store of this one, keeps its files there.
    #[error("the data directory {} is in use by another emulator", directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// The store takes no more commits.
    #[error("the store has stopped: {reason}")]
    Stopped {
        /// What happened before.
        reason: String,
    },
}

/// Called by a store each time more of what was committed has become durable, or cannot any more:
/// from a thread of the store, never from within a call to it. It may call the store.
pub type OnDurable = Box<dyn Fn() + Send + Sync>;

/// Keeps changes.
pub trait Store: Send {
    /// Reads back what was committed, oldest first; events as the heads of their partitions.
    fn load(&mut self, each: &mut dyn FnMut(Change)) -> Result<(), StoreError>;

    /// Writes changes down: all or nothing, in order.
    fn commit(&mut self, changes: Vec<Change>) -> Result<Ticket, StoreError>;

    /// Everything up to here survives a crash.
    fn durable(&self) -> Ticket;

    /// Refuses once nothing more can become durable: a write in the background has failed.
    fn check(&self) -> Result<(), StoreError>;

    /// Asks to be told when [`Store::durable`] grows, and when [`Store::check`] begins to refuse. A
    /// store whose commits are durable at once never calls.
    fn on_durable(&mut self, call: OnDurable);

    /// Some events of a partition from sequence number `from` on, at most `max`, at least one when
    /// there are any; older ones than are kept are left out.
    fn read_run(
        &self,
        partition: PartitionId,
        from: u64,
        max: usize,
    ) -> Result<EventRun, StoreError>;

    /// As [`Store::read_run`], and as many as there are.
    fn read_events(
        &self,
        partition: PartitionId,
        from: u64,
        max: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let (mut events, mut next) = (Vec::new(), from);
        while events.len() < max {
            let run = self.read_run(partition, next, max - events.len())?;
            let Some(last) = run.last() else { break };
            next = last.sequence + 1;
            events.extend_from_slice(&run);
        }
        Ok(events)
    }

    /// The oldest sequence number that is kept, or the next one when none is.
    fn first_sequence(&self, partition: PartitionId) -> u64;

    /// Makes everything durable and releases files; the last call. It does not wait for an
    /// [`OnDurable`] in progress, which may wait for a lock that the caller holds.
    fn close(&mut self) -> Result<(), StoreError>;
}
