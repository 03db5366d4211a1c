//! A client's twin (`spec/amqp.md` 7.5).
//!
//! Requests come in on one link, answers and changes go out on the other link of the pair. What is
//! sent waits for credit, for a bounded while.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use iothub_hub::{Feature, Guarantee, SessionId};
use iothub_protocol::amqp::address::Address;
use iothub_protocol::amqp::connection::{AcceptLink, Delivery};
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::message::{AmqpMessage, Body, Properties};
use iothub_protocol::amqp::performative::{Role, SenderSettleMode};
use iothub_protocol::amqp::value::{Map, lookup};
use iothub_protocol::amqp::{AmqpError, Connection, DeliveryState, LinkId, Symbol, Value, mapping};
use iothub_protocol::http::twin_error_body;
use iothub_protocol::{ClientId, Clock, Error, json};

use super::Opening;
use crate::activity::OperationKind;
use crate::amqp::devices;
use crate::amqp::shared::{Shared, is_congested};
use crate::mailbox::Step;

/// What a client reports.
const REPORTED: &str = "/properties/reported";
/// What it is told of.
const DESIRED: &str = "/properties/desired";
/// Its wish to be told.
const NOTIFICATIONS: &str = "/notifications/twin/properties/desired";
/// Requests that may be on their way.
const CREDIT: u32 = 100;
/// A section is far smaller than what is taken.
const LARGEST_REQUEST: u64 = 256 * 1024;
/// Answers and changes that wait for a link's credit; one more, and the link is detached.
const MOST_WAITING: usize = 1000;
/// Bytes of them, but for the newest.
const MOST_WAITING_BYTES: usize = 4 * 1024 * 1024;
/// Pairs of links of one client: clients have one.
const MOST_CHANNELS: usize = 16;

/// The node.
pub(in crate::amqp) struct Node {
    session: SessionId,
    link: LinkId,
    /// What the link shares with the other one of its pair.
    channel: Option<String>,
}

/// A client's links for the twin.
#[derive(Default)]
pub(in crate::amqp) struct Channels {
    receiving: Vec<Channel>,
    /// Counts what is sent, to name it.
    sent: u64,
}

struct Channel {
    link: LinkId,
    id: Option<String>,
    settled: bool,
    /// Whether it is told of changes.
    notified: bool,
    waiting: VecDeque<Bytes>,
    /// Bytes that wait.
    size: usize,
}

/// What a client asks for.
#[derive(Debug, PartialEq)]
enum Request {
    Get,
    Patch(Option<u64>),
    Subscribe,
    Unsubscribe,
}

/// What it is answered.
struct Answer {
    status: i32,
    version: Option<u64>,
    body: Bytes,
    step: Option<Step>,
}

impl Node {
    /// Takes a link.
    pub(super) async fn open(
        shared: &mut Shared,
        opening: &Opening<'_>,
    ) -> Result<Self, AmqpError> {
        let Address::Twin(client) = &opening.address else {
            return Err(super::no_node(opening));
        };
        let link = opening.link;
        let channel = devices::channel(opening);
        let session = devices::enter(shared, opening, client).await?;
        if opening.attach.role == Role::Receiver {
            let wanted = [(Feature::TwinResponses, Guarantee::AtMostOnce)];
            let subscribed = shared
                .handle
                .call(OperationKind::Subscribe.on(client), |hub, cx| {
                    hub.subscribe(cx, session, &wanted)
                })
                .await;
            if let Err(error) = subscribed {
                devices::leave(shared, session, link).await;
                return Err(shared.refusal(&error));
            }
        }
        let answer = AcceptLink {
            credit: CREDIT,
            max_message_size: Some(LARGEST_REQUEST),
            ..AcceptLink::default()
        };
        shared.machine.accept_link(link, answer);
        if opening.attach.role == Role::Receiver
            && let Some(device) = shared.devices.get_mut(session)
        {
            let channels = &mut device.twin.receiving;
            let same = channels.iter().position(|it| it.id == channel);
            // One more than are kept has the place of the oldest.
            let place = same.or((channels.len() >= MOST_CHANNELS).then_some(0));
            let displaced = place.map(|place| channels.remove(place));
            channels.push(Channel {
                link,
                id: channel.clone(),
                settled: opening.attach.snd_settle_mode != SenderSettleMode::Unsettled,
                notified: false,
                waiting: VecDeque::new(),
                size: 0,
            });
            if let Some(old) = displaced {
                let error =
                    AmqpError::new(condition::LINK_STOLEN, "another link has taken its place");
                shared.detach(old.link, Some(error));
            }
        }
        Ok(Self {
            session,
            link,
            channel,
        })
    }

