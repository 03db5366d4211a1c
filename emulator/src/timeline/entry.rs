//! One thing that happened.

use std::sync::Arc;
use std::time::Duration;

use iothub_hub::{
    C2dMessage, Change, Event, EventSource, Identity, IdentityChange, Notice, PartitionId, Twin,
    TwinParts,
};
use iothub_protocol::property_bag::SystemProperty;
use iothub_protocol::{ClientId, Error, Timestamp};

use super::wire::Exchange;
use crate::activity::OperationKind;

/// One thing that happened, and its place among all.
#[derive(Debug)]
pub struct Entry {
    /// Its place; the first is 1.
    pub seq: u64,
    /// When, on the hub's clock.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

/// What happened. It owns what it holds, so that no large buffer is kept for a small piece of it.
#[derive(Debug)]
pub enum What {
    /// A client was let in.
    Connected {
        /// Who.
        client: ClientId,
        /// Over what.
        transport: &'static str,
    },
    /// A client's connection ended.
    Disconnected {
        /// Whose.
        client: ClientId,
        /// Why, in the hub's word.
        reason: &'static str,
        /// What the connection said of its end, if it was the connection that ended.
        detail: Option<Box<str>>,
    },
    /// A direct method was called.
    MethodInvoked {
        /// Names the call.
        call: u64,
        /// On whom.
        client: ClientId,
        /// Which.
        name: Arc<str>,
        /// JSON text, or nothing.
        payload: Excerpt,
    },
    /// A call ended.
    MethodEnded {
        /// Names the call.
        call: u64,
        /// On whom.
        client: ClientId,
        /// Which.
        name: Arc<str>,
        /// The status and payload of the answer, or why there is none.
        result: Result<(i32, Excerpt), Error>,
    },
    /// A twin was written.
    TwinChanged {
        /// As it then was.
        twin: Arc<Twin>,
        /// What of it was written.
        written: TwinParts,
    },
    /// An identity was created, changed or deleted.
    IdentityChanged {
        /// As it then was.
        identity: Arc<Identity>,
        /// What became of it.
        how: IdentityChange,
    },
    /// Something became of a cloud-to-device message.
    C2d {
        /// What.
        step: C2dStep,
        /// Whom the message is for.
        client: ClientId,
        /// Its place in the queue.
        sequence: u64,
        /// Its sender's name for it.
        id: Option<Box<str>>,
        /// How often it was given back.
        delivery_count: u32,
        /// Its body.
        body: Excerpt,
    },
    /// Events of one client were stored; made only while somebody asks for it.
    Stored {
        /// Who sent them, or whom they are about.
        client: ClientId,
        /// What kind of events they are.
        source: EventSource,
        /// Where they are.
        partition: PartitionId,
        /// The sequence number of the first.
        first: u64,
        /// How many.
        messages: usize,
        /// Bytes of their bodies.
        bytes: usize,
        /// The body of the last.
        last: Excerpt,
    },
    /// A fault rule acted on an operation.
    FaultFired {
        /// On which operation.
        operation: OperationKind,
        /// About whom.
        client: Option<ClientId>,
        /// What it did.
        action: Box<str>,
    },
    /// An operation ended. Refused ones are always told, the others only while somebody asks for it.
    Operation {
        /// Which.
        operation: OperationKind,
        /// About whom.
        client: Option<ClientId>,
        /// How many things it was about.
        items: u64,
        /// How long it took.
        elapsed: Duration,
        /// Why it was refused, if it was.
        refusal: Option<Error>,
    },
    /// Bytes went over a connection; made only while somebody asks for it.
    Exchange(Exchange),
}

/// What became of a cloud-to-device message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum C2dStep {
    /// It waits for its client.
    Sent,
    /// It was handed to its client, not for the first time when `redelivered`.
    Delivered {
        /// Whether it had been handed over before.
        redelivered: bool,
    },
    /// It is back in its queue.
    Returned,
    /// It has left its queue.
    Ended(iothub_protocol::feedback::FeedbackStatus),
}

/// The kinds of entries that a reader chooses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something about the hub's devices changed.
    Notice,
    /// An operation ended.
    Operation,
    /// Bytes went over a connection.
    Wire,
}

/// The beginning of some bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// The first of them.
    pub bytes: Box<[u8]>,
    /// How many there are in all.
    pub length: usize,
}

impl Excerpt {
    /// Longer than most payloads, and short enough for thousands of entries.
    const LONGEST: usize = 4096;

    /// Copies the beginning.
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes[..bytes.len().min(Self::LONGEST)].into(),
            length: bytes.len(),
        }
    }

    /// Whether there is more.
    pub fn is_cut(&self) -> bool {
        self.bytes.len() < self.length
    }
}

