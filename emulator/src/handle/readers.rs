//! Reading the event log: readers with a place in their consumer group, and what wakes them.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use iothub_hub::{Event, PartitionHead, PartitionId, Principal, ReaderId, ReaderRequest};
use iothub_protocol::{Error, ErrorCode, Timestamp};
use tokio::sync::Notify;

use super::{Core, HubHandle};
use crate::activity::OperationKind;
use crate::store::{EventRun, StoreError};

/// A reader that the hub has let in; its place is free again when this is dropped.
#[derive(Debug)]
pub struct EventReader {
    handle: HubHandle,
    id: ReaderId,
    partition: PartitionId,
    signal: Arc<ReaderSignal>,
}

/// What a reader is told from elsewhere. It belongs to one connection, whose `wake` is for all that
/// the connection does; what it was woken for stands here.
#[derive(Debug)]
pub(super) struct ReaderSignal {
    wake: Arc<Notify>,
    /// Whether it waits for events.
    waiting: AtomicBool,
    /// Why its place is gone.
    ended: OnceLock<Error>,
}

/// What a partition holds.
#[derive(Clone, Debug)]
pub struct PartitionState {
    /// The oldest sequence number that is kept, or the next one.
    pub first: u64,
    /// Where it continues.
    pub head: PartitionHead,
    /// The newest event, if it is kept.
    pub last: Option<Event>,
}

impl HubHandle {
    /// Lets a reader in, who is woken by `wake` when there is something to read, or when its place
    /// is gone.
    pub async fn open_reader(
        &self,
        caller: &Principal,
        request: ReaderRequest<'_>,
        wake: Arc<Notify>,
    ) -> Result<EventReader, Error> {
        let operation = OperationKind::ReadEvents.hub_wide();
        let handle = self.clone();
        self.perform(operation, |core, cx| {
            let id = core.hub.open_reader(cx, caller, request)?;
            let signal = Arc::new(ReaderSignal {
                wake,
                waiting: AtomicBool::new(false),
                ended: OnceLock::new(),
            });
            core.readers.insert(id, signal.clone());
            Ok(EventReader {
                handle,
                id,
                partition: request.partition,
                signal,
            })
        })
        .await
        .map(|(reader, _)| reader)
    }

    /// What a partition holds; `None` when there is no such partition.
    pub fn partition_state(&self, partition: PartitionId) -> Result<Option<PartitionState>, Error> {
        let core = self.lock();
        let Some(&head) = core.hub.partition_heads().get(usize::from(partition)) else {
            return Ok(None);
        };
        let first = core.store.first_sequence(partition).min(head.next_sequence);
        let last = match head.next_sequence.checked_sub(1) {
            None => None,
            Some(last) => read(&core, partition, last, 1)?.first().cloned(),
        };
        Ok(Some(PartitionState { first, head, last }))
    }

    /// The oldest sequence number of a partition that is kept, and the next one; `None` when there
    /// is no such partition.
    pub fn partition_bounds(&self, partition: PartitionId) -> Option<(u64, u64)> {
        let core = self.lock();
        let next = core
            .hub
            .partition_heads()
            .get(usize::from(partition))?
            .next_sequence;
        Some((core.store.first_sequence(partition).min(next), next))
    }

    /// Some events of a partition from sequence number `from` on, at most `max`, at least one when
    /// there are any.
    pub fn read_run(
        &self,
        partition: PartitionId,
        from: u64,
        max: usize,
    ) -> Result<EventRun, Error> {
        read(&self.lock(), partition, from, max)
    }
}

impl PartitionState {
    /// The newest event's sequence number; -1 when there was none.
    pub fn last_sequence(&self) -> i64 {
        i64::try_from(self.head.next_sequence).unwrap_or(i64::MAX) - 1
    }

