//! MQTT packets, and what their topics mean to the hub.

use bytes::{Bytes, BytesMut};
use iothub_protocol::mqtt::codec::{decode_client, decode_server};
use iothub_protocol::mqtt::packet::{
    ClientPacket, ConnAckCode, Connect, Publish, QoS, ServerPacket, SubAckCode,
};
use iothub_protocol::mqtt::topic::{DeviceTopic, Feature, HubTopic};
use iothub_protocol::mqtt::username::UserName;
use iothub_protocol::property_bag::PropertyBag;
use iothub_protocol::{ClientId, DeviceId, ModuleId};
use serde_json::{Value, json};

use super::super::entry::Excerpt;
use super::super::render::show_excerpt;
use super::super::wire::Direction;
use super::{Found, Packet, secret};

/// Bytes of a packet; the longest that MQTT can express is more than is ever waited for.
const MOST_BYTES: usize = 1024 * 1024;
/// Characters of a topic in a line.
const TOPIC: usize = 100;

/// What is known of a connection.
#[derive(Debug, Default)]
pub(super) struct Speech {
    /// Who its CONNECT says it is.
    client: Option<ClientId>,
}

impl Speech {
    pub(super) fn next(&mut self, direction: Direction, pending: &mut BytesMut) -> Found {
        let length = match length(pending) {
            Length::Known(length) if length > MOST_BYTES => {
                return Found::Noise(pending.len(), format!("a packet of {length} bytes"));
            }
            Length::Known(length) if pending.len() < length => return Found::Part,
            Length::Known(length) => length,
            Length::Unknown => return Found::Part,
            Length::Impossible => {
                return Found::Noise(pending.len(), "no MQTT packet begins so".into());
            }
        };
        let mut packet = BytesMut::from(&pending[..length]);
        let bytes = packet.clone().freeze();
        let shown = match direction {
            Direction::In => decode_client(&mut packet, MOST_BYTES)
                .map(|packet| packet.map(|it| self.of_client(it, &bytes))),
            Direction::Out => decode_server(&mut packet, MOST_BYTES)
                .map(|packet| packet.map(|it| self.of_server(it, &bytes))),
        };
        match shown {
            Ok(Some(shown)) => {
                let _ = pending.split_to(length);
                Found::Packet(shown)
            }
            Ok(None) => Found::Noise(length, "the packet contradicts its own length".into()),
            Err(error) => Found::Noise(length, error.to_string()),
        }
    }

    fn of_client(&mut self, packet: ClientPacket, bytes: &Bytes) -> Packet {
        match packet {
            ClientPacket::Connect(connect) => self.connect(&connect, bytes),
            ClientPacket::Publish(publish) => self.publish(&publish, Direction::In, bytes),
            ClientPacket::PubAck(id) => numbered("PUBACK", id, bytes),
            ClientPacket::Subscribe(subscribe) => {
                let filters: Vec<Value> = subscribe
                    .filters
                    .iter()
                    .map(|(filter, qos)| {
                        json!({
                            "filter": filter,
                            "qos": *qos as u8,
                            "meaning": self.feature(filter),
                        })
                    })
                    .collect();
                let named = subscribe.filters.iter().map(|it| it.0.as_str());
                let summary = format!("SUBSCRIBE {}", list(named));
                let detail = json!({
                    "type": "SUBSCRIBE",
                    "packetId": subscribe.packet_id,
                    "filters": filters,
                });
                Packet::new(summary, detail, bytes.clone())
            }
            ClientPacket::Unsubscribe(unsubscribe) => {
                let named = unsubscribe.filters.iter().map(String::as_str);
                let summary = format!("UNSUBSCRIBE {}", list(named));
                let detail = json!({
                    "type": "UNSUBSCRIBE",
                    "packetId": unsubscribe.packet_id,
                    "filters": unsubscribe.filters,
                });
                Packet::new(summary, detail, bytes.clone())
            }
            ClientPacket::PingReq => plain("PINGREQ", bytes),
            ClientPacket::Disconnect => plain("DISCONNECT", bytes),
            ClientPacket::QoS2Handshake => plain("a packet of the QoS 2 handshake", bytes),
        }
    }

