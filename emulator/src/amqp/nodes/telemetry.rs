//! A client's messages (`spec/amqp.md` 7.2).
//!
//! What one read has brought of a client is stored in one call of the hub; then its outcomes leave,
//! which the protocol's machine makes into ranges.

use bytes::{Bytes, BytesMut};
use iothub_hub::SessionId;
use iothub_protocol::Message;
use iothub_protocol::amqp::address::Address;
use iothub_protocol::amqp::codec::DecodeError;
use iothub_protocol::amqp::connection::{AcceptLink, Delivery, DeliveryId};
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::mapping;
use iothub_protocol::amqp::message::{AmqpMessage, BATCHED_FORMAT};
use iothub_protocol::amqp::{AmqpError, DeliveryState, LinkId};
use iothub_protocol::message::MAX_TELEMETRY_SIZE;

use super::Opening;
use crate::activity::OperationKind;
use crate::amqp::devices;
use crate::amqp::shared::Shared;
use crate::throttling::Load;

/// Messages that may be on their way (`spec/amqp.md` 4).
const CREDIT: u32 = 1000;
/// Messages of a batch (`spec/device.md` 4.4).
const BATCH_LIMIT: usize = 500;
/// Bodies of a read are copied into pieces of at least so many bytes.
const ARENA: usize = 4096;

/// The node.
pub(in crate::amqp) struct Node {
    session: SessionId,
    link: LinkId,
}

/// What a client has sent in one read.
#[derive(Default)]
pub(in crate::amqp) struct Burst {
    messages: Vec<Message>,
    /// Deliveries that wait for an outcome.
    unsettled: Vec<(LinkId, DeliveryId)>,
    arena: BytesMut,
}

impl Node {
    /// Takes a link.
    pub(super) async fn open(
        shared: &mut Shared,
        opening: &Opening<'_>,
    ) -> Result<Self, AmqpError> {
        let Address::Telemetry(client) = &opening.address else {
            return Err(super::no_node(opening));
        };
        let session = devices::enter(shared, opening, client).await?;
        let answer = AcceptLink {
            credit: CREDIT,
            max_message_size: Some(MAX_TELEMETRY_SIZE as u64),
            ..AcceptLink::default()
        };
        shared.machine.accept_link(opening.link, answer);
        Ok(Self {
            session,
            link: opening.link,
        })
    }

    /// A delivery came in: it is stored with others of the same read.
    pub(super) async fn delivery(&mut self, shared: &mut Shared, delivery: Delivery) {
        let Some(device) = shared.devices.get_mut(self.session) else {
            return;
        };
        match device.telemetry.take(&delivery) {
            Ok(()) => shared.devices.touch(self.session),
            Err(error) => {
                tracing::info!(client = %device.client, %error.condition, error.description, "message rejected");
                if !delivery.settled {
                    let state = DeliveryState::Rejected(Some(error));
                    shared.machine.settle(delivery.link, delivery.id, state);
                }
            }
        }
    }

    /// The link is over.
    pub(super) async fn close(self, shared: &mut Shared) {
        devices::leave(shared, self.session, self.link).await;
    }
}

impl Burst {
    /// Adds what a delivery carries, all of it or nothing.
    fn take(&mut self, delivery: &Delivery) -> Result<(), AmqpError> {
        let unreadable =
            |error: DecodeError| AmqpError::new(condition::DECODE_ERROR, error.to_string());
        let message = AmqpMessage::decode(delivery.payload.clone()).map_err(unreadable)?;
        let before = self.messages.len();
        let added = if delivery.format == BATCHED_FORMAT {
            let batch = mapping::unpack_batch(&message).map_err(unreadable)?;
            if batch.len() > BATCH_LIMIT {
                return Err(AmqpError::new(
                    condition::MESSAGE_SIZE_EXCEEDED,
                    format!(
                        "{} messages in a batch, the limit is {BATCH_LIMIT}",
                        batch.len()
                    ),
                ));
            }
            batch.iter().try_for_each(|message| self.add(message))
        } else {
            self.add(&message)
        };
        if let Err(error) = added {
            self.messages.truncate(before);
            return Err(error);
        }
        if !delivery.settled {
            self.unsettled.push((delivery.link, delivery.id));
        }
        Ok(())
    }

    fn add(&mut self, message: &AmqpMessage) -> Result<(), AmqpError> {
        let mut message = mapping::from_amqp(message)
            .map_err(|error| AmqpError::new(condition::INVALID_FIELD, error.to_string()))?;
        // The hub would refuse the whole read for it.
        if message.is_larger_than(MAX_TELEMETRY_SIZE) {
            return Err(AmqpError::new(
                condition::MESSAGE_SIZE_EXCEEDED,
                format!(
                    "{} bytes of message, the limit is {MAX_TELEMETRY_SIZE}",
                    message.size()
                ),
            ));
        }
        message.body = self.copy(&message.body);
        self.messages.push(message);
        Ok(())
    }

    /// Stored events do not hold on to the read buffer.
    fn copy(&mut self, body: &Bytes) -> Bytes {
        if self.arena.capacity() < body.len() {
            self.arena = BytesMut::with_capacity(body.len().max(ARENA));
        }
        self.arena.extend_from_slice(body);
        self.arena.split().freeze()
    }
}

/// Stores what a client has sent in this read, then settles it.
pub(in crate::amqp) async fn store(shared: &mut Shared, session: SessionId) {
    let Some(device) = shared.devices.get_mut(session) else {
        return;
    };
    if device.telemetry.messages.is_empty() && device.telemetry.unsettled.is_empty() {
        return;
    }
    let Burst {
        messages,
        unsettled,
        arena: _,
    } = std::mem::take(&mut device.telemetry);
    let client = device.client.clone();
    let operation = OperationKind::SendTelemetry.on(&client).of(messages.len());
    let operation = match shared.handle.message_size() {
        None => operation,
        Some(unit) => {
            let sizes = messages.iter().map(Message::size);
            operation.weighing(Load::of_messages(unit, sizes))
        }
    };
    let stored = shared
        .handle
        .call_at(operation, |hub, cx| hub.ingest(cx, session, messages))
        .await;
    let state = match stored {
        Ok(((), step)) => {
            devices::deliver(shared, session, Some(step));
            DeliveryState::Accepted
        }
        Err(error) => DeliveryState::Rejected(Some(shared.refusal(&error))),
    };
    for (link, delivery) in unsettled {
        shared.machine.settle(link, delivery, state.clone());
    }
}
