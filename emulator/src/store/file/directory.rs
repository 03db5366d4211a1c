//! The data directory: private to its owner, used by one process, with names for its files.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use iothub_hub::PartitionId;

use super::codec::Malformed;
use crate::store::StoreError;

/// A data directory that this store, and no other, uses.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    events: PathBuf,
    /// To be synced when a name was added or taken away; not every system can.
    handle: Option<Arc<File>>,
    events_handle: Option<Arc<File>>,
}

/// Holds others off; let go on drop.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// What a file of state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StateFile {
    /// The whole state at the start of the journal of the same number.
    Snapshot(u64),
    /// What was committed since.
    Journal(u64),
}

/// What a segment's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    pub(super) partition: PartitionId,
    pub(super) epoch: u64,
    /// The sequence number that comes first.
    pub(super) first: u64,
}

impl Directory {
    /// Makes the directory, for its owner only, unless it exists, and takes it.
    pub(super) fn open(path: &Path) -> Result<(Self, Lock), StoreError> {
        let events = path.join("events");
        create_directory(path).map_err(failed("create", path))?;
        let lock = lock(path)?;
        create_directory(&events).map_err(failed("create", &events))?;
        let handle = |path| File::open(path).ok().map(Arc::new);
        let (handle, events_handle) = (handle(path), handle(&events));
        Ok((
            Self {
                path: path.to_owned(),
                events,
                handle,
                events_handle,
            },
            lock,
        ))
    }

    /// Where a file of state is.
    pub(super) fn state(&self, file: StateFile) -> PathBuf {
        self.path.join(match file {
            StateFile::Snapshot(number) => format!("state-{number:020}.snapshot"),
            StateFile::Journal(number) => format!("state-{number:020}.journal"),
        })
    }

    /// Where a segment is.
    pub(super) fn segment(
        &self,
        SegmentName {
            partition,
            epoch,
            first,
        }: SegmentName,
    ) -> PathBuf {
        self.events
            .join(format!("{partition:05}-{epoch:020}-{first:020}.segment"))
    }

    /// All files of state, in order. Snapshots that were not finished are removed.
    pub(super) fn state_files(&self) -> Result<Vec<StateFile>, StoreError> {
        let mut files = Vec::new();
        for name in names(&self.path)? {
            if name.ends_with(UNFINISHED) {
                remove(&self.path.join(name))?;
            } else if let Some(name) = name.strip_prefix("state-") {
                let number = |ending| name.strip_suffix(ending)?.parse().ok();
                files.extend(number(".snapshot").map(StateFile::Snapshot));
                files.extend(number(".journal").map(StateFile::Journal));
            }
        }
        files.sort();
        Ok(files)
    }

    /// All segments, in order.
    pub(super) fn segments(&self) -> Result<Vec<SegmentName>, StoreError> {
        let parse = |name: &str| {
            let mut parts = name.strip_suffix(".segment")?.splitn(3, '-');
            let partition = parts.next()?.parse().ok()?;
            let epoch = parts.next()?.parse().ok()?;
            Some(SegmentName {
                partition,
                epoch,
                first: parts.next()?.parse().ok()?,
            })
        };
        let mut found: Vec<_> = names(&self.events)?
            .iter()
            .filter_map(|name| parse(name))
            .collect();
        found.sort();
        Ok(found)
    }

    /// To be synced when a file of state came or went.
    pub(super) fn handle(&self) -> Option<&Arc<File>> {
        self.handle.as_ref()
    }

    /// To be synced when a segment came or went.
    pub(super) fn events_handle(&self) -> Option<&Arc<File>> {
        self.events_handle.as_ref()
    }
}

/// Ends the name of a file that is being written.
const UNFINISHED: &str = ".new";

/// The name under which `path` is written until it is finished.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    name.into()
}

/// Opens a file that is written at its end, makes it if there is none.
pub(super) fn open_for_append(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    private(&mut options);
    options.open(path).map_err(failed("open", path))
}

/// Removes a file; it is no error if it is gone.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// An error of an attempt on a file.
pub(super) fn failed(attempt: &str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let attempt = format!("{attempt} {}", path.display());
    move |source| StoreError::Io { attempt, source }
}

/// Damage in a file.
pub(super) fn damaged(path: &Path, at: u64, detail: impl Into<String>) -> StoreError {
    let what = format!("{} at offset {at}", path.display());
    StoreError::Damaged {
        what,
        detail: detail.into(),
    }
}

/// A frame of a file that is whole and does not make sense.
pub(super) fn malformed(path: &Path, at: u64) -> impl FnOnce(Malformed) -> StoreError {
    move |Malformed(expected)| damaged(path, at, format!("expected {expected}"))
}

fn lock(path: &Path) -> Result<Lock, StoreError> {
    let file_path = path.join("lock");
    let file = open_for_append(&file_path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StoreError::InUse {
                directory: path.to_owned(),
            });
        }
        // Some network file systems know no locks; alone on the directory all is well.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
        Err(TryLockError::Error(error)) => return Err(failed("lock", &file_path)(error)),
    }
    Ok(Lock { _file: file })
}

fn names(path: &Path) -> Result<Vec<String>, StoreError> {
    let list = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            // A name that is not text is none of ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    };
    list().map_err(failed("list", path))
}

fn create_directory(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(path)
}

fn private(options: &mut OpenOptions) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    #[cfg(not(unix))]
    let _ = options;
}
