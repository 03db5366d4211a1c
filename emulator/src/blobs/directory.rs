//! Blobs in a folder: names of files, properties, what a restart finds.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use iothub_protocol::Timestamp;
use iothub_protocol::storage::ContainerName;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::content::Content;
use super::index::{Blob, BlobHeaders, Container, Index};

/// What stays as it is in the name of a file.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');
/// Most file systems allow 255 bytes, of which the etag and the ending take some.
const LONGEST_NAME: usize = 200;

const STAGING: &str = ".staging";
const CONTENT: &str = "content";
const PROPERTIES: &str = "properties";

/// The folder of a storage account.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    sync: bool,
    next_draft: AtomicU64,
}

/// What a properties file says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    name: String,
    etag: String,
    content: String,
    length: u64,
    created: i64,
    last_modified: i64,
    headers: BlobHeaders,
    #[serde(default)]
    blocks: Vec<(String, u64)>,
}

impl Directory {
    /// Opens the folder, or makes it.
    pub(super) fn open(root: PathBuf, sync: bool) -> io::Result<Self> {
        let staging = root.join(STAGING);
        match std::fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::fs::create_dir_all(&staging)?,
        }
        Ok(Self {
            root,
            sync,
            next_draft: AtomicU64::new(0),
        })
    }

    /// Everything that is there. What no properties name is what a crash left, and goes.
    pub(super) fn load(&self) -> io::Result<Index> {
        let mut index = Index::default();
        for entry in std::fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name
                .to_str()
                .and_then(|name| ContainerName::parse(name).ok())
            else {
                continue;
            };
            if entry.file_type()?.is_dir() {
                let container = load_container(&entry.path(), &mut index)?;
                index.containers.insert(name, container);
            }
        }
        Ok(index)
    }

    pub(super) fn sync(&self) -> bool {
        self.sync
    }

    /// Where a draft may be written.
    pub(super) fn draft_path(&self) -> PathBuf {
        let number = self.next_draft.fetch_add(1, Ordering::Relaxed);
        self.root.join(STAGING).join(number.to_string())
    }

    pub(super) fn create_container(&self, container: &ContainerName) -> io::Result<()> {
        let root = self.root.join(container.as_str());
        std::fs::create_dir_all(root.join(CONTENT))?;
        std::fs::create_dir_all(root.join(PROPERTIES))
    }

    pub(super) fn remove_container(&self, container: &ContainerName) -> io::Result<()> {
        std::fs::remove_dir_all(self.root.join(container.as_str()))
    }

    /// Gives a blob its place: first its bytes, then, in one step, its properties.
    pub(super) fn keep(&self, container: &ContainerName, mut blob: Blob) -> io::Result<Blob> {
        let encoded = encode(&blob.name);
        let file = format!("{}~{encoded}", blob.etag);
        let root = self.root.join(container.as_str());
        let target = root.join(CONTENT).join(&file);
        let draft = blob.content.path().map(Path::to_owned);
        let draft = draft.ok_or_else(|| io::Error::other("a blob of this account is in memory"))?;
        std::fs::rename(draft, &target)?;
        let length = blob.content.len();
        // The renamed draft is nobody's any more; until the properties are there, the blob is not.
        blob.content.set_kept(true);
        blob.content = Content::scratch_file(target, length);
        let properties = Properties {
            name: blob.name.clone(),
            etag: blob.etag.clone(),
            content: file,
            length,
            created: blob.created.ticks(),
            last_modified: blob.last_modified.ticks(),
            headers: blob.headers.clone(),
            blocks: blob.blocks.clone(),
        };
        let draft = self.draft_path();
        std::fs::write(&draft, serde_json::to_vec(&properties)?)?;
        if self.sync {
            std::fs::File::open(&draft)?.sync_all()?;
        }
        std::fs::rename(draft, properties_path(&root, &encoded))?;
        if self.sync {
            std::fs::File::open(root.join(PROPERTIES))?.sync_all()?;
        }
        blob.content.set_kept(true);
        Ok(blob)
    }

    /// Takes a blob out; its bytes go with their last reader.
    pub(super) fn remove(&self, container: &ContainerName, blob: &str) -> io::Result<()> {
        let root = self.root.join(container.as_str());
        std::fs::remove_file(properties_path(&root, &encode(blob)))
    }

    /// One file of several pieces.
    pub(super) fn join(&self, pieces: &[(Content, std::ops::Range<u64>)]) -> io::Result<Content> {
        use std::io::{Read, Seek, SeekFrom, Write};

        let path = self.draft_path();
        let mut joined = std::fs::File::create(&path)?;
        let guard = Content::scratch_file(path.clone(), 0);
        let mut length = 0;
        for (content, range) in pieces {
            let piece = content
                .path()
                .ok_or_else(|| io::Error::other("a block of this account is in memory"))?;
            let mut file = std::fs::File::open(piece)?;
            file.seek(SeekFrom::Start(range.start))?;
            let wanted = range.end - range.start;
            if io::copy(&mut file.take(wanted), &mut joined)? != wanted {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            length += wanted;
        }
        joined.flush()?;
        if self.sync {
            joined.sync_all()?;
        }
        guard.set_kept(true);
        Ok(Content::scratch_file(path, length))
    }
}

