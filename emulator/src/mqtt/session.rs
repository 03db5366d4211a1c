//! From packets to what is asked of the hub, and from deliveries to packets. No IO, no hub.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use iothub_hub::{C2dMessage, Delivery, Feature, Guarantee, LockToken, Subscriptions};
use iothub_protocol::method::MethodResponse;
use iothub_protocol::mqtt::codec::encode_server;
use iothub_protocol::mqtt::packet::{
    Publish, QoS, ServerPacket, SubAckCode, Subscribe, Unsubscribe, Will,
};
use iothub_protocol::mqtt::topic::{self, DeviceTopic, HubTopic, TopicError};
use iothub_protocol::property_bag::PropertyBag;
use iothub_protocol::{ClientId, Message};

use super::{Settings, UnknownFilter, UnknownTopic};

/// What a connected client's packets mean.
pub(super) struct Session {
    client: ClientId,
    subscriptions: Subscriptions,
    last_packet_id: u16,
    unknown_topic: UnknownTopic,
    unknown_filter: UnknownFilter,
    topic_filters: Option<usize>,
    /// What was sent at QoS 1 and is not acknowledged, by packet id.
    in_flight: BTreeMap<u16, InFlight>,
}

/// A PUBLISH that is not acknowledged.
#[derive(Clone, Copy)]
enum InFlight {
    /// Nothing depends on its acknowledgement but that its packet id is not used meanwhile.
    Notice,
    /// A cloud-to-device message, and the lock that its acknowledgement settles.
    C2d { sequence: u64, lock: LockToken },
}

/// A client that acknowledges nothing has so many packets on its account; then the oldest are
/// forgotten, as if they had been.
const MOST_IN_FLIGHT: usize = 1024;

/// What a PUBLISH asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Request<'a> {
    /// Store this message.
    Telemetry(Message),
    /// The answer to a method call.
    MethodResponse {
        request: u32,
        response: MethodResponse,
    },
    /// The client's twin.
    TwinGet { rid: &'a str },
    /// A patch of reported properties.
    PatchReported {
        rid: &'a str,
        version: Option<u64>,
        patch: Bytes,
    },
    /// Something that is dropped without a word to the client; the text is for the log.
    Ignore(String),
}

/// Why a connection has to end; the text is for the log.
#[derive(Debug, PartialEq)]
pub(super) struct Violation(pub(super) String);

impl Session {
    pub(super) fn new(client: ClientId, subscriptions: Subscriptions) -> Self {
        Self {
            client,
            subscriptions,
            last_packet_id: 0,
            unknown_topic: UnknownTopic::default(),
            unknown_filter: UnknownFilter::default(),
            topic_filters: None,
            in_flight: BTreeMap::new(),
        }
    }

    pub(super) fn with_choices(mut self, settings: &Settings) -> Self {
        self.unknown_topic = settings.unknown_topic;
        self.unknown_filter = settings.unknown_filter;
        self.topic_filters = settings.topic_filters;
        self
    }

    pub(super) fn client(&self) -> &ClientId {
        &self.client
    }

