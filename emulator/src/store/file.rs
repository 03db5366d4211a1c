//! Keeps everything in the files of a directory: a journal with snapshots for state, segments for
//! events. `docs/storage.md` describes the files and what a crash may lose.

mod change;
mod codec;
mod directory;
mod frame;
mod journal;
mod live;
mod log;
mod partition;
#[cfg(test)]
mod recovery_tests;
mod segment;
mod sync;

use std::path::Path;
use std::sync::Arc;

use iothub_hub::{Change, PartitionId};

use self::directory::{Directory, Lock, damaged, remove};
use self::journal::{Journal, Recovered};
use self::live::Live;
use self::partition::{Partition, Sizes};
use self::sync::{Syncer, Unsynced};
use super::{EventRun, OnDurable, Store, StoreError, Ticket};
use crate::config::Durability;

/// A store in a directory, which it alone uses until it is closed or dropped.
pub struct FileStore {
    durability: Durability,
    live: Live,
    partitions: Vec<Partition>,
    journal: Journal,
    sync: Arc<Unsynced>,
    /// Reused by every commit.
    buffer: Vec<u8>,
    /// Why there are no more commits, when one has failed or the store is closed.
    stopped: Option<String>,
    // In this order: what is left is synced, then the directory is let go.
    syncer: Syncer,
    lock: Option<Lock>,
}

/// How a [`FileStore`] keeps things.
#[derive(Clone, Copy, Debug)]
pub struct FileOptions {
    /// Partitions of the event log.
    pub partitions: u16,
    /// Bytes of events to keep in files, all partitions together.
    pub retention_bytes: u64,
    /// When a change counts as safe.
    pub durability: Durability,
    /// A journal that is shorter than this is not compacted while the store is open.
    pub compact_above: u64,
}

/// Bytes of events to keep in memory, all partitions together.
const RECENT_BYTES: u64 = 16 * 1024 * 1024;
/// A buffer that has become larger is given back.
const LARGE_BUFFER: usize = 4 * 1024 * 1024;

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            partitions: crate::config::DEFAULT_PARTITIONS,
            retention_bytes: crate::config::DEFAULT_RETENTION_BYTES,
            durability: Durability::default(),
            compact_above: 16 * 1024 * 1024,
        }
    }
}

impl FileStore {
    /// Opens the directory, made if need be, and reads what is there; what was being written when
    /// it was last used is cut off.
    ///
    /// Refuses with `InUse` when somebody else has it open, and with `Damaged`.
    pub fn open(path: &Path, options: FileOptions) -> Result<Self, StoreError> {
        let (directory, lock) = Directory::open(path)?;
        let directory = Arc::new(directory);
        let sync = Arc::new(Unsynced::default());
        let Recovered {
            mut journal,
            live,
            events,
        } = Journal::recover(directory.clone(), sync.clone(), options.compact_above)?;
        let mut partitions = open_partitions(&directory, &sync, live.epoch, options)?;
        let mut buffer = Vec::new();
        for change in events {
            restore_events(&mut partitions, &mut buffer, change)?;
        }
        let syncer =
            Syncer::start(sync.clone(), options.durability).map_err(|source| StoreError::Io {
                attempt: "start a thread for syncing".into(),
                source,
            })?;
        journal.compact_if_worthwhile(&live)?;
        Ok(Self {
            durability: options.durability,
            live,
            partitions,
            journal,
            sync,
            buffer,
            stopped: None,
            syncer,
            lock: Some(lock),
        })
    }

