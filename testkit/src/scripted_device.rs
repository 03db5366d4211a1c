//! A device that does just what it is told: raw MQTT on a TCP connection.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use iothub_protocol::ClientId;
use iothub_protocol::http::API_VERSION;
use iothub_protocol::mqtt::codec::{decode_server, encode_client};
use iothub_protocol::mqtt::packet::{
    ClientPacket, ConnAckCode, Connect, Publish, QoS, ServerPacket, SubAckCode, Subscribe,
    Unsubscribe,
};
use iothub_protocol::mqtt::username::UserName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::timeline::{WAIT_LIMIT, excerpt};

/// A TCP connection to the plain MQTT port, packet by packet or byte by byte. It sends nothing by
/// itself, not even a PUBACK. Dropping it breaks the connection without a word.
///
/// What is waited for has a limit ([`crate::WAIT_LIMIT`]); every method panics when it runs out, or
/// when something else comes than the method is named after.
pub struct ScriptedDevice {
    stream: TcpStream,
    received: BytesMut,
    last_packet_id: u16,
}

/// More than any packet of the hub has.
const PACKET_LIMIT: usize = 1 << 20;

impl ScriptedDevice {
    /// Opens a connection to this port of 127.0.0.1 and sends nothing.
    pub async fn dial(port: u16) -> Self {
        let opened = limit("a connection", TcpStream::connect(("127.0.0.1", port))).await;
        let stream = opened.unwrap_or_else(|error| panic!("connect to port {port}: {error}"));
        stream
            .set_nodelay(true)
            .unwrap_or_else(|error| panic!("TCP_NODELAY: {error}"));
        Self {
            stream,
            received: BytesMut::new(),
            last_packet_id: 0,
        }
    }

    /// The CONNECT packet of an SDK: MQTT 3.1.1, clean session, a keep-alive of four minutes, an
    /// api-version (`spec/device.md` 2.2, 2.3).
    pub fn connect_packet(hostname: &str, client: &ClientId, token: &str) -> Connect {
        let mut user_name = UserName::new(hostname, client.clone());
        user_name.api_version = Some(API_VERSION.into());
        Connect {
            level: 4,
            clean_session: true,
            keep_alive: 240,
            client_id: client.to_string(),
            username: Some(user_name.to_string()),
            password: Some(Bytes::copy_from_slice(token.as_bytes())),
            will: None,
        }
    }

    /// Sends a CONNECT that the hub is to accept. Returns whether it remembered the session.
    pub async fn connect(&mut self, connect: Connect) -> bool {
        match self.try_connect(connect).await {
            (session_present, ConnAckCode::Accepted) => session_present,
            (_, code) => panic!("the hub answered CONNECT with {code:?}"),
        }
    }

    /// Sends a CONNECT; returns whether the session is remembered, and the code.
    pub async fn try_connect(&mut self, connect: Connect) -> (bool, ConnAckCode) {
        self.send(&ClientPacket::Connect(connect)).await;
        match self.receive().await {
            ServerPacket::ConnAck {
                session_present,
                code,
            } => (session_present, code),
            other => panic!("expected CONNACK, got {other:?}"),
        }
    }

    /// Subscribes to one filter at QoS 0; the hub is to grant it.
    pub async fn subscribe(&mut self, filter: &str) {
        let packet_id = self.next_packet_id();
        let filters = vec![(filter.to_owned(), QoS::AtMostOnce)];
        self.send(&ClientPacket::Subscribe(Subscribe { packet_id, filters }))
            .await;
        let codes = vec![SubAckCode::Granted(QoS::AtMostOnce)];
        assert_eq!(
            self.receive().await,
            ServerPacket::SubAck { packet_id, codes }
        );
    }

    /// Unsubscribes from one filter.
    pub async fn unsubscribe(&mut self, filter: &str) {
        let packet_id = self.next_packet_id();
        let filters = vec![filter.to_owned()];
        self.send(&ClientPacket::Unsubscribe(Unsubscribe {
            packet_id,
            filters,
        }))
        .await;
        assert_eq!(self.receive().await, ServerPacket::UnsubAck(packet_id));
    }

    /// Publishes at QoS 0: nothing comes back by itself.
    pub async fn publish(&mut self, topic: &str, payload: impl Into<Bytes>) {
        self.send(&ClientPacket::Publish(publish(
            QoS::AtMostOnce,
            topic,
            0,
            payload,
        )))
        .await;
    }

