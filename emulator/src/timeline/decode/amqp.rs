//! AMQP frames, what their links are for, and the messages that they carry.

use std::collections::HashMap;

use bytes::{Buf as _, Bytes, BytesMut};
use iothub_protocol::ClientId;
use iothub_protocol::amqp::address::Address;
use iothub_protocol::amqp::frame::{Frame, ProtocolHeader, decode_frame, decode_header};
use iothub_protocol::amqp::message::{AmqpMessage, BATCHED_FORMAT, Body};
use iothub_protocol::amqp::performative::{
    Attach, Disposition, Flow, Open, Performative, Role, Transfer,
};
use iothub_protocol::amqp::sasl::{SaslCode, SaslFrame};
use iothub_protocol::amqp::value::lookup;
use serde_json::Value;

use super::super::wire::Direction;
use super::values::{Members, binary, error, map, state, symbols, time, value};
use super::{Found, Packet, client_of_path, secret};

/// Bytes of a frame.
const MOST_BYTES: usize = 1024 * 1024;
/// Links of a connection whose names are kept.
const MOST_LINKS: usize = 1024;
/// Deliveries of a connection that are put together from their parts, and bytes of all of them.
const MOST_PARTS: usize = 64;
const MOST_PART_BYTES: usize = 1024 * 1024;
/// Characters of a name in a line.
const NAME: usize = 80;

/// What is known of a connection.
#[derive(Debug, Default)]
pub(super) struct Speech {
    links: HashMap<LinkKey, Link>,
    parts: HashMap<LinkKey, BytesMut>,
}

/// A link as one side names it.
type LinkKey = (Direction, u16, u32);

/// What an attach said.
#[derive(Clone, Debug)]
struct Link {
    name: String,
    address: Option<String>,
    /// The client that it is about.
    client: Option<ClientId>,
}

impl Speech {
    pub(super) fn next(&mut self, direction: Direction, pending: &mut BytesMut) -> Found {
        if pending.starts_with(b"AMQP") || b"AMQP".starts_with(pending) {
            return self.header(pending);
        }
        let Some(size) = pending.first_chunk::<4>() else {
            return Found::Part;
        };
        let size = usize::try_from(u32::from_be_bytes(*size)).unwrap_or(usize::MAX);
        if !(8..=MOST_BYTES).contains(&size) {
            return Found::Noise(pending.len(), "no AMQP frame begins so".into());
        }
        if pending.len() < size {
            return Found::Part;
        }
        let mut frame = BytesMut::from(&pending[..size]);
        let bytes = frame.clone().freeze();
        match decode_frame(&mut frame, MOST_BYTES) {
            Ok(Some(frame)) => {
                pending.advance(size);
                Found::Packet(self.frame(direction, frame, bytes))
            }
            Ok(None) => Found::Noise(size, "the frame contradicts its own length".into()),
            Err(error) => Found::Noise(size, error.to_string()),
        }
    }

    /// Bytes that are kept of the connection, roughly.
    pub(super) fn kept(&self) -> usize {
        self.links.len() * (size_of::<Link>() + 2 * NAME)
            + self.parts.values().map(BytesMut::len).sum::<usize>()
    }

    fn header(&mut self, pending: &mut BytesMut) -> Found {
        let Some(bytes) = pending.first_chunk::<8>() else {
            return Found::Part;
        };
        let bytes = Bytes::copy_from_slice(bytes);
        let name = match decode_header(pending) {
            Ok(Some(ProtocolHeader::Amqp)) => "AMQP 1.0",
            Ok(Some(ProtocolHeader::Sasl)) => "AMQP 1.0 SASL",
            Ok(Some(ProtocolHeader::Tls)) => "AMQP 1.0 TLS",
            Ok(None) => return Found::Part,
            Err(_) => "a protocol header of another version",
        };
        // An error has consumed the eight bytes, too.
        let detail = Members::of("header").put("protocol", name).done();
        Found::Packet(Packet::new(format!("header {name}"), detail, bytes))
    }

