//! One file of events.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use iothub_hub::{Event, PartitionHead};

use super::change;
use super::codec::Decoder;
use super::directory::{Directory, SegmentName, damaged, failed, malformed};
use super::log::{self, End, Kind, Log};
use super::sync::Unsynced;
use crate::store::StoreError;

/// Events of a partition that follow one another.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    first: u64,
    bytes: u64,
    /// Present while it is the newest and written to.
    log: Option<Log>,
    /// Guards where some frames are; reading adds to it.
    index: Mutex<Index>,
}

/// Sequence numbers and the frames that begin with them, in order.
#[derive(Debug, Default)]
struct Index(Vec<(u64, u64)>);

/// About every so many bytes, a frame is in the index.
const STRIDE: u64 = 16 * 1024;

impl Segment {
    /// Begins a file; the first event is to be at `head`.
    pub(super) fn create(
        directory: &Directory,
        name: SegmentName,
        head: PartitionHead,
        sync: &Unsynced,
    ) -> Result<Self, StoreError> {
        let path = directory.segment(name);
        let title = [
            name.partition.into(),
            name.epoch,
            name.first,
            head.next_offset,
        ];
        let log = Log::create(path.clone(), Kind::Events, &title, sync)?;
        if let Some(handle) = directory.events_handle() {
            sync.mark(handle);
        }
        let (first, bytes) = (name.first, log.length());
        Ok(Self {
            path,
            first,
            bytes,
            log: Some(log),
            index: Mutex::default(),
        })
    }

    /// A file that is not written to any more. It is read when somebody asks for it.
    pub(super) fn closed(directory: &Directory, name: SegmentName) -> Result<Self, StoreError> {
        let path = directory.segment(name);
        let bytes = fs::metadata(&path).map_err(failed("measure", &path))?.len();
        Ok(Self {
            path,
            first: name.first,
            bytes,
            log: None,
            index: Mutex::default(),
        })
    }

    /// Reads the newest file and goes on with it, and says where. `None` when it ends within its
    /// title.
    pub(super) fn resume(
        directory: &Directory,
        name: SegmentName,
        sync: &Unsynced,
    ) -> Result<Option<(Self, PartitionHead)>, StoreError> {
        let path = directory.segment(name);
        let mut index = Index::default();
        let mut last = None;
        let read = log::read::<4>(&path, Kind::Events, |at, payload| {
            let first = Decoder::new(payload.clone())
                .number()
                .map_err(malformed(&path, at))?;
            index.note(first, at);
            last = Some((at, payload));
            Ok(())
        })?;
        let Some((title, end)) = read else {
            return Ok(None);
        };
        let [partition, epoch, first, next_offset] = title;
        if (partition, epoch, first) != (name.partition.into(), name.epoch, name.first) {
            let found = format!("it is partition {partition}, epoch {epoch}, from event {first}");
            return Err(damaged(&path, 0, found));
        }
        let mut head = PartitionHead {
            next_sequence: first,
            next_offset,
        };
        if let Some((at, payload)) = last {
            let events = change::decode_events(&mut Decoder::new(payload), name.partition)
                .map_err(malformed(&path, at))?;
            if let Some(event) = events.last() {
                head = event.next_head();
            }
        }
        let log = Log::resume(path.clone(), end, sync)?;
        let (bytes, index) = (log.length(), Mutex::new(index));
        Ok(Some((
            Self {
                path,
                first,
                bytes,
                log: Some(log),
                index,
            },
            head,
        )))
    }

    /// Writes events, which are at least one, at its end. The newest segment only.
    pub(super) fn append(
        &mut self,
        buffer: &mut Vec<u8>,
        sync: &Unsynced,
        events: &[Event],
    ) -> Result<(), StoreError> {
        let log = self.log.as_mut().expect("the newest segment is open");
        let at = log.length();
        log.append(buffer, sync, |out| change::encode_events(out, events))?;
        self.bytes = log.length();
        self.index
            .get_mut()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .note(events[0].sequence, at);
        Ok(())
    }

    /// Nothing more will be written.
    pub(super) fn close(&mut self) {
        self.log = None;
    }

    /// Reads frames of events, from one that begins at `from` or before it on, while `each` says
    /// so.
    pub(super) fn read(
        &self,
        from: u64,
        mut each: impl FnMut(u64, Decoder) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        let start = self.index().find(from);
        let end = log::read_from(&self.path, start, self.bytes, |at, payload| {
            if at == 0 {
                // The title.
                return Ok(true);
            }
            let first = Decoder::new(payload.clone())
                .number()
                .map_err(malformed(&self.path, at))?;
            self.index().note(first, at);
            Ok(each(at, Decoder::new(payload))?.is_continue())
        })?;
        if let End::Torn(at) = end {
            tracing::warn!(
                file = %self.path.display(),
                offset = at,
                "the end of a segment is missing, reading goes on with the next one"
            );
        }
        Ok(())
    }

    /// The sequence number that comes first.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// How long the file is.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Index {
    /// Learns of the frame at `at`, whose first event is `first`.
    fn note(&mut self, first: u64, at: u64) {
        let last = self.0.last().map_or(0, |&(_, last)| last);
        if at >= last + STRIDE {
            self.0.push((first, at));
        }
    }

    /// A frame at or before the one with `sequence`.
    fn find(&self, sequence: u64) -> u64 {
        let after = self.0.partition_point(|&(first, _)| first <= sequence);
        after.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}
