//! A hub with a bus, its devices, and observers that can say anything.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use iothub_emulator::activity::OperationKind;
use iothub_emulator::clock::HubClock;
use iothub_emulator::handle::Presence;
use iothub_emulator::secret::Secret;
use iothub_emulator::store::MemoryStore;
use iothub_emulator::{HubHandle, observer, transport};
use iothub_hub::{ConnectRequest, Delivery, End, Hub, HubConfig, Limits, Principal};
use iothub_protocol::method::MethodResponse;
use iothub_protocol::mqtt::codec::{decode_server, encode_client};
use iothub_protocol::mqtt::packet::{
    ClientPacket, ConnAckCode, Connect, QoS, ServerPacket, SubAckCode, Subscribe,
};
use iothub_protocol::registry::{IdentitySpec, IfMatch};
use iothub_protocol::twin::TwinPatch;
use iothub_protocol::{ClientId, DeviceId, Message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const CONNECTED: &str = r#"{"state":"connected"}"#;

/// A hub with a bus.
pub(crate) struct World {
    pub(crate) handle: HubHandle,
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) served: JoinHandle<io::Result<()>>,
}

/// A device of it, connected.
pub(crate) struct Device {
    pub(crate) handle: HubHandle,
    pub(crate) client: ClientId,
    pub(crate) presence: Presence,
}

impl World {
    pub(crate) fn start(name: &str) -> Self {
        Self::with_password(name, None)
    }

    pub(crate) fn with_password(name: &str, password: Option<&str>) -> Self {
        let handle = Self::hub(name);
        Self::open(handle, name, password)
    }

    pub(crate) fn hub(name: &str) -> HubHandle {
        let hub = Hub::new(HubConfig {
            name: name.to_owned(),
            host_names: Vec::new(),
            policies: Vec::new(),
            partitions: 2,
            seed: 1,
            limits: Limits::default(),
            ..HubConfig::default()
        });
        let store = Box::new(MemoryStore::new(2, 64 * 1024 * 1024));
        HubHandle::open(hub, store, Arc::new(HubClock::system())).unwrap()
    }

    pub(crate) fn open(handle: HubHandle, name: &str, password: Option<&str>) -> Self {
        let bound = transport::bind(&[IpAddr::V4(Ipv4Addr::LOCALHOST)], 0).unwrap();
        let address = bound.addresses()[0];
        let stop = CancellationToken::new();
        let password = password.map(|word| Secret::parse(word).unwrap());
        let name = name.to_owned();
        let serve = observer::serve(bound, handle.clone(), name, password, stop.clone());
        Self {
            handle,
            address,
            stop,
            served: tokio::spawn(serve),
        }
    }

    /// Registers a device and connects it.
    pub(crate) async fn device(&self, id: &str) -> Device {
        let client = register(&self.handle, id).await;
        let (presence, _) = self
            .handle
            .connect(&client, |_, _| {
                Ok(ConnectRequest {
                    client: client.clone(),
                    principal: Principal::operator(),
                    remember: false,
                    will: None,
                    model_id: None,
                    transport: "test",
                })
            })
            .await
            .unwrap();
        Device {
            handle: self.handle.clone(),
            client,
            presence,
        }
    }

    /// A client that has connected.
    pub(crate) async fn observer(&self) -> Observer {
        let mut observer = Observer::dial(self.address).await;
        observer.send(&connect()).await;
        let code = ConnAckCode::Accepted;
        let accepted = ServerPacket::ConnAck {
            session_present: false,
            code,
        };
        assert_eq!(observer.packet().await, Some(accepted));
        observer
    }

    /// A client that has subscribed.
    pub(crate) async fn watching(&self, filter: &str) -> Observer {
        let mut observer = self.observer().await;
        assert_eq!(observer.subscribe(&[filter]).await, [GRANTED]);
        observer
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
    }
}

impl Device {
    pub(crate) async fn send(&self, bodies: &[&str]) {
        let messages = bodies
            .iter()
            .map(|body| Message {
                body: Bytes::copy_from_slice(body.as_bytes()),
                ..Message::default()
            })
            .collect();
        let session = self.presence.connected.session;
        self.handle
            .call(OperationKind::SendTelemetry.on(&self.client), |hub, cx| {
                hub.ingest(cx, session, messages)
            })
            .await
            .unwrap();
    }

    pub(crate) async fn answer_method(&self, status: i32, payload: &'static str) {
        let request = loop {
            if let Some(Delivery::MethodRequest { request, .. }) = self.presence.mailbox.take(None)
            {
                break request;
            }
            self.presence.mailbox.changed().await;
        };
        let session = self.presence.connected.session;
        let response = MethodResponse {
            status,
            payload: Bytes::from_static(payload.as_bytes()),
        };
        self.handle
            .call(OperationKind::AnswerMethod.on(&self.client), |hub, cx| {
                hub.complete_method(cx, session, request, response)
            })
            .await
            .unwrap();
    }

    pub(crate) fn leave(self) {
        self.handle
            .disconnect(self.presence.connected.session, &self.client, End::Goodbye);
    }
}