    /// Publishes at QoS 1 and waits for the PUBACK, which is to be the next packet.
    pub async fn publish_and_wait(&mut self, topic: &str, payload: impl Into<Bytes>) {
        let packet_id = self.next_packet_id();
        let publish = publish(QoS::AtLeastOnce, topic, packet_id, payload);
        self.send(&ClientPacket::Publish(publish)).await;
        assert_eq!(self.receive().await, ServerPacket::PubAck(packet_id));
    }

    /// Sends telemetry of `client` and waits for the PUBACK.
    pub async fn send_telemetry(&mut self, client: &str, bag: &str, body: impl Into<Bytes>) {
        let prefix = match client.split_once('/') {
            None => format!("devices/{client}"),
            Some((device, module)) => format!("devices/{device}/modules/{module}"),
        };
        self.publish_and_wait(&format!("{prefix}/messages/events/{bag}"), body)
            .await;
    }

    /// Waits for a PUBLISH: its topic and payload.
    pub async fn receive_publish(&mut self) -> (String, Bytes) {
        match self.receive().await {
            ServerPacket::Publish(publish) => (publish.topic().to_owned(), publish.payload),
            other => panic!("expected PUBLISH, got {other:?}"),
        }
    }

    /// Waits for a method call: its name, request id and payload.
    pub async fn receive_call(&mut self) -> (String, String, Bytes) {
        let (topic, payload) = self.receive_publish().await;
        let call = topic
            .strip_prefix("$iothub/methods/POST/")
            .and_then(|rest| rest.rsplit_once("/?$rid="));
        match call {
            Some((name, rid)) => (name.to_owned(), rid.to_owned(), payload),
            None => panic!("expected a method call, got {topic} {}", excerpt(&payload)),
        }
    }

    /// Answers a method call.
    pub async fn answer_call(&mut self, rid: &str, status: i32, payload: impl Into<Bytes>) {
        self.publish(
            &format!("$iothub/methods/res/{status}/?$rid={rid}"),
            payload,
        )
        .await;
    }

    /// Proves that the hub has handled everything sent so far, and has sent nothing that has not
    /// been received: a PINGREQ, and its answer as the very next packet.
    pub async fn expect_nothing(&mut self) {
        self.send(&ClientPacket::PingReq).await;
        match self.receive().await {
            ServerPacket::PingResp => {}
            other => panic!("expected nothing, got {other:?}"),
        }
    }

    /// Waits until the hub closes the connection; nothing else is to come before.
    pub async fn expect_closed(&mut self) {
        match self.next().await {
            None => {}
            Some(packet) => panic!("expected the end of the connection, got {packet:?}"),
        }
    }

    /// Waits for the next packet.
    pub async fn receive(&mut self) -> ServerPacket {
        match self.next().await {
            Some(packet) => packet,
            None => panic!("expected a packet, but the hub closed the connection"),
        }
    }

    /// Sends a packet, well formed or not.
    pub async fn send(&mut self, packet: &ClientPacket) {
        let mut bytes = BytesMut::new();
        encode_client(packet, &mut bytes);
        self.send_bytes(&bytes).await;
    }

    /// Sends bytes. That the hub has closed the connection meanwhile shows when receiving.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        // An error is the end of the connection, which the next receive meets as well.
        let _ = limit("the hub to read", self.stream.write_all(bytes)).await;
    }

    /// Says goodbye, and waits until the hub has closed the connection.
    pub async fn disconnect(mut self) {
        self.send(&ClientPacket::Disconnect).await;
        self.expect_closed().await;
    }

    /// The next packet; `None` when the hub has closed the connection.
    async fn next(&mut self) -> Option<ServerPacket> {
        loop {
            match decode_server(&mut self.received, PACKET_LIMIT) {
                Ok(Some(packet)) => return Some(packet),
                Ok(None) => {}
                Err(error) => panic!("{error}: {:?}", self.received),
            }
            let read = self.stream.read_buf(&mut self.received);
            match limit("a packet of the hub, or the end of the connection", read).await {
                // A connection is reset when the hub closes it with something of ours unread.
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    fn next_packet_id(&mut self) -> u16 {
        self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
        self.last_packet_id
    }
}

fn publish(qos: QoS, topic: &str, packet_id: u16, payload: impl Into<Bytes>) -> Publish {
    let topic = Bytes::copy_from_slice(topic.as_bytes());
    Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id,
        payload: payload.into(),
    }
}

async fn limit<T>(what: &str, future: impl Future<Output = T>) -> T {
    const LIMIT: Duration = WAIT_LIMIT;
    match tokio::time::timeout(LIMIT, future).await {
        Ok(done) => done,
        Err(_) => panic!("waited {LIMIT:?} in vain for {what}"),
    }
}
