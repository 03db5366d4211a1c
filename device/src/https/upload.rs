//! File uploads: the hub gives a place in its blob storage, the file goes there, the hub is told
//! (`spec/device.md` 8).

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::Method;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::rest::{Call, Rest, encode};
use crate::{Error, ErrorKind};

/// A place in the hub's blob storage for one file, as the hub gives it.
#[derive(Clone, PartialEq, Eq)]
pub struct StorageInfo {
    /// Names the upload when the hub is told how it went.
    pub correlation_id: String,
    /// The storage's host, with its port if that is not 443.
    pub host_name: String,
    /// The container.
    pub container_name: String,
    /// The blob: the device id, a slash, and the name that was asked for.
    pub blob_name: String,
    /// The signature that lets the blob be written; begins with `?`. A secret.
    pub sas_token: String,
}

/// What is uploaded, piece by piece.
pub(crate) enum Source {
    Bytes(Bytes),
    File(File),
}

impl StorageInfo {
    /// Where the blob is written to; the signature in it is a secret.
    pub fn url(&self) -> String {
        let name: Vec<_> = self.blob_name.split('/').map(encode).collect();
        format!(
            "https://{}/{}/{}{}",
            self.host_name,
            self.container_name,
            name.join("/"),
            self.sas_token
        )
    }
}

impl std::fmt::Debug for StorageInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StorageInfo")
            .field("correlation_id", &self.correlation_id)
            .field("host_name", &self.host_name)
            .field("container_name", &self.container_name)
            .field("blob_name", &self.blob_name)
            .finish_non_exhaustive()
    }
}

impl Source {
    /// The content of a file.
    pub(crate) async fn open(path: &Path) -> Result<Self, Error> {
        File::open(path).await.map(Self::File).map_err(|error| {
            let what = format!("open {}", path.display());
            Error::caused_by(ErrorKind::File(what), error)
        })
    }

    /// The next [`BLOCK`] bytes, fewer only at the end, where there are none.
    async fn next(&mut self) -> Result<Bytes, Error> {
        match self {
            Self::Bytes(rest) => Ok(rest.split_to(rest.len().min(BLOCK))),
            Self::File(file) => {
                let mut block = BytesMut::with_capacity(BLOCK);
                while block.len() < BLOCK {
                    let missing = (BLOCK - block.len()) as u64;
                    let read = file.take(missing).read_buf(&mut block).await;
                    match read {
                        Ok(0) => break,
                        Ok(_) => {}
                        Err(error) => {
                            let what = "read the file to upload".into();
                            return Err(Error::caused_by(ErrorKind::File(what), error));
                        }
                    }
                }
                Ok(block.freeze())
            }
        }
    }
}

impl Rest {
    /// All three steps. When the file cannot be written, the hub is told so, which frees the place,
    /// and the failure is what is returned.
    pub(crate) async fn upload(&self, name: &str, source: Source) -> Result<(), Error> {
        let info = self.get_storage_info(name).await?;
        let written = self.write(&info.url(), source).await;
        let (status, description) = match &written {
            Ok(()) => (200, "OK".to_owned()),
            Err(error) => (status_of(error), error.to_string()),
        };
        let id = &info.correlation_id;
        let told = self
            .notify_upload(id, written.is_ok(), status, &description)
            .await;
        written.and(told)
    }

    pub(crate) async fn get_storage_info(&self, name: &str) -> Result<StorageInfo, Error> {
        let call = Call::new(Method::POST, &["files"]).json(&json!({"blobName": name}));
        let answer = self.send(call).await?.json()?;
        let text = |member: &str| {
            answer[member].as_str().map(str::to_owned).ok_or_else(|| {
                let what = format!("a place for a file without {member}");
                Error::new(ErrorKind::UnexpectedAnswer(what))
            })
        };
        Ok(StorageInfo {
            correlation_id: text("correlationId")?,
            host_name: text("hostName")?,
            container_name: text("containerName")?,
            blob_name: text("blobName")?,
            sas_token: text("sasToken")?,
        })
    }

    pub(crate) async fn notify_upload(
        &self,
        correlation_id: &str,
        is_success: bool,
        status_code: u16,
        status_description: &str,
    ) -> Result<(), Error> {
        let outcome: Value = json!({
            "correlationId": correlation_id,
            "isSuccess": is_success,
            "statusCode": status_code,
            "statusDescription": status_description,
        });
        let call = Call::new(Method::POST, &["files", "notifications"]).json(&outcome);
        self.send(call).await.map(drop)
    }

    /// A small file goes in one piece, a larger one as blocks and then their list, so that no more
    /// than two blocks are in memory.
    async fn write(&self, url: &str, mut source: Source) -> Result<(), Error> {
        let first = source.next().await?;
        let mut block = source.next().await?;
        if block.is_empty() {
            let headers = storage_headers(Some(("x-ms-blob-type", "BlockBlob")));
            return self.put_blob(url, headers, first).await;
        }
        let mut ids = vec![self.put_block(url, 0, first).await?];
        while !block.is_empty() {
            if ids.len() == MOST_BLOCKS {
                let what = format!("more than {MOST_BLOCKS} blocks of {BLOCK} bytes");
                return Err(Error::new(ErrorKind::File(what)));
            }
            ids.push(self.put_block(url, ids.len(), block).await?);
            block = source.next().await?;
        }
        let list: String = ids
            .iter()
            .map(|id| format!("<Latest>{id}</Latest>"))
            .collect();
        let list =
            format!(r#"<?xml version="1.0" encoding="utf-8"?><BlockList>{list}</BlockList>"#);
        let mut headers = storage_headers(Some(("x-ms-blob-content-type", OCTETS)));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        self.put_blob(&format!("{url}&comp=blocklist"), headers, list.into())
            .await
    }

    async fn put_block(&self, url: &str, number: usize, block: Bytes) -> Result<String, Error> {
        // The ids of one blob are all of one length.
        let id = STANDARD.encode(format!("{number:06}"));
        let url = format!("{url}&comp=block&blockid={}", encode(&id));
        self.put_blob(&url, storage_headers(None), block).await?;
        Ok(id)
    }
}

fn storage_headers(more: Option<(&'static str, &'static str)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(OCTETS));
    let version = ("x-ms-version", STORAGE_VERSION);
    for (name, value) in [Some(version), more].into_iter().flatten() {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    headers
}

/// What the hub is told of a failure.
fn status_of(error: &Error) -> u16 {
    match error.kind() {
        ErrorKind::StorageRefused { status, .. } => *status,
        _ => 500,
    }
}

/// What the SDKs write at once (`spec/device.md` 8.2).
const BLOCK: usize = 4 * 1024 * 1024;
/// What a blob has at most.
const MOST_BLOCKS: usize = 50_000;
/// Of the REST interface of the blob storage.
const STORAGE_VERSION: &str = "2020-12-06";
const OCTETS: &str = "application/octet-stream";