    fn frame(&mut self, direction: Direction, frame: Frame, bytes: Bytes) -> Packet {
        let (channel, performative, payload) = match frame {
            Frame::Sasl(frame) => return sasl(&frame, bytes),
            Frame::Amqp {
                performative: None, ..
            } => {
                let detail = Members::of("empty").done();
                return Packet::new("empty frame: a sign of life", detail, bytes);
            }
            Frame::Amqp {
                channel,
                performative: Some(performative),
                payload,
            } => (channel, performative, payload),
        };
        let mut speaker = None;
        let (summary, mut detail) = match &performative {
            Performative::Open(it) => open(it),
            Performative::Begin(it) => {
                let mut members = Members::of("begin");
                members
                    .put("remoteChannel", it.remote_channel)
                    .put("nextOutgoingId", it.next_outgoing_id)
                    .put("incomingWindow", it.incoming_window)
                    .put("outgoingWindow", it.outgoing_window)
                    .put("handleMax", it.handle_max)
                    .put("properties", map(&it.properties));
                (format!("begin session {channel}"), members)
            }
            Performative::Attach(it) => {
                speaker = self.attach((direction, channel, it.handle), it);
                attach(it)
            }
            Performative::Flow(it) => {
                let handle = it.handle;
                speaker = handle.and_then(|it| self.client_of_link((direction, channel, it)));
                self.flow((direction, channel), it)
            }
            Performative::Transfer(it) => {
                let (summary, members, named) =
                    self.transfer((direction, channel, it.handle), it, payload);
                let of_link = self.client_of_link((direction, channel, it.handle));
                speaker = of_link.or(named);
                (summary, members)
            }
            Performative::Disposition(it) => disposition(it),
            Performative::Detach(it) => {
                let link = self.links.remove(&(direction, channel, it.handle));
                self.parts.remove(&(direction, channel, it.handle));
                let mut members = Members::of("detach");
                members
                    .put("handle", it.handle)
                    .put("closed", it.closed)
                    .put("error", it.error.as_ref().map(error));
                let name = named(link.as_ref(), it.handle);
                (format!("detach {name}{}", why(it.error.as_ref())), members)
            }
            Performative::End(it) => {
                let of_session = |key: &LinkKey| (key.0, key.1) == (direction, channel);
                self.links.retain(|key, _| !of_session(key));
                self.parts.retain(|key, _| !of_session(key));
                let mut members = Members::of("end");
                members.put("error", it.error.as_ref().map(error));
                let why = why(it.error.as_ref());
                (format!("end session {channel}{why}"), members)
            }
            Performative::Close(it) => {
                let mut members = Members::of("close");
                members.put("error", it.error.as_ref().map(error));
                (format!("close{}", why(it.error.as_ref())), members)
            }
        };
        Packet {
            speaker,
            ..Packet::new(summary, detail.put("channel", channel).done(), bytes)
        }
    }

    /// Keeps what a link is for; answers the client that it is about.
    fn attach(&mut self, key: LinkKey, attach: &Attach) -> Option<ClientId> {
        let address = node(attach);
        let client = address.and_then(client_of);
        if self.links.len() < MOST_LINKS || self.links.contains_key(&key) {
            let link = Link {
                name: short(&attach.name),
                address: address.map(short),
                client: client.clone(),
            };
            self.links.insert(key, link);
        }
        client
    }

    fn client_of_link(&self, key: LinkKey) -> Option<ClientId> {
        self.links.get(&key)?.client.clone()
    }

    fn flow(&self, side: (Direction, u16), flow: &Flow) -> (String, Members) {
        let mut members = Members::of("flow");
        members
            .put("nextIncomingId", flow.next_incoming_id)
            .put("incomingWindow", flow.incoming_window)
            .put("nextOutgoingId", flow.next_outgoing_id)
            .put("outgoingWindow", flow.outgoing_window)
            .put("handle", flow.handle)
            .put("deliveryCount", flow.delivery_count)
            .put("linkCredit", flow.link_credit)
            .put("available", flow.available)
            .put("drain", flow.drain)
            .put("echo", flow.echo)
            .put("properties", map(&flow.properties));
        let summary = match flow.handle {
            None => format!("flow of session {}", side.1),
            Some(handle) => {
                let name = named(self.links.get(&(side.0, side.1, handle)), handle);
                let credit = flow.link_credit.unwrap_or_default();
                let drain = if flow.drain { " · drain" } else { "" };
                format!("flow {name} · credit {credit}{drain}")
            }
        };
        (summary, members)
    }

