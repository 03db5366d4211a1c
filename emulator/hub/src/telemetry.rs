//! Device-to-cloud messages: stamped, numbered and appended to the partitioned log.

use std::sync::Arc;

use iothub_protocol::{ClientId, DeviceId, Error, ErrorCode, Message, Timestamp};
use serde_json::Value;

use crate::Hub;
use crate::access::{AuthMethod, Permission, Principal};
use crate::cx::{Change, Cx, Effect};
use crate::partition_key;
use crate::query::json_body;
use crate::sessions::SessionId;

/// A partition of the event log.
pub type PartitionId = u16;

/// A message once it is in the log (`spec/device.md` 4.5).
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Which partition.
    pub partition: PartitionId,
    /// Counts up by one within the partition, from 0.
    pub sequence: u64,
    /// Position in the partition in bytes; grows with every event.
    pub offset: u64,
    /// When the hub took it.
    pub enqueued: Timestamp,
    /// What it tells about.
    pub source: EventSource,
    /// Who sent it.
    pub origin: Arc<Origin>,
    /// What they sent.
    pub message: Message,
}

/// What an event tells about: annotation `iothub-message-source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventSource {
    /// A device's or module's own message.
    Telemetry,
    /// An identity was created or deleted.
    DeviceLifecycle,
    /// A twin was written.
    TwinChange,
    /// A client connected or its connection ended.
    ConnectionState,
    /// A job did something to a device or module.
    JobLifecycle,
    /// A digital twin changed.
    DigitalTwinChange,
}

/// Who sent a message, shared by all events of a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// The device or module.
    pub client: ClientId,
    /// The identity's generation.
    pub generation: Arc<str>,
    /// How it proved who it is.
    pub auth_method: AuthMethod,
    /// The model it says it implements.
    pub model_id: Option<String>,
}

/// Where a partition continues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionHead {
    /// The next event's sequence number.
    pub next_sequence: u64,
    /// The next event's offset.
    pub next_offset: u64,
}

#[derive(Clone)]
pub(crate) struct Telemetry {
    heads: Vec<PartitionHead>,
}

impl EventSource {
    /// Every source.
    pub const ALL: [Self; 6] = [
        Self::Telemetry,
        Self::DeviceLifecycle,
        Self::TwinChange,
        Self::ConnectionState,
        Self::JobLifecycle,
        Self::DigitalTwinChange,
    ];

    /// The annotation's text (`spec/device.md` 16.3).
    pub fn name(self) -> &'static str {
        match self {
            Self::Telemetry => "Telemetry",
            Self::DeviceLifecycle => "deviceLifecycleEvents",
            Self::TwinChange => "twinChangeEvents",
            Self::ConnectionState => "deviceConnectionStateEvents",
            Self::JobLifecycle => "deviceJobLifecycleEvents",
            Self::DigitalTwinChange => "digitalTwinChangeEvents",
        }
    }

    /// The source's name in routes.
    pub fn route_name(self) -> &'static str {
        match self {
            Self::Telemetry => "DeviceMessages",
            Self::DeviceLifecycle => "DeviceLifecycleEvents",
            Self::TwinChange => "TwinChangeEvents",
            Self::ConnectionState => "DeviceConnectionStateEvents",
            Self::JobLifecycle => "DeviceJobLifecycleEvents",
            Self::DigitalTwinChange => "DigitalTwinChangeEvents",
        }
    }

    /// The source that routes call so; case is ignored, as tools write it either way.
    pub fn from_route_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|source| source.route_name().eq_ignore_ascii_case(name))
    }
}

impl Event {
    /// The body as JSON, when its content type and encoding say that it is
    /// (`spec/device.md` 4.7).
    pub fn json_body(&self) -> Option<Value> {
        json_body(&self.message)
    }

    /// The head of the partition after this event.
    pub fn next_head(&self) -> PartitionHead {
        PartitionHead {
            next_sequence: self.sequence + 1,
            next_offset: self.offset + stored_size(&self.message),
        }
    }
}

impl Hub {
    /// Appends messages of a session in order, all or none.
    ///
    /// Refuses with `DeviceConnectionClosedRemotely` when the session has ended, and with
    /// `MessageTooLarge` when a message is over 256 KiB (`spec/device.md` 4.4).
    pub fn ingest(
        &mut self,
        cx: &mut Cx<'_>,
        session: SessionId,
        messages: Vec<Message>,
    ) -> Result<(), Error> {
        let now = cx.now();
        let state = self.sessions.require(session)?;
        for message in &messages {
            check_size(message)?;
        }
        state.last_activity = now;
        let origin = state.origin.clone();
        if !state.used {
            self.connection_used(cx, session);
        }
        self.append(cx, &origin, messages);
        Ok(())
    }

