//! `/messages/serviceBound/filenotifications`: notifications of uploaded files go out
//! (`spec/amqp.md` 5.3).

use iothub_hub::{Cx, Hub, LockToken, Principal, ReceivedFileNotification, Settlement};
use iothub_protocol::Error;
use iothub_protocol::amqp::Symbol;
use iothub_protocol::amqp::message::{AmqpMessage, Body, Header, Properties};
use iothub_protocol::upload::FILE_NOTIFICATION_CONTENT_TYPE;

use super::reader::{Queue, Reader};
use crate::activity::OperationKind;
use crate::amqp::authority::FILE_NOTIFICATIONS;

/// The node.
pub(in crate::amqp) type Node = Reader<FileNotifications>;

/// The hub's file-upload notifications.
pub(in crate::amqp) struct FileNotifications;

impl Queue for FileNotifications {
    const PATH: &'static str = FILE_NOTIFICATIONS;
    const RECEIVE: OperationKind = OperationKind::ReceiveFileNotification;
    const SETTLE: OperationKind = OperationKind::SettleFileNotification;

    fn receive(
        hub: &mut Hub,
        cx: &mut Cx<'_>,
        caller: &Principal,
    ) -> Result<Option<(LockToken, AmqpMessage)>, Error> {
        let received = hub.receive_file_notification(cx, caller)?;
        Ok(received.map(|received| (received.lock, message(&received))))
    }

    fn settle(
        hub: &mut Hub,
        cx: &mut Cx<'_>,
        caller: &Principal,
        lock: LockToken,
        settlement: Settlement,
    ) -> Result<(), Error> {
        hub.settle_file_notification(cx, caller, lock, settlement)
    }

    fn release(hub: &mut Hub, cx: &mut Cx<'_>, locks: &[LockToken]) {
        hub.release_file_notifications(cx, locks);
    }
}

/// A notification as it travels: one object, not an array as feedback.
fn message(received: &ReceivedFileNotification) -> AmqpMessage {
    AmqpMessage {
        header: Header {
            delivery_count: Some(received.delivery_count),
            ..Header::default()
        },
        properties: Properties {
            content_type: Some(Symbol::of(FILE_NOTIFICATION_CONTENT_TYPE)),
            ..Properties::default()
        },
        body: Body::Data(vec![received.notification.to_json().to_string().into()]),
        ..AmqpMessage::default()
    }
}
