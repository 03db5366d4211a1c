//! What an operation is told, and what it leaves behind.

use std::sync::Arc;

use bytes::Bytes;
use iothub_protocol::feedback::FeedbackStatus;
use iothub_protocol::method::MethodResponse;
use iothub_protocol::{ClientId, Error, ErrorCode, Timestamp};

use crate::c2d::C2dMessage;
use crate::consumers::ReaderId;
use crate::documents::{Document, DocumentKind};
use crate::locks::LockToken;
use crate::methods::CallId;
use crate::packed::PackedTwin;
use crate::registry::Identity;
use crate::routing::Endpoint;
use crate::sessions::{SessionId, Subscriptions};
use crate::telemetry::{Event, PartitionHead, PartitionId};
use crate::twins::Twin;

/// The surroundings of one operation: the time, and where to put changes and effects.
pub struct Cx<'a> {
    now: Timestamp,
    outcome: &'a mut Outcome,
}

/// What an operation leaves behind, in order. Changes are to be stored before effects leave.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    /// What has to be written down.
    pub changes: Vec<Change>,
    /// What has to happen once it is.
    pub effects: Vec<Effect>,
    /// What an onlooker may like to know.
    pub notices: Vec<Notice>,
}

/// A state to write down. Replaying changes in order restores the hub.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A device or module identity, new or changed.
    PutIdentity(Arc<Identity>),
    /// The identity is gone, and with it its twin and remembered subscriptions.
    DeleteIdentity(ClientId),
    /// The client's twin, new or changed.
    PutTwin(ClientId, PackedTwin),
    /// What a client that is to be remembered has subscribed to.
    PutSubscriptions(ClientId, Subscriptions),
    /// The client is not to be remembered any more.
    DeleteSubscriptions(ClientId),
    /// Events, all of one partition, in order.
    AppendEvents(Vec<Event>),
    /// Where a partition continues, when its events themselves are no longer kept.
    PutPartitionHead(PartitionId, PartitionHead),
    /// A cloud-to-device message that waits for its client, new or changed.
    PutC2d(Arc<C2dMessage>),
    /// The client's message with this sequence number is settled.
    DeleteC2d(ClientId, u64),
    /// Something that the hub keeps as a JSON document, new or changed.
    PutDocument(Document),
    /// The document is gone.
    DeleteDocument(DocumentKind, Arc<str>),
    /// How far the seeded source has been used.
    PutEntropy(u64),
    /// Everything is forgotten.
    Reset,
}

/// Something that has to happen outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Hand this to the session's connection.
    Deliver(SessionId, Delivery),
    /// Someone waits for this call.
    Complete(CallId, Result<MethodResponse, Error>),
    /// Readers of this partition may go on.
    EventsAppended(PartitionId),
    /// Write these to an endpoint that is not the built-in one, in order.
    Route(Arc<Endpoint>, Vec<Event>),
    /// A batch of feedback can be received.
    FeedbackReady,
    /// End the session's connection.
    Disconnect(SessionId, ErrorCode),
    /// Who waits for file-upload notifications may ask for one.
    FileNotificationsReady,
    /// Who carries out imports and exports may ask for the next.
    RegistryJobReady,
    /// The reader's place is taken, or its consumer group gone.
    ReaderEnded(ReaderId, Error),
}

/// What the hub sends to a connected client.
#[derive(Clone, Debug, PartialEq)]
pub enum Delivery {
    /// A direct method call; the answer carries the same `request`.
    MethodRequest {
        /// Names the call within the session; lower-case hexadecimal on the wire.
        request: u32,
        /// The method.
        name: Arc<str>,
        /// JSON text, or empty when the caller gave no payload.
        payload: Bytes,
    },
    /// Desired properties changed.
    DesiredChanged {
        /// The section's new version.
        version: u64,
        /// JSON text: the change and `$version`.
        patch: Bytes,
    },
    /// A cloud-to-device message.
    C2d {
        /// What settles it; `None` when it is to be sent at most once and has left the queue.
        lock: Option<LockToken>,
        /// Whether it has been handed to somebody before.
        redelivered: bool,
        /// The message.
        message: Arc<C2dMessage>,
    },
}

/// Something an onlooker may like to know. Always made, and so cheap: it shares what the hub holds,
/// and who shows it renders it. Telemetry makes none; its events are in the changes.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A client connected, over the transport of this name.
    Connected(ClientId, &'static str),
    /// A client's connection ended.
    Disconnected(ClientId, &'static str),
    /// A method was called.
    MethodInvoked {
        /// The call.
        call: CallId,
        /// The device or module.
        client: ClientId,
        /// The method.
        name: Arc<str>,
        /// JSON text or empty.
        payload: Bytes,
    },
    /// A call ended.
    MethodEnded {
        /// The call.
        call: CallId,
        /// The device or module.
        client: ClientId,
        /// The method.
        name: Arc<str>,
        /// How.
        result: Result<MethodResponse, Error>,
    },
    /// A twin was written.
    TwinChanged {
        /// As it now is.
        twin: Arc<Twin>,
        /// What of it was written.
        written: TwinParts,
    },
    /// An identity was created, changed or deleted.
    IdentityChanged {
        /// As it now is; as it was, when it is gone.
        identity: Arc<Identity>,
        /// What became of it.
        how: IdentityChange,
    },
    /// A cloud-to-device message waits for its client.
    C2dSent(Arc<C2dMessage>),
    /// A cloud-to-device message was handed to its client.
    C2dDelivered {
        /// The message.
        message: Arc<C2dMessage>,
        /// Whether it had been handed over before.
        redelivered: bool,
    },
    /// A cloud-to-device message is back in its queue: its client let go of it, or was lost.
    C2dReturned(Arc<C2dMessage>),
    /// A cloud-to-device message has left its queue.
    C2dEnded(Arc<C2dMessage>, FeedbackStatus),
}

/// What of a twin was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TwinParts {
    /// The tags.
    pub tags: bool,
    /// The desired properties.
    pub desired: bool,
    /// The reported properties.
    pub reported: bool,
}

/// What became of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityChange {
    /// It is new.
    Created,
    /// It is another than before.
    Updated,
    /// It is gone.
    Deleted,
}

impl Change {
    /// The events that it appends, if it does.
    pub fn appended(&self) -> Option<&[Event]> {
        match self {
            Self::AppendEvents(events) => Some(events),
            Self::PutIdentity(_)
            | Self::DeleteIdentity(_)
            | Self::PutTwin(..)
            | Self::PutSubscriptions(..)
            | Self::DeleteSubscriptions(_)
            | Self::PutPartitionHead(..)
            | Self::PutC2d(_)
            | Self::DeleteC2d(..)
            | Self::PutDocument(_)
            | Self::DeleteDocument(..)
            | Self::PutEntropy(_)
            | Self::Reset => None,
        }
    }
}

impl<'a> Cx<'a> {
    /// For one operation at `now`.
    pub fn new(now: Timestamp, outcome: &'a mut Outcome) -> Self {
        Self { now, outcome }
    }

    /// The time of the operation.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    pub(crate) fn change(&mut self, change: Change) {
        self.outcome.changes.push(change);
    }

    pub(crate) fn emit(&mut self, effect: Effect) {
        self.outcome.effects.push(effect);
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.outcome.notices.push(notice);
    }
}