    fn write(&mut self, mut changes: Vec<Change>) -> Result<(), StoreError> {
        match changes.as_slice() {
            [] => return Ok(()),
            // The common case goes to its segment alone, which makes it whole by itself.
            [Change::AppendEvents(_)] => {}
            _ => self.journal.append(&mut self.buffer, &changes)?,
        }
        for change in changes.drain(..) {
            self.live.apply(&change);
            match change {
                Change::AppendEvents(events) => {
                    let partition = events.first().map_or(0, |event| event.partition);
                    if let Some(partition) = self.partitions.get_mut(usize::from(partition)) {
                        partition.append(&mut self.buffer, events)?;
                    }
                }
                Change::PutPartitionHead(partition, head) => {
                    if let Some(partition) = self.partitions.get_mut(usize::from(partition)) {
                        partition.skip_to(head)?;
                    }
                }
                Change::Reset => {
                    // No segment goes before the disk knows of the reset.
                    self.sync.flush()?;
                    for partition in &mut self.partitions {
                        partition.reset(self.live.epoch)?;
                    }
                }
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
        Ok(())
    }
}

impl Store for FileStore {
    fn load(&mut self, each: &mut dyn FnMut(Change)) -> Result<(), StoreError> {
        self.live.changes().for_each(&mut *each);
        for (partition, id) in self.partitions.iter().zip(0..) {
            if partition.head() != Default::default() {
                each(Change::PutPartitionHead(id, partition.head()));
            }
        }
        Ok(())
    }

    fn commit(&mut self, changes: Vec<Change>) -> Result<Ticket, StoreError> {
        if let Some(reason) = &self.stopped {
            return Err(StoreError::Stopped {
                reason: reason.clone(),
            });
        }
        self.sync.check()?;
        if let Err(error) = self.write(changes) {
            self.stopped = Some(format!("a commit failed: {error}"));
            return Err(error);
        }
        let ticket = self.sync.committed();
        if self.buffer.capacity() > LARGE_BUFFER {
            self.buffer = Vec::new();
        }
        if let Err(error) = self.journal.compact_if_grown(&self.live) {
            // The commit itself is written; the next one is refused.
            self.stopped = Some(format!("compacting the journal failed: {error}"));
        }
        Ok(ticket)
    }

    fn durable(&self) -> Ticket {
        match self.durability {
            Durability::Periodic => self.sync.written(),
            Durability::EveryCommit => self.sync.synced(),
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        self.sync.check()
    }

    fn on_durable(&mut self, call: OnDurable) {
        self.syncer.on_durable(call);
    }

    fn read_run(
        &self,
        partition: PartitionId,
        from: u64,
        max: usize,
    ) -> Result<EventRun, StoreError> {
        let partition = self.partitions.get(usize::from(partition));
        partition.map_or_else(
            || Ok(EventRun::default()),
            |partition| partition.read(from, max),
        )
    }

    fn first_sequence(&self, partition: PartitionId) -> u64 {
        self.partitions
            .get(usize::from(partition))
            .map_or(0, Partition::first)
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.stopped
            .get_or_insert_with(|| "it has been closed".into());
        self.journal.close();
        let result = self.syncer.close();
        self.lock = None;
        result
    }
}

fn open_partitions(
    directory: &Arc<Directory>,
    sync: &Arc<Unsynced>,
    epoch: u64,
    options: FileOptions,
) -> Result<Vec<Partition>, StoreError> {
    let count = options.partitions.max(1);
    let retention = options.retention_bytes / u64::from(count);
    let sizes = Sizes {
        retention,
        recent: retention.min(RECENT_BYTES / u64::from(count)),
    };
    let mut segments = directory.segments()?;
    if let Some(late) = segments.iter().find(|name| name.epoch > epoch) {
        let detail = format!("it is of epoch {}, the state of epoch {epoch}", late.epoch);
        return Err(damaged(&directory.segment(*late), 0, detail));
    }
    for old in segments.extract_if(.., |name| name.epoch < epoch) {
        remove(&directory.segment(old))?;
    }
    (0..count)
        .map(|id| {
            let start = segments.partition_point(|name| name.partition < id);
            let end = segments.partition_point(|name| name.partition <= id);
            let names = &segments[start..end];
            Partition::open(directory.clone(), sync.clone(), id, epoch, sizes, names)
        })
        .collect()
}

/// Takes to its partition what is in the journal and may not have got there.
fn restore_events(
    partitions: &mut [Partition],
    buffer: &mut Vec<u8>,
    change: Change,
) -> Result<(), StoreError> {
    match change {
        Change::AppendEvents(events) => {
            let id = events.first().map_or(0, |event| event.partition);
            match partitions.get_mut(usize::from(id)) {
                Some(partition) => partition.append_missing(buffer, events),
                None => Ok(()),
            }
        }
        Change::PutPartitionHead(id, head) => match partitions.get_mut(usize::from(id)) {
            Some(partition) => partition.skip_to(head),
            None => Ok(()),
        },
        Change::PutIdentity(_)
        | Change::DeleteIdentity(_)
        | Change::PutTwin(..)
        | Change::PutSubscriptions(..)
        | Change::DeleteSubscriptions(_)
        | Change::PutC2d(_)
        | Change::DeleteC2d(..)
        | Change::PutDocument(_)
        | Change::DeleteDocument(..)
        | Change::PutEntropy(_)
        | Change::Reset => Ok(()),
    }
}