    /// A request came in.
    pub(super) async fn delivery(&mut self, shared: &mut Shared, delivery: Delivery) {
        devices::settle(shared, self.session).await;
        let Some(device) = shared.devices.get_mut(self.session) else {
            return;
        };
        let client = device.client.clone();
        let message = match AmqpMessage::decode(delivery.payload) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(%client, %error, "ignored: a twin request");
                if !delivery.settled {
                    let error = AmqpError::new(condition::DECODE_ERROR, error.to_string());
                    let state = DeliveryState::Rejected(Some(error));
                    shared.machine.settle(delivery.link, delivery.id, state);
                }
                return;
            }
        };
        let answer = match Request::read(&message.message_annotations) {
            Ok(request) => self.act(shared, &client, &request, &message).await,
            Err(error) => Err(error),
        };
        let answer = answer.unwrap_or_else(|error| {
            let now = shared.handle.clock().now();
            Answer {
                status: error.code.http_status().into(),
                version: None,
                body: twin_error_body(&error, &shared.handle.tracking_id(), now).into(),
                step: None,
            }
        });
        devices::deliver(shared, self.session, answer.step);
        if !delivery.settled {
            let state = DeliveryState::Accepted;
            shared.machine.settle(delivery.link, delivery.id, state);
        }
        let Some(device) = shared.devices.get_mut(self.session) else {
            return;
        };
        let correlation_id = message.properties.correlation_id;
        // Without an id it would be taken for a change; nobody waits for it either.
        if let (Some(id), Some(place)) = (
            correlation_id.filter(|id| *id != Value::Null),
            device.twin.place(self.channel.as_deref()),
        ) {
            let answer = answer.to_amqp(id);
            let machine = &mut shared.machine;
            if device.twin.send(machine, self.session, place, &answer) {
                shared.devices.touch(self.session);
            }
            devices::is_behind(shared, self.session);
        }
    }

    /// There is credit, or something to send.
    pub(super) async fn credit(&mut self, shared: &mut Shared) {
        if let Some(device) = shared.devices.get_mut(self.session) {
            device.twin.pump(&mut shared.machine, self.session);
            devices::is_behind(shared, self.session);
        }
    }

    /// The link is over.
    pub(super) async fn close(self, shared: &mut Shared) {
        let session = self.session;
        if let Some(device) = shared.devices.get_mut(session) {
            let channels = &mut device.twin.receiving;
            let before = channels.len();
            channels.retain(|it| it.link != self.link);
            if channels.len() != before {
                let client = device.client.clone();
                let unwanted = device.twin.unwanted();
                unsubscribe(shared, session, &client, &unwanted).await;
            }
        }
        devices::leave(shared, session, self.link).await;
    }

    async fn act(
        &self,
        shared: &mut Shared,
        client: &ClientId,
        request: &Request,
        message: &AmqpMessage,
    ) -> Result<Answer, Error> {
        let session = self.session;
        let handle = &shared.handle;
        let answer = |status, step| Answer {
            status,
            version: None,
            body: Bytes::new(),
            step: Some(step),
        };
        match request {
            Request::Get => {
                let operation = OperationKind::GetOwnTwin.on(client);
                let (body, step) = handle
                    .call_at(operation, |hub, cx| hub.own_twin(cx, session))
                    .await?;
                Ok(Answer {
                    body,
                    ..answer(200, step)
                })
            }
            Request::Patch(if_version) => {
                let body = mapping::from_amqp(message)
                    .map_err(|error| Error::argument_invalid(error.to_string()))?
                    .body;
                let patch = json::parse_object(&body)?;
                let operation = OperationKind::PatchReported.on(client);
                let (version, step) = handle
                    .call_at(operation, |hub, cx| {
                        hub.patch_reported(cx, session, &patch, *if_version)
                    })
                    .await?;
                // As over the other protocols (`spec/device.md` 7.1).
                Ok(Answer {
                    version: Some(version),
                    ..answer(204, step)
                })
            }
            Request::Subscribe => {
                let wanted = [(Feature::DesiredChanges, Guarantee::AtMostOnce)];
                let ((), step) = handle
                    .call_at(OperationKind::Subscribe.on(client), |hub, cx| {
                        hub.subscribe(cx, session, &wanted)
                    })
                    .await?;
                self.set_notified(shared, true);
                Ok(answer(200, step))
            }
            Request::Unsubscribe => {
                self.set_notified(shared, false);
                let unwanted = match shared.devices.get_mut(session) {
                    Some(device) => device.twin.unwanted(),
                    None => Vec::new(),
                };
                let step = unsubscribe(shared, session, client, &unwanted).await;
                Ok(Answer {
                    step,
                    ..answer(200, Step::default())
                })
            }
        }
    }

    fn set_notified(&self, shared: &mut Shared, notified: bool) {
        if let Some(device) = shared.devices.get_mut(self.session)
            && let Some(place) = device.twin.place(self.channel.as_deref())
        {
            device.twin.receiving[place].notified = notified;
        }
    }
}