    fn of_server(&self, packet: ServerPacket, bytes: &Bytes) -> Packet {
        match packet {
            ServerPacket::ConnAck {
                session_present,
                code,
            } => {
                let words = words(code);
                let resumed = if session_present {
                    " · session resumed"
                } else {
                    ""
                };
                let detail = json!({
                    "type": "CONNACK",
                    "returnCode": code as u8,
                    "meaning": words,
                    "sessionPresent": session_present,
                });
                let summary = format!("CONNACK {} {words}{resumed}", code as u8);
                Packet::new(summary, detail, bytes.clone())
            }
            ServerPacket::Publish(publish) => self.publish(&publish, Direction::Out, bytes),
            ServerPacket::PubAck(id) => numbered("PUBACK", id, bytes),
            ServerPacket::SubAck { packet_id, codes } => {
                let answers: Vec<String> = codes
                    .iter()
                    .map(|code| match code {
                        SubAckCode::Granted(qos) => format!("QoS {}", *qos as u8),
                        SubAckCode::Failure => "refused".into(),
                    })
                    .collect();
                let summary = format!(
                    "SUBACK {packet_id} · {}",
                    list(answers.iter().map(String::as_str))
                );
                let detail = json!({"type": "SUBACK", "packetId": packet_id, "answers": answers});
                Packet::new(summary, detail, bytes.clone())
            }
            ServerPacket::UnsubAck(id) => numbered("UNSUBACK", id, bytes),
            ServerPacket::PingResp => plain("PINGRESP", bytes),
        }
    }

    fn connect(&mut self, connect: &Connect, bytes: &Bytes) -> Packet {
        let name = connect.username.as_deref().map(UserName::parse);
        let said = match &name {
            None => Value::Null,
            Some(Ok(name)) => json!({
                "host": name.host,
                "client": name.client.to_string(),
                "apiVersion": name.api_version,
                "clientType": name.client_type,
                "modelId": name.model_id,
            }),
            Some(Err(error)) => json!({"not_a_user_name": error.to_string()}),
        };
        let password = connect.password.as_deref().filter(|it| !it.is_empty());
        let password = password.map(String::from_utf8_lossy);
        let will = connect.will.as_ref().map(|will| {
            let mut shown = json!({
                "topic": will.topic,
                "qos": will.qos as u8,
                "retain": will.retain,
            });
            show_excerpt(&mut shown, "payload", &Excerpt::of(&will.payload));
            shown
        });
        let detail = json!({
            "type": "CONNECT",
            "clientId": connect.client_id,
            "cleanSession": connect.clean_session,
            "keepAlive": connect.keep_alive,
            "userName": connect.username,
            "meaning": said,
            "password": password.as_deref().map(secret::credential),
            "will": will,
        });
        let proof = match &password {
            Some(text) => secret::in_brief(text),
            None => "no password".into(),
        };
        let summary = format!(
            "CONNECT {} · keep-alive {} s · {proof}",
            cut(&connect.client_id),
            connect.keep_alive
        );
        self.client = match name {
            Some(Ok(name)) => Some(name.client),
            Some(Err(_)) | None => ClientId::parse(&connect.client_id).ok(),
        };
        Packet {
            speaker: self.client.clone(),
            ..Packet::new(summary, detail, bytes.clone())
        }
    }

    fn publish(&self, publish: &Publish, direction: Direction, bytes: &Bytes) -> Packet {
        let topic = publish.topic();
        let (meaning, properties) = match direction {
            Direction::In => self.meaning_to_hub(topic),
            Direction::Out => meaning_to_device(topic),
        };
        let mut detail = json!({
            "type": "PUBLISH",
            "topic": topic,
            "meaning": meaning,
            "qos": publish.qos as u8,
        });
        if publish.qos != QoS::AtMostOnce {
            detail["packetId"] = publish.packet_id.into();
        }
        if publish.dup {
            detail["dup"] = true.into();
        }
        if publish.retain {
            detail["retain"] = true.into();
        }
        if !properties.is_null() {
            detail["properties"] = properties;
        }
        show_excerpt(&mut detail, "payload", &Excerpt::of(&publish.payload));
        let summary = format!(
            "PUBLISH {} · QoS {} · {} B · {}",
            cut(&meaning),
            publish.qos as u8,
            publish.payload.len(),
            cut(topic)
        );
        // Who publishes telemetry names itself.
        let speaker = match direction {
            Direction::In if topic.starts_with("devices/") => client_of_topic(topic),
            Direction::In | Direction::Out => None,
        };
        Packet {
            speaker,
            ..Packet::new(summary, detail, bytes.clone())
        }
    }

    fn meaning_to_hub(&self, topic: &str) -> (String, Value) {
        let named = self.client.clone().or_else(|| client_of_topic(topic));
        // Topics below `$iothub` do not name anybody.
        let client = named.or_else(|| DeviceId::parse("unknown").map(ClientId::device).ok());
        let Some(client) = client else {
            return ("no topic of the hub".into(), Value::Null);
        };
        match DeviceTopic::parse(topic, &client) {
            Ok(DeviceTopic::Telemetry { bag }) => ("telemetry".into(), bag_of(bag)),
            Ok(DeviceTopic::MethodResponse { status, rid }) => {
                (format!("answer {status} to method call {rid}"), Value::Null)
            }
            Ok(DeviceTopic::TwinGet { rid }) => {
                (format!("twin wanted, request {rid}"), Value::Null)
            }
            Ok(DeviceTopic::TwinPatchReported { rid, version }) => {
                let version = version.map_or(String::new(), |it| format!(" if at version {it}"));
                let meaning = format!("reported properties patched{version}, request {rid}");
                (meaning, Value::Null)
            }
            Err(error) => (error.to_string(), Value::Null),
        }
    }