    /// Appends messages of a client that has no session, in order, all or none. Its connection
    /// state stays as it is.
    ///
    /// Refuses with `DeviceNotFound`, `ModuleNotFound`, and with `MessageTooLarge` when a message
    /// is over 256 KiB (`spec/device.md` 9.2).
    pub fn ingest_from(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        client: &ClientId,
        messages: Vec<Message>,
    ) -> Result<(), Error> {
        caller.require(Permission::DeviceConnect)?;
        let generation = self.registry.require(client)?.generation.clone();
        for message in &messages {
            check_size(message)?;
        }
        match self.sessions.of(client) {
            Some(session) => self.sessions.require(session)?.last_activity = cx.now(),
            None => self.note_activity(cx, client),
        }
        let origin = Arc::new(Origin {
            client: client.clone(),
            generation,
            auth_method: caller.auth_method(),
            // A model is announced when a client connects (`spec/device.md` 15).
            model_id: None,
        });
        self.append(cx, &origin, messages);
        Ok(())
    }

    /// Where the partitions continue.
    pub fn partition_heads(&self) -> &[PartitionHead] {
        &self.telemetry.heads
    }

    /// The partition of a device's events. All of a device's events share one.
    pub fn partition_of(&self, device: &DeviceId) -> PartitionId {
        let count = self.telemetry.heads.len() as u16;
        partition_key::partition_of(device.as_str().as_bytes(), count)
    }

    /// The will of a client whose connection was lost: an ordinary message with the property
    /// `iothub-MessageType` (`spec/device.md` 2.7).
    pub(crate) fn publish_will(
        &mut self,
        cx: &mut Cx<'_>,
        origin: &Arc<Origin>,
        mut will: Message,
    ) {
        will.properties.push("iothub-MessageType", "Will");
        if check_size(&will).is_ok() {
            self.append(cx, origin, vec![will]);
        }
    }

    fn append(&mut self, cx: &mut Cx<'_>, origin: &Arc<Origin>, messages: Vec<Message>) {
        if messages.is_empty() {
            return;
        }
        if self.has_routes() {
            self.route(cx, EventSource::Telemetry, origin, messages, None);
            return;
        }
        let partition = self.partition_of(&origin.client.device);
        let head = &mut self.telemetry.heads[usize::from(partition)];
        let events = messages
            .into_iter()
            .map(|message| {
                let event = Event {
                    partition,
                    sequence: head.next_sequence,
                    offset: head.next_offset,
                    enqueued: cx.now(),
                    source: EventSource::Telemetry,
                    origin: origin.clone(),
                    message,
                };
                *head = event.next_head();
                event
            })
            .collect();
        cx.change(Change::AppendEvents(events));
        cx.emit(Effect::EventsAppended(partition));
    }

    /// Appends events that are made already but for their places, all of one partition.
    pub(crate) fn append_events(
        &mut self,
        cx: &mut Cx<'_>,
        partition: PartitionId,
        mut events: Vec<Event>,
    ) {
        let head = &mut self.telemetry.heads[usize::from(partition)];
        for event in &mut events {
            event.sequence = head.next_sequence;
            event.offset = head.next_offset;
            *head = event.next_head();
        }
        cx.change(Change::AppendEvents(events));
        cx.emit(Effect::EventsAppended(partition));
    }
}

impl Telemetry {
    pub(crate) fn new(partitions: u16) -> Self {
        Self {
            heads: vec![PartitionHead::default(); usize::from(partitions.max(1))],
        }
    }

    pub(crate) fn restore_head(&mut self, partition: PartitionId, head: PartitionHead) {
        if let Some(slot) = self.heads.get_mut(usize::from(partition)) {
            *slot = head;
        }
    }
}

fn check_size(message: &Message) -> Result<(), Error> {
    const LIMIT: usize = iothub_protocol::message::MAX_TELEMETRY_SIZE;
    if message.is_larger_than(LIMIT) {
        let size = message.size();
        return Err(Error::new(
            ErrorCode::MessageTooLarge,
            format!("{size} bytes of message, the limit is {LIMIT}"),
        ));
    }
    Ok(())
}

fn stored_size(message: &Message) -> u64 {
    (message.body.len() + message.properties.as_encoded().len()) as u64 + 1
}
