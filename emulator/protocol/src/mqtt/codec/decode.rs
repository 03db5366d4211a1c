//! Takes one packet off the front of a buffer.

use bytes::{Buf, Bytes, BytesMut};

use super::DecodeError::{self, Malformed};
use super::kind;
use super::reader::Reader;
use crate::mqtt::packet::{
    ClientPacket, ConnAckCode, Connect, Publish, QoS, ServerPacket, SubAckCode, Subscribe,
    Unsubscribe, Will,
};

/// Takes the next packet of a client off `buffer`.
///
/// `Ok(None)` means that more bytes are needed; nothing is consumed then, nor on an error. `limit`
/// bounds the remaining length and is checked as soon as the header is there; packets that a client
/// must not send are refused at their first byte.
pub fn decode_client(
    buffer: &mut BytesMut,
    limit: usize,
) -> Result<Option<ClientPacket>, DecodeError> {
    let Some(&first) = buffer.first() else {
        return Ok(None);
    };
    match first >> 4 {
        kind::PUBLISH => {
            return Ok(take_publish(buffer, first, limit)?.map(ClientPacket::Publish));
        }
        // [MQTT-2.2.2-2]: the lower half of the first byte is fixed, here to 0010.
        kind::PUBREL | kind::SUBSCRIBE | kind::UNSUBSCRIBE => check_flags(first, 2)?,
        kind::CONNECT
        | kind::PUBACK
        | kind::PUBREC
        | kind::PUBCOMP
        | kind::PINGREQ
        | kind::DISCONNECT => check_flags(first, 0)?,
        _ => return Err(Malformed("not a packet that a client sends")),
    }

    let Some(frame) = Frame::find(buffer, limit)? else {
        return Ok(None);
    };
    let mut body = Reader(&buffer[frame.start..frame.end]);
    let packet = match first >> 4 {
        kind::CONNECT => ClientPacket::Connect(connect(&mut body)?),
        kind::PUBACK => ClientPacket::PubAck(body.packet_id()?),
        kind::PUBREC | kind::PUBREL | kind::PUBCOMP => {
            body.packet_id()?;
            ClientPacket::QoS2Handshake
        }
        kind::SUBSCRIBE => ClientPacket::Subscribe(subscribe(&mut body)?),
        kind::UNSUBSCRIBE => ClientPacket::Unsubscribe(unsubscribe(&mut body)?),
        kind::PINGREQ => ClientPacket::PingReq,
        _ => ClientPacket::Disconnect,
    };
    body.finish()?;
    buffer.advance(frame.end);
    Ok(Some(packet))
}

/// Takes the next packet of a server off `buffer`, under the same rules as [`decode_client`].
pub fn decode_server(
    buffer: &mut BytesMut,
    limit: usize,
) -> Result<Option<ServerPacket>, DecodeError> {
    let Some(&first) = buffer.first() else {
        return Ok(None);
    };
    match first >> 4 {
        kind::PUBLISH => {
            return Ok(take_publish(buffer, first, limit)?.map(ServerPacket::Publish));
        }
        kind::CONNACK | kind::PUBACK | kind::SUBACK | kind::UNSUBACK | kind::PINGRESP => {
            check_flags(first, 0)?;
        }
        _ => return Err(Malformed("not a packet that a server of QoS 0 and 1 sends")),
    }

    let Some(frame) = Frame::find(buffer, limit)? else {
        return Ok(None);
    };
    let mut body = Reader(&buffer[frame.start..frame.end]);
    let packet = match first >> 4 {
        kind::CONNACK => connack(&mut body)?,
        kind::PUBACK => ServerPacket::PubAck(body.packet_id()?),
        kind::SUBACK => suback(&mut body)?,
        kind::UNSUBACK => ServerPacket::UnsubAck(body.packet_id()?),
        _ => ServerPacket::PingResp,
    };
    body.finish()?;
    buffer.advance(frame.end);
    Ok(Some(packet))
}

fn check_flags(first: u8, expected: u8) -> Result<(), DecodeError> {
    if first & 0x0f == expected {
        Ok(())
    } else {
        Err(Malformed("reserved header flags are wrong"))
    }
}

/// Where the body of the first packet lies in the buffer.
struct Frame {
    start: usize,
    end: usize,
}

impl Frame {
    /// `None` while the packet is not complete.
    #[inline]
    fn find(buffer: &[u8], limit: usize) -> Result<Option<Self>, DecodeError> {
        let mut size = 0;
        for index in 0..4 {
            let Some(&byte) = buffer.get(1 + index) else {
                return Ok(None);
            };
            size |= usize::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                if size > limit {
                    return Err(DecodeError::TooLarge { size, limit });
                }
                let start = index + 2;
                let end = start + size;
                return Ok((buffer.len() >= end).then_some(Self { start, end }));
            }
        }
        Err(Malformed("the remaining length has more than four bytes"))
    }
}

