//! Cloud-to-device messages (`spec/service.md` 8): into a device's queue, and out of it unread.

use bytes::Bytes;
use http::Method;
use iothub_protocol::Timestamp;
use iothub_protocol::http::IOTHUB_APP_PREFIX;

use crate::Error;
use crate::document::{Document, unexpected};
use crate::transport::{self, Call, Transport};

/// The message queues of a hub's devices and modules.
#[derive(Clone, Copy)]
pub struct C2d<'a> {
    transport: &'a Transport,
}

impl<'a> C2d<'a> {
    pub(crate) fn new(transport: &'a Transport) -> Self {
        Self { transport }
    }

    /// Prepares a message for a device (`"d1"`) or module (`"d1/m1"`).
    pub fn message(
        self,
        client: &(impl ToString + ?Sized),
        body: impl Into<Bytes>,
    ) -> C2dMessage<'a> {
        C2dMessage {
            transport: self.transport,
            client: client.to_string(),
            body: body.into(),
            headers: Vec::new(),
        }
    }

    /// Removes every message that waits for a device or module, locked ones too, and says how many
    /// there were. Those that asked for feedback give `Purged`.
    pub async fn purge(self, client: &(impl ToString + ?Sized)) -> Result<u64, Error> {
        let client = transport::client_id(client)?;
        let path = transport::client_path("devices", &client, &["commands"]);
        let answer = self
            .transport
            .send(Call::new(Method::DELETE, &path))
            .await?;
        let result = Document::read(&answer, "the result of a purge")?;
        result
            .member("totalMessagesPurged")
            .as_u64()
            .ok_or_else(|| unexpected("the result of a purge without a count".into()))
    }
}

/// A cloud-to-device message, before it is sent.
#[must_use = "nothing is sent before `send`"]
pub struct C2dMessage<'a> {
    transport: &'a Transport,
    client: String,
    body: Bytes,
    headers: Vec<(String, String)>,
}

/// About which ends of a message its sender wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ack {
    /// None.
    #[default]
    None,
    /// That the device completed it.
    Positive,
    /// That it expired, was rejected, or was delivered too often.
    Negative,
    /// All of them.
    Full,
}

impl Ack {
    /// As it stands in the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Positive => "positive",
            Self::Negative => "negative",
            Self::Full => "full",
        }
    }
}

impl C2dMessage<'_> {
    /// What feedback calls the message. Without one, feedback names no message.
    pub fn message_id(self, id: impl Into<String>) -> Self {
        self.header("iothub-messageid", id)
    }

    /// What the message belongs to.
    pub fn correlation_id(self, id: impl Into<String>) -> Self {
        self.header("iothub-correlationid", id)
    }

    /// Who sends it.
    pub fn user_id(self, id: impl Into<String>) -> Self {
        self.header("iothub-userid", id)
    }

    /// Which feedback to give.
    pub fn ack(self, ack: Ack) -> Self {
        self.header("iothub-ack", ack.as_str())
    }

    /// When it stops waiting for the device. Default: the hub's time to live, an hour.
    pub fn expiry(self, time: Timestamp) -> Self {
        self.header("iothub-expiry", time.to_iso())
    }

    /// What the body is, such as `application/json`.
    pub fn content_type(self, content_type: impl Into<String>) -> Self {
        self.header("iothub-contenttype", content_type)
    }

    /// How the body is encoded, such as `utf-8`.
    pub fn content_encoding(self, encoding: impl Into<String>) -> Self {
        self.header("iothub-contentencoding", encoding)
    }

    /// An application property. It travels as a header, of which the name's case is not kept.
    pub fn property(self, name: &str, value: impl Into<String>) -> Self {
        self.header(&format!("{IOTHUB_APP_PREFIX}{name}"), value)
    }

    /// Puts the message into the queue. Refused with `DeviceNotFound`, `ModuleNotFound`,
    /// `DeviceMaximumQueueDepthExceeded` when 50 messages wait, `MessageTooLarge` above 64 KiB, and
    /// `InvalidMessageExpiryTime`.
    pub async fn send(self) -> Result<(), Error> {
        let client = transport::client_id(&self.client)?;
        let path = transport::client_path("devices", &client, &["messages", "deviceBound"]);
        let mut call = Call::new(Method::POST, &path).header("content-type", OPAQUE);
        for (name, value) in self.headers {
            call = call.header(name, value);
        }
        self.transport.send(call.body(self.body)).await.map(drop)
    }

    fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// The request's own content type: the message's is a header of its own (`spec/device.md` 9.2).
pub(crate) const OPAQUE: &str = "application/octet-stream";
