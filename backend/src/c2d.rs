//! Cloud-to-device messages (`spec/amqp.md` 5.1, `spec/service.md` 8): into a device's queue, and out
//! of it unread.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use iothub_protocol::amqp::message::{AmqpMessage, Body};
use iothub_protocol::amqp::value::Value;
use iothub_protocol::{ClientId, Timestamp};
use tokio::sync::Mutex;

use crate::amqp::{Connector, Link, Session, of_link, unless_accepted};
use crate::document::{Document, unexpected};
use crate::transport::{self, Call, Transport};
use crate::{Error, ErrorKind};

/// The message queues of a hub's devices and modules.
#[derive(Clone, Copy)]
pub struct C2d<'a> {
    transport: &'a Transport,
    sender: &'a Sender,
}

/// The way into the queues: a link that is attached when it is needed, for everybody to use.
pub(crate) struct Sender {
    hub: Arc<Connector>,
    current: Mutex<Option<Attached>>,
}

#[derive(Clone)]
struct Attached {
    link: Arc<Link>,
    /// Held with the link, so that the token stays fresh.
    session: Arc<Session>,
}

/// Where messages to devices go.
const ADDRESS: &str = "/messages/devicebound";
/// How long the hub may take for a message, in the machine's own time.
const SEND_LIMIT: Duration = Duration::from_secs(60);

impl<'a> C2d<'a> {
    pub(crate) fn new(transport: &'a Transport, sender: &'a Sender) -> Self {
        Self { transport, sender }
    }

    /// Prepares a message for a device (`"d1"`) or module (`"d1/m1"`).
    pub fn message(
        self,
        client: &(impl ToString + ?Sized),
        body: impl Into<Bytes>,
    ) -> C2dMessage<'a> {
        let mut message = AmqpMessage {
            body: Body::Data(vec![body.into()]),
            ..AmqpMessage::default()
        };
        let client = transport::client_id(client);
        message.properties.to = client.as_ref().ok().map(address_of);
        C2dMessage {
            sender: self.sender,
            client: client.map(drop),
            message,
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

/// Where a message says that it is going.
fn address_of(client: &ClientId) -> String {
    let segments = transport::client_path("devices", client, &["messages", "devicebound"]);
    segments
        .iter()
        .map(|segment| format!("/{}", transport::encode(segment)))
        .collect()
}

/// A cloud-to-device message, before it is sent.
#[must_use = "nothing is sent before `send`"]
pub struct C2dMessage<'a> {
    sender: &'a Sender,
    client: Result<(), Error>,
    message: AmqpMessage,
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
    /// As it stands in the message.
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
    pub fn message_id(mut self, id: impl Into<String>) -> Self {
        self.message.properties.message_id = Some(Value::String(id.into()));
        self
    }

    /// What the message belongs to.
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.message.properties.correlation_id = Some(Value::String(id.into()));
        self
    }

    /// Who sends it.
    pub fn user_id(mut self, id: impl Into<String>) -> Self {
        self.message.properties.user_id = Some(id.into().into());
        self
    }

    /// Which feedback to give.
    pub fn ack(self, ack: Ack) -> Self {
        self.property("iothub-ack", ack.as_str())
    }

    /// When it stops waiting for the device. Default: the hub's time to live, an hour.
    pub fn expiry(mut self, time: Timestamp) -> Self {
        self.message.properties.absolute_expiry_time = Some(time.unix_millis());
        self
    }

    /// How long it waits for the device: [`Self::expiry`] by the hub's clock.
    pub fn time_to_live(mut self, duration: Duration) -> Self {
        let millis = u32::try_from(duration.as_millis());
        self.message.header.ttl = Some(millis.unwrap_or(u32::MAX));
        self
    }

    /// What the body is, such as `application/json`.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.message.properties.content_type = Some(content_type.into().into());
        self
    }

    /// How the body is encoded, such as `utf-8`.
    pub fn content_encoding(mut self, encoding: impl Into<String>) -> Self {
        self.message.properties.content_encoding = Some(encoding.into().into());
        self
    }

    /// An application property.
    pub fn property(mut self, name: &str, value: impl Into<String>) -> Self {
        let properties = &mut self.message.application_properties;
        properties.retain(|(known, _)| known.as_text() != Some(name));
        properties.push((name.into(), Value::String(value.into())));
        self
    }

    /// Puts the message into the queue. Refused with `DeviceNotFound`, `ModuleNotFound`,
    /// `DeviceMaximumQueueDepthExceeded` when 50 messages wait, `MessageTooLarge` above 64 KiB, and
    /// `InvalidMessageExpiryTime`. [`ErrorKind::Interrupted`] leaves open whether it is in the queue.
    pub async fn send(self) -> Result<(), Error> {
        self.client?;
        let sending = self.sender.send(&self.message);
        match tokio::time::timeout(SEND_LIMIT, sending).await {
            Ok(sent) => sent,
            Err(elapsed) => Err(Error::caused_by(ErrorKind::Interrupted, elapsed)),
        }
    }
}

impl Sender {
    pub(crate) fn new(hub: Arc<Connector>) -> Self {
        Self {
            hub,
            current: Mutex::default(),
        }
    }

    async fn send(&self, message: &AmqpMessage) -> Result<(), Error> {
        let attached = self.attached().await?;
        let outcome = attached.link.send(message).await.map_err(of_link)?;
        unless_accepted(outcome)
    }

    /// The link in use; another one when there is none, or it is over.
    async fn attached(&self) -> Result<Attached, Error> {
        let mut current = self.current.lock().await;
        let session = self.hub.session().await?;
        if let Some(attached) = &*current
            && Arc::ptr_eq(&attached.session, &session)
            && attached.link.is_over().is_none()
        {
            return Ok(attached.clone());
        }
        *current = None;
        let name = session.link_name("devicebound");
        let link = Link::sender(&session.wire, session.id, name, ADDRESS).await;
        let attached = Attached {
            link: Arc::new(link.map_err(of_link)?),
            session,
        };
        *current = Some(attached.clone());
        Ok(attached)
    }
}

/// A request's own content type, where the message's is a header of its own (`spec/device.md` 9.2).
pub(crate) const OPAQUE: &str = "application/octet-stream";
