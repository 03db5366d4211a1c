//! File uploads of devices (`spec/device.md` 8): who may write which blob until when, and what
//! became of it. Where blobs are is not the hub's concern.

use std::sync::Arc;

use imbl::OrdMap;
use iothub_protocol::upload::{
    FileNotification, UploadEnd, correlation_id, correlation_started, unknown,
};
use iothub_protocol::{DeviceId, Error, ErrorCode, Timestamp};
use serde_json::{Value, json};

use crate::Hub;
use crate::access::{Permission, Principal};
use crate::cx::{Change, Cx};
use crate::deadlines::{self, DeadlineId};
use crate::documents::{Document, DocumentKind};

/// What falls due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The device did not say in time that the upload ended.
    Expired(Arc<str>),
}

/// A file upload that a device has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Names it.
    pub correlation_id: Arc<str>,
    /// Whose it is.
    pub device: DeviceId,
    /// The blob that it fills.
    pub blob: String,
    /// Until when the blob may be written.
    pub expires: Timestamp,
}

/// What is known of a blob that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobFacts {
    /// Where it is.
    pub uri: String,
    /// How long it is.
    pub size: u64,
    /// When it was last written.
    pub last_modified: Timestamp,
}

#[derive(Clone, Default)]
pub(crate) struct Uploads {
    active: OrdMap<Arc<str>, Active>,
    /// How many each device has in progress; devices without are not in it.
    counts: OrdMap<DeviceId, usize>,
}

#[derive(Clone)]
struct Active {
    upload: Arc<Upload>,
    deadline: Option<DeadlineId>,
}

impl Uploads {
    /// An upload in progress.
    pub(crate) fn find(&self, id: &str) -> Option<&Upload> {
        self.active.get(id).map(|active| &*active.upload)
    }
}

impl Hub {
    /// Begins an upload to `blob`, which is the device's to write until the answer's `expires`.
    ///
    /// Refuses with `DeviceMaximumActiveFileUploadLimitExceeded` (`spec/device.md` 8.4).
    pub fn start_upload(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        device: &DeviceId,
        blob: String,
    ) -> Result<Arc<Upload>, Error> {
        caller.require(Permission::DeviceConnect)?;
        self.registry.require_device(device)?;
        let in_progress = self.uploads.counts.get(device).copied().unwrap_or_default();
        if in_progress >= self.config.limits.uploads_in_progress {
            return Err(Error::new(
                ErrorCode::DeviceMaximumActiveFileUploadLimitExceeded,
                "",
            ));
        }
        let guid = self.entropy.uuid().to_string();
        let upload = Arc::new(Upload {
            correlation_id: correlation_id(cx.now(), &guid, &blob).into(),
            device: device.clone(),
            blob,
            expires: cx.now() + self.config.limits.upload_ttl,
        });
        let deadline = self.set_upload_deadline(&upload);
        self.uploads.put(upload.clone(), Some(deadline));
        cx.change(Change::PutDocument(upload.to_document()));
        if let Some(counter) = self.entropy.take_used() {
            cx.change(Change::PutEntropy(counter));
        }
        Ok(upload)
    }

    /// Ends an upload; a file that arrived is told to back ends. `blob_facts` looks for the blob.
    ///
    /// Refuses with `InvalidFileUploadCorrelationId`, `ExpiredFileUploadCorrelationId`, and with
    /// `InvalidStorageEndpointOrBlob` when the device says that a blob arrived which is not there
    /// (`spec/device.md` 8.4).
    pub fn finish_upload(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        device: &DeviceId,
        end: &UploadEnd,
        blob_facts: impl FnOnce(&str) -> Option<BlobFacts>,
    ) -> Result<(), Error> {
        caller.require(Permission::DeviceConnect)?;
        let id = end.correlation_id.as_str();
        let found = self.uploads.active.get(id);
        let upload = match found.filter(|active| active.upload.device == *device) {
            Some(active) => active.upload.clone(),
            None => return Err(self.no_upload(cx.now(), id)),
        };
        let notification = if end.success {
            let facts = blob_facts(&upload.blob).ok_or_else(|| {
                let detail = format!("there is no blob {}", upload.blob);
                Error::new(ErrorCode::InvalidStorageEndpointOrBlob, detail)
            })?;
            Some(FileNotification {
                device: device.clone(),
                blob_uri: facts.uri,
                blob_name: upload.blob.clone(),
                last_updated: facts.last_modified,
                size: facts.size,
                enqueued: cx.now(),
            })
        } else {
            None
        };
        self.forget_upload(cx, &upload);
        if let Some(notification) = notification {
            self.enqueue_file_notification(cx, notification);
        }
        Ok(())
    }

