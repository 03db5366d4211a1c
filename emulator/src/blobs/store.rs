//! The operations of a storage account.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};

use iothub_protocol::Timestamp;
use iothub_protocol::sas::SymmetricKey;
use iothub_protocol::storage::{Account, BlockChoice, BlockRef, ContainerName, MAX_BLOCKS};

use super::content::Content;
use super::directory::Directory;
use super::draft::Draft;
use super::index::{Blob, BlobHeaders, Container, Index, Listing};
use crate::registry_jobs::Folders;

/// The container of devices' files unless set otherwise.
pub const DEFAULT_CONTAINER: &str = "uploads";

/// How an account is set up.
#[derive(Clone, Debug)]
pub struct BlobSettings {
    /// Its name, and the key that signs.
    pub account: Account,
    /// Where devices' files go; `None`: there is no file upload.
    pub uploads: Option<ContainerName>,
    /// Bytes of all blobs together, while they are in memory.
    pub memory_limit: u64,
    /// Folders that imports and exports may use instead of containers.
    pub folders: Folders,
}

/// Where an account is kept.
#[derive(Clone, Debug)]
pub enum Home {
    /// In memory.
    Memory,
    /// In this folder.
    Directory {
        /// The folder.
        path: PathBuf,
        /// Whether a write is done only when the disk has it.
        sync: bool,
    },
}

/// What a request makes its success depend on: values of the headers.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// `If-Match`
    pub if_match: Option<String>,
    /// `If-None-Match`
    pub if_none_match: Option<String>,
}

/// Why an account refuses.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is no such container.
    #[error("the container does not exist")]
    ContainerNotFound,
    /// There is one already.
    #[error("the container exists already")]
    ContainerAlreadyExists,
    /// There is no such blob.
    #[error("the blob does not exist")]
    BlobNotFound,
    /// There is one already, and the request wants none.
    #[error("the blob exists already")]
    BlobAlreadyExists,
    /// The blob is not the one that the request wants.
    #[error("the condition of the request is not met")]
    ConditionNotMet,
    /// The blob is still the one that the reader has.
    #[error("the blob has not changed")]
    NotModified,
    /// The list names a block that is not there.
    #[error("the block list names a block that does not exist")]
    InvalidBlockList,
    /// Too many blocks wait for one blob.
    #[error("there are {MAX_BLOCKS} blocks already")]
    TooManyBlocks,
    /// Memory is bounded.
    #[error(
        "blobs in memory may have {0} bytes together; with a data directory they may have more"
    )]
    NoRoom(u64),
    /// The disk failed.
    #[error("use the folder of blobs")]
    Io(#[from] io::Error),
}

/// A storage account. Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    inner: Arc<Inner>,
}

struct Inner {
    settings: BlobSettings,
    directory: Option<Arc<Directory>>,
    memory_used: Arc<AtomicU64>,
    /// Guards what is there; held for a look or one change of the index, never across IO.
    index: Mutex<Index>,
    /// Whoever writes holds this across the check of the conditions, the disk and the index.
    writer: tokio::sync::Mutex<()>,
}

impl BlobSettings {
    /// Bytes that blobs in memory may have together unless set otherwise.
    pub const MEMORY_LIMIT: u64 = 512 * 1024 * 1024;
    /// The name of the account.
    pub const ACCOUNT: &str = "iothubemulator";

    /// The usual account, signed for by this key.
    pub fn with_key(key: SymmetricKey) -> Self {
        Self {
            account: Account {
                name: Self::ACCOUNT.into(),
                key,
            },
            uploads: ContainerName::parse(DEFAULT_CONTAINER).ok(),
            memory_limit: Self::MEMORY_LIMIT,
            folders: Folders::default(),
        }
    }
}

impl Blobs {
    /// Opens an account, with what its folder holds. The container of devices' files is always
    /// there.
    pub fn open(settings: BlobSettings, home: &Home) -> io::Result<Self> {
        let (directory, index) = match home {
            Home::Memory => (None, Index::default()),
            Home::Directory { path, sync } => {
                let directory = Directory::open(path.clone(), *sync)?;
                let index = directory.load()?;
                (Some(Arc::new(directory)), index)
            }
        };
        let blobs = Self {
            inner: Arc::new(Inner {
                settings,
                directory,
                memory_used: Arc::default(),
                index: Mutex::new(index),
                writer: tokio::sync::Mutex::default(),
            }),
        };
        blobs.ensure_uploads()?;
        Ok(blobs)
    }

