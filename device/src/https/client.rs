//! [`HttpDeviceClient`] and [`HttpModuleClient`]: one request at a time, no connection that lasts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use iothub_protocol::{ClientId, Message};

use super::messages::{LockedMessage, Settlement};
use super::rest::Rest;
use super::upload::{Source, StorageInfo};
use crate::{ClientBuilder, Error};

/// A device over HTTPS: for devices that wake, say something and sleep again. There are no twins and
/// no direct methods over HTTPS. Cheap to clone; clones share connections.
///
/// Nothing is tried again here: a message whose answer was lost may have been stored.
#[derive(Clone)]
pub struct HttpDeviceClient {
    rest: Arc<Rest>,
}

/// A module over HTTPS; see [`HttpDeviceClient`]. Modules upload no files (`spec/device.md` 8.4).
#[derive(Clone)]
pub struct HttpModuleClient {
    rest: Arc<Rest>,
}

/// What devices and modules do alike.
macro_rules! common_operations {
    ($client:ident) => {
        impl $client {
            pub(crate) fn from_rest(rest: Rest) -> Self {
                Self {
                    rest: Arc::new(rest),
                }
            }

            /// A client of the hub that the connection string names, on port 443. The system's
            /// certificate authorities are trusted, or those of `SSL_CERT_FILE`. Nothing is
            /// connected yet.
            pub fn new(connection_string: &str) -> Result<Self, Error> {
                Self::builder(connection_string).build()
            }

            /// As [`Self::new`], with more to say about how.
            pub fn builder(connection_string: &str) -> ClientBuilder<Self> {
                ClientBuilder::new(connection_string)
            }

            /// Sends a message; when this returns, the hub has stored it. Names of application
            /// properties lose their case, as headers do.
            pub async fn send_telemetry(&self, message: Message) -> Result<(), Error> {
                self.rest.send_telemetry(message).await
            }

            /// Sends messages in one request, together no larger than one may be. The hub takes
            /// all of them or none.
            pub async fn send_telemetry_batch(&self, messages: &[Message]) -> Result<(), Error> {
                self.rest.send_telemetry_batch(messages).await
            }

            /// The oldest cloud-to-device message, locked for a minute; `None` when none waits.
            pub async fn receive(&self) -> Result<Option<LockedMessage>, Error> {
                self.rest.receive(None).await
            }

            /// As [`Self::receive`], asking for a lock of this length, in whole seconds.
            pub async fn receive_locked_for(
                &self,
                lock: Duration,
            ) -> Result<Option<LockedMessage>, Error> {
                self.rest.receive(Some(lock)).await
            }

            /// The message was dealt with.
            pub async fn complete(&self, message: &LockedMessage) -> Result<(), Error> {
                self.rest.settle(message, Settlement::Complete).await
            }

            /// The message will not be dealt with, by nobody.
            pub async fn reject(&self, message: &LockedMessage) -> Result<(), Error> {
                self.rest.settle(message, Settlement::Reject).await
            }

            /// The message goes back to its queue.
            pub async fn abandon(&self, message: &LockedMessage) -> Result<(), Error> {
                self.rest.settle(message, Settlement::Abandon).await
            }

            /// Who the client is.
            pub fn id(&self) -> &ClientId {
                self.rest.client()
            }
        }
    };
}

common_operations!(HttpDeviceClient);
common_operations!(HttpModuleClient);

impl HttpDeviceClient {
    /// Uploads a file to the hub's blob storage: asks for a place, writes it there (in blocks when
    /// it is over 4 MiB), and tells the hub how that went.
    pub async fn upload_file(&self, name: &str, content: impl Into<Bytes>) -> Result<(), Error> {
        let source = Source::Bytes(content.into());
        self.rest.upload(name, source).await
    }

    /// As [`Self::upload_file`], with the content of the file at `path`, which is read as it is
    /// sent.
    pub async fn upload_file_from(&self, name: &str, path: impl AsRef<Path>) -> Result<(), Error> {
        let source = Source::open(path.as_ref()).await?;
        self.rest.upload(name, source).await
    }

    /// The first step of an upload by itself: a place for a file, to be written with other means.
    /// [`Self::notify_blob_upload_status`] has to follow.
    pub async fn get_storage_info_for_blob(&self, name: &str) -> Result<StorageInfo, Error> {
        self.rest.get_storage_info(name).await
    }

    /// The last step of an upload by itself: tells the hub how it went, with the status that the
    /// storage answered and a few words.
    pub async fn notify_blob_upload_status(
        &self,
        correlation_id: &str,
        is_success: bool,
        status_code: u16,
        status_description: &str,
    ) -> Result<(), Error> {
        self.rest
            .notify_upload(correlation_id, is_success, status_code, status_description)
            .await
    }
}
