//! A file of frames that grows at its end.

use std::fs::{self, File};
use std::io::{BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::codec::{Decoded, Decoder, Encode as _, Malformed};
use super::directory::{damaged, failed, malformed, open_for_append};
use super::frame::{self, Frames, Next};
use super::sync::Unsynced;
use crate::store::StoreError;

/// What a file is for; stands in its first frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Snapshot = b'S' as isize,
    Journal = b'J' as isize,
    Events = b'E' as isize,
}

/// A file that is appended to.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: Arc<File>,
    length: u64,
}

/// How reading a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As it should.
    Whole,
    /// The last frame, at this offset, is not whole: the file was being written.
    Torn(u64),
}

const MAGIC: &[u8] = b"ihub";
const FORMAT: u8 = 1;

/// The payload of a file's first frame.
pub(super) fn title(kind: Kind, details: &[u64]) -> Vec<u8> {
    let mut payload = MAGIC.to_vec();
    payload.byte(kind as u8);
    payload.byte(FORMAT);
    for detail in details {
        payload.number(*detail);
    }
    payload
}

fn parse_title<const N: usize>(payload: Bytes, kind: Kind) -> Decoded<[u64; N]> {
    let mut input = Decoder::new(payload);
    if input.raw(MAGIC.len())? != MAGIC || input.byte()? != kind as u8 {
        return Err(Malformed("the title of a file of this kind"));
    }
    if input.byte()? != FORMAT {
        return Err(Malformed("a format that this version knows (1)"));
    }
    let mut details = [0; N];
    for detail in &mut details {
        *detail = input.number()?;
    }
    Ok(details)
}

impl Log {
    /// Begins a file with a title.
    pub(super) fn create(
        path: PathBuf,
        kind: Kind,
        details: &[u64],
        sync: &Unsynced,
    ) -> Result<Self, StoreError> {
        let file = open_for_append(&path)?;
        // What an earlier, interrupted creation may have left.
        file.set_len(0).map_err(failed("empty", &path))?;
        let mut log = Self {
            path,
            file: Arc::new(file),
            length: 0,
        };
        let mut buffer = Vec::new();
        log.append(&mut buffer, sync, |out| out.raw(&title(kind, details)))?;
        Ok(log)
    }

    /// Goes on with a file that was read up to `end`. A torn tail is cut off.
    pub(super) fn resume(path: PathBuf, end: End, sync: &Unsynced) -> Result<Self, StoreError> {
        let file = Arc::new(open_for_append(&path)?);
        let mut length = file.metadata().map_err(failed("measure", &path))?.len();
        if let End::Torn(at) = end {
            tracing::warn!(
                file = %path.display(),
                offset = at,
                bytes = length.saturating_sub(at),
                "a torn write was cut off"
            );
            file.set_len(at)
                .map_err(failed("cut off the end of", &path))?;
            sync.mark(&file);
            length = at;
        }
        Ok(Self { path, file, length })
    }

    /// Writes one frame, all or nothing, using `buffer`.
    pub(super) fn append(
        &mut self,
        buffer: &mut Vec<u8>,
        sync: &Unsynced,
        put: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), StoreError> {
        buffer.clear();
        let start = frame::begin(buffer);
        put(buffer);
        frame::finish(buffer, start, self.length).map_err(failed("append to", &self.path))?;
        let result = (&*self.file)
            .write_all(buffer)
            .map_err(failed("append to", &self.path));
        if result.is_ok() {
            self.length += buffer.len() as u64;
            sync.mark(&self.file);
        } else {
            // What was half written would be cut off at the next start anyway.
            let _ = self.file.set_len(self.length);
        }
        result
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }
}

/// Reads a file from its start: its title's details, then `each` frame with its offset. `None`
/// when not even the title is whole and nothing follows.
pub(super) fn read<const N: usize>(
    path: &Path,
    kind: Kind,
    mut each: impl FnMut(u64, Bytes) -> Result<(), StoreError>,
) -> Result<Option<([u64; N], End)>, StoreError> {
    let mut details = None;
    let length = fs::metadata(path).map_err(failed("measure", path))?.len();
    let end = read_from(path, 0, length, |at, payload| {
        if details.is_some() {
            each(at, payload)?;
        } else {
            details = Some(parse_title(payload, kind).map_err(malformed(path, at))?);
        }
        Ok(true)
    })?;
    Ok(details.map(|details| (details, end)))
}

/// Reads the frames from offset `at` to `end`, for as long as `each` says so.
pub(super) fn read_from(
    path: &Path,
    at: u64,
    end: u64,
    mut each: impl FnMut(u64, Bytes) -> Result<bool, StoreError>,
) -> Result<End, StoreError> {
    let mut file = File::open(path).map_err(failed("open", path))?;
    file.seek(SeekFrom::Start(at))
        .map_err(failed("read", path))?;
    let mut frames = Frames::new(BufReader::with_capacity(64 * 1024, file), at, end);
    loop {
        match frames.next().map_err(failed("read", path))? {
            Next::Frame { at, payload } => {
                if !each(at, payload)? {
                    return Ok(End::Whole);
                }
            }
            Next::End => return Ok(End::Whole),
            Next::Bad {
                at,
                followed: false,
            } => return Ok(End::Torn(at)),
            Next::Bad { at, followed: true } => {
                return Err(damaged(path, at, "the checksum is wrong, and more follows"));
            }
        }
    }
}