    /// An account in memory.
    pub fn in_memory(settings: BlobSettings) -> Self {
        Self::open(settings, &Home::Memory).expect("nothing can fail without a folder")
    }

    /// How it is set up.
    pub fn settings(&self) -> &BlobSettings {
        &self.inner.settings
    }

    /// Bytes to write.
    pub async fn draft(&self) -> Result<Draft, BlobError> {
        match &self.inner.directory {
            None => Ok(Draft::in_memory(
                self.inner.memory_used.clone(),
                self.inner.settings.memory_limit,
            )),
            Some(directory) => Ok(Draft::in_file(directory.draft_path(), directory.sync()).await?),
        }
    }

    /// Makes a container.
    pub async fn create_container(&self, name: &ContainerName) -> Result<(), BlobError> {
        let _turn = self.inner.writer.lock().await;
        if self.has_container(name) {
            return Err(BlobError::ContainerAlreadyExists);
        }
        let container = name.clone();
        self.on_disk(move |directory| directory.create_container(&container))
            .await?;
        self.index()
            .containers
            .insert(name.clone(), Container::default());
        Ok(())
    }

    /// Removes a container with its blobs. That of devices' files is there again, empty.
    pub async fn delete_container(&self, name: &ContainerName) -> Result<(), BlobError> {
        let _turn = self.inner.writer.lock().await;
        if !self.has_container(name) {
            return Err(BlobError::ContainerNotFound);
        }
        let container = name.clone();
        self.on_disk(move |directory| directory.remove_container(&container))
            .await?;
        self.index().containers.remove(name);
        Ok(self.ensure_uploads()?)
    }

    /// Forgets every container and blob.
    pub async fn clear(&self) -> Result<(), BlobError> {
        for name in self.containers() {
            self.delete_container(&name).await?;
        }
        Ok(())
    }

    /// Writes a whole blob; blocks that waited for it are forgotten.
    pub async fn put(
        &self,
        container: &ContainerName,
        name: &str,
        content: Content,
        headers: BlobHeaders,
        conditions: &Conditions,
        now: Timestamp,
    ) -> Result<Arc<Blob>, BlobError> {
        let _turn = self.inner.writer.lock().await;
        let old = self.look(container, name)?;
        conditions.check_write(old.as_deref())?;
        self.replace(container, name, content, Vec::new(), headers, old, now)
            .await
    }

    /// Keeps a block until it becomes part of its blob.
    pub fn stage_block(
        &self,
        container: &ContainerName,
        name: &str,
        id: &str,
        content: Content,
    ) -> Result<(), BlobError> {
        let mut index = self.index();
        let container = index
            .containers
            .get_mut(container)
            .ok_or(BlobError::ContainerNotFound)?;
        let waiting = container.waiting.entry(name.to_owned()).or_default();
        if waiting.blocks.len() >= 2 * MAX_BLOCKS {
            return Err(BlobError::TooManyBlocks);
        }
        waiting.put(id.to_owned(), content);
        Ok(())
    }

    /// Makes a blob of blocks.
    pub async fn commit(
        &self,
        container: &ContainerName,
        name: &str,
        list: &[BlockRef],
        headers: BlobHeaders,
        conditions: &Conditions,
        now: Timestamp,
    ) -> Result<Arc<Blob>, BlobError> {
        let _turn = self.inner.writer.lock().await;
        let old = self.look(container, name)?;
        conditions.check_write(old.as_deref())?;
        let (blocks, pieces) = self.pieces(container, name, list, old.as_deref())?;
        let content = if self.inner.directory.is_some() {
            self.on_disk(move |directory| directory.join(&pieces))
                .await?
                .expect("there is a folder")
        } else {
            let parts = pieces
                .iter()
                .flat_map(|(content, range)| content.pieces(range.clone()));
            Content::of_pieces(parts.collect())
        };
        self.replace(container, name, content, blocks, headers, old, now)
            .await
    }