impl Channels {
    /// Tells of a change. Answers whether too much waits then.
    pub(in crate::amqp) fn notify(
        &mut self,
        machine: &mut Connection,
        session: SessionId,
        version: u64,
        patch: Bytes,
    ) -> bool {
        let message = AmqpMessage {
            message_annotations: vec![
                annotation("resource", Value::from(DESIRED)),
                annotation("version", long(version)),
            ],
            body: Body::Data(vec![patch]),
            ..AmqpMessage::default()
        };
        let mut overflows = false;
        for place in 0..self.receiving.len() {
            if self.receiving[place].notified {
                overflows |= self.send(machine, session, place, &message);
            }
        }
        overflows
    }

    /// Links that do not take what they are sent.
    pub(in crate::amqp) fn take_overflowing(&mut self) -> Vec<LinkId> {
        let mut links = Vec::new();
        for channel in self.receiving.iter_mut().filter(|it| it.overflows()) {
            channel.waiting.clear();
            channel.size = 0;
            links.push(channel.link);
        }
        links
    }

    /// Where answers of a channel go: to the link of the same channel, or to the one that there is.
    fn place(&self, channel: Option<&str>) -> Option<usize> {
        let same = self
            .receiving
            .iter()
            .position(|it| it.id.as_deref() == channel);
        same.or_else(|| self.receiving.len().checked_sub(1))
    }

    /// Answers whether too much waits then.
    fn send(
        &mut self,
        machine: &mut Connection,
        session: SessionId,
        place: usize,
        message: &AmqpMessage,
    ) -> bool {
        let mut encoded = BytesMut::new();
        message.encode(&mut encoded);
        let channel = &mut self.receiving[place];
        channel.size += encoded.len();
        channel.waiting.push_back(encoded.freeze());
        channel.pump(machine, session, &mut self.sent);
        channel.overflows()
    }

    /// Sends what waits, as far as there is credit and room.
    pub(in crate::amqp) fn pump(&mut self, machine: &mut Connection, session: SessionId) {
        for channel in &mut self.receiving {
            channel.pump(machine, session, &mut self.sent);
        }
    }

    /// What no link listens to any more.
    fn unwanted(&self) -> Vec<Feature> {
        let mut unwanted = Vec::new();
        if self.receiving.is_empty() {
            unwanted.push(Feature::TwinResponses);
        }
        if !self.receiving.iter().any(|it| it.notified) {
            unwanted.push(Feature::DesiredChanges);
        }
        unwanted
    }
}

impl Channel {
    /// Whether more waits than is kept; one message always is.
    fn overflows(&self) -> bool {
        let waiting = self.waiting.len();
        waiting > MOST_WAITING || (waiting > 1 && self.size > MOST_WAITING_BYTES)
    }

    fn pump(&mut self, machine: &mut Connection, session: SessionId, sent: &mut u64) {
        while machine.sendable(self.link) > 0
            && !is_congested(machine)
            && let Some(message) = self.waiting.pop_front()
        {
            *sent += 1;
            self.size -= message.len();
            // Sixteen bytes, which .NET takes for a GUID.
            let tag = (u128::from(session.0) << 64) | u128::from(*sent);
            // The link has just said that it takes it.
            let _ = machine.send(self.link, &tag.to_be_bytes(), 0, message, self.settled);
        }
    }
}