pub(crate) const GRANTED: SubAckCode = SubAckCode::Granted(QoS::AtMostOnce);

/// A client that can say anything.
pub(crate) struct Observer {
    pub(crate) stream: TcpStream,
    pub(crate) buffer: BytesMut,
    last_id: u16,
}

impl Observer {
    pub(crate) async fn dial(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self {
            stream,
            buffer: BytesMut::new(),
            last_id: 0,
        }
    }

    pub(crate) async fn send(&mut self, packet: &ClientPacket) {
        let mut out = BytesMut::new();
        encode_client(packet, &mut out);
        // The other end may have closed: what follows shows it.
        let _ = self.stream.write_all(&out).await;
    }

    /// The next packet; `None`: the connection was closed.
    pub(crate) async fn packet(&mut self) -> Option<ServerPacket> {
        loop {
            if let Some(packet) = decode_server(&mut self.buffer, 1 << 20).unwrap() {
                return Some(packet);
            }
            let read = within(self.stream.read_buf(&mut self.buffer)).await;
            if matches!(read, Ok(0) | Err(_)) {
                return None;
            }
        }
    }

    pub(crate) async fn subscribe(&mut self, filters: &[&str]) -> Vec<SubAckCode> {
        self.last_id = self.last_id.wrapping_add(1).max(1);
        let packet_id = self.last_id;
        let filters = filters
            .iter()
            .map(|&filter| (filter.to_owned(), QoS::AtLeastOnce))
            .collect();
        self.send(&ClientPacket::Subscribe(Subscribe { packet_id, filters }))
            .await;
        loop {
            match self.packet().await.expect("the connection stands") {
                ServerPacket::SubAck {
                    packet_id: answered,
                    codes,
                } if answered == packet_id => {
                    return codes;
                }
                _ => {}
            }
        }
    }

    /// The next message: topic, payload, retain.
    pub(crate) async fn message(&mut self) -> (String, String, bool) {
        loop {
            if let ServerPacket::Publish(publish) =
                self.packet().await.expect("the connection stands")
            {
                let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
                return (publish.topic().to_owned(), payload, publish.retain);
            }
        }
    }

    /// Whether it is still served; what comes before the answer is left out.
    pub(crate) async fn is_alive(&mut self) -> bool {
        self.send(&ClientPacket::PingReq).await;
        !self.is_closed().await
    }

    pub(crate) async fn is_closed(&mut self) -> bool {
        loop {
            match self.packet().await {
                None => return true,
                Some(ServerPacket::PingResp) => return false,
                Some(_) => {}
            }
        }
    }
}

/// The process has one router, whose log is short: a flood in one test costs the messages of
/// another, as it should.
pub(crate) static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

pub(crate) fn connect() -> ClientPacket {
    ClientPacket::Connect(Connect {
        level: 4,
        clean_session: true,
        keep_alive: 60,
        client_id: String::new(),
        username: None,
        password: None,
        will: None,
    })
}

#[allow(
    clippy::disallowed_methods,
    reason = "a test that hangs ends in real time"
)]
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("done in time")
}

/// Registers a device.
pub(crate) async fn register(handle: &HubHandle, id: &str) -> ClientId {
    let device = DeviceId::parse(id).unwrap();
    let client = ClientId::device(device.clone());
    handle
        .call(OperationKind::PutDevice.on(&client), |hub, cx| {
            let (caller, spec) = (Principal::operator(), IdentitySpec::default());
            hub.put_device(cx, &caller, &device, spec, &IfMatch::Absent)
        })
        .await
        .unwrap();
    client
}

/// Writes a desired property and a tag.
pub(crate) async fn patch(handle: &HubHandle, client: &ClientId, value: u32) {
    let patch = serde_json::json!({
        "tags": {"value": value},
        "properties": {"desired": {"value": value}},
    });
    let patch = TwinPatch::parse(patch.to_string().as_bytes()).unwrap();
    handle
        .call(OperationKind::PatchTwin.on(client), |hub, cx| {
            hub.patch_twin(cx, &Principal::operator(), client, patch, &IfMatch::Any)
        })
        .await
        .unwrap();
}

pub(crate) async fn delete(handle: &HubHandle, client: &ClientId) {
    handle
        .call(OperationKind::DeleteDevice.on(client), |hub, cx| {
            let operator = Principal::operator();
            hub.delete_device(cx, &operator, &client.device, &IfMatch::Any)
        })
        .await
        .unwrap();
}

pub(crate) async fn send_c2d(handle: &HubHandle, client: &ClientId, body: &'static [u8]) {
    let message = Message {
        body: Bytes::from_static(body),
        ..Message::default()
    };
    handle
        .call(OperationKind::SendC2d.on(client), |hub, cx| {
            hub.send_c2d(cx, &Principal::operator(), client, message)
        })
        .await
        .unwrap();
}

pub(crate) fn message(topic: &str, payload: &str, retain: bool) -> (String, String, bool) {
    (topic.to_owned(), payload.to_owned(), retain)
}
