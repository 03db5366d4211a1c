//! Telemetry as a back end reads it. Until the Event Hubs-compatible endpoint is there, it comes
//! from the emulator's control API: one JSON object a line, the oldest first.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use iothub_protocol::Timestamp;
use serde_json::{Map, Value};

use crate::transport::{self, Transport};
use crate::{Error, ErrorKind};

/// The telemetry log of a hub.
#[derive(Clone, Copy)]
pub struct Events<'a> {
    transport: &'a Transport,
}

impl<'a> Events<'a> {
    pub(crate) fn new(transport: &'a Transport) -> Self {
        Self { transport }
    }

    /// From the oldest event that the hub still has.
    pub fn from_earliest(self) -> EventQuery<'a> {
        EventQuery::new(self.transport, "earliest")
    }

    /// Only what arrives once the stream is open; implies [`EventQuery::follow`].
    pub fn from_latest(self) -> EventQuery<'a> {
        EventQuery::new(self.transport, "latest").follow()
    }

    /// From where an earlier reader was: the [`Event::cursor`] of the last event it saw.
    pub fn from_cursor(self, cursor: &str) -> EventQuery<'a> {
        EventQuery::new(self.transport, cursor)
    }
}

/// Which events to read, before reading.
#[must_use = "nothing is read before `open`"]
pub struct EventQuery<'a> {
    transport: &'a Transport,
    target: String,
}

impl<'a> EventQuery<'a> {
    fn new(transport: &'a Transport, from: &str) -> Self {
        let target = format!("/_emulator/events?from={}", transport::encode(from));
        Self { transport, target }
    }

    /// Goes on with new events when the stored ones are read, instead of ending.
    pub fn follow(mut self) -> Self {
        if !self.target.contains("&follow=true") {
            self.target.push_str("&follow=true");
        }
        self
    }

    /// Only what this device, or a module of it, sent.
    pub fn device(self, device: &str) -> Self {
        self.parameter("device", device)
    }

    /// At most this many events.
    pub fn max(self, max: usize) -> Self {
        self.parameter("max", &max.to_string())
    }

    /// Opens the stream. Once this returns, no later event is missed.
    pub async fn open(self) -> Result<EventStream, Error> {
        let body = self.transport.open(self.target).await?;
        Ok(EventStream {
            body,
            buffer: BytesMut::new(),
            searched: 0,
            ended: false,
        })
    }

    fn parameter(mut self, name: &str, value: &str) -> Self {
        self.target
            .push_str(&format!("&{name}={}", transport::encode(value)));
        self
    }
}

/// Events, one after the other.
pub struct EventStream {
    body: Incoming,
    buffer: BytesMut,
    /// How much of `buffer` is known to hold no line end.
    searched: usize,
    ended: bool,
}

impl EventStream {
    /// The next event; `None` when the stream has ended. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            match self.take_line() {
                Some(line) if line.trim_ascii().is_empty() => {}
                Some(line) => return Event::parse(&line).map(Some),
                None if self.ended => return Ok(None),
                None => self.read_more().await?,
            }
        }
    }

    async fn read_more(&mut self) -> Result<(), Error> {
        match self.body.frame().await {
            None => self.ended = true,
            Some(Err(error)) => return Err(Error::caused_by(ErrorKind::Interrupted, error)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    self.buffer.extend_from_slice(&data);
                }
            }
        }
        if self.buffer.len() > LINE_LIMIT {
            let what = format!("an event of more than {LINE_LIMIT} bytes");
            return Err(Error::new(ErrorKind::UnexpectedAnswer(what)));
        }
        Ok(())
    }

    fn take_line(&mut self) -> Option<Bytes> {
        let end = self.buffer[self.searched..]
            .iter()
            .position(|&byte| byte == b'\n');
        match end {
            Some(end) => {
                let line = self.buffer.split_to(self.searched + end + 1).freeze();
                self.searched = 0;
                Some(line)
            }
            // The last line needs no line end.
            None if self.ended && !self.buffer.is_empty() => {
                self.searched = 0;
                Some(self.buffer.split().freeze())
            }
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }
}

/// One stored device-to-cloud message (`spec/device.md` 4.5).
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The partition that holds it.
    pub partition: u32,
    /// Its number within the partition.
    pub sequence_number: u64,
    /// Its place within the partition.
    pub offset: String,
    /// When the hub stored it.
    pub enqueued_time: Timestamp,
    /// Where a reader goes on that has seen everything up to this event.
    pub cursor: String,
    /// What the hub says about it, such as `iothub-connection-device-id`.
    pub annotations: Map<String, Value>,
    /// Standard properties, such as `message-id` and `content-type`.
    pub properties: Map<String, Value>,
    /// What the sender added.
    pub application_properties: Map<String, Value>,
    /// The payload as it was sent.
    pub body: Bytes,
}

impl Event {
    /// The device that sent it, or whose module did.
    pub fn device_id(&self) -> &str {
        self.annotation("iothub-connection-device-id")
            .unwrap_or_default()
    }

    /// The module that sent it, if one did.
    pub fn module_id(&self) -> Option<&str> {
        self.annotation("iothub-connection-module-id")
    }

    /// The payload as JSON, if it is JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).and_then(Value::as_str)
    }

    fn parse(line: &[u8]) -> Result<Self, Error> {
        let unexpected = || ErrorKind::UnexpectedAnswer("an event that cannot be read".into());
        let value: Map<String, Value> =
            serde_json::from_slice(line).map_err(|error| Error::caused_by(unexpected(), error))?;
        Self::from_json(&value).ok_or_else(|| Error::new(unexpected()))
    }

    fn from_json(value: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let map = |name: &str| {
            value
                .get(name)
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default()
        };
        let body = text("body").unwrap_or_default();
        let body = match text("bodyEncoding") {
            Some("base64") => STANDARD.decode(body).ok()?,
            _ => body.as_bytes().to_vec(),
        };
        Some(Self {
            partition: value.get("partition")?.as_u64()?.try_into().ok()?,
            sequence_number: value.get("sequenceNumber")?.as_u64()?,
            offset: text("offset")?.to_owned(),
            enqueued_time: Timestamp::parse_iso(text("enqueuedTime")?)?,
            cursor: text("cursor")?.to_owned(),
            annotations: map("annotations"),
            properties: map("properties"),
            application_properties: map("applicationProperties"),
            body: body.into(),
        })
    }
}

/// The largest message is 256 KiB; base64 and escaped properties make it a few times that.
const LINE_LIMIT: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"partition":1,"sequenceNumber":12,"offset":"12",
        "enqueuedTime":"2026-01-02T03:04:05.0000000Z","cursor":"0.13",
        "annotations":{"iothub-connection-device-id":"d1"},
        "applicationProperties":{"alert":"true"},"body":"aGk=","bodyEncoding":"base64"}"#;

    #[test]
    fn event_line_is_read_with_its_body_decoded() {
        let event = Event::parse(LINE.as_bytes()).unwrap();

        assert_eq!((event.device_id(), event.module_id()), ("d1", None));
        assert_eq!((event.partition, event.sequence_number), (1, 12));
        assert_eq!(event.application_properties["alert"], "true");
        assert_eq!(event.body, "hi");
    }

    #[test]
    fn line_that_is_no_event_is_an_unexpected_answer() {
        for line in [
            "",
            "[]",
            "{}",
            r#"{"partition":0}"#,
            &LINE.replace("aGk=", "?"),
        ] {
            let error = Event::parse(line.as_bytes()).unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::UnexpectedAnswer(_)),
                "{line}"
            );
        }
    }
}