    /// Reads a PUBLISH. Bodies and bags of telemetry are copied into `arena`, so that stored
    /// events do not hold on to the read buffer.
    pub(super) fn handle_publish<'a>(
        &self,
        publish: &'a Publish,
        arena: &mut BytesMut,
    ) -> Result<Request<'a>, Violation> {
        if publish.qos == QoS::ExactlyOnce {
            return Err(Violation("PUBLISH with QoS 2".into()));
        }
        let topic = publish.topic();
        match DeviceTopic::parse(topic, &self.client) {
            Ok(DeviceTopic::Telemetry { bag }) => {
                let (dup, retain) = (publish.dup, publish.retain);
                Ok(Request::Telemetry(message(
                    bag,
                    &publish.payload,
                    dup,
                    retain,
                    arena,
                )))
            }
            Ok(DeviceTopic::MethodResponse { status, rid }) => Ok(method_response(
                status,
                rid,
                // The read buffer must not outlive the burst.
                Bytes::copy_from_slice(&publish.payload),
            )),
            Ok(DeviceTopic::TwinGet { rid }) => Ok(Request::TwinGet { rid }),
            Ok(DeviceTopic::TwinPatchReported { rid, version }) => Ok(Request::PatchReported {
                rid,
                version,
                patch: publish.payload.clone(),
            }),
            // The real hub drops such an answer and lets the caller time out (spec/device.md 6.3).
            Err(TopicError::Malformed(what)) if topic.starts_with("$iothub/methods/res/") => {
                Ok(Request::Ignore(format!("PUBLISH to {topic:?}: {what}")))
            }
            Err(TopicError::Malformed(what)) => {
                self.of_no_use(format!("PUBLISH to {topic:?}: {what}"))
            }
            Err(TopicError::OtherIdentity) => Err(Violation(format!(
                "PUBLISH to {topic:?}, which is not {}'s",
                self.client
            ))),
            Err(TopicError::Unknown) => self.of_no_use(format!(
                "PUBLISH to {topic:?}, which is no topic of the hub"
            )),
        }
    }

    fn of_no_use<'a>(&self, what: String) -> Result<Request<'a>, Violation> {
        match self.unknown_topic {
            UnknownTopic::Close => Err(Violation(what)),
            UnknownTopic::Drop => Ok(Request::Ignore(what)),
        }
    }

    /// Reads a SUBSCRIBE: what to ask of the hub, and the packet to answer with once it is done.
    /// QoS 2 is granted as 1 (`spec/device.md` 2.8). The hub ends a connection that asks for
    /// something unknown.
    pub(super) fn handle_subscribe(
        &mut self,
        subscribe: &Subscribe,
    ) -> Result<(Vec<(Feature, Guarantee)>, ServerPacket), Violation> {
        let mut wanted = Vec::new();
        let count = subscribe.filters.len();
        if self.topic_filters.is_some_and(|limit| count > limit) {
            return Err(Violation(format!("SUBSCRIBE with {count} filters")));
        }
        let mut codes = Vec::with_capacity(count);
        for (filter, qos) in &subscribe.filters {
            let features = match (self.features(filter), self.unknown_filter) {
                (Some(features), _) => features,
                (None, UnknownFilter::Refuse) => {
                    codes.push(SubAckCode::Failure);
                    continue;
                }
                (None, UnknownFilter::Close) => {
                    return Err(Violation(format!(
                        "SUBSCRIBE to {filter:?}, which is no filter of the hub"
                    )));
                }
            };
            let (guarantee, granted) = match qos {
                QoS::AtMostOnce => (Guarantee::AtMostOnce, QoS::AtMostOnce),
                QoS::AtLeastOnce | QoS::ExactlyOnce => (Guarantee::AtLeastOnce, QoS::AtLeastOnce),
            };
            for &feature in features {
                self.subscriptions.set(feature, Some(guarantee));
                wanted.push((feature, guarantee));
            }
            codes.push(SubAckCode::Granted(granted));
        }
        Ok((
            wanted,
            ServerPacket::SubAck {
                packet_id: subscribe.packet_id,
                codes,
            },
        ))
    }

    /// Reads an UNSUBSCRIBE; filters that mean nothing are acknowledged like the others.
    pub(super) fn handle_unsubscribe(
        &mut self,
        unsubscribe: &Unsubscribe,
    ) -> (Vec<Feature>, ServerPacket) {
        let mut unwanted = Vec::new();
        for filter in &unsubscribe.filters {
            for &feature in self.features(filter).unwrap_or_default() {
                self.subscriptions.set(feature, None);
                unwanted.push(feature);
            }
        }
        (unwanted, ServerPacket::UnsubAck(unsubscribe.packet_id))
    }

    /// Reads a PUBACK: the lock of the message that it acknowledges, if it is one. Others mean
    /// nothing (`spec/device.md` 5.3).
    pub(super) fn handle_puback(&mut self, packet_id: u16) -> Option<LockToken> {
        match self.in_flight.remove(&packet_id)? {
            InFlight::Notice => None,
            InFlight::C2d { lock, .. } => Some(lock),
        }
    }

    /// Writes what the hub sends to the client.
    pub(super) fn encode_delivery(&mut self, delivery: Delivery, out: &mut BytesMut) {
        match delivery {
            Delivery::MethodRequest {
                request,
                name,
                payload,
            } => {
                let topic = HubTopic::MethodRequest {
                    name: name.to_string(),
                    rid: format!("{request:x}"),
                };
                // The real hub delivers methods at QoS 0 whatever was granted (spec/device.md 6.3).
                self.encode_publish(&topic, QoS::AtMostOnce, payload, out);
            }
            Delivery::DesiredChanged { version, patch } => {
                let topic = HubTopic::DesiredChanged { version };
                self.encode_publish(&topic, self.granted(Feature::DesiredChanges), patch, out);
            }
            Delivery::C2d {
                lock,
                redelivered,
                message,
            } => self.encode_c2d(&message, lock, redelivered, out),
        }
    }

    /// Writes a cloud-to-device message; without a lock it is sent at QoS 0. One that is sent again
    /// keeps its packet id, so that a late acknowledgement of the first time counts, too.
    fn encode_c2d(
        &mut self,
        message: &C2dMessage,
        lock: Option<LockToken>,
        redelivered: bool,
        out: &mut BytesMut,
    ) {
        let topic = HubTopic::C2d {
            client: self.client.clone(),
            bag: message.message.properties.clone(),
        };
        let sequence = message.sequence;
        let (qos, packet_id) = match lock {
            None => (QoS::AtMostOnce, 0),
            Some(lock) => {
                let earlier = self.in_flight.iter().find_map(|(id, sent)| match sent {
                    InFlight::C2d {
                        sequence: other, ..
                    } if *other == sequence => Some(*id),
                    InFlight::C2d { .. } | InFlight::Notice => None,
                });
                let id = earlier.unwrap_or_else(|| self.free_packet_id());
                self.in_flight.insert(id, InFlight::C2d { sequence, lock });
                (QoS::AtLeastOnce, id)
            }
        };
        let publish = Publish {
            // MQTT 3.1.1 [3.3.1-2]: never set at QoS 0.
            dup: redelivered && qos == QoS::AtLeastOnce,
            qos,
            retain: false,
            topic: topic.to_string().into(),
            packet_id,
            payload: message.message.body.clone(),
        };
        encode_server(&ServerPacket::Publish(publish), out);
    }

    /// Writes the reply to a twin request; dropped when the client does not listen for it
    /// (`spec/device.md` 7.1).
    pub(super) fn encode_twin_response(
        &mut self,
        status: u16,
        rid: &str,
        version: Option<u64>,
        body: Bytes,
        out: &mut BytesMut,
    ) {
        if self.subscriptions.get(Feature::TwinResponses).is_none() {
            return;
        }
        let topic = HubTopic::TwinResponse {
            status,
            rid: rid.to_owned(),
            version,
        };
        self.encode_publish(&topic, self.granted(Feature::TwinResponses), body, out);
    }

    fn encode_publish(&mut self, topic: &HubTopic, qos: QoS, payload: Bytes, out: &mut BytesMut) {
        let packet_id = match qos {
            QoS::AtMostOnce => 0,
            QoS::AtLeastOnce | QoS::ExactlyOnce => {
                let id = self.free_packet_id();
                self.in_flight.insert(id, InFlight::Notice);
                id
            }
        };
        let topic = topic.to_string().into();
        let publish = Publish {
            dup: false,
            qos,
            retain: false,
            topic,
            packet_id,
            payload,
        };
        encode_server(&ServerPacket::Publish(publish), out);
    }

    /// The next packet id that is not in flight.
    fn free_packet_id(&mut self) -> u16 {
        if self.in_flight.len() >= MOST_IN_FLIGHT {
            // Ids go round, so that the oldest is the next one that is taken.
            let oldest = self
                .in_flight
                .range(self.last_packet_id.saturating_add(1)..)
                .chain(self.in_flight.range(..))
                .map(|(id, _)| *id)
                .next();
            oldest.map(|id| self.in_flight.remove(&id));
        }
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            if !self.in_flight.contains_key(&self.last_packet_id) {
                return self.last_packet_id;
            }
        }
    }

    fn granted(&self, feature: Feature) -> QoS {
        match self.subscriptions.get(feature) {
            Some(Guarantee::AtLeastOnce) => QoS::AtLeastOnce,
            Some(Guarantee::AtMostOnce) | None => QoS::AtMostOnce,
        }
    }

    fn features(&self, filter: &str) -> Option<&'static [Feature]> {
        Some(match topic::Feature::parse_filter(filter, &self.client)? {
            topic::Feature::Methods => &[Feature::Methods],
            topic::Feature::TwinResponses => &[Feature::TwinResponses],
            topic::Feature::DesiredChanges => &[Feature::DesiredChanges],
            topic::Feature::C2d => &[Feature::C2d],
            topic::Feature::Inputs => &[Feature::Inputs],
            topic::Feature::C2dAndInputs => &[Feature::C2d, Feature::Inputs],
        })
    }
}

