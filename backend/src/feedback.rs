//! Feedback: what became of cloud-to-device messages (`spec/amqp.md` 5.2, `spec/service.md` 8).

use std::sync::Arc;

use http::Method;
use iothub_protocol::Timestamp;
use iothub_protocol::amqp::message::AmqpMessage;
use iothub_protocol::amqp::{DeliveryState, Value as Amqp, value};
use serde_json::Value;

use crate::Error;
use crate::amqp::{Connector, QueueReader, unreadable};
use crate::document::{Document, unexpected};
use crate::transport::{Call, Transport};

/// The hub's one queue of feedback, which all back ends share.
#[derive(Clone, Copy)]
pub struct Feedback<'a> {
    transport: &'a Transport,
    hub: &'a Arc<Connector>,
}

/// Receives feedback as it comes, over AMQP. Finds the way back when the connection is lost; what it
/// holds then comes again. Dropping it gives back what is not settled.
pub struct FeedbackReceiver {
    queue: QueueReader,
}

impl<'a> Feedback<'a> {
    pub(crate) fn new(transport: &'a Transport, hub: &'a Arc<Connector>) -> Self {
        Self { transport, hub }
    }

    /// Opens a receiver of feedback. Receivers compete: each batch goes to one of them.
    pub async fn open(self) -> Result<FeedbackReceiver, Error> {
        let queue = QueueReader::open(Arc::clone(self.hub), ADDRESS).await?;
        Ok(FeedbackReceiver { queue })
    }

    /// Over REST: locks the oldest batch for a minute and returns it; `None` when there is none. What is not
    /// completed comes again.
    pub async fn receive(self) -> Result<Option<FeedbackBatch>, Error> {
        let call = Call::new(Method::GET, PATH);
        let answer = self.transport.send(call).await?;
        if answer.status == 204 {
            return Ok(None);
        }
        let lock_token = answer
            .etag()
            .ok_or_else(|| unexpected("feedback without a lock token".into()))?
            .to_owned();
        Ok(Some(FeedbackBatch {
            lock_token,
            records: records(answer.json()?)?,
            enqueued_time: None,
            user_id: None,
        }))
    }

    /// Over REST: takes the batch off the queue. Refused with `DeviceMessageLockLost` when the lock
    /// has run out.
    pub async fn complete(self, lock_token: &str) -> Result<(), Error> {
        let path = [PATH, &[lock_token]].concat();
        self.transport
            .send(Call::new(Method::DELETE, &path))
            .await
            .map(drop)
    }

    /// Over REST: gives the batch back, for any back end to receive.
    pub async fn abandon(self, lock_token: &str) -> Result<(), Error> {
        let path = [PATH, &[lock_token, "abandon"]].concat();
        self.transport
            .send(Call::new(Method::POST, &path))
            .await
            .map(drop)
    }
}

impl FeedbackReceiver {
    /// The next batch, locked for a minute. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<FeedbackBatch, Error> {
        let (lock_token, message) = self.queue.next().await?;
        FeedbackBatch::read(lock_token, &message)
    }

    /// Takes the batch off the queue. Refused with `DeviceMessageLockLost` when this receiver does
    /// not hold it.
    pub async fn complete(&mut self, lock_token: &str) -> Result<(), Error> {
        self.queue
            .settle(lock_token, &DeliveryState::Accepted)
            .await
    }

    /// Gives the batch back, for any back end to receive.
    pub async fn abandon(&mut self, lock_token: &str) -> Result<(), Error> {
        self.queue
            .settle(lock_token, &DeliveryState::Released)
            .await
    }

    /// Takes the batch off the queue because it is of no use.
    pub async fn reject(&mut self, lock_token: &str) -> Result<(), Error> {
        let rejected = DeliveryState::Rejected(None);
        self.queue.settle(lock_token, &rejected).await
    }

    /// Gives back what is not settled, and waits until that has been said.
    pub async fn close(self) {
        self.queue.close().await;
    }
}

/// Records that came together, under one lock.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedbackBatch {
    /// What completes or abandons the batch.
    pub lock_token: String,
    /// When the hub put it into the queue; told over AMQP only.
    pub enqueued_time: Option<Timestamp>,
    /// The hub's name; told over AMQP only.
    pub user_id: Option<String>,
    /// One for each message.
    pub records: Vec<FeedbackRecord>,
}

/// What became of one message.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedbackRecord {
    /// The message's id, empty when it had none.
    pub original_message_id: String,
    /// When it ended; none when the hub does not say.
    pub enqueued_time: Option<Timestamp>,
    /// How it ended.
    pub status: FeedbackStatus,
    /// The same for a person.
    pub description: String,
    /// The device that it was for.
    pub device_id: String,
    /// Which device of that name.
    pub device_generation_id: String,
}

/// How a message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FeedbackStatus {
    /// The device completed it.
    Success,
    /// Nobody took it in time.
    Expired,
    /// It was delivered too often without being completed.
    DeliveryCountExceeded,
    /// The device rejected it.
    Rejected,
    /// A back end emptied the queue.
    Purged,
    /// Another word of the hub's.
    Other(String),
}

impl FeedbackStatus {
    /// As the hub spells it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Success => "Success",
            Self::Expired => "Expired",
            Self::DeliveryCountExceeded => "DeliveryCountExceeded",
            Self::Rejected => "Rejected",
            Self::Purged => "Purged",
            Self::Other(text) => text,
        }
    }

    fn parse(text: &str) -> Self {
        [
            Self::Success,
            Self::Expired,
            Self::DeliveryCountExceeded,
            Self::Rejected,
            Self::Purged,
        ]
        .into_iter()
        .find(|status| status.as_str().eq_ignore_ascii_case(text))
        .unwrap_or_else(|| Self::Other(text.into()))
    }
}

impl FeedbackBatch {
    fn read(lock_token: String, message: &AmqpMessage) -> Result<Self, Error> {
        let body = message.data().unwrap_or_default();
        let annotation = value::lookup(&message.message_annotations, "iothub-enqueuedtime");
        let user_id = message.properties.user_id.as_ref();
        Ok(Self {
            lock_token,
            enqueued_time: match annotation {
                Some(&Amqp::Timestamp(millis)) => Some(Timestamp::from_unix_millis(millis)),
                _ => None,
            },
            user_id: user_id.map(|id| String::from_utf8_lossy(id).into_owned()),
            records: records(serde_json::from_slice(&body).map_err(unreadable)?)?,
        })
    }
}

fn records(document: Value) -> Result<Vec<FeedbackRecord>, Error> {
    let records = Document::all_of(document, "feedback")?;
    Ok(records.iter().map(FeedbackRecord::read).collect())
}

impl FeedbackRecord {
    fn read(document: &Document) -> Self {
        let text = |name: &str| document.text(name).unwrap_or_default().to_owned();
        Self {
            original_message_id: text("originalMessageId"),
            enqueued_time: document.time("enqueuedTimeUtc"),
            status: FeedbackStatus::parse(&text("statusCode")),
            description: text("description"),
            device_id: text("deviceId"),
            device_generation_id: text("deviceGenerationId"),
        }
    }
}

const PATH: &[&str] = &["messages", "serviceBound", "feedback"];
const ADDRESS: &str = "/messages/serviceBound/feedback";
