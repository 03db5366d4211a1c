//! The journal of state, its snapshots, and how one becomes the other.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use iothub_hub::Change;

use super::change;
use super::directory::{Directory, StateFile, damaged, failed, malformed, remove, unfinished};
use super::live::Live;
use super::log::{self, End, Kind, Log};
use super::sync::Unsynced;
use crate::store::StoreError;

/// The journal that is written, and the compaction that may be under way.
#[derive(Debug)]
pub(super) struct Journal {
    directory: Arc<Directory>,
    sync: Arc<Unsynced>,
    number: u64,
    log: Log,
    /// How long the journals were that had to be read at the start.
    replayed: u64,
    /// Below this, a journal is not worth a snapshot.
    compact_above: u64,
    progress: Arc<Progress>,
    compaction: Option<JoinHandle<()>>,
}

/// What the compaction thread and the journal tell each other.
#[derive(Debug, Default)]
struct Progress {
    /// How large the last snapshot was.
    snapshot_bytes: AtomicU64,
    /// The store is being closed: leave it.
    cancelled: AtomicBool,
}

/// What was in the files.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) journal: Journal,
    pub(super) live: Live,
    /// Changes of the event log since the last reset and the last snapshot, which may not have
    /// reached their segments.
    pub(super) events: Vec<Change>,
}

/// A frame of a snapshot is about this long.
const SNAPSHOT_FRAME: usize = 64 * 1024;

impl Journal {
    /// Reads what is there and goes on from it.
    pub(super) fn recover(
        directory: Arc<Directory>,
        sync: Arc<Unsynced>,
        compact_above: u64,
    ) -> Result<Recovered, StoreError> {
        let files = directory.state_files()?;
        let snapshot = files.iter().rev().find_map(|file| match file {
            StateFile::Snapshot(number) => Some(*number),
            StateFile::Journal(_) => None,
        });
        let first = snapshot.unwrap_or(0);
        let mut live = Live::default();
        let mut snapshot_bytes = 0;
        if let Some(number) = snapshot {
            let path = directory.state(StateFile::Snapshot(number));
            live = read_snapshot(&path, number)?;
            snapshot_bytes = fs::metadata(&path).map_err(failed("measure", &path))?.len();
        }
        let mut journals = Vec::new();
        for &file in &files {
            match file {
                StateFile::Journal(number) if number >= first => journals.push(number),
                // Left over from a compaction that was interrupted at its end.
                StateFile::Snapshot(number) | StateFile::Journal(number) if number < first => {
                    remove(&directory.state(file))?;
                }
                StateFile::Snapshot(_) | StateFile::Journal(_) => {}
            }
        }

        let mut events = Vec::new();
        let mut last = None;
        let mut replayed = 0;
        for (expected, &number) in (first..).zip(&journals) {
            if number != expected {
                return Err(missing(&directory, StateFile::Journal(expected)));
            }
            let path = directory.state(StateFile::Journal(number));
            let end = replay(&path, number, &mut live, &mut events)?;
            replayed += fs::metadata(&path).map_err(failed("measure", &path))?.len();
            if let Some(End::Torn(at)) = end
                && Some(&number) != journals.last()
            {
                // A journal is synced before the next one begins.
                return Err(damaged(
                    &path,
                    at,
                    "the end is missing, and there is a later journal",
                ));
            }
            last = Some((number, path, end));
        }
        let (number, log) = match last {
            Some((number, path, Some(end))) => (number, Log::resume(path, end, &sync)?),
            Some((number, path, None)) => {
                (number, Log::create(path, Kind::Journal, &[number], &sync)?)
            }
            None if snapshot.is_some() => {
                return Err(missing(&directory, StateFile::Journal(first)));
            }
            None => (first, create(&directory, first, &sync)?),
        };
        let journal = Self {
            number,
            log,
            replayed,
            compact_above,
            progress: Arc::new(Progress {
                snapshot_bytes: snapshot_bytes.into(),
                cancelled: false.into(),
            }),
            compaction: None,
            directory,
            sync,
        };
        Ok(Recovered {
            journal,
            live,
            events,
        })
    }

    /// Writes a commit.
    pub(super) fn append(
        &mut self,
        buffer: &mut Vec<u8>,
        changes: &[Change],
    ) -> Result<(), StoreError> {
        self.log.append(buffer, &self.sync, |out| {
            for change in changes {
                change::encode(out, change);
            }
        })
    }

    /// Starts a compaction when the journal has outgrown the state, which is `live`.
    pub(super) fn compact_if_grown(&mut self, live: &Live) -> Result<(), StoreError> {
        let snapshot = self.progress.snapshot_bytes.load(Ordering::Relaxed);
        if self.log.length() > self.compact_above.max(snapshot.saturating_mul(2)) {
            self.compact(live)?;
        }
        Ok(())
    }

    /// Starts a compaction when the journal is larger than the snapshot, as suits a start.
    pub(super) fn compact_if_worthwhile(&mut self, live: &Live) -> Result<(), StoreError> {
        // A journal with nothing but its title is smaller than this.
        const NOTHING: u64 = 64;
        let snapshot = self.progress.snapshot_bytes.load(Ordering::Relaxed);
        if self.replayed > snapshot.max(NOTHING) {
            self.compact(live)?;
        }
        Ok(())
    }

    /// Ends a compaction that is under way.
    pub(super) fn close(&mut self) {
        self.progress.cancelled.store(true, Ordering::Relaxed);
        self.join_compaction();
    }

