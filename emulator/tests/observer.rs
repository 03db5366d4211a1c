//! The observer bus as MQTT clients see it, friendly and hostile ones.
#![cfg(feature = "observer")]
#![allow(clippy::unwrap_used, reason = "a test says what it needs")]

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
use iothub_hub::{
    ConnectRequest, Delivery, End, Feature, Guarantee, Hub, HubConfig, Limits, Principal,
};
use iothub_protocol::method::{MethodRequest, MethodResponse};
use iothub_protocol::mqtt::codec::{decode_server, encode_client};
use iothub_protocol::mqtt::packet::{
    ClientPacket, ConnAckCode, Connect, Publish, QoS, ServerPacket, SubAckCode, Subscribe,
    Unsubscribe, Will,
};
use iothub_protocol::registry::{IdentitySpec, IfMatch};
use iothub_protocol::twin::TwinPatch;
use iothub_protocol::{ClientId, Clock, DeviceId, Message};
use rumqttc::{AsyncClient, MqttOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const CONNECTED: &str = r#"{"state":"connected"}"#;

/// A hub with a bus.
struct World {
    handle: HubHandle,
    address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<io::Result<()>>,
}

/// A device of it, connected.
struct Device {
    handle: HubHandle,
    client: ClientId,
    presence: Presence,
}

impl World {
    fn start(name: &str) -> Self {
        Self::with_password(name, None)
    }

    fn with_password(name: &str, password: Option<&str>) -> Self {
        let handle = Self::hub(name);
        Self::open(handle, name, password)
    }

    fn hub(name: &str) -> HubHandle {
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

    fn open(handle: HubHandle, name: &str, password: Option<&str>) -> Self {
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
    async fn device(&self, id: &str) -> Device {
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
    async fn observer(&self) -> Observer {
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
    async fn watching(&self, filter: &str) -> Observer {
        let mut observer = self.observer().await;
        assert_eq!(observer.subscribe(&[filter]).await, [GRANTED]);
        observer
    }

    async fn end(self) {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
    }
}

impl Device {
    async fn send(&self, bodies: &[&str]) {
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

    async fn answer_method(&self, status: i32, payload: &'static str) {
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

    fn leave(self) {
        self.handle
            .disconnect(self.presence.connected.session, &self.client, End::Goodbye);
    }
}

const GRANTED: SubAckCode = SubAckCode::Granted(QoS::AtMostOnce);

/// A client that can say anything.
struct Observer {
    stream: TcpStream,
    buffer: BytesMut,
    last_id: u16,
}

impl Observer {
    async fn dial(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self {
            stream,
            buffer: BytesMut::new(),
            last_id: 0,
        }
    }

    async fn send(&mut self, packet: &ClientPacket) {
        let mut out = BytesMut::new();
        encode_client(packet, &mut out);
        // The other end may have closed: what follows shows it.
        let _ = self.stream.write_all(&out).await;
    }

    /// The next packet; `None`: the connection was closed.
    async fn packet(&mut self) -> Option<ServerPacket> {
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

    async fn subscribe(&mut self, filters: &[&str]) -> Vec<SubAckCode> {
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
    async fn message(&mut self) -> (String, String, bool) {
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
    async fn is_alive(&mut self) -> bool {
        self.send(&ClientPacket::PingReq).await;
        !self.is_closed().await
    }

    async fn is_closed(&mut self) -> bool {
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
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn connect() -> ClientPacket {
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
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("done in time")
}

/// Registers a device.
async fn register(handle: &HubHandle, id: &str) -> ClientId {
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
async fn patch(handle: &HubHandle, client: &ClientId, value: u32) {
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

async fn delete(handle: &HubHandle, client: &ClientId) {
    handle
        .call(OperationKind::DeleteDevice.on(client), |hub, cx| {
            let operator = Principal::operator();
            hub.delete_device(cx, &operator, &client.device, &IfMatch::Any)
        })
        .await
        .unwrap();
}

async fn send_c2d(handle: &HubHandle, client: &ClientId, body: &'static [u8]) {
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

fn message(topic: &str, payload: &str, retain: bool) -> (String, String, bool) {
    (topic.to_owned(), payload.to_owned(), retain)
}

#[tokio::test]
async fn telemetry_arrives_as_it_was_sent_and_in_order() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let device = world.device("a#b").await;
    let mut watching = world.watching("hub/h/devices/+/telemetry").await;

    device.send(&["1", "", "{\"t\":3}"]).await;

    let topic = "hub/h/devices/a%23b/telemetry";
    for body in ["1", "", "{\"t\":3}"] {
        assert_eq!(watching.message().await, message(topic, body, false));
    }
    world.end().await;
}

#[tokio::test]
async fn a_stock_client_sees_state_first_and_then_what_happens() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let device = world.device("d1").await;
    let mut options = MqttOptions::new("anybody", "127.0.0.1", world.address.port());
    options.set_credentials("any", "thing");
    let (client, mut events) = AsyncClient::new(options, 8);
    client
        .subscribe("hub/#", rumqttc::QoS::AtLeastOnce)
        .await
        .unwrap();
    let mut next = async || loop {
        if let rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) =
            within(events.poll()).await.unwrap()
        {
            return (
                publish.topic,
                String::from_utf8(publish.payload.to_vec()).unwrap(),
                publish.retain,
            );
        }
    };

    let nothing = r#"{"dropped":0,"missed":0,"untold":0}"#;
    assert_eq!(next().await, message("hub/h/log/dropped", nothing, true));
    assert_eq!(
        next().await,
        message("hub/h/devices/d1/connection", CONNECTED, true)
    );
    device.send(&["hello"]).await;

    let mut told = [next().await, next().await];
    told.sort();
    let [telemetry, log] = told;
    assert_eq!(
        telemetry,
        message("hub/h/devices/d1/telemetry", "hello", false)
    );
    assert_eq!(log.0, "hub/h/log");
    let log: serde_json::Value = serde_json::from_str(&log.1).unwrap();
    assert_eq!(log["event"], "telemetry");
    assert_eq!(log["client"], "d1");
    assert_eq!(log["messages"], 1);
    world.end().await;
}

#[tokio::test]
async fn a_late_observer_is_told_the_last_connection_state() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let stays = world.device("stays").await;
    let leaves = world.device("leaves").await;
    let mut early = world.watching("hub/h/devices/leaves/connection").await;
    assert_eq!(early.message().await.1, CONNECTED);

    leaves.leave();

    let gone = early.message().await;
    let mut late = world.watching("hub/h/devices/+/connection").await;
    let mut told = [late.message().await, late.message().await];
    told.sort();
    assert!(!gone.2, "{gone:?}");
    assert_eq!(
        told,
        [
            message(
                "hub/h/devices/leaves/connection",
                r#"{"state":"disconnected"}"#,
                true
            ),
            message("hub/h/devices/stays/connection", CONNECTED, true),
        ]
    );
    assert_eq!(
        gone.1,
        r#"{"state":"disconnected","reason":"disconnected"}"#
    );
    drop(stays);
    world.end().await;
}

#[tokio::test]
async fn subscribing_anew_tells_retained_state_anew() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let _device = world.device("d1").await;
    let mut observer = world.observer().await;

    for _ in 0..3 {
        assert_eq!(observer.subscribe(&["hub/h/devices/d1/#"]).await, [GRANTED]);
        let told = observer.message().await;
        assert_eq!(
            told,
            message("hub/h/devices/d1/connection", CONNECTED, true)
        );
    }
    world.end().await;
}

#[tokio::test]
async fn a_method_call_is_seen_with_its_answer() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let device = world.device("d1").await;
    let session = device.presence.connected.session;
    world
        .handle
        .call(OperationKind::Subscribe.on(&device.client), |hub, cx| {
            hub.subscribe(cx, session, &[(Feature::Methods, Guarantee::AtMostOnce)])
        })
        .await
        .unwrap();
    let mut watching = world.watching("hub/h/devices/d1/methods").await;
    let request = MethodRequest {
        payload: Some(Bytes::from_static(b"{ \"delay\": 5 }")),
        ..MethodRequest::new("reboot")
    };

    let (answer, ()) = tokio::join!(
        world
            .handle
            .invoke_method(&device.client, request, |_, _| Ok(Principal::operator())),
        device.answer_method(200, "{\"ok\":true}"),
    );

    answer.unwrap();
    let topic = "hub/h/devices/d1/methods";
    let called = r#"{"method":"reboot","payload":{ "delay": 5 }}"#;
    assert_eq!(watching.message().await, message(topic, called, false));
    let answered = r#"{"method":"reboot","status":200,"payload":{"ok":true}}"#;
    assert_eq!(watching.message().await, message(topic, answered, false));
    world.end().await;
}

#[tokio::test]
async fn reported_properties_are_told_and_kept() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let device = world.device("d1").await;
    let session = device.presence.connected.session;
    let patch = serde_json::json!({"fan": "on"});
    let patch = patch.as_object().unwrap();
    let mut watching = world.watching("hub/+/devices/d1/twin/reported").await;

    world
        .handle
        .call(
            OperationKind::PatchReported.on(&device.client),
            |hub, cx| hub.patch_reported(cx, session, patch, None),
        )
        .await
        .unwrap();

    let live = watching.message().await;
    let mut late = world.watching("hub/h/devices/d1/twin/#").await;
    let topic = "hub/h/devices/d1/twin/reported";
    assert!(live.1.contains(r#""fan":"on""#), "{live:?}");
    assert_eq!(live, message(topic, &live.1, false));
    assert_eq!(late.message().await, message(topic, &live.1, true));
    world.end().await;
}

#[tokio::test]
async fn hubs_of_one_name_do_not_see_each_other() {
    let _alone = ALONE.lock().await;
    let (one, other) = (World::start("h"), World::start("h"));
    let _seen = one.device("one").await;
    let mut observer = one.watching("hub/h/devices/#").await;
    assert_eq!(observer.message().await.0, "hub/h/devices/one/connection");

    let stranger = other.device("other").await;
    let mut neighbour = other.watching("hub/h/devices/#").await;
    assert_eq!(
        neighbour.message().await.0,
        "hub/h/devices/other/connection"
    );
    stranger.send(&["not for one"]).await;
    assert_eq!(neighbour.message().await.1, "not for one");

    let seen = one.device("two").await;
    seen.send(&["for one"]).await;
    assert_eq!(observer.message().await.0, "hub/h/devices/two/connection");
    assert_eq!(observer.message().await.1, "for one");
    one.end().await;
    other.end().await;
}

#[tokio::test]
async fn filters_outside_the_hub_are_refused_one_by_one() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let mut observer = world.observer().await;
    let failure = SubAckCode::Failure;

    let codes = observer
        .subscribe(&[
            "$SYS/#",
            "hub/#",
            "$share/g/hub/#",
            "\u{fc}ber",
            "hub/#/x",
            "#",
            "hub/h/x",
        ])
        .await;

    assert_eq!(
        codes,
        [
            failure, GRANTED, failure, failure, failure, GRANTED, GRANTED
        ]
    );
    world.end().await;
}

#[tokio::test]
async fn subscriptions_of_one_observer_are_bounded() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let mut observer = world.observer().await;
    let filters: Vec<_> = (0..40)
        .map(|n| format!("hub/h/devices/d{n}/telemetry"))
        .collect();
    let filters: Vec<_> = filters.iter().map(String::as_str).collect();

    let codes = observer.subscribe(&filters).await;

    assert_eq!(codes.iter().filter(|&&code| code == GRANTED).count(), 32);
    assert_eq!(codes[32..], [SubAckCode::Failure; 8]);
    observer
        .send(&ClientPacket::Unsubscribe(Unsubscribe {
            packet_id: 9,
            filters: vec![
                "hub/h/devices/d0/telemetry".into(),
                "never/subscribed".into(),
            ],
        }))
        .await;
    assert_eq!(observer.packet().await, Some(ServerPacket::UnsubAck(9)));
    assert_eq!(observer.subscribe(&["hub/h/log"]).await, [GRANTED]);
    world.end().await;
}

#[tokio::test]
async fn what_only_a_publisher_or_a_stranger_would_say_closes_the_connection() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let publish = ClientPacket::Publish(Publish {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: Bytes::from_static("\u{fc}ber/alles".as_bytes()),
        packet_id: 0,
        payload: Bytes::new(),
    });
    for packet in [
        publish,
        connect(),
        ClientPacket::QoS2Handshake,
        ClientPacket::PubAck(1),
    ] {
        let mut observer = world.observer().await;
        observer.send(&packet).await;
        observer.send(&ClientPacket::PingReq).await;
        assert!(observer.is_closed().await, "{packet:?}");
    }
    let garbage: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff\xff\xff\xff",
        b"\x82\x00",
        b"\x00",
        b"\xc0\x00",
        &[0; 999],
    ];
    for bytes in garbage {
        let mut stranger = Observer::dial(world.address).await;
        stranger.stream.write_all(bytes).await.unwrap();
        assert!(stranger.is_closed().await, "{bytes:?}");
    }

    let device = world.device("d1").await;
    let mut honest = world.watching("hub/h/devices/d1/telemetry").await;
    device.send(&["still here"]).await;
    assert_eq!(honest.message().await.1, "still here");
    world.end().await;
}

#[tokio::test]
async fn other_protocol_versions_are_told_so() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let mut v5 = Observer::dial(world.address).await;
    v5.stream
        .write_all(b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00")
        .await
        .unwrap();
    let mut answer = Vec::new();
    within(v5.stream.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, [0x20, 0x03, 0x00, 0x84, 0x00]);

    let mut v3 = Observer::dial(world.address).await;
    v3.stream
        .write_all(b"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x00")
        .await
        .unwrap();
    let mut answer = Vec::new();
    within(v3.stream.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, [0x20, 0x02, 0x00, 0x01]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bus_survives_subscribing_and_unsubscribing_without_end() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let device = world.device("d1").await;
    let mut witness = world.watching("hub/h/devices/nobody/telemetry").await;
    let mut restless = world.observer().await;

    let traffic = async {
        for _ in 0..200 {
            device.send(&["x"; 50]).await;
            tokio::task::yield_now().await;
        }
    };
    let churn = async {
        for round in 0..2000_u16 {
            let filter = format!(
                "hub/h/devices/{}/telemetry",
                if round % 2 == 0 { "d1" } else { "+" }
            );
            assert_eq!(restless.subscribe(&[&filter]).await, [GRANTED]);
            let filters = vec![filter];
            restless
                .send(&ClientPacket::Unsubscribe(Unsubscribe {
                    packet_id: 1,
                    filters,
                }))
                .await;
        }
    };
    tokio::join!(traffic, churn);

    let mut honest = world.watching("hub/h/devices/d1/telemetry").await;
    device.send(&["still here"]).await;
    while honest.message().await.1 != "still here" {}
    assert!(witness.is_alive().await, "the router is the one it was");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bus_survives_observers_that_leave_in_a_burst() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let device = world.device("d1").await;
    let body = "x".repeat(100);
    let bodies = vec![body.as_str(); 500];
    let mut witness = world.watching("hub/h/devices/nobody/telemetry").await;

    for round in 0..60 {
        let mut politely = world.watching("#").await;
        let silently = world.watching("hub/#").await;
        device.send(&bodies).await;
        // One that has read something and says goodbye, and one that just goes.
        assert!(!politely.message().await.0.is_empty());
        if round % 2 == 0 {
            politely.send(&ClientPacket::Disconnect).await;
        }
        device.send(&bodies).await;
        drop(silently);
    }

    let mut honest = world.watching("hub/h/devices/d1/telemetry").await;
    device.send(&["still here"]).await;
    while honest.message().await.1 != "still here" {}
    assert!(witness.is_alive().await, "the router is the one it was");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_that_does_not_read_holds_up_nobody() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let device = world.device("d1").await;
    let _asleep = world.watching("#").await;
    let mut awake = world.watching("hub/h/devices/d1/telemetry").await;
    let body = "x".repeat(100 * 1024);

    let reading = async {
        let mut last = String::new();
        while last != "end" {
            last = awake.message().await.1;
        }
    };
    let sending = async {
        for _ in 0..200 {
            device.send(&[body.as_str()]).await;
        }
        // Whoever is slow may miss some, so the end is said until it is heard.
        loop {
            device.send(&["end"]).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = within(reading) => {}
        () = sending => {}
    }
    world.end().await;
}

#[tokio::test]
async fn the_end_of_the_hub_is_the_end_of_its_observers() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let _device = world.device("d1").await;
    let mut observer = world.watching("#").await;

    within(world.end()).await;

    assert!(observer.is_closed().await);
}

#[tokio::test]
async fn who_knows_the_password_is_let_in_under_any_name() {
    let _alone = ALONE.lock().await;
    let world = World::with_password("h", Some("s3cret"));
    let refused = [
        ConnAckCode::NotAuthorized,
        ConnAckCode::BadUserNameOrPassword,
    ];

    for (user, password, code) in [
        (Some("any"), Some(&b"s3cret"[..]), ConnAckCode::Accepted),
        (Some(""), Some(b"s3cret"), ConnAckCode::Accepted),
        (None, None, refused[0]),
        (Some("any"), None, refused[0]),
        (Some("any"), Some(b""), refused[0]),
        (Some("any"), Some(b"S3cret"), refused[0]),
        (Some("s3cret"), Some(b"any"), refused[0]),
        (Some("any"), Some(b"\xff"), refused[1]),
        (Some("any"), Some(&[b'x'; 2000]), refused[1]),
    ] {
        let mut observer = Observer::dial(world.address).await;
        let ClientPacket::Connect(connect) = connect() else {
            unreachable!("it is one")
        };
        let connect = Connect {
            username: user.map(str::to_owned),
            password: password.map(Bytes::from_static),
            ..connect
        };
        observer.send(&ClientPacket::Connect(connect)).await;
        let answer = ServerPacket::ConnAck {
            session_present: false,
            code,
        };
        assert_eq!(
            observer.packet().await,
            Some(answer),
            "{user:?} {password:?}"
        );
        assert_eq!(observer.is_alive().await, code == ConnAckCode::Accepted);
    }
    world.end().await;
}

#[tokio::test]
async fn who_wants_to_be_remembered_or_to_leave_a_will_is_refused() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let ClientPacket::Connect(connect) = connect() else {
        unreachable!("it is one")
    };
    let nobody = Connect {
        clean_session: false,
        ..connect.clone()
    };
    let with_will = Connect {
        will: Some(Will {
            topic: "hub/h/log".into(),
            payload: Bytes::new(),
            qos: QoS::AtMostOnce,
            retain: true,
        }),
        ..connect
    };

    for (connect, code) in [
        (nobody, ConnAckCode::IdentifierRejected),
        (with_will, ConnAckCode::NotAuthorized),
    ] {
        let mut observer = Observer::dial(world.address).await;
        observer.send(&ClientPacket::Connect(connect)).await;
        let answer = ServerPacket::ConnAck {
            session_present: false,
            code,
        };
        assert_eq!(observer.packet().await, Some(answer));
        assert!(observer.is_closed().await);
    }
    world.end().await;
}

#[tokio::test]
async fn a_bus_that_opens_late_tells_what_there_is() {
    let _alone = ALONE.lock().await;
    let handle = World::hub("h");
    let (written, _untouched) = (
        register(&handle, "written").await,
        register(&handle, "untouched").await,
    );
    patch(&handle, &written, 7).await;
    let world = World::open(handle, "h", None);

    let mut observer = world.watching("hub/h/devices/#").await;

    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(observer.message().await);
    }
    let gone = r#"{"state":"disconnected"}"#;
    assert_eq!(
        told,
        [
            message("hub/h/devices/untouched/connection", gone, true),
            message("hub/h/devices/written/connection", gone, true),
            message(
                "hub/h/devices/written/twin/desired",
                r#"{"value":7,"$version":2}"#,
                true
            ),
        ]
    );
    assert!(observer.is_alive().await);
    world.end().await;
}

#[tokio::test]
async fn what_is_deleted_is_told_as_gone_and_to_latecomers_not_at_all() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let client = register(&world.handle, "d1").await;
    let other = register(&world.handle, "d2").await;
    patch(&world.handle, &client, 7).await;
    let mut early = world.watching("hub/h/devices/d1/twin/desired").await;
    assert!(early.message().await.1.contains("7"));

    delete(&world.handle, &client).await;

    let topic = "hub/h/devices/d1/twin/desired";
    assert_eq!(early.message().await, message(topic, "", false));
    let mut late = world.watching("hub/h/devices/+/connection").await;
    assert_eq!(late.message().await.0, "hub/h/devices/d2/connection");
    world
        .handle
        .call(OperationKind::Control.hub_wide(), |hub, cx| {
            hub.reset(cx);
            Ok(())
        })
        .await
        .unwrap();
    let mut later = world.watching("hub/h/devices/#").await;
    let d3 = register(&world.handle, "d3").await;
    patch(&world.handle, &d3, 1).await;
    assert_eq!(later.message().await.0, "hub/h/devices/d3/twin/desired");
    assert_ne!(other, d3);
    world.end().await;
}

#[tokio::test]
async fn the_log_has_a_line_for_each_thing_that_happens() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let mut observer = world.watching("hub/h/log").await;

    let device = world.device("d1").await;
    patch(&world.handle, &device.client, 1).await;
    device.send(&["a", "bc"]).await;
    send_c2d(&world.handle, &device.client, b"\xff").await;
    let client = device.client.clone();
    device.leave();
    delete(&world.handle, &client).await;

    let mut events = Vec::new();
    while events.last().is_none_or(|event| event != "deleted") {
        let (topic, line, retain) = observer.message().await;
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((topic.as_str(), retain), ("hub/h/log", false));
        assert_eq!(line["client"], "d1", "{line}");
        events.push(line["event"].as_str().unwrap().to_owned());
    }
    let told: Vec<_> = events.iter().map(String::as_str).collect();
    assert_eq!(
        told,
        [
            "created",
            "connected",
            "tagsChanged",
            "desiredChanged",
            "telemetry",
            "c2dSent",
            "disconnected",
            "deleted"
        ]
    );
    world.end().await;
}

#[tokio::test]
async fn a_cloud_to_device_message_is_seen_until_its_end() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let client = register(&world.handle, "d1").await;
    let mut observer = world.watching("hub/+/devices/d1/c2d").await;

    send_c2d(&world.handle, &client, b"hello").await;
    send_c2d(&world.handle, &client, b"\xff\x00").await;
    let purged = world
        .handle
        .call(OperationKind::PurgeC2d.on(&client), |hub, cx| {
            hub.purge_c2d(cx, &Principal::operator(), &client)
        })
        .await;

    assert!(purged.is_ok());
    let mut told = Vec::new();
    for _ in 0..4 {
        let (topic, payload, retain) = observer.message().await;
        assert_eq!((topic.as_str(), retain), ("hub/h/devices/d1/c2d", false));
        let payload: serde_json::Value = serde_json::from_str(&payload).unwrap();
        told.push(
            [&payload["state"], &payload["body"], &payload["bodyBase64"]].map(|it| it.to_string()),
        );
    }
    let row = |state: &str, body: &str, base64: &str| [state, body, base64].map(str::to_owned);
    assert_eq!(
        told,
        [
            row(r#""Enqueued""#, r#""hello""#, "null"),
            row(r#""Enqueued""#, "null", r#""/wA=""#),
            row(r#""Purged""#, r#""hello""#, "null"),
            row(r#""Purged""#, "null", r#""/wA=""#),
        ]
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_that_is_too_slow_is_told_how_much_it_missed() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let device = world.device("d1").await;
    let mut slow = world.observer().await;
    let filters = ["hub/h/devices/d1/telemetry", "hub/h/log/dropped"];
    assert_eq!(slow.subscribe(&filters).await, [GRANTED, GRANTED]);
    let body = "x".repeat(200 * 1024);

    for _ in 0..400 {
        device.send(&[body.as_str()]).await;
        tokio::task::yield_now().await;
    }

    let told = async {
        loop {
            device.send(&["more"]).await;
            let (topic, payload, _) = slow.message().await;
            if topic == "hub/h/log/dropped" {
                let losses: serde_json::Value = serde_json::from_str(&payload).unwrap();
                let count = |name: &str| losses[name].as_u64().unwrap();
                if count("missed") + count("dropped") > 0 {
                    return;
                }
            }
        }
    };
    within(told).await;
    world.end().await;
}

#[tokio::test]
async fn the_hubs_time_is_not_the_observers() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let mut observer = world.watching("hub/h/devices/d1/#").await;

    let clock = world.handle.clock();
    clock.advance_to(clock.now() + Duration::from_secs(86_400));
    tokio::task::yield_now().await;

    assert!(observer.is_alive().await);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_observers_is_told_to_come_later_and_devices_do_not_notice() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let device = world.device("d1").await;
    let mut crowd = Vec::new();
    for _ in 0..observer::MAX_OBSERVERS {
        crowd.push(Observer::dial(world.address).await);
    }
    let unavailable = ServerPacket::ConnAck {
        session_present: false,
        code: ConnAckCode::ServerUnavailable,
    };

    // The last of the crowd may have been accepted after the first of these.
    let refused = async {
        loop {
            let mut late = Observer::dial(world.address).await;
            late.send(&connect()).await;
            if late.packet().await == Some(unavailable.clone()) {
                return;
            }
            crowd.push(late);
        }
    };
    within(refused).await;
    device.send(&["devices go on"]).await;
    drop(crowd);

    let let_in = async {
        loop {
            let mut honest = Observer::dial(world.address).await;
            honest.send(&connect()).await;
            if honest.packet().await != Some(unavailable.clone()) {
                return honest;
            }
        }
    };
    let mut honest = within(let_in).await;
    assert_eq!(
        honest.subscribe(&["hub/h/devices/d1/telemetry"]).await,
        [GRANTED]
    );
    device.send(&["still here"]).await;
    assert_eq!(honest.message().await.1, "still here");
    world.end().await;
}

#[tokio::test]
async fn huge_packets_end_their_connection_and_wild_filters_cost_little() {
    let _alone = ALONE.lock().await;
    let world = World::start("h");
    let mut huge = world.observer().await;
    // A SUBSCRIBE of 256 MB is announced, and its beginning sent.
    let _ = huge.stream.write_all(b"\x82\xff\xff\xff\x7f\x00\x01").await;
    assert!(huge.is_closed().await);

    let mut wild = world.observer().await;
    let many = vec!["+"; 500].join("/");
    let deep = format!("{many}/#");
    let spelled = format!("hub/{}", "x/".repeat(500));
    let codes = wild
        .subscribe(&[&many, &deep, &spelled, "+/+/+/+/+", "+/+/+/+/#", "#", "+/#"])
        .await;
    assert_eq!(codes, [GRANTED; 7]);
    assert!(wild.is_alive().await);
    world.end().await;
}

/// `mosquitto_sub`, where there is one: what people type.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mosquitto_sub_sees_state_and_what_happens() {
    let _alone = ALONE.lock().await;
    let Ok(_) = std::process::Command::new("mosquitto_sub")
        .arg("--help")
        .output()
    else {
        return;
    };
    let world = World::with_password("h", Some("s3cret"));
    let device = world.device("d1").await;
    let port = world.address.port().to_string();
    let subscriber = |password: &str, arguments: &[&str]| {
        let mut command = std::process::Command::new("mosquitto_sub");
        command
            .args(["-h", "127.0.0.1", "-p", &port, "-u", "any", "-P", password])
            .args(["-W", "20", "-v"])
            .args(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };

    let refused = subscriber("wrong", &["-t", "hub/#", "-C", "1"])
        .await
        .unwrap();
    let seen = subscriber("s3cret", &["-t", "hub/h/devices/#", "-C", "3"]);
    // It is not known when it has subscribed.
    let sending = async {
        loop {
            device.send(&["hello"]).await;
            tokio::task::yield_now().await;
        }
    };
    let seen = tokio::select! {
        seen = seen => seen.unwrap(),
        () = sending => unreachable!("it does not end"),
    };

    assert!(!refused.status.success());
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.to_lowercase().contains("not authorised"), "{error}");
    let seen = String::from_utf8(seen.stdout).unwrap();
    let lines: Vec<_> = seen.lines().collect();
    assert_eq!(
        lines,
        [
            r#"hub/h/devices/d1/connection {"state":"connected"}"#,
            "hub/h/devices/d1/telemetry hello",
            "hub/h/devices/d1/telemetry hello",
        ]
    );
    world.end().await;
}
