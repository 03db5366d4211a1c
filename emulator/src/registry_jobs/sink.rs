//! A file that a job writes: there in the end, or not at all.

use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use iothub_protocol::Clock;
use iothub_protocol::storage::ContainerName;
use serde_json::Value;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::Failure;
use super::location::{Location, inside};
use crate::blobs::{BlobHeaders, Conditions, Draft};
use crate::handle::HubHandle;

/// Bytes that are gathered before they are written.
const PIECE: usize = 256 * 1024;

/// A file of lines that is being written.
pub(super) struct Sink {
    place: Place,
    pending: BytesMut,
}

enum Place {
    Blob {
        draft: Draft,
        container: ContainerName,
        name: String,
    },
    File {
        file: File,
        draft: PathBuf,
        target: PathBuf,
    },
}

impl Sink {
    pub(super) async fn create(
        handle: &HubHandle,
        location: &Location,
        name: &str,
    ) -> Result<Self, Failure> {
        let place = match location {
            Location::Container(container) => Place::Blob {
                draft: handle.blobs().draft().await?,
                container: container.clone(),
                name: name.to_owned(),
            },
            Location::Folder(folder) => {
                let target = inside(folder, name)?;
                let mut draft = target.clone().into_os_string();
                draft.push(".part");
                let draft = PathBuf::from(draft);
                Place::File {
                    file: File::create(&draft).await?,
                    draft,
                    target,
                }
            }
        };
        Ok(Self {
            place,
            pending: BytesMut::new(),
        })
    }

    /// Adds a line.
    pub(super) async fn line(&mut self, value: &Value) -> Result<(), Failure> {
        self.pending.extend_from_slice(value.to_string().as_bytes());
        self.pending.extend_from_slice(b"\r\n");
        if self.pending.len() >= PIECE {
            let piece = self.pending.split().freeze();
            self.write(piece).await?;
        }
        Ok(())
    }

    /// The file is there.
    pub(super) async fn finish(mut self, handle: &HubHandle) -> Result<(), Failure> {
        let rest = self.pending.split().freeze();
        self.write(rest).await?;
        match self.place {
            Place::Blob {
                draft,
                container,
                name,
            } => {
                let (content, sums) = draft.finish().await?;
                let headers = BlobHeaders {
                    content_type: Some("text/plain".into()),
                    content_md5: Some(sums.md5),
                    ..BlobHeaders::default()
                };
                let now = handle.clock().now();
                let any = Conditions::default();
                handle
                    .blobs()
                    .put(&container, &name, content, headers, &any, now)
                    .await?;
            }
            Place::File {
                mut file,
                draft,
                target,
            } => {
                file.flush().await?;
                drop(file);
                tokio::fs::rename(draft, target).await?;
            }
        }
        Ok(())
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), Failure> {
        match &mut self.place {
            Place::Blob { draft, .. } => draft.write(piece).await?,
            Place::File { file, .. } => file.write_all(&piece).await?,
        }
        // Other work may want this thread.
        tokio::task::yield_now().await;
        Ok(())
    }
}