impl Request {
    fn read(annotations: &Map) -> Result<Self, Error> {
        let text = |name| lookup(annotations, name).and_then(Value::as_text);
        let invalid = |what: String| Err(Error::argument_invalid(what));
        let operation = text("operation").unwrap_or_default().to_ascii_uppercase();
        let resource = text("resource").unwrap_or_default();
        match (&*operation, resource) {
            ("GET", "" | "/") => Ok(Self::Get),
            ("PATCH", REPORTED) => match lookup(annotations, "version") {
                None | Some(Value::Null) => Ok(Self::Patch(None)),
                Some(version) => match version.as_i64().map(u64::try_from) {
                    Some(Ok(version)) => Ok(Self::Patch(Some(version))),
                    Some(Err(_)) | None => invalid("version must be a number".into()),
                },
            },
            ("PUT", NOTIFICATIONS) => Ok(Self::Subscribe),
            ("DELETE", NOTIFICATIONS) => Ok(Self::Unsubscribe),
            _ => invalid(format!(
                "there is no twin operation {operation:?} on {resource:?}"
            )),
        }
    }
}

impl Answer {
    fn to_amqp(&self, correlation_id: Value) -> AmqpMessage {
        let mut annotations = vec![annotation("status", Value::Int(self.status))];
        if let Some(version) = self.version {
            annotations.push(annotation("version", long(version)));
        }
        AmqpMessage {
            message_annotations: annotations,
            properties: Properties {
                correlation_id: Some(correlation_id),
                ..Properties::default()
            },
            // Present when it is empty, too: there is no message without a body.
            body: Body::Data(vec![self.body.clone()]),
            ..AmqpMessage::default()
        }
    }
}

async fn unsubscribe(
    shared: &mut Shared,
    session: SessionId,
    client: &ClientId,
    unwanted: &[Feature],
) -> Option<Step> {
    if unwanted.is_empty() {
        return None;
    }
    let done = shared
        .handle
        .call_at(OperationKind::Unsubscribe.on(client), |hub, cx| {
            hub.unsubscribe(cx, session, unwanted)
        })
        .await;
    match done {
        Ok(((), step)) => Some(step),
        Err(error) => {
            tracing::debug!(%client, %error, "not unsubscribed");
            None
        }
    }
}

fn annotation(name: &'static str, value: Value) -> (Value, Value) {
    (Symbol::of(name).into(), value)
}

fn long(version: u64) -> Value {
    Value::Long(i64::try_from(version).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(operation: &str, resource: Value, version: Value) -> Result<Request, Error> {
        let mut annotations = vec![annotation("operation", operation.into())];
        annotations.push(annotation("resource", resource));
        annotations.push(annotation("version", version));
        Request::read(&annotations)
    }

    #[test]
    fn the_table_of_requests_is_read() {
        let none = || Value::Null;

        assert_eq!(request("GET", none(), none()), Ok(Request::Get));
        let patch = |version| request("PATCH", REPORTED.into(), version);
        assert_eq!(patch(none()), Ok(Request::Patch(None)));
        assert_eq!(patch(Value::Long(7)), Ok(Request::Patch(Some(7))));
        let put = request("PUT", NOTIFICATIONS.into(), none());
        assert_eq!(put, Ok(Request::Subscribe));
        let delete = request("DELETE", NOTIFICATIONS.into(), none());
        assert_eq!(delete, Ok(Request::Unsubscribe));
    }

    #[test]
    fn what_is_not_in_it_is_refused() {
        for (operation, resource, version) in [
            ("POST", Value::Null, Value::Null),
            ("", Value::Null, Value::Null),
            ("PATCH", DESIRED.into(), Value::Null),
            ("PATCH", REPORTED.into(), Value::Long(-1)),
            ("PATCH", REPORTED.into(), "1".into()),
            ("PUT", REPORTED.into(), Value::Null),
        ] {
            let refused = request(operation, resource, version).unwrap_err();
            assert_eq!(refused.code.http_status(), 400);
        }
    }
}
