//! A running emulator and a client that sends literal bytes.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "shared by test binaries that use parts of it"
)]

use std::time::Duration;

use bytes::BytesMut;
use iothub_emulator::Emulator;
use iothub_emulator::activity::OperationKind;
use iothub_emulator::config::{ClockSetting, Config};
use iothub_hub::Principal;
use iothub_protocol::mqtt::codec::{decode_server, encode_client};
use iothub_protocol::mqtt::packet::{
    ClientPacket, ConnAckCode, Connect, Publish, QoS, ServerPacket, Subscribe,
};
use iothub_protocol::registry::{Authentication, IdentitySpec, IfMatch};
use iothub_protocol::sas::{SymmetricKey, sign};
use iothub_protocol::{ClientId, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long to wait for something that must happen.
const LIMIT: Duration = Duration::from_secs(10);

pub(crate) async fn emulator() -> Emulator {
    Emulator::start(Config::default()).await.unwrap()
}

/// An emulator whose clock stands at [`noon`].
pub(crate) async fn frozen_emulator() -> Emulator {
    let config = Config {
        clock: ClockSetting::Frozen(noon()),
        ..Config::default()
    };
    Emulator::start(config).await.unwrap()
}

pub(crate) fn noon() -> Timestamp {
    Timestamp::from_unix_seconds(1_900_000_000)
}

/// Registers a device (or a module, its device must exist) and answers its primary key.
pub(crate) async fn register(emulator: &Emulator, client: &str) -> SymmetricKey {
    let id = ClientId::parse(client).unwrap();
    let operator = Principal::operator();
    let handle = emulator.handle();
    let authentication = handle
        .call(OperationKind::PutDevice.on(&id), |hub, cx| {
            let spec = IdentitySpec::default();
            Ok(match &id.module {
                None => {
                    hub.put_device(cx, &operator, &id.device, spec, &IfMatch::Absent)?
                        .authentication
                }
                Some(module) => {
                    hub.put_module(cx, &operator, &id.device, module, spec, &IfMatch::Absent)?
                        .authentication
                }
            })
        })
        .await
        .unwrap();
    match authentication {
        Authentication::Sas { primary, .. } => primary,
        other => panic!("{client} authenticates by {other:?}"),
    }
}

/// A token of `client` for an hour from the emulator's now.
pub(crate) fn token(emulator: &Emulator, client: &str, key: &SymmetricKey) -> String {
    use iothub_protocol::Clock;

    let expiry = emulator.handle().clock().now() + Duration::from_secs(3600);
    sign(&resource(client), expiry, None, key)
}

pub(crate) fn resource(client: &str) -> String {
    format!("localhost/devices/{}", client.replace('/', "/modules/"))
}

/// The CONNECT of a modern SDK.
pub(crate) fn connect(client: &str, token: &str) -> Connect {
    Connect {
        level: 4,
        clean_session: false,
        keep_alive: 60,
        client_id: client.into(),
        username: Some(format!("localhost/{client}/?api-version=2021-04-12")),
        password: Some(token.to_owned().into()),
        will: None,
    }
}

pub(crate) fn publish(topic: &str, qos: QoS, packet_id: u16, payload: &[u8]) -> ClientPacket {
    ClientPacket::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic: topic.to_owned().into(),
        packet_id,
        payload: payload.to_vec().into(),
    })
}

pub(crate) fn subscribe(packet_id: u16, filters: &[(&str, QoS)]) -> ClientPacket {
    ClientPacket::Subscribe(Subscribe {
        packet_id,
        filters: filters
            .iter()
            .map(|(filter, qos)| ((*filter).to_owned(), *qos))
            .collect(),
    })
}

/// A connection that says what it is told to.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Client {
    /// A bare TCP connection to the clear MQTT listener.
    pub(crate) async fn dial(emulator: &Emulator) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", emulator.ports().mqtt))
            .await
            .unwrap();
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// A registered and connected device or module.
    pub(crate) async fn online(emulator: &Emulator, client: &str) -> Self {
        let key = register(emulator, client).await;
        Self::enter(emulator, connect(client, &token(emulator, client, &key)))
            .await
            .0
    }

    /// Connects and expects to be let in; answers whether a session was present.
    pub(crate) async fn enter(emulator: &Emulator, connect: Connect) -> (Self, bool) {
        let mut client = Self::dial(emulator).await;
        client.send(&ClientPacket::Connect(connect)).await;
        match client.next().await {
            Some(ServerPacket::ConnAck {
                session_present,
                code: ConnAckCode::Accepted,
            }) => (client, session_present),
            other => panic!("not let in: {other:?}"),
        }
    }

    pub(crate) async fn send(&mut self, packet: &ClientPacket) {
        let mut out = BytesMut::new();
        encode_client(packet, &mut out);
        self.send_bytes(&out).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        // A connection that has been closed meanwhile shows in what is read next.
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next packet; `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<ServerPacket> {
        loop {
            if let Some(packet) = decode_server(&mut self.buffer, 1 << 20).unwrap() {
                return Some(packet);
            }
            if !self.read().await {
                return None;
            }
        }
    }

    /// The next bytes, exactly as many as expected; fewer at the end of the connection.
    pub(crate) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count && self.read().await {}
        let count = count.min(self.buffer.len());
        self.buffer.split_to(count).to_vec()
    }

    /// Asserts that the connection ends without another packet.
    pub(crate) async fn expect_close(&mut self) {
        if let Some(packet) = self.next().await {
            panic!("expected the end of the connection, got {packet:?}");
        }
    }

    /// Asserts that the connection lives and nothing else is on its way.
    pub(crate) async fn expect_alive(&mut self) {
        self.send(&ClientPacket::PingReq).await;
        assert_eq!(self.next().await, Some(ServerPacket::PingResp));
    }

    /// Ends the connection without a word.
    pub(crate) fn reset(self) {
        drop(self);
    }

    async fn read(&mut self) -> bool {
        let read = self.stream.read_buf(&mut self.buffer);
        let read = tokio::time::timeout(LIMIT, read)
            .await
            .expect("nothing came in time");
        // A reset is an end like any other.
        !matches!(read, Ok(0) | Err(_))
    }
}
