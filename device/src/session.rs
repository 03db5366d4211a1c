//! What is going on between a client and the hub, without the connection itself: which operations
//! are unfinished, what is subscribed, and which packet belongs to what.
//!
//! Packets come in by [`Session::handle_incoming`], and go out through [`Session::take_outgoing`].
//! Operations and subscriptions outlive a connection; [`Session::begin_link`] puts them on the next.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use iothub_protocol::mqtt::topic::{DeviceTopic, Feature, HubTopic};
use iothub_protocol::{ClientId, ErrorCode, Message};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::c2d::{self, Delivery, Receipt};
use crate::operation::{Command, Done, Operation};
use crate::twin::DesiredFeed;
use crate::{Error, ErrorKind, MethodCall, MethodResponse, Properties, Refusal, Twin};

/// The state of one client.
pub(crate) struct Session {
    client: ClientId,
    /// Names operations: the order in which they are put on a new connection, and, for twin
    /// operations, the request id.
    next_serial: u64,
    operations: BTreeMap<u64, Operation>,
    subscriptions: Vec<Subscription>,
    messages: Option<mpsc::Sender<Delivery>>,
    inputs: Option<mpsc::Sender<Delivery>>,
    desired: DesiredFeed,
    link: Link,
}

/// What concerns one connection only.
#[derive(Default)]
struct Link {
    number: u64,
    outgoing: Vec<Outgoing>,
    /// What was handed out and has no packet id yet, in order: packet ids are given when packets
    /// are written.
    unnumbered: VecDeque<Unnumbered>,
    publishing: HashMap<u16, u64>,
    subscribing: HashMap<u16, Feature>,
    /// Cloud-to-device messages that came before the application asks for them: a hub that
    /// remembers the subscription sends them at once (`spec/device.md` 5.5).
    early: Vec<Delivery>,
}

/// A feature that the application wants.
struct Subscription {
    feature: Feature,
    is_granted: bool,
    waiting: Vec<Done<()>>,
}

/// A packet to be sent.
#[derive(Debug, PartialEq)]
pub(crate) enum Outgoing {
    /// QoS 1: the PUBACK matters.
    Publish {
        topic: String,
        payload: Bytes,
    },
    /// QoS 0: the answer is a message, or there is none.
    PublishOnce {
        topic: String,
        payload: Bytes,
    },
    Subscribe {
        filter: String,
    },
    Acknowledge {
        packet_id: u16,
    },
}

enum Unnumbered {
    Telemetry(u64),
    Once,
    Subscription(Feature),
}

/// A message of the hub.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    pub(crate) topic: &'a str,
    pub(crate) payload: Bytes,
    /// Of a message at QoS 1.
    pub(crate) packet_id: Option<u16>,
}

/// Says which call an answer belongs to. Void on another connection (`spec/device.md` 6.5).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CallTicket {
    link: u64,
    rid: String,
}

impl Session {
    pub(crate) fn new(client: ClientId, desired: DesiredFeed) -> Self {
        Self {
            client,
            next_serial: 1,
            operations: BTreeMap::new(),
            subscriptions: Vec::new(),
            messages: None,
            inputs: None,
            desired,
            link: Link::default(),
        }
    }

    /// A new connection is there: subscribes again, and begins again what is unfinished.
    pub(crate) fn begin_link(&mut self) {
        let is_first = self.link.number == 0;
        self.link = Link {
            number: self.link.number + 1,
            ..Link::default()
        };
        // The hub remembers subscriptions (`spec/device.md` 2.6), unless it was started anew.
        for index in 0..self.subscriptions.len() {
            self.subscriptions[index].is_granted = false;
            self.send_subscribe(self.subscriptions[index].feature);
        }
        self.operations.retain(|_, operation| {
            !operation.is_abandoned() && !matches!(operation, Operation::Resynchronize)
        });
        let unfinished: Vec<u64> = self.operations.keys().copied().collect();
        for serial in unfinished {
            self.send_operation(serial);
        }
        if !is_first && self.wants(Feature::DesiredChanges) {
            self.perform(Operation::Resynchronize);
        }
    }

