//! Bytes at rest: in memory, or in a file that goes when nobody needs it any more.

use std::io::{self, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// Bytes of one read from a file.
const PIECE: usize = 64 * 1024;

/// Bytes at rest. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Content(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    Memory { pieces: Vec<Piece>, length: u64 },
    File(StoredFile),
}

/// Bytes in memory, with what they take of the room that there is.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    /// Given back with the last clone.
    room: Option<Arc<Room>>,
}

/// A file that is removed with its last user, unless it is kept.
#[derive(Debug)]
struct StoredFile {
    path: PathBuf,
    length: u64,
    keep: AtomicBool,
}

/// A share of a bounded room, given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    used: Arc<AtomicU64>,
    bytes: u64,
}

impl Content {
    /// Bytes in memory that nobody counts.
    pub fn memory(pieces: Vec<Bytes>) -> Self {
        Self::in_room(pieces, None)
    }

    pub(super) fn in_room(pieces: Vec<Bytes>, room: Option<Room>) -> Self {
        let room = room.map(Arc::new);
        let pieces = pieces.into_iter().map(|bytes| Piece {
            bytes,
            room: room.clone(),
        });
        Self::of_pieces(pieces.collect())
    }

    pub(super) fn of_pieces(pieces: Vec<Piece>) -> Self {
        let length = pieces.iter().map(|piece| piece.bytes.len() as u64).sum();
        Self(Arc::new(Kind::Memory { pieces, length }))
    }

    /// A file that stays.
    pub fn file(path: PathBuf, length: u64) -> Self {
        Self::stored(path, length, true)
    }

    /// A file that goes with its last user.
    pub(super) fn scratch_file(path: PathBuf, length: u64) -> Self {
        Self::stored(path, length, false)
    }

    fn stored(path: PathBuf, length: u64, keep: bool) -> Self {
        Self(Arc::new(Kind::File(StoredFile {
            path,
            length,
            keep: AtomicBool::new(keep),
        })))
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        match &*self.0 {
            Kind::Memory { length, .. } => *length,
            Kind::File(file) => file.length,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The file, when it is one.
    pub(super) fn path(&self) -> Option<&Path> {
        match &*self.0 {
            Kind::Memory { .. } => None,
            Kind::File(file) => Some(&file.path),
        }
    }

    /// The pieces of a range, when they are in memory.
    pub(super) fn pieces(&self, range: Range<u64>) -> Vec<Piece> {
        match &*self.0 {
            Kind::Memory { pieces, .. } => cut(pieces, range),
            Kind::File(_) => Vec::new(),
        }
    }

    /// Says whether the file is to stay when nobody uses it any more.
    pub(super) fn set_kept(&self, keep: bool) {
        if let Kind::File(file) = &*self.0 {
            file.keep.store(keep, Ordering::Relaxed);
        }
    }

    /// The bytes of a range, piece by piece, without holding them all.
    pub fn stream(&self, range: Range<u64>) -> BoxStream<'static, io::Result<Bytes>> {
        let range = range.start.min(self.len())..range.end.min(self.len());
        match &*self.0 {
            Kind::Memory { pieces, .. } => {
                let pieces = cut(pieces, range);
                stream::iter(pieces.into_iter().map(|piece| Ok(piece.bytes))).boxed()
            }
            Kind::File(file) => read_file(self.clone(), file.path.clone(), range).boxed(),
        }
    }
}

/// Reads a range of a file; `owner` keeps the file there meanwhile.
fn read_file(
    owner: Content,
    path: PathBuf,
    range: Range<u64>,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    struct Reading {
        _owner: Content,
        path: PathBuf,
        file: Option<File>,
        at: u64,
        end: u64,
    }
    let reading = Reading {
        _owner: owner,
        path,
        file: None,
        at: range.start,
        end: range.end,
    };
    stream::try_unfold(reading, |mut reading| async move {
        if reading.at >= reading.end {
            return Ok(None);
        }
        let mut file = match reading.file.take() {
            Some(file) => file,
            None => {
                let mut file = File::open(&reading.path).await?;
                file.seek(SeekFrom::Start(reading.at)).await?;
                file
            }
        };
        let wanted = (reading.end - reading.at).min(PIECE as u64) as usize;
        let mut piece = vec![0; wanted];
        let read = file.read(&mut piece).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        piece.truncate(read);
        reading.at += read as u64;
        reading.file = Some(file);
        Ok(Some((Bytes::from(piece), reading)))
    })
}

/// The part of the pieces that a range covers.
fn cut(pieces: &[Piece], range: Range<u64>) -> Vec<Piece> {
    let mut start = 0;
    let mut found = Vec::new();
    for piece in pieces {
        let end = start + piece.bytes.len() as u64;
        let from = range.start.max(start);
        let to = range.end.min(end);
        if from < to {
            found.push(Piece {
                bytes: piece
                    .bytes
                    .slice((from - start) as usize..(to - start) as usize),
                room: piece.room.clone(),
            });
        }
        start = end;
    }
    found
}

impl Drop for StoredFile {
    fn drop(&mut self) {
        if !*self.keep.get_mut()
            && let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(%error, path = %self.path.display(), "a file of a blob stays");
        }
    }
}

impl Room {
    /// Takes `bytes` of `limit`, unless there is not that much left.
    pub(super) fn take(used: &Arc<AtomicU64>, bytes: u64, limit: u64) -> Option<Self> {
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|&sum| sum <= limit)
        })
        .ok()?;
        Some(Self {
            used: used.clone(),
            bytes,
        })
    }

    /// Makes one of two.
    pub(super) fn join(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