impl What {
    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Operation { .. } => Kind::Operation,
            Self::Exchange(_) => Kind::Wire,
            Self::Connected { .. }
            | Self::Disconnected { .. }
            | Self::MethodInvoked { .. }
            | Self::MethodEnded { .. }
            | Self::TwinChanged { .. }
            | Self::IdentityChanged { .. }
            | Self::C2d { .. }
            | Self::Stored { .. }
            | Self::FaultFired { .. } => Kind::Notice,
        }
    }

    /// Its name as readers choose it.
    pub fn event(&self) -> &'static str {
        match self {
            Self::Connected { .. } => "connected",
            Self::Disconnected { .. } => "disconnected",
            Self::MethodInvoked { .. } => "methodInvoked",
            Self::MethodEnded { .. } => "methodEnded",
            Self::TwinChanged { .. } => "twinChanged",
            Self::IdentityChanged { .. } => "identityChanged",
            Self::C2d { step, .. } => match step {
                C2dStep::Sent => "c2dSent",
                C2dStep::Delivered { .. } => "c2dDelivered",
                C2dStep::Returned => "c2dReturned",
                C2dStep::Ended(_) => "c2dEnded",
            },
            Self::Stored { .. } => Self::STORED,
            Self::FaultFired { .. } => "faultFired",
            Self::Operation { operation, .. } => operation.name(),
            Self::Exchange(_) => "exchange",
        }
    }

    /// Whether it is an operation that was refused.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Operation {
                refusal: Some(_),
                ..
            }
        )
    }

    /// The name of stored events, which are told only to who asks.
    pub(super) const STORED: &'static str = "telemetryStored";

    /// Whom it is about, if it is about one.
    pub fn client(&self) -> Option<&ClientId> {
        match self {
            Self::Connected { client, .. }
            | Self::Disconnected { client, .. }
            | Self::MethodInvoked { client, .. }
            | Self::MethodEnded { client, .. }
            | Self::C2d { client, .. }
            | Self::Stored { client, .. } => Some(client),
            Self::TwinChanged { twin, .. } => Some(&twin.client),
            Self::IdentityChanged { identity, .. } => Some(&identity.client),
            Self::FaultFired { client, .. } | Self::Operation { client, .. } => client.as_ref(),
            // Several may share a connection, and who it is may show later.
            Self::Exchange(_) => None,
        }
    }

    /// What the hub noticed.
    pub(crate) fn of(notice: Notice) -> Self {
        match notice {
            Notice::Connected(client, transport) => Self::Connected { client, transport },
            Notice::Disconnected(client, reason) => Self::Disconnected {
                client,
                reason,
                detail: None,
            },
            Notice::MethodInvoked {
                call,
                client,
                name,
                payload,
            } => Self::MethodInvoked {
                call: call.0,
                client,
                name,
                payload: Excerpt::of(&payload),
            },
            Notice::MethodEnded {
                call,
                client,
                name,
                result,
            } => Self::MethodEnded {
                call: call.0,
                client,
                name,
                result: result.map(|it| (it.status, Excerpt::of(&it.payload))),
            },
            Notice::TwinChanged { twin, written } => Self::TwinChanged { twin, written },
            Notice::IdentityChanged { identity, how } => Self::IdentityChanged { identity, how },
            Notice::C2dSent(message) => Self::c2d(C2dStep::Sent, &message),
            Notice::C2dDelivered {
                message,
                redelivered,
            } => Self::c2d(C2dStep::Delivered { redelivered }, &message),
            Notice::C2dReturned(message) => Self::c2d(C2dStep::Returned, &message),
            Notice::C2dEnded(message, status) => Self::c2d(C2dStep::Ended(status), &message),
        }
    }

    /// The same, if it is the end of a connection of which more is known.
    pub(crate) fn because(mut self, why: Option<&str>) -> Self {
        if let (Self::Disconnected { detail, .. }, Some(why)) = (&mut self, why) {
            *detail = Some(why.chars().take(Self::MOST_WHY).collect::<String>().into());
        }
        self
    }

    /// Characters of the reason for a connection's end.
    const MOST_WHY: usize = 200;

    fn c2d(step: C2dStep, message: &C2dMessage) -> Self {
        let id = message.message.properties.system(SystemProperty::MessageId);
        Self::C2d {
            step,
            client: message.client.clone(),
            sequence: message.sequence,
            id: id.map(|id| id.into_owned().into()),
            delivery_count: message.delivery_count,
            body: Excerpt::of(&message.message.body),
        }
    }

    /// The events that these changes append, by runs of one sender.
    pub(crate) fn stored(changes: &[Change]) -> Vec<Self> {
        let by_sender =
            |a: &Event, b: &Event| a.origin.client == b.origin.client && a.source == b.source;
        changes
            .iter()
            .filter_map(Change::appended)
            .flat_map(|events| events.chunk_by(by_sender))
            .map(|run| Self::Stored {
                client: run[0].origin.client.clone(),
                source: run[0].source,
                partition: run[0].partition,
                first: run[0].sequence,
                messages: run.len(),
                bytes: run.iter().map(|event| event.message.body.len()).sum(),
                last: Excerpt::of(&run[run.len() - 1].message.body),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_tells_how_much_there_was() {
        let short = Excerpt::of(b"{}");
        let long = Excerpt::of(&[b'x'; 5000]);

        assert!(!short.is_cut());
        assert_eq!((long.bytes.len(), long.length), (Excerpt::LONGEST, 5000));
        assert!(long.is_cut());
    }
}