    /// The application wants something. Only while there is a connection.
    pub(crate) fn handle_command(&mut self, command: Command) {
        match command {
            Command::Perform(operation) => self.perform(operation),
            Command::Subscribe(feature, done) => self.subscribe(feature, Some(done)),
            Command::Receive(feature, receiver, done) => {
                if feature == Feature::Inputs {
                    self.inputs = Some(receiver);
                } else {
                    self.messages = Some(receiver);
                }
                for delivery in std::mem::take(&mut self.link.early) {
                    self.hand_over(delivery);
                }
                self.subscribe(feature, Some(done));
            }
        }
    }

    /// A packet of [`Self::take_outgoing`] was written under this packet id (0 for QoS 0). The
    /// calls come in the order in which the packets were taken.
    pub(crate) fn handle_written(&mut self, packet_id: u16) {
        match self.link.unnumbered.pop_front() {
            Some(Unnumbered::Telemetry(serial)) => {
                self.link.publishing.insert(packet_id, serial);
            }
            Some(Unnumbered::Subscription(feature)) => {
                self.link.subscribing.insert(packet_id, feature);
            }
            Some(Unnumbered::Once) => {}
            None => tracing::error!(packet_id, "a packet was written that nobody sent"),
        }
    }

    /// PUBACK: the hub has stored the message.
    pub(crate) fn handle_published(&mut self, packet_id: u16) {
        let serial = self.link.publishing.remove(&packet_id);
        match serial.and_then(|serial| self.operations.remove(&serial)) {
            Some(Operation::SendTelemetry { done, .. }) => drop(done.send(Ok(()))),
            _ => tracing::debug!(packet_id, "an acknowledgement that nothing waits for"),
        }
    }

    /// SUBACK.
    pub(crate) fn handle_subscribed(&mut self, packet_id: u16, is_granted: bool) {
        let Some(feature) = self.link.subscribing.remove(&packet_id) else {
            return tracing::debug!(packet_id, "a SUBACK that nothing waits for");
        };
        self.settle_subscription(feature, is_granted);
    }

    /// A message of the hub. Returns a method call to be answered with [`Self::answer`].
    pub(crate) fn handle_incoming(
        &mut self,
        incoming: Incoming<'_>,
    ) -> Option<(MethodCall, CallTicket)> {
        let Incoming {
            topic,
            payload,
            packet_id,
        } = incoming;
        let topic = HubTopic::parse(topic).or_else(|| {
            tracing::warn!(topic, "a message on a topic that is not known");
            None
        });
        let (topic, input, bag) = match topic {
            Some(HubTopic::C2d { bag, .. }) => (None, None, Some(bag)),
            Some(HubTopic::Input { input, bag, .. }) => (None, Some(input), Some(bag)),
            other => (other, None, None),
        };
        if let Some(properties) = bag {
            let message = Message {
                properties,
                body: payload,
            };
            self.deliver(input, message, packet_id);
            return None;
        }
        if let Some(packet_id) = packet_id {
            self.link.outgoing.push(Outgoing::Acknowledge { packet_id });
        }
        match topic? {
            HubTopic::MethodRequest { name, rid } => {
                let ticket = CallTicket {
                    link: self.link.number,
                    rid,
                };
                return Some((MethodCall { name, payload }, ticket));
            }
            HubTopic::TwinResponse {
                status,
                rid,
                version,
            } => {
                self.finish_twin_operation(&rid, status, version, &payload);
            }
            HubTopic::DesiredChanged { version } => match Properties::parse(&payload) {
                Some(properties) => self.desired.changed(properties),
                None => tracing::warn!(version, "desired properties that cannot be read"),
            },
            HubTopic::C2d { .. } | HubTopic::Input { .. } => unreachable!("delivered above"),
        }
        None
    }