    fn transfer(
        &mut self,
        key: LinkKey,
        transfer: &Transfer,
        payload: Bytes,
    ) -> (String, Members, Option<ClientId>) {
        let link = self.links.get(&key);
        let mut members = Members::of("transfer");
        members
            .put("handle", transfer.handle)
            .put("link", link.map(|it| it.name.as_str()))
            .put("address", link.and_then(|it| it.address.as_deref()))
            .put("deliveryId", transfer.delivery_id)
            .put("deliveryTag", transfer.delivery_tag.as_deref().map(binary))
            .put("settled", transfer.settled)
            .put("more", transfer.more)
            .put("aborted", transfer.aborted)
            .put("state", transfer.state.as_ref().map(|it| state(it).0));
        let name = named(link, transfer.handle);
        let settled = if transfer.settled == Some(true) {
            " · settled"
        } else {
            ""
        };
        let length = payload.len();
        let Some(whole) = self.put_together(key, transfer, payload) else {
            let what = if transfer.aborted {
                "aborted"
            } else {
                "a part"
            };
            let summary = format!("transfer {name} · {what}, {length} B{settled}");
            return (summary, members, None);
        };
        let total = whole.len();
        let batched = transfer.message_format == Some(BATCHED_FORMAT);
        let mut speaker = None;
        let brief = match AmqpMessage::decode(whole) {
            Ok(message) => {
                let (brief, named) = in_brief(&message);
                speaker = named;
                members.put("message", show_message(&message));
                if batched {
                    " · a batch".to_owned()
                } else {
                    brief
                }
            }
            Err(error) => {
                members.put("unreadable", error.to_string());
                " · no message that can be read".to_owned()
            }
        };
        let summary = format!("transfer {name}{brief} · {total} B{settled}");
        (summary, members, speaker)
    }

    /// The whole delivery, once its last part is there.
    fn put_together(&mut self, key: LinkKey, transfer: &Transfer, payload: Bytes) -> Option<Bytes> {
        if transfer.aborted {
            self.parts.remove(&key);
            return None;
        }
        let kept: usize = self.parts.values().map(BytesMut::len).sum();
        if transfer.more {
            let room = self.parts.len() < MOST_PARTS || self.parts.contains_key(&key);
            if room && kept + payload.len() <= MOST_PART_BYTES {
                self.parts
                    .entry(key)
                    .or_default()
                    .extend_from_slice(&payload);
            }
            return None;
        }
        Some(match self.parts.remove(&key) {
            None => payload,
            Some(mut parts) => {
                parts.extend_from_slice(&payload);
                parts.freeze()
            }
        })
    }
}

fn sasl(frame: &SaslFrame, bytes: Bytes) -> Packet {
    let (summary, detail) = match frame {
        SaslFrame::Mechanisms(mechanisms) => {
            let detail = Members::of("sasl-mechanisms")
                .put("mechanisms", symbols(mechanisms))
                .done();
            let names: Vec<_> = mechanisms.iter().map(|it| it.as_str()).collect();
            (
                format!("SASL mechanisms {}", short(&names.join(", "))),
                detail,
            )
        }
        SaslFrame::Init {
            mechanism,
            initial_response,
            hostname,
        } => {
            let mut members = Members::of("sasl-init");
            members
                .put("mechanism", mechanism.as_str())
                .put("hostname", hostname.as_deref());
            let response = initial_response.as_deref().unwrap_or_default();
            let mut user = String::new();
            if mechanism.as_str() == "PLAIN" {
                // RFC 4616: on whose behalf, who, and the password, with zeros between.
                let mut fields = response.splitn(3, |byte| *byte == 0);
                let mut field = || String::from_utf8_lossy(fields.next().unwrap_or_default());
                let (behalf, who, password) = (field(), field(), field());
                user = format!(" as {}", short(&who));
                members
                    .put("onBehalfOf", &*behalf)
                    .put("user", &*who)
                    .put("password", secret::credential(&password));
            } else {
                members.put("initialResponse", binary(response));
            }
            (
                format!("SASL init {}{user}", short(mechanism.as_str())),
                members.done(),
            )
        }
        SaslFrame::Challenge(challenge) => {
            let detail = Members::of("sasl-challenge")
                .put("challenge", binary(challenge))
                .done();
            ("SASL challenge".to_owned(), detail)
        }
        SaslFrame::Response(response) => {
            let detail = Members::of("sasl-response")
                .put("response", binary(response))
                .done();
            ("SASL response".to_owned(), detail)
        }
        SaslFrame::Outcome { code, .. } => {
            let words = match code {
                SaslCode::Ok => "let in",
                SaslCode::Auth => "the credentials are refused",
                SaslCode::Sys => "a fault of the server's",
                SaslCode::SysPerm => "a fault that lasts",
                SaslCode::SysTemp => "a fault that passes",
            };
            let detail = Members::of("sasl-outcome").put("outcome", words).done();
            (format!("SASL outcome: {words}"), detail)
        }
    };
    Packet::new(summary, detail, bytes)
}

