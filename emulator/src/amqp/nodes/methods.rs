//! A client's direct methods (`spec/amqp.md` 7.4).
//!
//! Calls go out on the link that the client receives on, answers come in on the other one. A client
//! listens from its first credit on, until that link is detached.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use iothub_hub::{Feature, Guarantee, SessionId};
use iothub_protocol::amqp::address::Address;
use iothub_protocol::amqp::connection::{AcceptLink, Delivery};
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::message::{AmqpMessage, Body, Properties};
use iothub_protocol::amqp::performative::{Role, SenderSettleMode};
use iothub_protocol::amqp::value::lookup;
use iothub_protocol::amqp::{AmqpError, Connection, DeliveryState, LinkId, Value, mapping};
use iothub_protocol::method::MethodResponse;
use uuid::Uuid;

use super::Opening;
use crate::activity::OperationKind;
use crate::amqp::devices;
use crate::amqp::shared::{Shared, is_congested};

/// The application property with a call's name.
const METHOD_NAME: &str = "IoThub-methodname";
/// The application property with an answer's status.
const STATUS: &str = "IoThub-status";
/// Answers that may be on their way; a client has far fewer calls.
const CREDIT: u32 = 100;
/// An answer of 128 KiB and what is around it; longer ones are the hub's to refuse.
const LARGEST_ANSWER: u64 = 256 * 1024;

/// The node.
pub(in crate::amqp) struct Node {
    session: SessionId,
    link: LinkId,
}

/// A client's link for method calls.
#[derive(Default)]
pub(in crate::amqp) struct Receiver {
    link: Option<Receiving>,
    /// Calls that wait for credit, oldest first: never more than a client may have unanswered.
    waiting: VecDeque<Call>,
}

#[derive(Clone, Copy)]
struct Receiving {
    link: LinkId,
    settled: bool,
    /// Whether it has had credit.
    listens: bool,
}

struct Call {
    tag: [u8; 16],
    name: Arc<str>,
    payload: Bytes,
}

impl Node {
    /// Takes a link.
    pub(super) async fn open(
        shared: &mut Shared,
        opening: &Opening<'_>,
    ) -> Result<Self, AmqpError> {
        let Address::Methods(client) = &opening.address else {
            return Err(super::no_node(opening));
        };
        let link = opening.link;
        let session = devices::enter(shared, opening, client).await?;
        let answer = AcceptLink {
            credit: CREDIT,
            max_message_size: Some(LARGEST_ANSWER),
            ..AcceptLink::default()
        };
        shared.machine.accept_link(link, answer);
        if opening.attach.role == Role::Receiver
            && let Some(device) = shared.devices.get_mut(session)
        {
            let new = Receiving {
                link,
                settled: opening.attach.snd_settle_mode != SenderSettleMode::Unsettled,
                listens: device.methods.link.is_some_and(|old| old.listens),
            };
            if let Some(old) = device.methods.link.replace(new) {
                let error =
                    AmqpError::new(condition::LINK_STOLEN, "another link has the same address");
                shared.detach(old.link, Some(error));
            }
        }
        Ok(Self { session, link })
    }

    /// An answer came in. One to no open call is ignored, as by the real hub (`spec/device.md` 6.3).
    pub(super) async fn delivery(&mut self, shared: &mut Shared, delivery: Delivery) {
        devices::settle(shared, self.session).await;
        let Some(device) = shared.devices.get_mut(self.session) else {
            return;
        };
        let (client, session) = (device.client.clone(), self.session);
        let state = match read_answer(delivery.payload, session) {
            Ok((Some(request), response)) => {
                let answered = shared
                    .handle
                    .call_at(OperationKind::AnswerMethod.on(&client), |hub, cx| {
                        hub.complete_method(cx, session, request, response)
                    })
                    .await;
                match answered {
                    Ok(((), step)) => {
                        devices::deliver(shared, session, Some(step));
                        DeliveryState::Accepted
                    }
                    Err(error) => DeliveryState::Rejected(Some(shared.refusal(&error))),
                }
            }
            Ok((None, _)) => {
                tracing::warn!(%client, "ignored: an answer to an unknown method call");
                DeliveryState::Accepted
            }
            Err(error) => {
                let what = error.description.as_deref().unwrap_or_default();
                tracing::warn!(%client, "ignored: an answer to a method call: {what}");
                DeliveryState::Rejected(Some(error))
            }
        };
        if !delivery.settled {
            shared.machine.settle(delivery.link, delivery.id, state);
        }
    }

    /// There is credit, or something to send.
    pub(super) async fn credit(&mut self, shared: &mut Shared) {
        let session = self.session;
        let Shared {
            devices, machine, ..
        } = shared;
        let Some(device) = devices.get_mut(session) else {
            return;
        };
        device.methods.pump(machine);
        let begins = match &mut device.methods.link {
            Some(it) if it.link == self.link && !it.listens && machine.credit(it.link) > 0 => {
                it.listens = true;
                true
            }
            Some(_) | None => false,
        };
        if begins {
            let client = device.client.clone();
            let wanted = [(Feature::Methods, Guarantee::AtMostOnce)];
            let done = shared
                .handle
                .call(OperationKind::Subscribe.on(&client), |hub, cx| {
                    hub.subscribe(cx, session, &wanted)
                })
                .await;
            if let Err(error) = done {
                let error = shared.refusal(&error);
                shared.detach(self.link, Some(error));
            }
            devices::deliver(shared, session, None);
        }
        devices::is_behind(shared, session);
    }

