//! Messages over HTTPS: telemetry, alone and in batches, and cloud-to-device messages, which are
//! locked, looked at, and settled (`spec/device.md` 9.2 to 9.4).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ETAG, HeaderValue, IF_MATCH};
use http::{HeaderMap, Method};
use iothub_protocol::Message;
use iothub_protocol::message::MAX_TELEMETRY_SIZE;
use serde_json::{Value, json};

use super::headers;
use super::rest::{Answer, Call, Rest};
use crate::{Error, ErrorKind};

/// A cloud-to-device message that the hub keeps locked for this client until it is settled, or
/// until the lock times out and the message is delivered again.
#[derive(Clone, Debug, PartialEq)]
pub struct LockedMessage {
    /// What was sent.
    pub message: Message,
    /// What settles it.
    pub lock_token: String,
    /// Its place in the client's queue.
    pub sequence_number: u64,
    /// How often it had been delivered before.
    pub delivery_count: u32,
    /// When the hub took it, as the hub spells it.
    pub enqueued_time: String,
}

/// What becomes of a locked message.
#[derive(Clone, Copy)]
pub(super) enum Settlement {
    Complete,
    Reject,
    Abandon,
}

impl Rest {
    /// Sends a message; when this returns, the hub has stored it.
    pub(super) async fn send_telemetry(&self, message: Message) -> Result<(), Error> {
        check_size(message.size())?;
        let call = Call::new(Method::POST, &EVENTS)
            .headers(headers::of_bag(&message.properties)?)
            .body("application/octet-stream", message.body);
        self.send(call).await.map(drop)
    }

    /// Sends messages in one request, which the hub takes or refuses as a whole.
    pub(super) async fn send_telemetry_batch(&self, messages: &[Message]) -> Result<(), Error> {
        check_size(messages.iter().map(Message::size).sum())?;
        let batch: Value = messages
            .iter()
            .map(|message| {
                Ok(json!({
                    "body": STANDARD.encode(&message.body),
                    "base64Encoded": true,
                    "properties": headers::to_members(&message.properties)?,
                }))
            })
            .collect::<Result<_, Error>>()?;
        let call = Call::new(Method::POST, &EVENTS).body(BATCH, batch.to_string());
        self.send(call).await.map(drop)
    }

    /// Locks the oldest message; `None` when none waits.
    pub(super) async fn receive(
        &self,
        lock_timeout: Option<Duration>,
    ) -> Result<Option<LockedMessage>, Error> {
        let mut call = Call::new(Method::GET, &DEVICEBOUND);
        if let Some(timeout) = lock_timeout {
            call = call.header("iothub-messagelocktimeout", timeout.as_secs().into());
        }
        let answer = self.send(call).await?;
        if answer.status == NO_CONTENT {
            return Ok(None);
        }
        LockedMessage::of(answer).map(Some)
    }

    /// Says what becomes of a message; refused when its lock is lost.
    pub(super) async fn settle(
        &self,
        message: &LockedMessage,
        settlement: Settlement,
    ) -> Result<(), Error> {
        let lock = message.lock_token.as_str();
        let [messages, devicebound] = DEVICEBOUND;
        let call = match settlement {
            Settlement::Complete => Call::new(Method::DELETE, &[messages, devicebound, lock]),
            Settlement::Reject => {
                Call::new(Method::DELETE, &[messages, devicebound, lock]).flag("reject")
            }
            Settlement::Abandon => {
                Call::new(Method::POST, &[messages, devicebound, lock, "abandon"])
            }
        };
        let mut condition = HeaderMap::new();
        if let Ok(lock) = HeaderValue::try_from(format!("\"{lock}\"")) {
            condition.insert(IF_MATCH, lock);
        }
        self.send(call.headers(condition)).await.map(drop)
    }
}

impl LockedMessage {
    fn of(answer: Answer) -> Result<Self, Error> {
        let unfit = |what: &str| {
            let what = format!("a cloud-to-device message without {what}");
            Error::new(ErrorKind::UnexpectedAnswer(what))
        };
        let etag = answer.header(ETAG.as_str()).unwrap_or_default();
        let lock_token = etag.trim_matches('"').to_owned();
        if lock_token.is_empty() {
            return Err(unfit("a lock"));
        }
        let number = |name: &str| answer.header(name)?.parse().ok();
        Ok(Self {
            lock_token,
            sequence_number: number("iothub-sequencenumber")
                .ok_or_else(|| unfit("a sequence number"))?,
            delivery_count: number("iothub-deliverycount")
                .and_then(|count| u32::try_from(count).ok())
                .unwrap_or_default(),
            enqueued_time: answer
                .header("iothub-enqueuedtime")
                .unwrap_or_default()
                .to_owned(),
            message: Message {
                properties: headers::to_bag(&answer.headers),
                body: answer.body,
            },
        })
    }
}

fn check_size(size: usize) -> Result<(), Error> {
    if size <= MAX_TELEMETRY_SIZE {
        return Ok(());
    }
    Err(Error::new(ErrorKind::TooLarge {
        size,
        limit: MAX_TELEMETRY_SIZE,
    }))
}

const EVENTS: [&str; 2] = ["messages", "events"];
const DEVICEBOUND: [&str; 2] = ["messages", "devicebound"];
const BATCH: &str = "application/vnd.microsoft.iothub.json";
const NO_CONTENT: u16 = 204;