    /// Uploads that have begun and not ended.
    pub fn uploads_in_progress(&self, device: &DeviceId) -> usize {
        self.uploads.counts.get(device).copied().unwrap_or_default()
    }

    /// Forgets what a device that is deleted has begun.
    pub(crate) fn forget_uploads_of(&mut self, cx: &mut Cx<'_>, device: &DeviceId) {
        if !self.uploads.counts.contains_key(device) {
            return;
        }
        let theirs: Vec<_> = self
            .uploads
            .active
            .values()
            .filter(|active| active.upload.device == *device)
            .map(|active| active.upload.clone())
            .collect();
        for upload in theirs {
            self.forget_upload(cx, &upload);
        }
    }

    /// Sets the deadlines of what was restored or copied.
    pub(crate) fn uploads_rearm(&mut self) {
        let uploads: Vec<_> = self
            .uploads
            .active
            .values()
            .map(|active| active.upload.clone())
            .collect();
        for upload in uploads {
            let deadline = self.set_upload_deadline(&upload);
            if let Some(active) = self.uploads.active.get_mut(&upload.correlation_id) {
                active.deadline = Some(deadline);
            }
        }
    }

    pub(crate) fn uploads_due(&mut self, cx: &mut Cx<'_>, due: Due) {
        let Due::Expired(id) = due;
        if let Some(active) = self.uploads.active.get(&id) {
            let upload = active.upload.clone();
            self.forget_upload(cx, &upload);
        }
    }

    fn set_upload_deadline(&mut self, upload: &Upload) -> DeadlineId {
        let due = Due::Expired(upload.correlation_id.clone());
        self.deadlines
            .set(upload.expires, deadlines::Due::Uploads(due))
    }

    fn forget_upload(&mut self, cx: &mut Cx<'_>, upload: &Upload) {
        let id = &upload.correlation_id;
        if let Some(deadline) = self.uploads.remove(id) {
            self.deadlines.cancel(deadline);
        }
        cx.change(Change::DeleteDocument(DocumentKind::Upload, id.clone()));
    }

    /// An upload that has expired is forgotten; its id tells that it was one.
    fn no_upload(&self, now: Timestamp, id: &str) -> Error {
        let expired = correlation_started(id)
            .is_some_and(|started| started + self.config.limits.upload_ttl <= now);
        if expired {
            Error::new(ErrorCode::ExpiredFileUploadCorrelationId, "")
        } else {
            unknown(id)
        }
    }
}

impl Upload {
    fn to_document(&self) -> Document {
        Document {
            kind: DocumentKind::Upload,
            key: self.correlation_id.clone(),
            value: Arc::new(json!({
                "device": self.device.as_str(),
                "blob": self.blob,
                "expires": self.expires.ticks(),
            })),
        }
    }

    fn from_document(key: &str, value: &Value) -> Option<Self> {
        Some(Self {
            correlation_id: key.into(),
            device: DeviceId::parse(value["device"].as_str()?).ok()?,
            blob: value["blob"].as_str()?.to_owned(),
            expires: Timestamp::from_ticks(value["expires"].as_i64()?),
        })
    }
}

impl Uploads {
    pub(crate) fn restore_upload(&mut self, key: &str, document: Option<&Value>) {
        self.remove(key);
        if let Some(upload) = document.and_then(|value| Upload::from_document(key, value)) {
            self.put(Arc::new(upload), None);
        }
    }

    fn put(&mut self, upload: Arc<Upload>, deadline: Option<DeadlineId>) {
        *self.counts.entry(upload.device.clone()).or_default() += 1;
        let id = upload.correlation_id.clone();
        self.active.insert(id, Active { upload, deadline });
    }

    fn remove(&mut self, id: &str) -> Option<DeadlineId> {
        let active = self.active.remove(id)?;
        let device = &active.upload.device;
        match self.counts.get_mut(device) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.counts.remove(device);
            }
        }
        active.deadline
    }
}