    /// Gives a blob other metadata; its bytes stay, and so do blocks that wait for it.
    pub async fn put_metadata(
        &self,
        container: &ContainerName,
        name: &str,
        metadata: BTreeMap<String, String>,
        conditions: &Conditions,
        now: Timestamp,
    ) -> Result<Arc<Blob>, BlobError> {
        let _turn = self.inner.writer.lock().await;
        let old = self.look(container, name)?.ok_or(BlobError::BlobNotFound)?;
        conditions.check_write(Some(&old))?;
        // In a file of its own, so that who still reads the old blob is not disturbed.
        let whole = (old.content.clone(), 0..old.content.len());
        let content = self
            .on_disk(move |directory| directory.join(&[whole]))
            .await?
            .unwrap_or_else(|| old.content.clone());
        let headers = BlobHeaders {
            metadata,
            ..old.headers.clone()
        };
        let blocks = old.blocks.clone();
        let waiting = {
            let mut index = self.index();
            let container = index.containers.get_mut(container);
            container.and_then(|container| container.waiting.remove(name))
        };
        let replaced = self
            .replace(container, name, content, blocks, headers, Some(old), now)
            .await;
        if let (Some(waiting), Some(container)) =
            (waiting, self.index().containers.get_mut(container))
        {
            container.waiting.insert(name.to_owned(), waiting);
        }
        replaced
    }

    /// Removes a blob, and blocks that waited for it.
    pub async fn delete(
        &self,
        container: &ContainerName,
        name: &str,
        conditions: &Conditions,
    ) -> Result<(), BlobError> {
        let _turn = self.inner.writer.lock().await;
        let old = self.look(container, name)?.ok_or(BlobError::BlobNotFound)?;
        conditions.check_write(Some(&old))?;
        let (of, blob) = (container.clone(), name.to_owned());
        self.on_disk(move |directory| directory.remove(&of, &blob))
            .await?;
        old.content.set_kept(false);
        if let Some(container) = self.index().containers.get_mut(container) {
            container.blobs.remove(name);
            container.waiting.remove(name);
        }
        Ok(())
    }

    /// A blob; refuses with `ContainerNotFound`, `BlobNotFound`.
    pub fn find(&self, container: &ContainerName, name: &str) -> Result<Arc<Blob>, BlobError> {
        self.look(container, name)?.ok_or(BlobError::BlobNotFound)
    }

    /// The blocks that wait for a blob, with their lengths.
    pub fn waiting_blocks(&self, container: &ContainerName, name: &str) -> Vec<(String, u64)> {
        let index = self.index();
        let waiting = index
            .containers
            .get(container)
            .and_then(|container| container.waiting.get(name));
        let blocks = waiting.into_iter().flat_map(|waiting| &waiting.blocks);
        blocks
            .map(|(id, content)| (id.clone(), content.len()))
            .collect()
    }

    /// A page of a container's blobs.
    pub fn list(
        &self,
        container: &ContainerName,
        prefix: &str,
        delimiter: Option<&str>,
        from: &str,
        most: usize,
    ) -> Result<Listing, BlobError> {
        let index = self.index();
        let container = index
            .containers
            .get(container)
            .ok_or(BlobError::ContainerNotFound)?;
        Ok(container.list(prefix, delimiter, from, most))
    }

    /// Whether there is such a container.
    pub fn has_container(&self, name: &ContainerName) -> bool {
        self.index().containers.contains_key(name)
    }

