//! Appends one packet to a buffer.

use std::fmt;

use bytes::{BufMut, BytesMut};

use super::kind;
use crate::mqtt::packet::{ClientPacket, Connect, QoS, ServerPacket, Subscribe, Unsubscribe};

/// The longest remaining length that four bytes can say.
const MAX_REMAINING: usize = 268_435_455;

/// A text is longer than the 65,535 bytes that its length field can say, or a packet longer than
/// 268,435,455.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("longer than an MQTT packet can hold")
    }
}

impl std::error::Error for TooLong {}

/// Appends a packet of a client. A packet with a field that is [`TooLong`] appends nothing.
///
/// Values that no decoder accepts (a packet id of 0, say) are encoded as they are, so that tests can
/// send them.
pub fn encode_client(packet: &ClientPacket, out: &mut BytesMut) {
    let body = match packet {
        ClientPacket::Connect(connect) => (kind::CONNECT << 4, connect_body(connect)),
        ClientPacket::Publish(p) => {
            // Nothing is appended on an error, as promised above.
            let _ = encode_publish(
                out,
                p.dup,
                p.qos,
                p.retain,
                p.topic(),
                p.packet_id,
                &p.payload,
            );
            return;
        }
        ClientPacket::PubAck(id) => return put_acknowledgement(out, kind::PUBACK << 4, *id),
        ClientPacket::Subscribe(subscribe) => (kind::SUBSCRIBE << 4 | 2, subscribe_body(subscribe)),
        ClientPacket::Unsubscribe(unsubscribe) => {
            (kind::UNSUBSCRIBE << 4 | 2, unsubscribe_body(unsubscribe))
        }
        ClientPacket::PingReq => return out.put_slice(&[kind::PINGREQ << 4, 0]),
        ClientPacket::Disconnect => return out.put_slice(&[kind::DISCONNECT << 4, 0]),
        ClientPacket::QoS2Handshake => return put_acknowledgement(out, kind::PUBREL << 4 | 2, 1),
    };
    if let (first, Ok(body)) = body {
        put_packet(out, first, &body);
    }
}

/// Appends a packet of a server, under the same rules as [`encode_client`].
pub fn encode_server(packet: &ServerPacket, out: &mut BytesMut) {
    match packet {
        ServerPacket::ConnAck {
            session_present,
            code,
        } => {
            out.put_slice(&[
                kind::CONNACK << 4,
                2,
                u8::from(*session_present),
                *code as u8,
            ]);
        }
        ServerPacket::Publish(p) => {
            // Nothing is appended on an error, as promised above.
            let _ = encode_publish(
                out,
                p.dup,
                p.qos,
                p.retain,
                p.topic(),
                p.packet_id,
                &p.payload,
            );
        }
        ServerPacket::PubAck(id) => put_acknowledgement(out, kind::PUBACK << 4, *id),
        ServerPacket::SubAck { packet_id, codes } => {
            let mut body = packet_id.to_be_bytes().to_vec();
            body.extend(codes.iter().map(|code| code.bits()));
            put_packet(out, kind::SUBACK << 4, &body);
        }
        ServerPacket::UnsubAck(id) => put_acknowledgement(out, kind::UNSUBACK << 4, *id),
        ServerPacket::PingResp => out.put_slice(&[kind::PINGRESP << 4, 0]),
    }
}

/// Appends a PUBLISH without an intermediate packet. `packet_id` is left out at QoS 0. Refuses a
/// topic or payload that is [`TooLong`] and appends nothing then.
pub fn encode_publish(
    out: &mut BytesMut,
    dup: bool,
    qos: QoS,
    retain: bool,
    topic: &str,
    packet_id: u16,
    payload: &[u8],
) -> Result<(), TooLong> {
    let topic_size = u16::try_from(topic.len()).map_err(|_| TooLong)?;
    let id_size = if qos == QoS::AtMostOnce { 0 } else { 2 };
    let remaining = 2 + topic.len() + id_size + payload.len();
    if remaining > MAX_REMAINING {
        return Err(TooLong);
    }

    out.reserve(5 + remaining);
    put_header(
        out,
        kind::PUBLISH << 4 | u8::from(dup) << 3 | (qos as u8) << 1 | u8::from(retain),
        remaining,
    );
    out.put_u16(topic_size);
    out.put_slice(topic.as_bytes());
    if qos != QoS::AtMostOnce {
        out.put_u16(packet_id);
    }
    out.put_slice(payload);
    Ok(())
}

fn connect_body(connect: &Connect) -> Result<Vec<u8>, TooLong> {
    let mut body = Vec::new();
    // The name that belonged to level 3; every later version says MQTT.
    put_field(
        &mut body,
        if connect.level == 3 {
            b"MQIsdp"
        } else {
            b"MQTT"
        },
    )?;
    body.push(connect.level);
    let will = connect.will.as_ref();
    body.push(
        u8::from(connect.clean_session) << 1
            | u8::from(will.is_some()) << 2
            | will.map_or(0, |will| will.qos as u8) << 3
            | u8::from(will.is_some_and(|will| will.retain)) << 5
            | u8::from(connect.password.is_some()) << 6
            | u8::from(connect.username.is_some()) << 7,
    );
    body.put_u16(connect.keep_alive);
    put_field(&mut body, connect.client_id.as_bytes())?;
    if let Some(will) = will {
        put_field(&mut body, will.topic.as_bytes())?;
        put_field(&mut body, &will.payload)?;
    }
    if let Some(username) = &connect.username {
        put_field(&mut body, username.as_bytes())?;
    }
    if let Some(password) = &connect.password {
        put_field(&mut body, password)?;
    }
    Ok(body)
}

fn subscribe_body(subscribe: &Subscribe) -> Result<Vec<u8>, TooLong> {
    let mut body = subscribe.packet_id.to_be_bytes().to_vec();
    for (filter, qos) in &subscribe.filters {
        put_field(&mut body, filter.as_bytes())?;
        body.push(*qos as u8);
    }
    Ok(body)
}

fn unsubscribe_body(unsubscribe: &Unsubscribe) -> Result<Vec<u8>, TooLong> {
    let mut body = unsubscribe.packet_id.to_be_bytes().to_vec();
    for filter in &unsubscribe.filters {
        put_field(&mut body, filter.as_bytes())?;
    }
    Ok(body)
}

/// Bytes behind their length.
fn put_field(body: &mut Vec<u8>, field: &[u8]) -> Result<(), TooLong> {
    body.put_u16(u16::try_from(field.len()).map_err(|_| TooLong)?);
    body.extend_from_slice(field);
    Ok(())
}

/// A packet that consists of its packet id.
fn put_acknowledgement(out: &mut BytesMut, first: u8, packet_id: u16) {
    let [high, low] = packet_id.to_be_bytes();
    out.put_slice(&[first, 2, high, low]);
}

fn put_packet(out: &mut BytesMut, first: u8, body: &[u8]) {
    if body.len() <= MAX_REMAINING {
        put_header(out, first, body.len());
        out.put_slice(body);
    }
}

fn put_header(out: &mut BytesMut, first: u8, mut remaining: usize) {
    let mut header = [first, 0, 0, 0, 0];
    let mut size = 1;
    loop {
        // The cast takes the lowest seven bits only.
        header[size] = (remaining & 0x7f) as u8;
        remaining >>= 7;
        if remaining == 0 {
            break;
        }
        header[size] |= 0x80;
        size += 1;
    }
    out.put_slice(&header[..=size]);
}
