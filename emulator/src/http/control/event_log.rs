//! The partitions of the event log read as one sequence: by time, then by partition.

use std::collections::VecDeque;

use iothub_hub::{Event, PartitionId};
use iothub_protocol::{DeviceId, Error, Timestamp};

use super::cursor::Cursor;
use crate::handle::HubHandle;

/// Events that are fetched at a time; the hub is locked meanwhile.
const CHUNK: usize = 256;

/// Which events of a log are wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    /// Only those of this device and its modules, which all are in one partition.
    device: Option<(DeviceId, PartitionId)>,
}

/// Reads on from a place. What it holds of each partition is one chunk at most.
pub(super) struct EventLog {
    handle: HubHandle,
    filter: Filter,
    /// The next event to be given out, of each partition.
    next: Cursor,
    /// Where each partition ended when [`EventLog::refresh`] looked last.
    ends: Vec<u64>,
    fetched: Vec<VecDeque<Event>>,
}

impl Filter {
    /// All events.
    pub(super) fn all() -> Self {
        Self::default()
    }

    /// Those of a device and its modules.
    pub(super) fn device(handle: &HubHandle, device: DeviceId) -> Self {
        let partition = handle.inspect(|hub| hub.partition_of(&device));
        Self {
            device: Some((device, partition)),
        }
    }

    fn wants_partition(&self, partition: usize) -> bool {
        self.device
            .as_ref()
            .is_none_or(|(_, wanted)| usize::from(*wanted) == partition)
    }

    fn wants(&self, event: &Event) -> bool {
        self.device
            .as_ref()
            .is_none_or(|(device, _)| event.origin.client.device == *device)
    }
}

impl EventLog {
    /// Reads on from `from` up to where the log ends now.
    pub(super) fn open(handle: HubHandle, filter: Filter, from: Cursor) -> Self {
        let fetched = from.0.iter().map(|_| VecDeque::new()).collect();
        let mut log = Self {
            ends: from.0.clone(),
            handle,
            filter,
            next: from,
            fetched,
        };
        log.refresh();
        log
    }

    /// Reads up to where the log ends now.
    pub(super) fn refresh(&mut self) {
        let bounds = self.handle.event_bounds();
        for (partition, (first, end)) in bounds.into_iter().enumerate() {
            // Whoever is ahead of the log has read it before it was reset.
            if self.next.0[partition] > end {
                self.next.0[partition] = first;
                self.fetched[partition].clear();
            }
            self.ends[partition] = end;
        }
    }

