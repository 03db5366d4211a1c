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
use iothub_emulator::store::MemoryStore;
use iothub_emulator::{HubHandle, observer, transport};
use iothub_hub::{
    ConnectRequest, Delivery, End, Feature, Guarantee, Hub, HubConfig, Limits, Principal,
};
use iothub_protocol::method::{MethodRequest, MethodResponse};
use iothub_protocol::mqtt::codec::{decode_server, encode_client};
use iothub_protocol::mqtt::packet::{
    ClientPacket, ConnAckCode, Connect, Publish, QoS, ServerPacket, SubAckCode, Subscribe,
    Unsubscribe,
};
use iothub_protocol::registry::{IdentitySpec, IfMatch};
use iothub_protocol::{ClientId, DeviceId, Message};
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
        let handle = HubHandle::open(hub, store, Arc::new(HubClock::system())).unwrap();
        let bound = transport::bind(&[IpAddr::V4(Ipv4Addr::LOCALHOST)], 0).unwrap();
        let address = bound.addresses()[0];
        let stop = CancellationToken::new();
        let serve = observer::serve(bound, handle.clone(), name.to_owned(), stop.clone());
        Self {
            handle,
            address,
            stop,
            served: tokio::spawn(serve),
        }
    }

    /// Registers a device and connects it; the bus has heard of it.
    async fn device(&self, id: &str) -> Device {
        let device = DeviceId::parse(id).unwrap();
        let client = ClientId::device(device.clone());
        self.handle
            .call(OperationKind::PutDevice.on(&client), |hub, cx| {
                let (caller, spec) = (Principal::operator(), IdentitySpec::default());
                hub.put_device(cx, &caller, &device, spec, &IfMatch::Absent)
            })
            .await
            .unwrap();
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
        let mut watching = self.watching("hub/+/devices/+/connection").await;
        let level = format!("/{}/", id.replace('#', "%23"));
        while !watching.message().await.0.contains(&level) {}
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

    assert_eq!(
        next().await,
        message("hub/h/devices/d1/connection", CONNECTED, true)
    );
    device.send(&["hello"]).await;

    // What was logged of the connection may come late.
    let mut told = Vec::new();
    while told.len() < 2 {
        let message = next().await;
        if !message.1.contains(r#""event":"connected""#) {
            told.push(message);
        }
    }
    told.sort();
    let [telemetry, log] = <[_; 2]>::try_from(told).unwrap();
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
            message("hub/h/devices/leaves/connection", &gone.1, true),
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