    /// The application took a message: it is complete.
    pub(crate) fn handle_receipt(&mut self, receipt: Receipt) {
        if receipt.link == self.link.number {
            self.link.outgoing.push(Outgoing::Acknowledge {
                packet_id: receipt.packet_id,
            });
        }
    }

    /// Answers a method call, unless the connection that brought it is gone.
    pub(crate) fn answer(&mut self, ticket: &CallTicket, response: MethodResponse) {
        if ticket.link != self.link.number {
            return tracing::debug!(
                rid = ticket.rid,
                "the answer to a call of a lost connection"
            );
        }
        let topic = DeviceTopic::MethodResponse {
            status: response.status,
            rid: &ticket.rid,
        };
        let topic = topic.to_topic(&self.client);
        self.send_once(topic, response.payload);
    }

    /// Tells everyone who waits that it will not happen.
    pub(crate) fn fail_all(&mut self, error: &Error) {
        for operation in std::mem::take(&mut self.operations).into_values() {
            operation.fail(error.clone());
        }
        for subscription in std::mem::take(&mut self.subscriptions) {
            for done in subscription.waiting {
                let _ = done.send(Err(error.clone()));
            }
        }
        self.messages = None;
        self.inputs = None;
    }

    /// What is to be sent, in order.
    pub(crate) fn take_outgoing(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.link.outgoing)
    }

    /// Whether another operation may be taken on.
    pub(crate) fn has_room(&self) -> bool {
        self.operations.len() + self.link.unnumbered.len() < WINDOW
    }

    /// Whether all is sent and answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.operations.is_empty() && self.link.unnumbered.is_empty()
    }

    fn perform(&mut self, operation: Operation) {
        let serial = self.next_serial;
        self.next_serial += 1;
        if !matches!(operation, Operation::SendTelemetry { .. }) {
            // Before the request on the same connection, so that its answer finds it.
            self.subscribe(Feature::TwinResponses, None);
        }
        self.operations.insert(serial, operation);
        self.send_operation(serial);
    }

    fn send_operation(&mut self, serial: u64) {
        let rid = serial.to_string();
        match &self.operations[&serial] {
            Operation::SendTelemetry { topic, body, .. } => {
                let publish = Outgoing::Publish {
                    topic: topic.clone(),
                    payload: body.clone(),
                };
                self.link.outgoing.push(publish);
                self.link
                    .unnumbered
                    .push_back(Unnumbered::Telemetry(serial));
            }
            Operation::GetTwin { .. } | Operation::Resynchronize => {
                let topic = DeviceTopic::TwinGet { rid: &rid }.to_topic(&self.client);
                self.send_once(topic, Bytes::new());
            }
            Operation::PatchReported { patch, .. } => {
                let topic = DeviceTopic::TwinPatchReported {
                    rid: &rid,
                    version: None,
                };
                let (topic, patch) = (topic.to_topic(&self.client), patch.clone());
                self.send_once(topic, patch);
            }
        }
    }

    fn send_once(&mut self, topic: String, payload: Bytes) {
        self.link
            .outgoing
            .push(Outgoing::PublishOnce { topic, payload });
        self.link.unnumbered.push_back(Unnumbered::Once);
    }

    fn subscribe(&mut self, feature: Feature, done: Option<Done<()>>) {
        let known = self
            .subscriptions
            .iter_mut()
            .find(|known| known.feature == feature);
        if let Some(subscription) = known {
            match done {
                Some(done) if subscription.is_granted => drop(done.send(Ok(()))),
                done => subscription.waiting.extend(done),
            }
            return;
        }
        let waiting = done.into_iter().collect();
        self.subscriptions.push(Subscription {
            feature,
            is_granted: false,
            waiting,
        });
        self.send_subscribe(feature);
    }

    fn send_subscribe(&mut self, feature: Feature) {
        self.link.outgoing.push(Outgoing::Subscribe {
            filter: feature.to_filter(&self.client),
        });
        self.link
            .unnumbered
            .push_back(Unnumbered::Subscription(feature));
    }

    fn settle_subscription(&mut self, feature: Feature, is_granted: bool) {
        let known = self
            .subscriptions
            .iter()
            .position(|known| known.feature == feature);
        let Some(index) = known else { return };
        let waiting = std::mem::take(&mut self.subscriptions[index].waiting);
        if is_granted {
            self.subscriptions[index].is_granted = true;
        } else {
            self.subscriptions.swap_remove(index);
        }
        for done in waiting {
            let refused = || Error::new(ErrorKind::SubscriptionRefused);
            let _ = done.send(if is_granted { Ok(()) } else { Err(refused()) });
        }
    }

    fn wants(&self, feature: Feature) -> bool {
        self.subscriptions
            .iter()
            .any(|subscription| subscription.feature == feature)
    }

    /// Hands a message to the application, who acknowledges it by taking it.
    fn deliver(&mut self, input: Option<String>, message: Message, packet_id: Option<u16>) {
        let receipt = packet_id.map(|packet_id| Receipt {
            link: self.link.number,
            packet_id,
        });
        self.hand_over(Delivery {
            input,
            message,
            receipt,
        });
    }

    /// Gives a message to the application, or keeps it until there is one that takes it.
    fn hand_over(&mut self, delivery: Delivery) {
        let receiver = match &delivery.input {
            None => &self.messages,
            Some(_) => &self.inputs,
        };
        let refused = match receiver {
            Some(messages) => match messages.try_send(delivery) {
                Ok(()) => return,
                Err(TrySendError::Full(_)) => None,
                Err(TrySendError::Closed(delivery)) => Some(delivery),
            },
            None => Some(delivery),
        };
        let early = &mut self.link.early;
        match refused {
            Some(delivery) if early.len() < c2d::BACKLOG => {
                // One that comes again before it was taken is still one.
                early.retain(|other| other.receipt.is_none() || other.receipt != delivery.receipt);
                early.push(delivery);
            }
            // Not acknowledged: the hub keeps it (`spec/device.md` 5.3).
            Some(_) | None => tracing::warn!("a message that nobody takes"),
        }
    }

    fn finish_twin_operation(&mut self, rid: &str, status: u16, version: Option<u64>, body: &[u8]) {
        let operation = rid
            .parse()
            .ok()
            .and_then(|serial| self.operations.remove(&serial));
        let Some(operation) = operation else {
            return tracing::debug!(rid, status, "a twin reply that nothing waits for");
        };
        if !(200..300).contains(&status) {
            return operation.fail(Error::new(ErrorKind::Refused(refusal(status, body))));
        }
        let unreadable = || Error::new(ErrorKind::UnexpectedAnswer("a twin reply".into()));
        match operation {
            Operation::GetTwin { done } => {
                let _ = done.send(Twin::parse(body).ok_or_else(unreadable));
            }
            // edgeHub omits the version (`spec/device.md` 7.1); nobody needs it.
            Operation::PatchReported { done, .. } => drop(done.send(Ok(version.unwrap_or(0)))),
            Operation::Resynchronize => match Twin::parse(body) {
                Some(twin) => self.desired.resynchronized(twin.desired),
                None => Operation::Resynchronize.fail(unreadable()),
            },
            Operation::SendTelemetry { .. } => operation.fail(unreadable()),
        }
    }
}

/// Reads the body of a twin reply that is a refusal (`spec/device.md` 7.5).
fn refusal(status: u16, body: &[u8]) -> Refusal {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let number = body.get("errorCode").and_then(Value::as_u64);
    let code = number
        .and_then(|n| u32::try_from(n).ok())
        .and_then(ErrorCode::from_number);
    let message = body
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or("no reason was given");
    Refusal {
        status,
        code,
        message: message.to_owned(),
    }
}

/// How many operations are under way at once. Callers beyond that wait.
pub(crate) const WINDOW: usize = 64;

#[cfg(test)]
mod tests;