fn open(open: &Open) -> (String, Members) {
    let mut members = Members::of("open");
    members
        .put("containerId", open.container_id.as_str())
        .put("hostname", open.hostname.as_deref())
        .put("maxFrameSize", open.max_frame_size)
        .put("channelMax", open.channel_max)
        .put("idleTimeOut", open.idle_time_out)
        .put("offeredCapabilities", symbols(&open.offered_capabilities))
        .put("desiredCapabilities", symbols(&open.desired_capabilities))
        .put("properties", map(&open.properties));
    let host = open.hostname.as_deref().map(short);
    let host = host.map_or(String::new(), |host| format!(" to {host}"));
    (
        format!("open by {}{host}", short(&open.container_id)),
        members,
    )
}

fn attach(attach: &Attach) -> (String, Members) {
    let role = match attach.role {
        Role::Sender => "sender",
        Role::Receiver => "receiver",
    };
    let source = attach.source.as_ref().map(|source| {
        Members::default()
            .put("address", source.address.as_deref())
            .put("filter", map(&source.filter))
            .put("dynamic", source.dynamic)
            .done()
    });
    let target = attach.target.as_ref().map(|target| {
        Members::default()
            .put("address", target.address.as_deref())
            .put("dynamic", target.dynamic)
            .put("coordinator", target.coordinator)
            .done()
    });
    let mut members = Members::of("attach");
    members
        .put("name", attach.name.as_str())
        .put("handle", attach.handle)
        .put("role", role)
        .put("sndSettleMode", format!("{:?}", attach.snd_settle_mode))
        .put("rcvSettleMode", format!("{:?}", attach.rcv_settle_mode))
        .put("source", source)
        .put("target", target)
        .put("initialDeliveryCount", attach.initial_delivery_count)
        .put("maxMessageSize", attach.max_message_size)
        .put("properties", map(&attach.properties));
    let node = node(attach).map_or("no node".into(), short);
    (format!("attach {role} · {node}"), members)
}

/// The address of the hub's side: where a sender sends to, and where a receiver receives from.
fn node(attach: &Attach) -> Option<&str> {
    let source = attach.source.as_ref().and_then(|it| it.address.as_deref());
    let target = attach.target.as_ref().and_then(|it| it.address.as_deref());
    match attach.role {
        Role::Sender => target.or(source),
        Role::Receiver => source.or(target),
    }
}

/// The client that an address is about.
fn client_of(address: &str) -> Option<ClientId> {
    match Address::parse(address) {
        Address::Telemetry(client)
        | Address::C2d(client)
        | Address::Methods(client)
        | Address::Twin(client) => Some(client),
        Address::Cbs
        | Address::Management
        | Address::ServiceC2d
        | Address::Feedback
        | Address::FileNotifications
        | Address::HubEvents { .. }
        | Address::EntityPartition { .. }
        | Address::Entity { .. }
        | Address::Unknown(_) => None,
    }
}

