//! `/messages/serviceBound/feedback`: batches of feedback go out (`spec/amqp.md` 5.2).

use bytes::Bytes;
use iothub_hub::{Cx, FeedbackBatch, Hub, LockToken, Principal, Settlement};
use iothub_protocol::Error;
use iothub_protocol::amqp::message::{AmqpMessage, Body, Header, Properties};
use iothub_protocol::amqp::{Symbol, Value};
use iothub_protocol::feedback::FEEDBACK_CONTENT_TYPE;

use super::reader::{Queue, Reader};
use crate::activity::OperationKind;
use crate::amqp::authority::FEEDBACK;

/// The node.
pub(in crate::amqp) type Node = Reader<Feedback>;

/// The hub's feedback.
pub(in crate::amqp) struct Feedback;

impl Queue for Feedback {
    const PATH: &'static str = FEEDBACK;
    const RECEIVE: OperationKind = OperationKind::ReceiveFeedback;
    const SETTLE: OperationKind = OperationKind::SettleFeedback;

    fn receive(
        hub: &mut Hub,
        cx: &mut Cx<'_>,
        caller: &Principal,
    ) -> Result<Option<(LockToken, AmqpMessage)>, Error> {
        let batch = hub.receive_feedback(cx, caller)?;
        Ok(batch.map(|batch| (batch.lock, message(&batch, &hub.config().name))))
    }

    fn settle(
        hub: &mut Hub,
        cx: &mut Cx<'_>,
        caller: &Principal,
        lock: LockToken,
        settlement: Settlement,
    ) -> Result<(), Error> {
        hub.settle_feedback(cx, caller, lock, settlement)
    }

    fn release(hub: &mut Hub, cx: &mut Cx<'_>, locks: &[LockToken]) {
        hub.release_feedback(cx, locks);
    }
}

/// A batch as it travels. C# does not read one without the user id, or without the time at which it
/// was closed.
fn message(batch: &FeedbackBatch, hub: &str) -> AmqpMessage {
    let enqueued = Value::Timestamp(batch.enqueued.unix_millis());
    AmqpMessage {
        header: Header {
            delivery_count: Some(batch.delivery_count),
            ..Header::default()
        },
        message_annotations: vec![(Symbol::of("iothub-enqueuedtime").into(), enqueued)],
        properties: Properties {
            user_id: Some(Bytes::copy_from_slice(hub.as_bytes())),
            content_type: Some(Symbol::of(FEEDBACK_CONTENT_TYPE)),
            ..Properties::default()
        },
        body: Body::Data(vec![batch.to_json().to_string().into()]),
        ..AmqpMessage::default()
    }
}

#[cfg(test)]
mod tests {
    use iothub_protocol::Timestamp;
    use iothub_protocol::amqp::value::lookup;

    use super::*;

    #[test]
    fn a_batch_has_what_the_clients_read() {
        let batch = FeedbackBatch {
            lock: LockToken::from_bytes([1; 16]),
            sequence: 1,
            enqueued: Timestamp::from_unix_millis(5),
            delivery_count: 2,
            records: Vec::new(),
        };

        let message = message(&batch, "h");

        assert_eq!(message.header.delivery_count, Some(2));
        assert_eq!(message.properties.user_id.as_deref(), Some(&b"h"[..]));
        let enqueued = lookup(&message.message_annotations, "iothub-enqueuedtime");
        assert_eq!(enqueued, Some(&Value::Timestamp(5)));
        let media_type = message.properties.content_type.unwrap();
        assert_eq!(media_type.as_str(), FEEDBACK_CONTENT_TYPE);
        assert_eq!(message.body, Body::Data(vec![Bytes::from_static(b"[]")]));
    }
}
