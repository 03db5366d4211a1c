//! Packets as values.

use std::fmt;

use bytes::Bytes;

/// How often a message arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QoS {
    /// Not acknowledged.
    AtMostOnce = 0,
    /// Acknowledged with PUBACK.
    AtLeastOnce = 1,
    /// The four-packet exchange, which IoT Hub does not offer (`spec/device.md` 2.8).
    ExactlyOnce = 2,
}

impl QoS {
    /// The level with this number.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// What a client may send: the server decodes it, clients and tests encode it.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientPacket {
    /// Opens the session.
    Connect(Connect),
    /// A message.
    Publish(Publish),
    /// Acknowledges the message with this packet id.
    PubAck(u16),
    /// Asks for messages.
    Subscribe(Subscribe),
    /// Asks for no more messages.
    Unsubscribe(Unsubscribe),
    /// Shows that the client lives.
    PingReq,
    /// Ends the session; the will is not sent.
    Disconnect,
    /// PUBREC, PUBREL or PUBCOMP: well formed, never accepted (`spec/device.md` 2.8). Encodes as a
    /// PUBREL.
    QoS2Handshake,
}

/// What a server may send: the server encodes it, clients and tests decode it.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerPacket {
    /// Answers a CONNECT.
    ConnAck {
        /// Whether the server remembers the client's subscriptions; only when accepted.
        session_present: bool,
        /// Accepted, or why not.
        code: ConnAckCode,
    },
    /// A message.
    Publish(Publish),
    /// Acknowledges the message with this packet id.
    PubAck(u16),
    /// Answers a SUBSCRIBE.
    SubAck {
        /// The packet id of the SUBSCRIBE.
        packet_id: u16,
        /// One answer per filter, in order.
        codes: Vec<SubAckCode>,
    },
    /// Answers the UNSUBSCRIBE with this packet id.
    UnsubAck(u16),
    /// Answers a PINGREQ.
    PingResp,
}

/// The fields of a CONNECT. Debug output leaves the password out.
#[derive(Clone, PartialEq)]
pub struct Connect {
    /// The protocol level; the decoder lets 4 alone pass.
    pub level: u8,
    /// Whether earlier subscriptions are to be forgotten.
    pub clean_session: bool,
    /// Seconds; 0 means no limit of the client's.
    pub keep_alive: u16,
    /// May be empty.
    pub client_id: String,
    /// Always there when a password is.
    pub username: Option<String>,
    /// Any bytes; a SAS token for IoT Hub.
    pub password: Option<Bytes>,
    /// What to publish when the connection ends without DISCONNECT.
    pub will: Option<Will>,
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("level", &self.level)
            .field("clean_session", &self.clean_session)
            .field("keep_alive", &self.keep_alive)
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "(hidden)"))
            .field("will", &self.will)
            .finish()
    }
}

/// A message left with the server for the case that the client vanishes.
#[derive(Clone, Debug, PartialEq)]
pub struct Will {
    /// Never empty.
    pub topic: String,
    /// The body.
    pub payload: Bytes,
    /// The level at which the client would have sent it.
    pub qos: QoS,
    /// The RETAIN flag that the message is to have.
    pub retain: bool,
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    /// Whether it may have been sent before.
    pub dup: bool,
    /// How it is acknowledged.
    pub qos: QoS,
    /// The RETAIN flag.
    pub retain: bool,
    /// The topic; the decoder has checked that it is UTF-8 and not empty. See [`Self::topic`].
    pub topic: Bytes,
    /// What an acknowledgement names; 0 at QoS 0, which has none.
    pub packet_id: u16,
    /// The body.
    pub payload: Bytes,
}

impl Publish {
    /// The topic as text; empty when the value was built by hand from bytes that are no text.
    pub fn topic(&self) -> &str {
        std::str::from_utf8(&self.topic).unwrap_or_default()
    }
}

/// The fields of a SUBSCRIBE.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe {
    /// What the SUBACK names.
    pub packet_id: u16,
    /// Filters with the level asked for; at least one, none empty.
    pub filters: Vec<(String, QoS)>,
}

/// The fields of an UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsubscribe {
    /// What the UNSUBACK names.
    pub packet_id: u16,
    /// At least one, none empty.
    pub filters: Vec<String>,
}

/// The answer to a CONNECT (`spec/device.md` 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnAckCode {
    /// The session is open.
    Accepted = 0,
    /// Not MQTT 3.1.1.
    UnacceptableProtocolVersion = 1,
    /// The client id is not allowed.
    IdentifierRejected = 2,
    /// Not now; clients try again.
    ServerUnavailable = 3,
    /// User name or password are malformed; IoT Hub says [`Self::NotAuthorized`] instead.
    BadUserNameOrPassword = 4,
    /// The credentials do not open this session.
    NotAuthorized = 5,
}

impl ConnAckCode {
    /// The code with this number.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Accepted),
            1 => Some(Self::UnacceptableProtocolVersion),
            2 => Some(Self::IdentifierRejected),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}

/// The answer to one filter of a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SubAckCode {
    /// Messages come at this level at most.
    Granted(QoS),
    /// There is no subscription.
    Failure,
}

impl SubAckCode {
    /// The code with this number.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match (bits, QoS::from_bits(bits)) {
            (0x80, _) => Some(Self::Failure),
            (_, Some(qos)) => Some(Self::Granted(qos)),
            (_, None) => None,
        }
    }

    /// The number on the wire.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Granted(qos) => qos as u8,
            Self::Failure => 0x80,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let connect = Connect {
            level: 4,
            clean_session: true,
            keep_alive: 60,
            client_id: "d1".into(),
            username: None,
            password: Some(Bytes::from_static(
                b"SharedAccessSignature sr=x&sig=secret&se=1",
            )),
            will: None,
        };

        assert!(!format!("{connect:?}").contains("secret"));
    }
}