    fn feature(&self, filter: &str) -> &'static str {
        let named = self.client.clone().or_else(|| client_of_topic(filter));
        let feature = named.map_or_else(
            || {
                let anybody = DeviceId::parse("unknown").map(ClientId::device).ok()?;
                Feature::parse_filter(filter, &anybody)
            },
            |client| Feature::parse_filter(filter, &client),
        );
        match feature {
            Some(Feature::Methods) => "method calls",
            Some(Feature::TwinResponses) => "answers about the twin",
            Some(Feature::DesiredChanges) => "changes of desired properties",
            Some(Feature::C2d) => "cloud-to-device messages",
            Some(Feature::Inputs) => "inputs of the module",
            Some(Feature::C2dAndInputs) => "cloud-to-device messages and inputs",
            None => "no filter of the hub",
        }
    }
}

fn meaning_to_device(topic: &str) -> (String, Value) {
    match HubTopic::parse(topic) {
        Some(HubTopic::MethodRequest { name, rid }) => {
            (format!("method call {name}, request {rid}"), Value::Null)
        }
        Some(HubTopic::TwinResponse {
            status,
            rid,
            version,
        }) => {
            let version = version.map_or(String::new(), |it| format!(", version {it}"));
            (
                format!("answer {status} to twin request {rid}{version}"),
                Value::Null,
            )
        }
        Some(HubTopic::DesiredChanged { version }) => (
            format!("desired properties, version {version}"),
            Value::Null,
        ),
        Some(HubTopic::C2d { bag, .. }) => ("cloud-to-device message".into(), pairs(&bag)),
        Some(HubTopic::Input { input, bag, .. }) => (format!("input {input}"), pairs(&bag)),
        None => ("no topic of the hub".into(), Value::Null),
    }
}

fn bag_of(text: &str) -> Value {
    PropertyBag::from_encoded(text.to_owned()).map_or(Value::Null, |bag| pairs(&bag))
}

fn pairs(bag: &PropertyBag) -> Value {
    let pairs = bag.iter().map(|(name, value)| {
        let value = Value::from(secret::shown(&value));
        (name.into_owned(), value)
    });
    let pairs: serde_json::Map<_, _> = pairs.collect();
    match pairs.is_empty() {
        true => Value::Null,
        false => Value::Object(pairs),
    }
}

/// Whom a topic below `devices/` names. Ids in topics are never encoded, unlike those in paths, and
/// what follows them may be.
fn client_of_topic(topic: &str) -> Option<ClientId> {
    let mut segments = topic.strip_prefix("devices/")?.split('/');
    let device = DeviceId::parse(segments.next()?).ok()?;
    Some(match (segments.next(), segments.next()) {
        (Some("modules"), Some(module)) => ClientId::module(device, ModuleId::parse(module).ok()?),
        _ => ClientId::device(device),
    })
}

enum Length {
    Known(usize),
    Unknown,
    Impossible,
}

/// Bytes of the packet at the front, header included (MQTT 3.1.1, 2.2.3).
fn length(bytes: &[u8]) -> Length {
    let mut length = 0_usize;
    for index in 0..4 {
        let Some(&byte) = bytes.get(1 + index) else {
            return Length::Unknown;
        };
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Length::Known(2 + index + length);
        }
    }
    Length::Impossible
}

fn words(code: ConnAckCode) -> &'static str {
    match code {
        ConnAckCode::Accepted => "accepted",
        ConnAckCode::UnacceptableProtocolVersion => "unacceptable protocol version",
        ConnAckCode::IdentifierRejected => "client id rejected",
        ConnAckCode::ServerUnavailable => "server unavailable",
        ConnAckCode::BadUserNameOrPassword => "bad user name or password",
        ConnAckCode::NotAuthorized => "not authorized",
    }
}

fn plain(name: &str, bytes: &Bytes) -> Packet {
    Packet::new(name, json!({"type": name}), bytes.clone())
}

fn numbered(name: &str, id: u16, bytes: &Bytes) -> Packet {
    let detail = json!({"type": name, "packetId": id});
    Packet::new(format!("{name} {id}"), detail, bytes.clone())
}

fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let items: Vec<_> = items.collect();
    cut(&items.join(", "))
}

fn cut(text: &str) -> String {
    let text = secret::shown(text);
    match text.char_indices().nth(TOPIC) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
