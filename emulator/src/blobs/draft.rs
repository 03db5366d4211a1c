//! Bytes on their way in: written piece by piece, then a [`Content`].

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::checksum::{Checksums, Running};
use super::content::{Content, Room};
use super::store::BlobError;

/// Bytes that are being written. Dropping it forgets them.
pub struct Draft {
    place: Place,
    length: u64,
    sums: Running,
}

enum Place {
    Memory {
        pieces: Vec<Bytes>,
        room: Option<Room>,
        used: Arc<AtomicU64>,
        limit: u64,
    },
    File {
        file: File,
        path: PathBuf,
        /// Removes the file when the draft comes to nothing.
        guard: Content,
        sync: bool,
    },
}

impl Draft {
    pub(super) fn in_memory(used: Arc<AtomicU64>, limit: u64) -> Self {
        Self::at(Place::Memory {
            pieces: Vec::new(),
            room: None,
            used,
            limit,
        })
    }

    pub(super) async fn in_file(path: PathBuf, sync: bool) -> io::Result<Self> {
        let file = File::create(&path).await?;
        Ok(Self::at(Place::File {
            file,
            guard: Content::scratch_file(path.clone(), 0),
            path,
            sync,
        }))
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            length: 0,
            sums: Running::new(),
        }
    }

    /// Adds bytes. Refuses with [`BlobError::NoRoom`] what does not fit into memory.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), BlobError> {
        self.sums.update(&bytes);
        self.length += bytes.len() as u64;
        match &mut self.place {
            Place::Memory {
                pieces,
                room,
                used,
                limit,
            } => {
                let more = Room::take(used, bytes.len() as u64, *limit)
                    .ok_or(BlobError::NoRoom(*limit))?;
                match room {
                    Some(room) => room.join(more),
                    None => *room = Some(more),
                }
                pieces.push(bytes);
            }
            Place::File { file, .. } => file.write_all(&bytes).await?,
        }
        Ok(())
    }

    /// How many bytes have been written.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Everything that was written, with its checksums.
    pub async fn finish(self) -> Result<(Content, Checksums), BlobError> {
        let content = match self.place {
            Place::Memory { pieces, room, .. } => Content::in_room(pieces, room),
            Place::File {
                mut file,
                path,
                guard,
                sync,
            } => {
                file.flush().await?;
                if sync {
                    file.sync_all().await?;
                }
                // From here on, the content removes the file.
                guard.set_kept(true);
                Content::scratch_file(path, self.length)
            }
        };
        Ok((content, self.sums.finish()))
    }
}