    /// The link is over: calls that it did not take are not kept for another.
    pub(super) async fn close(self, shared: &mut Shared) {
        let session = self.session;
        if let Some(device) = shared.devices.get_mut(session)
            && let Some(receiving) = device.methods.link
            && receiving.link == self.link
        {
            device.methods = Receiver::default();
            let client = device.client.clone();
            if receiving.listens {
                let done = shared
                    .handle
                    .call(OperationKind::Unsubscribe.on(&client), |hub, cx| {
                        hub.unsubscribe(cx, session, &[Feature::Methods])
                    })
                    .await;
                if let Err(error) = done {
                    tracing::debug!(%client, %error, "not unsubscribed");
                }
            }
        }
        devices::leave(shared, session, self.link).await;
    }
}

impl Receiver {
    /// Takes a call from the hub.
    pub(in crate::amqp) fn push(
        &mut self,
        machine: &mut Connection,
        session: SessionId,
        request: u32,
        name: Arc<str>,
        payload: Bytes,
    ) {
        if self.link.is_some() {
            let tag = call_id(session, request);
            self.waiting.push_back(Call { tag, name, payload });
            self.pump(machine);
        }
    }

    /// Sends what waits, as far as there is credit and room.
    pub(in crate::amqp) fn pump(&mut self, machine: &mut Connection) {
        let Some(Receiving { link, settled, .. }) = self.link else {
            return;
        };
        while machine.sendable(link) > 0
            && !is_congested(machine)
            && let Some(call) = self.waiting.pop_front()
        {
            let mut encoded = BytesMut::new();
            call.to_amqp().encode(&mut encoded);
            // The link has just said that it takes it.
            let _ = machine.send(link, &call.tag, 0, encoded.freeze(), settled);
        }
    }
}

impl Call {
    fn to_amqp(&self) -> AmqpMessage {
        AmqpMessage {
            properties: Properties {
                correlation_id: Some(Value::Uuid(self.tag)),
                ..Properties::default()
            },
            application_properties: vec![(METHOD_NAME.into(), Value::from(&*self.name))],
            // Present when it is empty, too: there is no message without a body.
            body: Body::Data(vec![self.payload.clone()]),
            ..AmqpMessage::default()
        }
    }
}

/// Names a call: a GUID, since that is what .NET and Node make of it; of the form that Node tells
/// from other texts.
fn call_id(session: SessionId, request: u32) -> [u8; 16] {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&request.to_be_bytes());
    id[6] = 0x40;
    id[8] = 0x80;
    id[10..].copy_from_slice(&session.0.to_be_bytes()[2..]);
    id
}

/// The request that a call of this session is named after, if it is one.
fn request_of(correlation_id: &Value, session: SessionId) -> Option<u32> {
    let id = match correlation_id {
        Value::Uuid(bytes) => *bytes,
        Value::Binary(bytes) => <[u8; 16]>::try_from(&bytes[..]).ok()?,
        // As text from Node (`spec/amqp.md` 7.4).
        Value::String(text) => *Uuid::try_parse(text).ok()?.as_bytes(),
        _ => return None,
    };
    let request = u32::from_be_bytes([id[0], id[1], id[2], id[3]]);
    (id == call_id(session, request)).then_some(request)
}

/// An answer and the request that it is to, or what is wrong with it.
fn read_answer(
    payload: Bytes,
    session: SessionId,
) -> Result<(Option<u32>, MethodResponse), AmqpError> {
    let invalid = |what: String| AmqpError::new(condition::INVALID_FIELD, what);
    let message = AmqpMessage::decode(payload).map_err(|error| AmqpError::from(&error))?;
    let correlation_id = message.properties.correlation_id.as_ref();
    let correlation_id =
        correlation_id.ok_or_else(|| invalid("there is no correlation id".to_owned()))?;
    let request = request_of(correlation_id, session);
    let status = lookup(&message.application_properties, STATUS)
        .and_then(status)
        .ok_or_else(|| invalid(format!("there is no {STATUS}, or it is no number")))?;
    let body = mapping::from_amqp(&message)
        .map_err(|error| invalid(error.to_string()))?
        .body;
    // Not a part of the read buffer: the caller may hold it for long.
    let body = Bytes::copy_from_slice(&body);
    Ok((request, MethodResponse::from_device(status, body)))
}

fn status(value: &Value) -> Option<i32> {
    match value.as_text() {
        Some(text) => text.parse().ok(),
        None => i32::try_from(value.as_i64()?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_known_by_its_id_in_every_form_that_clients_answer_with() {
        let (session, other) = (SessionId(7), SessionId(8));
        let id = call_id(session, 31);
        let text = Uuid::from_bytes(id).to_string();
        assert_eq!(text, "0000001f-0000-4000-8000-000000000007");

        for answer in [
            Value::Uuid(id),
            Value::Binary(id.to_vec().into()),
            Value::String(text.clone()),
            Value::String(text.to_uppercase()),
        ] {
            assert_eq!(request_of(&answer, session), Some(31), "{answer:?}");
            assert_eq!(request_of(&answer, other), None, "{answer:?}");
        }
        for answer in [Value::String("31".into()), Value::Ulong(31), Value::Null] {
            assert_eq!(request_of(&answer, session), None, "{answer:?}");
        }
    }
}
