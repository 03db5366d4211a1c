//! The events of one partition: segment files, the oldest of which are dropped, and the newest
//! events in memory.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use iothub_hub::{Event, PartitionHead, PartitionId};

use super::change;
use super::directory::{Directory, SegmentName, malformed, remove};
use super::segment::Segment;
use super::sync::Unsynced;
use crate::store::recent::Recent;
use crate::store::{EventRun, StoreError};

/// The events of one partition.
#[derive(Debug)]
pub(super) struct Partition {
    directory: Arc<Directory>,
    sync: Arc<Unsynced>,
    id: PartitionId,
    epoch: u64,
    sizes: Sizes,
    /// In order; the last one is written to.
    segments: VecDeque<Segment>,
    head: PartitionHead,
    recent: Recent,
}

/// How much a partition keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// In files.
    pub(super) retention: u64,
    /// In memory.
    pub(super) recent: u64,
}

impl Partition {
    /// Goes on from the segments that are there.
    pub(super) fn open(
        directory: Arc<Directory>,
        sync: Arc<Unsynced>,
        id: PartitionId,
        epoch: u64,
        sizes: Sizes,
        names: &[SegmentName],
    ) -> Result<Self, StoreError> {
        let mut segments = VecDeque::new();
        let mut head = PartitionHead::default();
        if let Some((newest, older)) = names.split_last() {
            for name in older {
                segments.push_back(Segment::closed(&directory, *name)?);
            }
            match Segment::resume(&directory, *newest, &sync)? {
                Some((segment, found)) => {
                    head = found;
                    segments.push_back(segment);
                }
                // It was being made, and holds nothing.
                None => {
                    remove(&directory.segment(*newest))?;
                    return Self::open(directory, sync, id, epoch, sizes, older);
                }
            }
        }
        let recent = Recent::new(sizes.recent, head.next_sequence);
        Ok(Self {
            directory,
            sync,
            id,
            epoch,
            sizes,
            segments,
            head,
            recent,
        })
    }

    /// Writes events that follow those that are there; a gap is allowed.
    pub(super) fn append(
        &mut self,
        buffer: &mut Vec<u8>,
        events: Vec<Event>,
    ) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            return Ok(());
        };
        let start = PartitionHead {
            next_sequence: first.sequence,
            next_offset: first.offset,
        };
        if start.next_sequence < self.head.next_sequence {
            return Err(StoreError::Io {
                attempt: format!("append event {} of partition {}", first.sequence, self.id),
                source: std::io::Error::other(format!(
                    "event {} is the next one",
                    self.head.next_sequence
                )),
            });
        }
        let full = |segment: &Segment| segment.bytes() >= self.segment_bytes();
        if start.next_sequence != self.head.next_sequence || self.segments.back().is_none_or(full) {
            self.begin_segment(start)?;
        }
        let segment = self
            .segments
            .back_mut()
            .expect("a segment has just been begun");
        segment.append(buffer, &self.sync, &events)?;
        self.head = last.next_head();
        self.recent.append(events);
        self.drop_old()
    }

    /// As [`Partition::append`], without those that are there already.
    pub(super) fn append_missing(
        &mut self,
        buffer: &mut Vec<u8>,
        mut events: Vec<Event>,
    ) -> Result<(), StoreError> {
        events.retain(|event| event.sequence >= self.head.next_sequence);
        self.append(buffer, events)
    }

    /// Forgets events before `head` and goes on there, unless it has got further already.
    pub(super) fn skip_to(&mut self, head: PartitionHead) -> Result<(), StoreError> {
        let begun = self.segments.back().map_or(0, Segment::first);
        let next = self.head.next_sequence;
        if head.next_sequence > next || (head.next_sequence == next && begun < next) {
            self.begin_segment(head)?;
            self.recent = Recent::new(self.sizes.recent, head.next_sequence);
        }
        while self
            .segments
            .get(1)
            .is_some_and(|second| second.first() <= head.next_sequence)
            && let Some(oldest) = self.segments.pop_front()
        {
            remove(oldest.path())?;
        }
        Ok(())
    }

    /// Forgets everything and starts anew.
    pub(super) fn reset(&mut self, epoch: u64) -> Result<(), StoreError> {
        let old = std::mem::take(&mut self.segments);
        self.epoch = epoch;
        self.head = PartitionHead::default();
        self.recent = Recent::new(self.sizes.recent, 0);
        old.iter().try_for_each(|segment| remove(segment.path()))
    }

    /// Where it continues.
    pub(super) fn head(&self) -> PartitionHead {
        self.head
    }

    /// The oldest sequence number that is kept, or the next one.
    pub(super) fn first(&self) -> u64 {
        self.segments
            .front()
            .map_or(self.head.next_sequence, Segment::first)
    }

    /// Some events from `from` on, at most `max`.
    pub(super) fn read(&self, from: u64, max: usize) -> Result<EventRun, StoreError> {
        let from = from.max(self.first());
        if from >= self.recent.first() {
            return Ok(self.recent.read(from, max));
        }
        let mut events = Vec::new();
        let newer = self
            .segments
            .partition_point(|segment| segment.first() <= from);
        for segment in self.segments.range(newer.saturating_sub(1)..) {
            if events.len() >= max {
                break;
            }
            segment.read(from, |at, mut payload| {
                let found = change::decode_events(&mut payload, self.id)
                    .map_err(malformed(segment.path(), at))?;
                let wanted = found.into_iter().filter(|event| event.sequence >= from);
                events.extend(wanted.take(max - events.len()));
                Ok(if events.len() < max {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                })
            })?;
        }
        Ok(events.into())
    }

    fn begin_segment(&mut self, head: PartitionHead) -> Result<(), StoreError> {
        let name = SegmentName {
            partition: self.id,
            epoch: self.epoch,
            first: head.next_sequence,
        };
        let segment = Segment::create(&self.directory, name, head, &self.sync)?;
        if let Some(last) = self.segments.back_mut() {
            last.close();
        }
        self.segments.push_back(segment);
        self.head = head;
        Ok(())
    }

    fn drop_old(&mut self) -> Result<(), StoreError> {
        let mut bytes: u64 = self.segments.iter().map(Segment::bytes).sum();
        while bytes > self.sizes.retention
            && self.segments.len() > 1
            && let Some(oldest) = self.segments.pop_front()
        {
            bytes -= oldest.bytes();
            remove(oldest.path())?;
        }
        Ok(())
    }

    /// A segment is closed when it has reached this.
    fn segment_bytes(&self) -> u64 {
        const SMALLEST: u64 = 4 * 1024;
        const LARGEST: u64 = 64 * 1024 * 1024;
        (self.sizes.retention / 8).clamp(SMALLEST, LARGEST)
    }
}