    /// The next event. `None`: there is none before the end, or too many that are not wanted to go
    /// through at once, see [`EventLog::is_at_end`].
    pub(super) fn next(&mut self) -> Result<Option<Event>, Error> {
        for _ in 0..CHUNK {
            self.fetch()?;
            let earliest = self
                .fetched
                .iter()
                .enumerate()
                .filter_map(|(partition, events)| Some((events.front()?.enqueued, partition)))
                .min();
            let Some((_, partition)) = earliest else {
                return Ok(None);
            };
            let event = self.fetched[partition].pop_front();
            let event = event.expect("the partition's front has just been looked at");
            self.next.0[partition] = event.sequence + 1;
            if self.filter.wants(&event) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Passes over all but about the last `keep` events up to the end, at least so many, and tells
    /// how many those are. Only where all events are wanted: otherwise they have to be looked at.
    pub(super) fn skip_to_last(&mut self, keep: u64) -> u64 {
        let left = |next: &u64, end: &u64| end.saturating_sub(*next);
        let places = || self.next.0.iter().zip(&self.ends);
        let total: u64 = places().map(|(next, end)| left(next, end)).sum();
        if self.filter.device.is_some() || total <= keep {
            return 0;
        }
        let mut kept = 0;
        for (partition, end) in self.ends.iter().enumerate() {
            let next = &mut self.next.0[partition];
            // In proportion, so that a busy partition does not hide the others.
            let share = (left(next, end) * keep).div_ceil(total);
            kept += share;
            *next = end - share;
            let fetched = &mut self.fetched[partition];
            while fetched.front().is_some_and(|event| event.sequence < *next) {
                fetched.pop_front();
            }
        }
        total - kept
    }

    /// Whether everything up to the end has been given out.
    pub(super) fn is_at_end(&self) -> bool {
        let mut places = self.next.0.iter().zip(&self.ends).enumerate();
        places
            .all(|(partition, (next, end))| !self.filter.wants_partition(partition) || next >= end)
    }

    /// Where a reader that has seen everything given out so far goes on.
    pub(super) fn cursor(&self) -> String {
        self.next.to_string()
    }

    fn fetch(&mut self) -> Result<(), Error> {
        for (partition, fetched) in self.fetched.iter_mut().enumerate() {
            let (next, end) = (&mut self.next.0[partition], self.ends[partition]);
            if !fetched.is_empty() || *next >= end || !self.filter.wants_partition(partition) {
                continue;
            }
            let count = usize::try_from(end - *next).map_or(CHUNK, |left| left.min(CHUNK));
            let events = self
                .handle
                .read_events(partition as PartitionId, *next, count)?;
            fetched.extend(events.into_iter().filter(|event| event.sequence < end));
            if fetched.is_empty() {
                // They have grown too old to be kept.
                *next = end;
            }
        }
        Ok(())
    }
}

/// Where the oldest event is that the log still has.
pub(super) fn earliest(handle: &HubHandle) -> Cursor {
    Cursor(
        handle
            .event_bounds()
            .into_iter()
            .map(|(first, _)| first)
            .collect(),
    )
}

/// Where the next event will be.
pub(super) fn latest(handle: &HubHandle) -> Cursor {
    Cursor(
        handle
            .event_bounds()
            .into_iter()
            .map(|(_, end)| end)
            .collect(),
    )
}

/// Where the first event is that is not older than `time`.
pub(super) fn at_time(handle: &HubHandle, time: Timestamp) -> Result<Cursor, Error> {
    let mut cursor = Vec::new();
    for (partition, (mut low, mut high)) in handle.event_bounds().into_iter().enumerate() {
        while low < high {
            let middle = low.midpoint(high);
            let events = handle.read_events(partition as PartitionId, middle, 1)?;
            if events.first().is_some_and(|event| event.enqueued < time) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        cursor.push(low);
    }
    Ok(Cursor(cursor))
}

/// Where the newest `count` wanted events begin. Goes back through the log, so the other tasks get
/// their turns in between.
pub(super) async fn newest(
    handle: &HubHandle,
    filter: &Filter,
    count: usize,
) -> Result<Cursor, Error> {
    let mut tails: Vec<Tail> = handle
        .event_bounds()
        .into_iter()
        .map(|(first, end)| Tail {
            first,
            fetched_from: end,
            start: end,
            fetched: Vec::new(),
        })
        .collect();
    for _ in 0..count {
        for (partition, tail) in tails.iter_mut().enumerate() {
            while filter.wants_partition(partition) && tail.fetch(handle, filter, partition)? {
                tokio::task::yield_now().await;
            }
        }
        let latest = tails
            .iter_mut()
            .filter(|tail| !tail.fetched.is_empty())
            .max_by_key(|tail| tail.fetched.last().map(|event| event.enqueued));
        let Some(latest) = latest else { break };
        latest.start = latest
            .fetched
            .pop()
            .map_or(latest.start, |event| event.sequence);
    }
    Ok(Cursor(tails.into_iter().map(|tail| tail.start).collect()))
}

/// A partition read backwards.
struct Tail {
    first: u64,
    fetched_from: u64,
    /// The oldest event that counts.
    start: u64,
    fetched: Vec<Event>,
}

impl Tail {
    /// Fetches the chunk before, when none is left of this one; whether to look once more.
    fn fetch(
        &mut self,
        handle: &HubHandle,
        filter: &Filter,
        partition: usize,
    ) -> Result<bool, Error> {
        if !self.fetched.is_empty() || self.fetched_from <= self.first {
            return Ok(false);
        }
        let from = self
            .fetched_from
            .saturating_sub(CHUNK as u64)
            .max(self.first);
        let count = (self.fetched_from - from) as usize;
        let mut events = handle.read_events(partition as PartitionId, from, count)?;
        events.retain(|event| event.sequence < self.fetched_from && filter.wants(event));
        self.fetched_from = from;
        self.fetched = events;
        Ok(true)
    }
}