    fn join_compaction(&mut self) {
        if let Some(compaction) = self.compaction.take()
            && compaction.join().is_err()
        {
            tracing::error!("the compaction of the journal panicked");
        }
    }

    /// Begins the next journal and has a thread write `live` as the snapshot that it starts from.
    fn compact(&mut self, live: &Live) -> Result<(), StoreError> {
        if self
            .compaction
            .as_ref()
            .is_some_and(|compaction| !compaction.is_finished())
        {
            return Ok(());
        }
        self.join_compaction();
        // No journal but the last may have a torn tail. Once in megabytes, this may take its time.
        self.sync.flush()?;
        let number = self.number + 1;
        self.log = create(&self.directory, number, &self.sync)?;
        self.number = number;

        let live = live.clone();
        let (directory, sync) = (self.directory.clone(), self.sync.clone());
        let progress = self.progress.clone();
        let thread = thread::Builder::new()
            .name("store-compaction".into())
            .spawn(move || {
                match write_snapshot(&directory, number, &live, &sync, &progress.cancelled) {
                    Ok(Some(bytes)) => progress.snapshot_bytes.store(bytes, Ordering::Relaxed),
                    Ok(None) => {}
                    // Nothing is lost: the journals stay, and the next compaction covers them.
                    Err(error) => tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "compacting the journal failed"
                    ),
                }
            });
        self.compaction = Some(thread.map_err(|source| StoreError::Io {
            attempt: "start a thread for compaction".into(),
            source,
        })?);
        Ok(())
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

fn create(directory: &Directory, number: u64, sync: &Unsynced) -> Result<Log, StoreError> {
    let path = directory.state(StateFile::Journal(number));
    let log = Log::create(path, Kind::Journal, &[number], sync)?;
    if let Some(handle) = directory.handle() {
        sync.mark(handle);
    }
    Ok(log)
}

/// Applies a journal; `None` when it ends within its title.
fn replay(
    path: &Path,
    number: u64,
    live: &mut Live,
    events: &mut Vec<Change>,
) -> Result<Option<End>, StoreError> {
    let read = log::read(path, Kind::Journal, |at, payload| {
        for change in change::decode_all(payload).map_err(malformed(path, at))? {
            live.apply(&change);
            match change {
                Change::AppendEvents(_) | Change::PutPartitionHead(..) => events.push(change),
                Change::Reset => events.clear(),
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
    })?;
    match read {
        None => Ok(None),
        Some(([found], end)) if found == number => Ok(Some(end)),
        Some(([found], _)) => Err(damaged(path, 0, format!("it is journal {found}"))),
    }
}

fn read_snapshot(path: &Path, number: u64) -> Result<Live, StoreError> {
    let mut live = Live::default();
    let mut finished = false;
    let read = log::read(path, Kind::Snapshot, |at, payload: Bytes| {
        finished = payload.is_empty();
        for change in change::decode_all(payload).map_err(malformed(path, at))? {
            live.apply(&change);
        }
        Ok(())
    })?;
    // It had its name only once it was finished, so nothing about it may be amiss.
    match read {
        Some(([found, epoch], End::Whole)) if found == number && finished => {
            live.epoch = epoch;
            Ok(live)
        }
        Some((_, End::Torn(at))) => Err(damaged(path, at, "the checksum is wrong")),
        Some(([found, _], End::Whole)) if found != number => {
            Err(damaged(path, 0, format!("it is snapshot {found}")))
        }
        Some((_, End::Whole)) => {
            let length = fs::metadata(path).map_or(0, |metadata| metadata.len());
            Err(damaged(path, length, "the end is missing"))
        }
        None => Err(damaged(path, 0, "the checksum is wrong")),
    }
}

/// Writes a snapshot, and removes what it stands for. Answers its size; `None` when cancelled.
fn write_snapshot(
    directory: &Directory,
    number: u64,
    live: &Live,
    sync: &Unsynced,
    cancelled: &AtomicBool,
) -> Result<Option<u64>, StoreError> {
    let path = directory.state(StateFile::Snapshot(number));
    let new = unfinished(&path);
    let bytes = {
        let unsynced = Unsynced::default();
        let mut log = Log::create(
            new.clone(),
            Kind::Snapshot,
            &[number, live.epoch],
            &unsynced,
        )?;
        let mut buffer = Vec::new();
        let mut changes = live.changes().peekable();
        while changes.peek().is_some() {
            if cancelled.load(Ordering::Relaxed) {
                remove(&new)?;
                return Ok(None);
            }
            log.append(&mut buffer, &unsynced, |out| {
                while out.len() < SNAPSHOT_FRAME
                    && let Some(change) = changes.next()
                {
                    change::encode(out, &change);
                }
            })?;
        }
        log.append(&mut buffer, &unsynced, |_| {})?;
        unsynced.flush()?;
        log.length()
    };
    // The snapshot stands for events in the journals, too: they have to be in their segments.
    sync.flush()?;
    fs::rename(&new, &path).map_err(failed("rename", &new))?;
    if let Some(handle) = directory.handle() {
        sync.mark(handle);
        sync.flush()?;
    }
    for file in directory.state_files()? {
        let (StateFile::Snapshot(old) | StateFile::Journal(old)) = file;
        if old < number {
            remove(&directory.state(file))?;
        }
    }
    Ok(Some(bytes))
}

fn missing(directory: &Directory, file: StateFile) -> StoreError {
    let what = directory.state(file).display().to_string();
    StoreError::Damaged {
        what,
        detail: "the file is missing".into(),
    }
}
