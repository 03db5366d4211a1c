//! Feedback: what became of cloud-to-device messages (`spec/service.md` 8).

use http::Method;
use iothub_protocol::Timestamp;

use crate::Error;
use crate::document::{Document, unexpected};
use crate::transport::{Call, Transport};

/// The hub's one queue of feedback, which all back ends share.
#[derive(Clone, Copy)]
pub struct Feedback<'a> {
    transport: &'a Transport,
}

impl<'a> Feedback<'a> {
    pub(crate) fn new(transport: &'a Transport) -> Self {
        Self { transport }
    }

    /// Locks the oldest batch for a minute and returns it; `None` when there is none. What is not
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
        let records = Document::read_all(&answer, "feedback")?;
        let records = records.iter().map(FeedbackRecord::read).collect();
        Ok(Some(FeedbackBatch {
            lock_token,
            records,
        }))
    }

    /// Takes the batch off the queue. Refused with `DeviceMessageLockLost` when the lock has run
    /// out.
    pub async fn complete(self, lock_token: &str) -> Result<(), Error> {
        let path = [PATH, &[lock_token]].concat();
        self.transport
            .send(Call::new(Method::DELETE, &path))
            .await
            .map(drop)
    }

    /// Gives the batch back, for any back end to receive.
    pub async fn abandon(self, lock_token: &str) -> Result<(), Error> {
        let path = [PATH, &[lock_token, "abandon"]].concat();
        self.transport
            .send(Call::new(Method::POST, &path))
            .await
            .map(drop)
    }
}

/// Records that came together, under one lock.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedbackBatch {
    /// What completes or abandons the batch.
    pub lock_token: String,
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
