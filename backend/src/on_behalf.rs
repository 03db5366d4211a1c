//! What a device does over HTTPS, done in its name with a policy that has `DeviceConnect`: how
//! tools such as `az iot device` stand in for a device (`spec/device.md` 9).

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use iothub_protocol::ClientId;
use iothub_protocol::http::IOTHUB_APP_PREFIX;

use crate::Error;
use crate::c2d::OPAQUE;
use crate::document::unexpected;
use crate::transport::{self, Answer, Call, Transport};
use crate::upload;

/// Stands in for one device or module.
pub struct OnBehalf<'a> {
    transport: &'a Transport,
    client: String,
}

impl<'a> OnBehalf<'a> {
    pub(crate) fn new(transport: &'a Transport, client: String) -> Self {
        Self { transport, client }
    }

    /// Sends telemetry. Refused with `MessageTooLarge` above 256 KiB.
    pub async fn send_event(&self, message: OutgoingMessage) -> Result<(), Error> {
        let mut call = self
            .call(Method::POST, &["messages", "events"])?
            .header("content-type", OPAQUE);
        for (name, value) in message.headers {
            call = call.header(name, value);
        }
        self.transport.send(call.body(message.body)).await.map(drop)
    }

    /// Locks the oldest cloud-to-device message and returns it; `None` when none waits. Without
    /// being completed or rejected it comes again. The hub may lock for a minute whatever
    /// `lock_timeout` asks for.
    pub async fn receive_c2d(
        &self,
        lock_timeout: Option<Duration>,
    ) -> Result<Option<ReceivedMessage>, Error> {
        let seconds = lock_timeout.map(|timeout| timeout.as_secs().to_string());
        let call = self
            .call(Method::GET, QUEUE)?
            .header_if("iothub-messagelocktimeout", seconds.as_deref());
        let answer = self.transport.send(call).await?;
        if answer.status == 204 {
            return Ok(None);
        }
        ReceivedMessage::read(answer).map(Some)
    }

    /// Takes a message off the queue. Refused with `DeviceMessageLockLost` when the lock has run
    /// out.
    pub async fn complete_c2d(&self, lock_token: &str) -> Result<(), Error> {
        let call = self.call(Method::DELETE, &[QUEUE, &[lock_token]].concat())?;
        self.transport.send(call).await.map(drop)
    }

    /// As [`Self::complete_c2d`], and says that the message was not wanted.
    pub async fn reject_c2d(&self, lock_token: &str) -> Result<(), Error> {
        let call = self
            .call(Method::DELETE, &[QUEUE, &[lock_token]].concat())?
            .query("reject", "true");
        self.transport.send(call).await.map(drop)
    }

    /// Gives a message back, to be received again.
    pub async fn abandon_c2d(&self, lock_token: &str) -> Result<(), Error> {
        let call = self.call(Method::POST, &[QUEUE, &[lock_token, "abandon"]].concat())?;
        self.transport.send(call).await.map(drop)
    }

    /// Uploads a file: asks the hub for a place, writes it there, and tells the hub how it went.
    /// Returns the blob's name. A place that is not the hub itself is spoken to over HTTPS.
    pub async fn upload_file(
        &self,
        blob_name: &str,
        content: Bytes,
        content_type: &str,
    ) -> Result<String, Error> {
        let device = transport::client_id(&self.client)?;
        upload::upload(self.transport, &device, blob_name, content, content_type).await
    }

    fn call(&self, method: Method, tail: &[&str]) -> Result<Call, Error> {
        let client: ClientId = transport::client_id(&self.client)?;
        let path = transport::client_path("devices", &client, tail);
        let call = Call::new(method, &path);
        Ok(call.header_if("host", self.transport.hub_host()))
    }
}

/// Telemetry, before it is sent.
#[derive(Clone, Debug, Default)]
pub struct OutgoingMessage {
    body: Bytes,
    headers: Vec<(String, String)>,
}

impl OutgoingMessage {
    /// A message without properties.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            headers: Vec::new(),
        }
    }

    /// An application property. It travels as a header, of which the name's case is not kept.
    #[must_use]
    pub fn property(self, name: &str, value: impl Into<String>) -> Self {
        self.header(&format!("{IOTHUB_APP_PREFIX}{name}"), value)
    }

    /// What the body is, such as `application/json`.
    #[must_use]
    pub fn content_type(self, content_type: impl Into<String>) -> Self {
        self.header("iothub-contenttype", content_type)
    }

    /// How the body is encoded, such as `utf-8`.
    #[must_use]
    pub fn content_encoding(self, encoding: impl Into<String>) -> Self {
        self.header("iothub-contentencoding", encoding)
    }

    /// The message's own id.
    #[must_use]
    pub fn message_id(self, id: impl Into<String>) -> Self {
        self.header("iothub-messageid", id)
    }

    /// What the message belongs to.
    #[must_use]
    pub fn correlation_id(self, id: impl Into<String>) -> Self {
        self.header("iothub-correlationid", id)
    }

    /// Who sends it.
    #[must_use]
    pub fn user_id(self, id: impl Into<String>) -> Self {
        self.header("iothub-userid", id)
    }

    fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// A cloud-to-device message under a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMessage {
    /// What completes, rejects or abandons it.
    pub lock_token: String,
    /// The payload.
    pub body: Bytes,
    /// What the hub and the sender say about it, by the header's name without `iothub-`: such as
    /// `messageid`, `enqueuedtime`, `deliverycount`.
    pub system_properties: Vec<(String, String)>,
    /// What the sender added.
    pub application_properties: Vec<(String, String)>,
}

impl ReceivedMessage {
    /// A system property, by its name in lower case.
    pub fn system_property(&self, name: &str) -> Option<&str> {
        let found = self.system_properties.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    fn read(answer: Answer) -> Result<Self, Error> {
        let lock_token = answer
            .etag()
            .ok_or_else(|| unexpected("a message without a lock token".into()))?
            .to_owned();
        let mut system_properties = Vec::new();
        let mut application_properties = Vec::new();
        for (name, value) in &answer.headers {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            let name = name.as_str();
            if let Some(name) = name.strip_prefix(IOTHUB_APP_PREFIX) {
                application_properties.push((name.to_owned(), value));
            } else if let Some(name) = name.strip_prefix("iothub-") {
                system_properties.push((name.to_owned(), value));
            }
        }
        Ok(Self {
            lock_token,
            body: answer.body,
            system_properties,
            application_properties,
        })
    }
}

const QUEUE: &[&str] = &["messages", "deviceBound"];
