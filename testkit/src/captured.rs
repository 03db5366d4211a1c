//! Telemetry as the hub stored it.

use std::borrow::Cow;
use std::fmt;

use iothub_emulator::HubHandle;
use iothub_hub::EventSource;
use iothub_protocol::property_bag::SystemProperty;
use iothub_protocol::{ClientId, Message, Timestamp};
use serde_json::Value;

use crate::timeline::{Timeline, excerpt};

/// What one device or module has sent since the hub started.
#[derive(Clone)]
pub struct Telemetry<'a> {
    handle: &'a HubHandle,
    timeline: &'a Timeline,
    client: ClientId,
}

/// A stored message.
#[derive(Clone, PartialEq)]
pub struct CapturedEvent {
    /// The device or module that sent it.
    pub client: ClientId,
    /// Its number within the partition of its device.
    pub sequence: u64,
    /// When the hub stored it.
    pub enqueued: Timestamp,
    /// What was sent.
    pub message: Message,
}

impl<'a> Telemetry<'a> {
    pub(crate) fn new(handle: &'a HubHandle, timeline: &'a Timeline, client: ClientId) -> Self {
        Self {
            handle,
            timeline,
            client,
        }
    }

    /// What has been stored so far, oldest first.
    ///
    /// # Panics
    ///
    /// When the hub's store cannot be read.
    pub fn so_far(&self) -> Vec<CapturedEvent> {
        // All events of a device are in one partition, in the order in which they were sent.
        let partition = self
            .handle
            .inspect(|hub| hub.partition_of(&self.client.device));
        let events = self.handle.read_events(partition, 0, usize::MAX);
        let events = events.unwrap_or_else(|error| panic!("read the event log: {error}"));
        events
            .into_iter()
            .filter(|event| event.origin.client == self.client)
            .filter(|event| event.source == EventSource::Telemetry)
            .map(|event| CapturedEvent {
                client: event.origin.client.clone(),
                sequence: event.sequence,
                enqueued: event.enqueued,
                message: event.message,
            })
            .collect()
    }

    /// Waits until at least `count` messages have been stored; returns all there are.
    ///
    /// # Panics
    ///
    /// When that takes longer than [`crate::WAIT_LIMIT`], with everything that the hub saw.
    pub async fn wait_for(&self, count: usize) -> Vec<CapturedEvent> {
        let what = format!("{count} messages from {}", self.client);
        let enough = || Some(self.so_far()).filter(|events| events.len() >= count);
        self.timeline.wait_until(&what, enough).await
    }
}

impl CapturedEvent {
    /// The body as it was sent.
    pub fn body(&self) -> &[u8] {
        &self.message.body
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// When it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(self.body())
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}", excerpt(self.body())))
    }

    /// An application property.
    pub fn property(&self, name: &str) -> Option<Cow<'_, str>> {
        self.message.properties.get(name)
    }

    /// The application properties, in the order in which they were sent.
    pub fn properties(&self) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
        self.message.properties.application()
    }

    /// A system property, such as the message id.
    pub fn system(&self, property: SystemProperty) -> Option<Cow<'_, str>> {
        self.message.properties.system(property)
    }
}

impl fmt::Debug for CapturedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CapturedEvent")
            .field("client", &self.client.to_string())
            .field("sequence", &self.sequence)
            .field("enqueued", &self.enqueued.to_iso())
            .field("properties", &self.message.properties.as_encoded())
            .field("body", &excerpt(self.body()))
            .finish()
    }
}
