//! Notifications of files that devices uploaded (`spec/amqp.md` 5.3, `spec/service.md` 8).

use std::sync::Arc;

use http::Method;
use iothub_protocol::Timestamp;
use iothub_protocol::amqp::DeliveryState;
use serde_json::Value;

use crate::Error;
use crate::amqp::{Connector, QueueReader, unreadable};
use crate::document::{Document, unexpected};
use crate::transport::{Call, Transport};

/// The hub's one queue of file notifications, which all back ends share.
#[derive(Clone, Copy)]
pub struct FileNotifications<'a> {
    transport: &'a Transport,
    hub: &'a Arc<Connector>,
}

/// Receives file notifications as they come, over AMQP. Finds the way back when the connection is
/// lost; what it holds then comes again. Dropping it gives back what is not settled.
pub struct FileNotificationReceiver {
    queue: QueueReader,
}

impl<'a> FileNotifications<'a> {
    pub(crate) fn new(transport: &'a Transport, hub: &'a Arc<Connector>) -> Self {
        Self { transport, hub }
    }

    /// Opens a receiver of file notifications. Receivers compete: each goes to one of them.
    pub async fn open(self) -> Result<FileNotificationReceiver, Error> {
        let queue = QueueReader::open(Arc::clone(self.hub), ADDRESS).await?;
        Ok(FileNotificationReceiver { queue })
    }

    /// Over REST: locks the oldest notification and returns it; `None` when there is none. What is not
    /// completed comes again.
    pub async fn receive(self) -> Result<Option<FileNotification>, Error> {
        let answer = self.transport.send(Call::new(Method::GET, PATH)).await?;
        if answer.status == 204 {
            return Ok(None);
        }
        let lock_token = answer
            .etag()
            .ok_or_else(|| unexpected("a file notification without a lock token".into()))?;
        // One by itself, or as the only one of a list: the REST form is documented nowhere.
        let value = match answer.json()? {
            Value::Array(mut items) => items.pop().unwrap_or_default(),
            value => value,
        };
        let document = Document::from_value(value, "a file notification")?;
        Ok(Some(FileNotification::read(lock_token, &document)))
    }

    /// Over REST: takes the notification off the queue. Refused with `DeviceMessageLockLost` when
    /// the lock has run out.
    pub async fn complete(self, lock_token: &str) -> Result<(), Error> {
        let path = [PATH, &[lock_token]].concat();
        self.transport
            .send(Call::new(Method::DELETE, &path))
            .await
            .map(drop)
    }

    /// Over REST: gives the notification back, for any back end to receive.
    pub async fn abandon(self, lock_token: &str) -> Result<(), Error> {
        let path = [PATH, &[lock_token, "abandon"]].concat();
        self.transport
            .send(Call::new(Method::POST, &path))
            .await
            .map(drop)
    }
}

impl FileNotificationReceiver {
    /// The next notification, locked. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<FileNotification, Error> {
        let (lock_token, message) = self.queue.next().await?;
        let body = message.data().unwrap_or_default();
        let value = serde_json::from_slice(&body).map_err(unreadable)?;
        let document = Document::from_value(value, "a file notification")?;
        Ok(FileNotification::read(&lock_token, &document))
    }

    /// Takes the notification off the queue. Refused with `DeviceMessageLockLost` when this receiver
    /// does not hold it.
    pub async fn complete(&mut self, lock_token: &str) -> Result<(), Error> {
        self.queue
            .settle(lock_token, &DeliveryState::Accepted)
            .await
    }

    /// Gives the notification back, for any back end to receive.
    pub async fn abandon(&mut self, lock_token: &str) -> Result<(), Error> {
        self.queue
            .settle(lock_token, &DeliveryState::Released)
            .await
    }

    /// Takes the notification off the queue because it is of no use.
    pub async fn reject(&mut self, lock_token: &str) -> Result<(), Error> {
        let rejected = DeliveryState::Rejected(None);
        self.queue.settle(lock_token, &rejected).await
    }

    /// Gives back what is not settled, and waits until that has been said.
    pub async fn close(self) {
        self.queue.close().await;
    }
}

/// A file that a device uploaded.
#[derive(Clone, Debug, PartialEq)]
pub struct FileNotification {
    /// What completes or abandons the notification.
    pub lock_token: String,
    /// The device that uploaded it.
    pub device_id: String,
    /// Where it is.
    pub blob_uri: String,
    /// Its name within the container: the device, a slash, and the name that the device gave.
    pub blob_name: String,
    /// When it was last written; none when the hub does not say.
    pub last_updated_time: Option<Timestamp>,
    /// How large it is.
    pub blob_size_in_bytes: u64,
    /// When the hub put the notification into the queue; none when it does not say.
    pub enqueued_time: Option<Timestamp>,
}

impl FileNotification {
    fn read(lock_token: &str, document: &Document) -> Self {
        let text = |name: &str| document.text(name).unwrap_or_default().to_owned();
        Self {
            lock_token: lock_token.to_owned(),
            device_id: text("deviceId"),
            blob_uri: text("blobUri"),
            blob_name: text("blobName"),
            last_updated_time: document.time("lastUpdatedTime"),
            blob_size_in_bytes: document
                .member("blobSizeInBytes")
                .as_u64()
                .unwrap_or_default(),
            enqueued_time: document.time("enqueuedTimeUtc"),
        }
    }
}

const PATH: &[&str] = &["messages", "serviceBound", "filenotifications"];
const ADDRESS: &str = "/messages/serviceBound/filenotifications";