fn load_container(root: &Path, index: &mut Index) -> io::Result<Container> {
    let mut container = Container::default();
    let mut kept = std::collections::HashSet::new();
    for entry in read_dir(&root.join(PROPERTIES))? {
        let text = std::fs::read(entry?.path())?;
        let Ok(properties) = serde_json::from_slice::<Properties>(&text) else {
            tracing::warn!(container = %root.display(), "unreadable properties of a blob");
            continue;
        };
        let path = root.join(CONTENT).join(&properties.content);
        // The name of the file stands in a file: it must not lead elsewhere.
        let plain = !properties.content.contains(['/', '\\']);
        let length = std::fs::metadata(&path).map(|data| data.len()).ok();
        if !plain || length != Some(properties.length) {
            tracing::warn!(blob = %properties.name, "a blob has lost its bytes");
            continue;
        }
        index.note_etag(&properties.etag);
        kept.insert(properties.content.clone());
        let blob = Blob {
            name: properties.name.clone(),
            etag: properties.etag,
            created: Timestamp::from_ticks(properties.created),
            last_modified: Timestamp::from_ticks(properties.last_modified),
            headers: properties.headers,
            blocks: properties.blocks,
            content: Content::file(path, properties.length),
        };
        container.blobs.insert(properties.name, Arc::new(blob));
    }
    for entry in read_dir(&root.join(CONTENT))? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_none_or(|name| !kept.contains(name)) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(container)
}

/// The entries of a folder that may not be there yet.
fn read_dir(path: &Path) -> io::Result<std::fs::ReadDir> {
    std::fs::create_dir_all(path)?;
    std::fs::read_dir(path)
}

fn properties_path(container: &Path, encoded: &str) -> PathBuf {
    container.join(PROPERTIES).join(format!("{encoded}.json"))
}

/// A file's name that says which blob it is, cannot lead elsewhere, and is no other blob's.
fn encode(name: &str) -> String {
    let encoded = utf8_percent_encode(name, RESERVED).to_string();
    // A leading dot would hide the file, or name a folder.
    let encoded = match encoded.strip_prefix('.') {
        Some(rest) => format!("%2E{rest}"),
        None => encoded,
    };
    if encoded.len() <= LONGEST_NAME {
        return encoded;
    }
    let digest = Sha256::digest(name.as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}~{digest}", &encoded[..LONGEST_NAME - digest.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_safe_and_distinct() {
        for (name, file) in [
            ("d1/f/x y.txt", "d1%2Ff%2Fx%20y.txt"),
            ("..", "%2E."),
            (".staging", "%2Estaging"),
            ("a~b\\c:", "a%7Eb%5Cc%3A"),
        ] {
            assert_eq!(encode(name), file);
        }
        let long = |last: char| encode(&format!("{}{last}", "é".repeat(1000)));
        assert!(long('a').len() <= LONGEST_NAME);
        assert_ne!(long('a'), long('b'));
    }
}