    /// Every container, by name.
    pub fn containers(&self) -> Vec<ContainerName> {
        self.index().containers.keys().cloned().collect()
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one place for what two writes share"
    )]
    async fn replace(
        &self,
        container: &ContainerName,
        name: &str,
        content: Content,
        blocks: Vec<(String, u64)>,
        headers: BlobHeaders,
        old: Option<Arc<Blob>>,
        now: Timestamp,
    ) -> Result<Arc<Blob>, BlobError> {
        let etag = self.index().next_etag(now);
        let mut blob = Blob {
            name: name.to_owned(),
            etag,
            created: old.as_ref().map_or(now, |old| old.created),
            last_modified: now,
            headers,
            blocks,
            content,
        };
        if self.inner.directory.is_some() {
            let of = container.clone();
            blob = self
                .on_disk(move |directory| directory.keep(&of, blob))
                .await?
                .expect("there is a folder");
        }
        if let Some(old) = old {
            old.content.set_kept(false);
        }
        let blob = Arc::new(blob);
        if let Some(container) = self.index().containers.get_mut(container) {
            container.blobs.insert(name.to_owned(), blob.clone());
            container.waiting.remove(name);
        }
        Ok(blob)
    }

    /// The bytes that a list names, and the blocks that they are.
    #[expect(clippy::type_complexity, reason = "two lists of pairs, used once")]
    fn pieces(
        &self,
        container: &ContainerName,
        name: &str,
        list: &[BlockRef],
        old: Option<&Blob>,
    ) -> Result<(Vec<(String, u64)>, Vec<(Content, Range<u64>)>), BlobError> {
        let waiting = self
            .index()
            .containers
            .get(container)
            .and_then(|container| container.waiting.get(name).cloned())
            .unwrap_or_default();
        let committed = |id: &str| {
            let old = old?;
            Some((old.content.clone(), old.block(id)?))
        };
        let uncommitted = |id: &str| {
            let content = waiting.find(id)?.clone();
            let length = content.len();
            Some((content, 0..length))
        };
        let mut blocks = Vec::with_capacity(list.len());
        let mut pieces = Vec::with_capacity(list.len());
        for BlockRef { choice, id } in list {
            let piece = match choice {
                BlockChoice::Committed => committed(id),
                BlockChoice::Uncommitted => uncommitted(id),
                BlockChoice::Latest => uncommitted(id).or_else(|| committed(id)),
            };
            let (content, range) = piece.ok_or(BlobError::InvalidBlockList)?;
            blocks.push((id.clone(), range.end - range.start));
            pieces.push((content, range));
        }
        Ok((blocks, pieces))
    }

    fn look(&self, container: &ContainerName, name: &str) -> Result<Option<Arc<Blob>>, BlobError> {
        let index = self.index();
        let container = index
            .containers
            .get(container)
            .ok_or(BlobError::ContainerNotFound)?;
        Ok(container.blobs.get(name).cloned())
    }

    /// Work on the folder, where it may block; nothing without a folder.
    async fn on_disk<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory) -> io::Result<R> + Send + 'static,
    ) -> io::Result<Option<R>> {
        let Some(directory) = self.inner.directory.clone() else {
            return Ok(None);
        };
        let done = tokio::task::spawn_blocking(move || work(&directory)).await;
        done.map_err(io::Error::other)?.map(Some)
    }

    fn ensure_uploads(&self) -> io::Result<()> {
        let Some(name) = &self.inner.settings.uploads else {
            return Ok(());
        };
        if let Some(directory) = &self.inner.directory {
            directory.create_container(name)?;
        }
        self.index().containers.entry(name.clone()).or_default();
        Ok(())
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.inner
            .index
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Conditions {
    /// Whether a blob may be written, replaced or removed.
    fn check_write(&self, blob: Option<&Blob>) -> Result<(), BlobError> {
        let matches = |wanted: &str| blob.is_some_and(|blob| is_etag_of(blob, wanted));
        if self.if_match.as_deref().is_some_and(|etag| !matches(etag)) {
            return Err(BlobError::ConditionNotMet);
        }
        match self.if_none_match.as_deref() {
            Some("*") if blob.is_some() => Err(BlobError::BlobAlreadyExists),
            Some(etag) if matches(etag) => Err(BlobError::ConditionNotMet),
            _ => Ok(()),
        }
    }

    /// Whether a blob may be read.
    pub fn check_read(&self, blob: &Blob) -> Result<(), BlobError> {
        if self
            .if_match
            .as_deref()
            .is_some_and(|etag| !is_etag_of(blob, etag))
        {
            return Err(BlobError::ConditionNotMet);
        }
        match self.if_none_match.as_deref() {
            Some(etag) if is_etag_of(blob, etag) => Err(BlobError::NotModified),
            _ => Ok(()),
        }
    }
}

/// Whether a condition's value names the blob as it is.
fn is_etag_of(blob: &Blob, value: &str) -> bool {
    value
        .split(',')
        .map(|etag| etag.trim().trim_matches('"'))
        .any(|etag| etag == "*" || etag == blob.etag)
}