/// The message of a will, or why there can be no such will (`spec/device.md` 2.7).
pub(super) fn will_message(will: &Will, client: &ClientId) -> Result<Message, Violation> {
    if will.qos == QoS::ExactlyOnce {
        return Err(Violation("will with QoS 2".into()));
    }
    match DeviceTopic::parse(&will.topic, client) {
        Ok(DeviceTopic::Telemetry { bag }) => {
            let mut arena = BytesMut::new();
            Ok(message(bag, &will.payload, false, will.retain, &mut arena))
        }
        Ok(_) | Err(_) => Err(Violation(format!(
            "will for {:?}, which is not {client}'s telemetry",
            will.topic
        ))),
    }
}

fn message(bag: &str, body: &[u8], dup: bool, retain: bool, arena: &mut BytesMut) -> Message {
    arena.extend_from_slice(bag.as_bytes());
    let bag = arena.split().freeze();
    arena.extend_from_slice(body);
    let body = arena.split().freeze();
    let mut properties =
        PropertyBag::from_encoded(bag).expect("a topic that has been decoded is UTF-8");
    if retain {
        properties.push("mqtt-retain", "true");
    }
    if dup {
        properties.push("mqtt-dup", "true");
    }
    Message { properties, body }
}

fn method_response<'a>(status: i32, rid: &str, payload: Bytes) -> Request<'a> {
    // Request ids are lower-case hexadecimal, compared ignoring case (spec/device.md 6.2).
    match u32::from_str_radix(rid, 16) {
        Ok(request) => {
            let response = MethodResponse::from_device(status, payload);
            Request::MethodResponse { request, response }
        }
        Err(_) => Request::Ignore(format!("method response to the unknown request {rid:?}")),
    }
}

#[cfg(test)]
mod tests;