fn disposition(disposition: &Disposition) -> (String, Members) {
    let mut members = Members::of("disposition");
    let role = match disposition.role {
        Role::Sender => "sender",
        Role::Receiver => "receiver",
    };
    members
        .put("role", role)
        .put("first", disposition.first)
        .put("last", disposition.last)
        .put("settled", disposition.settled);
    let mut words = "";
    if let Some(it) = &disposition.state {
        let (name, more) = state(it);
        words = name;
        members.put("state", name).put("more", more);
    }
    let last = match disposition.last {
        Some(last) if last != disposition.first => format!("–{last}"),
        Some(_) | None => String::new(),
    };
    let settled = if disposition.settled {
        " · settled"
    } else {
        ""
    };
    let summary = format!("disposition {}{last} {words}{settled}", disposition.first);
    (summary, members)
}

fn show_message(message: &AmqpMessage) -> Value {
    let header = &message.header;
    let header = Members::default()
        .put("durable", header.durable)
        .put("priority", header.priority)
        .put("ttl", header.ttl)
        .put("firstAcquirer", header.first_acquirer)
        .put("deliveryCount", header.delivery_count)
        .done();
    let it = &message.properties;
    let properties = Members::default()
        .put("messageId", it.message_id.as_ref().map(value))
        .put("userId", it.user_id.as_deref().map(binary))
        .put("to", it.to.as_deref())
        .put("subject", it.subject.as_deref())
        .put("replyTo", it.reply_to.as_deref())
        .put("correlationId", it.correlation_id.as_ref().map(value))
        .put(
            "contentType",
            it.content_type.as_ref().map(|it| it.as_str()),
        )
        .put(
            "contentEncoding",
            it.content_encoding.as_ref().map(|it| it.as_str()),
        )
        .put("absoluteExpiryTime", it.absolute_expiry_time.map(time))
        .put("creationTime", it.creation_time.map(time))
        .put("groupId", it.group_id.as_deref())
        .put("groupSequence", it.group_sequence)
        .put("replyToGroupId", it.reply_to_group_id.as_deref())
        .done();
    let body = match &message.body {
        Body::Data(sections) => match &sections[..] {
            [] => Value::Null,
            [only] => binary(only),
            several => several.iter().map(|it| binary(it)).collect(),
        },
        Body::Sequence(sequences) => sequences
            .iter()
            .map(|items| items.iter().map(value).collect::<Value>())
            .collect(),
        Body::Value(it) => value(it),
    };
    Members::default()
        .put("header", header)
        .put("deliveryAnnotations", map(&message.delivery_annotations))
        .put("messageAnnotations", map(&message.message_annotations))
        .put("properties", properties)
        .put(
            "applicationProperties",
            map(&message.application_properties),
        )
        .put("body", body)
        .put("footer", map(&message.footer))
        .done()
}

/// What a line says of a message: what is asked or answered, where it is a request; and the client
/// whose token it is, where it is one.
fn in_brief(message: &AmqpMessage) -> (String, Option<ClientId>) {
    let text = |name: &str| {
        let found = lookup(&message.application_properties, name)?;
        found.as_text()
    };
    if let Some(operation) = text("operation") {
        let about = text("name").unwrap_or_default();
        let speaker = match operation == "put-token" {
            true => client_of_path(about),
            false => None,
        };
        return (format!(" · {} {}", short(operation), short(about)), speaker);
    }
    let status = ["status-code", "statusCode", "status"]
        .iter()
        .find_map(|name| lookup(&message.application_properties, name)?.as_i64());
    match status {
        Some(status) => (format!(" · status {status}"), None),
        None => (String::new(), None),
    }
}

fn named(link: Option<&Link>, handle: u32) -> String {
    match link {
        Some(Link {
            address: Some(address),
            ..
        }) => address.clone(),
        Some(link) => link.name.clone(),
        None => format!("link {handle}"),
    }
}

fn why(error: Option<&iothub_protocol::amqp::AmqpError>) -> String {
    error.map_or(String::new(), |error| {
        format!(" · {}", short(error.condition.as_str()))
    })
}

fn short(text: &str) -> String {
    let text = secret::shown(text);
    match text.char_indices().nth(NAME) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