    /// The newest event's offset as readers see it; `-1` when there was none.
    pub fn last_offset(&self) -> String {
        match &self.last {
            Some(last) => last.offset.to_string(),
            None if self.head.next_sequence == 0 => "-1".into(),
            // It is forgotten; this is behind it and before the next one.
            None => self.head.next_offset.saturating_sub(1).to_string(),
        }
    }

    /// The newest event's time; [`Timestamp::NEVER`] when it is not known.
    pub fn last_enqueued(&self) -> Timestamp {
        self.last
            .as_ref()
            .map_or(Timestamp::NEVER, |last| last.enqueued)
    }

    /// Whether no event is kept.
    pub fn is_empty(&self) -> bool {
        self.first >= self.head.next_sequence
    }
}

impl EventReader {
    /// Some events from sequence number `from` on, at most `max`. When there are none, the reader
    /// is woken as soon as there are.
    ///
    /// A reader that is ahead of the partition goes on with the oldest event: the hub has been
    /// reset.
    pub fn read(&self, from: u64, max: usize) -> Result<EventRun, Error> {
        let mut core = self.handle.lock();
        let heads = core.hub.partition_heads();
        let next = heads
            .get(usize::from(self.partition))
            .map_or(0, |head| head.next_sequence);
        let from = if from > next { 0 } else { from };
        let run = read(&core, self.partition, from, max)?;
        if run.is_empty() && !self.signal.waiting.swap(true, Ordering::Relaxed) {
            let waiting = core.waiting.entry(self.partition).or_default();
            waiting.push(self.signal.clone());
        }
        Ok(run)
    }

    /// Whether the reader waits for events that have not come: it need not look.
    pub fn is_waiting(&self) -> bool {
        self.signal.waiting.load(Ordering::Relaxed)
    }

    /// Why the reader's place is gone, once it is.
    pub fn ended(&self) -> Option<&Error> {
        self.signal.ended.get()
    }

    /// The partition that it reads.
    pub fn partition(&self) -> PartitionId {
        self.partition
    }
}

impl Drop for EventReader {
    fn drop(&mut self) {
        let id = self.id;
        let closed = self.handle.apply(|core, _| {
            core.hub.close_reader(id);
            core.readers.remove(&id);
            if let Some(waiting) = core.waiting.get_mut(&self.partition) {
                waiting.retain(|signal| !Arc::ptr_eq(signal, &self.signal));
            }
            Ok(())
        });
        if let Err(error) = closed {
            tracing::debug!(%error, "a reader did not give up its place");
        }
    }
}

impl Core {
    /// Wakes who waits for events of this partition.
    pub(super) fn wake_readers(&mut self, partition: PartitionId) {
        let waiting = self.waiting.get_mut(&partition);
        for signal in waiting.into_iter().flat_map(|waiting| waiting.drain(..)) {
            signal.waiting.store(false, Ordering::Relaxed);
            signal.wake.notify_one();
        }
    }

    /// Tells a reader that its place is gone.
    pub(super) fn end_reader(&mut self, reader: ReaderId, error: Error) {
        if let Some(signal) = self.readers.remove(&reader) {
            signal.end(error);
        }
    }

    /// The same for every reader.
    pub(super) fn end_all_readers(&mut self, error: &Error) {
        for (_, signal) in self.readers.drain() {
            signal.end(error.clone());
        }
    }
}

impl ReaderSignal {
    fn end(&self, error: Error) {
        // A place is lost once.
        let _ = self.ended.set(error);
        self.wake.notify_one();
    }
}

impl fmt::Debug for HubHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubHandle").finish_non_exhaustive()
    }
}

fn read(core: &Core, partition: PartitionId, from: u64, max: usize) -> Result<EventRun, Error> {
    core.store
        .read_run(partition, from, max)
        .map_err(|error| failed(&error))
}

/// What a reader learns of a store that cannot be read.
pub(super) fn failed(error: &StoreError) -> Error {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "reading events failed"
    );
    Error::new(ErrorCode::ServerError, error.to_string())
}