fn take_publish(
    buffer: &mut BytesMut,
    first: u8,
    limit: usize,
) -> Result<Option<Publish>, DecodeError> {
    let dup = first & 0x08 != 0;
    let retain = first & 0x01 != 0;
    let qos = QoS::from_bits((first >> 1) & 0x03).ok_or(Malformed("QoS 3"))?;
    if dup && qos == QoS::AtMostOnce {
        return Err(Malformed("DUP at QoS 0")); // [MQTT-3.3.1-2]
    }
    let Some(frame) = Frame::find(buffer, limit)? else {
        return Ok(None);
    };

    let mut body = Reader(&buffer[frame.start..frame.end]);
    let topic_size = body.topic()?.len();
    let packet_id = if qos == QoS::AtMostOnce {
        0
    } else {
        body.packet_id()?
    };
    let payload_size = body.0.len();

    buffer.advance(frame.start + 2);
    let topic = buffer.split_to(topic_size).freeze();
    buffer.advance(frame.end - frame.start - 2 - topic_size - payload_size);
    let payload = if payload_size == 0 {
        Bytes::new()
    } else {
        buffer.split_to(payload_size).freeze()
    };
    Ok(Some(Publish {
        dup,
        qos,
        retain,
        topic,
        packet_id,
        payload,
    }))
}

fn connect(body: &mut Reader<'_>) -> Result<Connect, DecodeError> {
    let name = body.text()?;
    let level = body.byte()?;
    // Later fields differ between versions, so nothing after the level is looked at.
    if name != "MQTT" || level != 4 {
        return Err(DecodeError::UnsupportedProtocol {
            name: name.into(),
            level,
        });
    }

    let flags = body.byte()?;
    let is_set = |bit: u8| flags & (1 << bit) != 0;
    if is_set(0) {
        return Err(Malformed("the reserved connect flag is set")); // [MQTT-3.1.2-3]
    }
    let will_qos = QoS::from_bits((flags >> 3) & 0x03).ok_or(Malformed("will QoS 3"))?;
    if !is_set(2) && (will_qos != QoS::AtMostOnce || is_set(5)) {
        return Err(Malformed("will QoS or will retain without a will")); // [MQTT-3.1.2-13, -15]
    }
    if is_set(6) && !is_set(7) {
        return Err(Malformed("a password without a user name")); // [MQTT-3.1.2-22]
    }

    let keep_alive = body.number()?;
    let client_id = body.text()?.to_owned();
    let will = if is_set(2) {
        Some(Will {
            topic: body.topic()?.to_owned(),
            payload: Bytes::copy_from_slice(body.bytes()?),
            qos: will_qos,
            retain: is_set(5),
        })
    } else {
        None
    };
    let username = if is_set(7) {
        Some(body.text()?.to_owned())
    } else {
        None
    };
    let password = if is_set(6) {
        Some(Bytes::copy_from_slice(body.bytes()?))
    } else {
        None
    };
    Ok(Connect {
        level,
        clean_session: is_set(1),
        keep_alive,
        client_id,
        username,
        password,
        will,
    })
}

fn subscribe(body: &mut Reader<'_>) -> Result<Subscribe, DecodeError> {
    let packet_id = body.packet_id()?;
    let mut filters = Vec::new();
    while !body.is_empty() {
        let filter = body.topic()?.to_owned();
        // [MQTT-3-8.3-4]: the upper six bits are 0 and the level is at most 2.
        let qos = QoS::from_bits(body.byte()?).ok_or(Malformed("a requested QoS over 2"))?;
        filters.push((filter, qos));
    }
    if filters.is_empty() {
        return Err(Malformed("a SUBSCRIBE without filters")); // [MQTT-3.8.3-3]
    }
    Ok(Subscribe { packet_id, filters })
}

fn unsubscribe(body: &mut Reader<'_>) -> Result<Unsubscribe, DecodeError> {
    let packet_id = body.packet_id()?;
    let mut filters = Vec::new();
    while !body.is_empty() {
        filters.push(body.topic()?.to_owned());
    }
    if filters.is_empty() {
        return Err(Malformed("an UNSUBSCRIBE without filters")); // [MQTT-3.10.3-2]
    }
    Ok(Unsubscribe { packet_id, filters })
}

fn connack(body: &mut Reader<'_>) -> Result<ServerPacket, DecodeError> {
    let session_present = match body.byte()? {
        0 => false,
        1 => true,
        _ => return Err(Malformed("reserved CONNACK flags are set")),
    };
    let code = ConnAckCode::from_bits(body.byte()?).ok_or(Malformed("a reserved CONNACK code"))?;
    if session_present && code != ConnAckCode::Accepted {
        return Err(Malformed("a refusal with a session present")); // [MQTT-3.2.2-4]
    }
    Ok(ServerPacket::ConnAck {
        session_present,
        code,
    })
}

fn suback(body: &mut Reader<'_>) -> Result<ServerPacket, DecodeError> {
    let packet_id = body.packet_id()?;
    let mut codes = Vec::new();
    while !body.is_empty() {
        let code = SubAckCode::from_bits(body.byte()?);
        codes.push(code.ok_or(Malformed("a reserved SUBACK code"))?);
    }
    if codes.is_empty() {
        return Err(Malformed("a SUBACK without codes"));
    }
    Ok(ServerPacket::SubAck { packet_id, codes })
}
