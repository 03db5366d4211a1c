//! A client on the wire: against a hub that plays a script over plain TCP.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use iothub_device::{
    ClientBuilder, ConnectRefusal, ConnectionState, DeviceClient, ErrorKind, MethodResponse,
    RetryPolicy, json_message,
};
use iothub_protocol::mqtt::codec::{decode_client, encode_server};
use iothub_protocol::mqtt::packet::{
    ClientPacket, ConnAckCode, Connect, Publish, QoS, ServerPacket, SubAckCode,
};
use iothub_protocol::sas::SasToken;
use iothub_protocol::{Clock, Timestamp};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const CONNECTION_STRING: &str = "HostName=hub.example;DeviceId=d1;\
     SharedAccessKey=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";

/// The hub's listener; the test accepts and answers by hand.
struct Hub {
    listener: TcpListener,
}

/// One connection of the client.
struct Peer {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Hub {
    async fn start() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    fn device(&self) -> ClientBuilder<DeviceClient> {
        let retry = RetryPolicy {
            first_delay: Duration::from_millis(1),
            longest_delay: Duration::from_millis(2),
            first_connection_attempts: 3,
            seed: Some(1),
        };
        let address = self.listener.local_addr().unwrap().to_string();
        DeviceClient::builder(CONNECTION_STRING)
            .mqtt_address(address)
            .retry(retry)
    }

    /// Accepts a connection and its CONNECT.
    async fn accept(&self) -> (Peer, Connect) {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut peer = Peer {
            stream,
            buffer: BytesMut::new(),
        };
        match peer.read().await {
            Some(ClientPacket::Connect(connect)) => (peer, connect),
            other => panic!("not a CONNECT: {other:?}"),
        }
    }

    /// Accepts a connection and lets the client in.
    async fn welcome(&self) -> Peer {
        let (mut peer, _) = self.accept().await;
        peer.connack(ConnAckCode::Accepted).await;
        peer
    }

    async fn connected(&self) -> (DeviceClient, Peer) {
        let (device, peer) = tokio::join!(self.device().connect(), self.welcome());
        (device.unwrap(), peer)
    }
}

impl Peer {
    /// The next packet; `None` when the client has closed the connection.
    async fn read(&mut self) -> Option<ClientPacket> {
        loop {
            if let Some(packet) = decode_client(&mut self.buffer, 1 << 20).unwrap() {
                return Some(packet);
            }
            if self.stream.read_buf(&mut self.buffer).await.unwrap() == 0 {
                return None;
            }
        }
    }

    async fn write(&mut self, packet: ServerPacket) {
        let mut bytes = BytesMut::new();
        encode_server(&packet, &mut bytes);
        self.stream.write_all(&bytes).await.unwrap();
    }

    async fn connack(&mut self, code: ConnAckCode) {
        self.write(ServerPacket::ConnAck {
            session_present: false,
            code,
        })
        .await;
    }

    async fn read_publish(&mut self) -> Publish {
        match self.read().await {
            Some(ClientPacket::Publish(publish)) => publish,
            other => panic!("not a PUBLISH: {other:?}"),
        }
    }

    /// Grants one SUBSCRIBE, and returns its filter.
    async fn grant(&mut self) -> String {
        match self.read().await {
            Some(ClientPacket::Subscribe(subscribe)) => {
                let packet_id = subscribe.packet_id;
                let codes = vec![SubAckCode::Granted(QoS::AtLeastOnce)];
                self.write(ServerPacket::SubAck { packet_id, codes }).await;
                subscribe.filters[0].0.clone()
            }
            other => panic!("not a SUBSCRIBE: {other:?}"),
        }
    }

    async fn publish(&mut self, topic: &str, payload: &str, packet_id: u16) {
        let qos = if packet_id == 0 {
            QoS::AtMostOnce
        } else {
            QoS::AtLeastOnce
        };
        let (topic, payload) = (
            Bytes::from(topic.to_owned()),
            Bytes::from(payload.to_owned()),
        );
        let publish = Publish {
            dup: false,
            qos,
            retain: false,
            topic,
            packet_id,
            payload,
        };
        self.write(ServerPacket::Publish(publish)).await;
    }
}

#[tokio::test]
async fn connects_as_the_protocol_asks() {
    let hub = Hub::start().await;

    let builder = hub.device();
    let (device, (connect, _peer)) = tokio::join!(builder.connect(), async {
        let (mut peer, connect) = hub.accept().await;
        peer.connack(ConnAckCode::Accepted).await;
        (connect, peer)
    });

    let device = device.unwrap();
    assert!(matches!(
        device.connection_states().current(),
        ConnectionState::Connected
    ));
    assert!(!connect.clean_session);
    assert_eq!((connect.client_id.as_str(), connect.keep_alive), ("d1", 60));
    let user_name = connect.username.unwrap();
    assert!(
        user_name.starts_with("hub.example/d1/?api-version=2021-04-12&"),
        "{user_name}"
    );
    let password = connect.password.unwrap();
    let token = SasToken::parse(std::str::from_utf8(&password).unwrap()).unwrap();
    assert_eq!(token.resource(), "hub.example/devices/d1");
}

#[tokio::test]
async fn telemetry_is_done_when_the_hub_acknowledges_it() {
    let hub = Hub::start().await;
    let (device, mut peer) = hub.connected().await;

    let mut message = json_message(&json!({"t": 1}));
    message.properties.push("alert", "yes & no");
    let (first, second) = (
        device.send_telemetry(message.clone()),
        device.send_telemetry(message),
    );
    let (first, second, ()) = tokio::join!(first, second, async {
        let (a, b) = (peer.read_publish().await, peer.read_publish().await);
        assert_eq!(
            a.topic(),
            "devices/d1/messages/events/%24.ct=application%2Fjson&%24.ce=utf-8&alert=yes%20%26%20no"
        );
        assert_eq!(
            (a.qos, &a.payload[..]),
            (QoS::AtLeastOnce, &br#"{"t":1}"#[..])
        );
        assert_ne!(a.packet_id, b.packet_id);
        peer.write(ServerPacket::PubAck(a.packet_id)).await;
        peer.write(ServerPacket::PubAck(b.packet_id)).await;
    });

    first.unwrap();
    second.unwrap();
}

#[tokio::test]
async fn telemetry_of_a_lost_connection_is_sent_on_the_next() {
    let hub = Hub::start().await;
    let (device, mut peer) = hub.connected().await;

    let (sent, ()) = tokio::join!(device.send_telemetry(json_message(&json!(1))), async {
        peer.read_publish().await;
        drop(peer);
        let mut peer = hub.welcome().await;
        let publish = peer.read_publish().await;
        peer.write(ServerPacket::PubAck(publish.packet_id)).await;
    });

    sent.unwrap();
}

#[tokio::test]
async fn more_messages_than_the_window_are_all_sent() {
    let hub = Hub::start().await;
    let (device, mut peer) = hub.connected().await;
    const COUNT: usize = 1000;

    let server = tokio::spawn(async move {
        for _ in 0..COUNT {
            let publish = peer.read_publish().await;
            peer.write(ServerPacket::PubAck(publish.packet_id)).await;
        }
        peer
    });
    let mut sending = tokio::task::JoinSet::new();
    for number in 0..COUNT {
        let device = device.clone();
        sending.spawn(async move { device.send_telemetry(json_message(&json!(number))).await });
    }

    while let Some(sent) = sending.join_next().await {
        sent.unwrap().unwrap();
    }
    server.await.unwrap();
}

#[tokio::test]
async fn method_calls_reach_their_handler_from_then_on() {
    let hub = Hub::start().await;
    let (device, mut peer) = hub.connected().await;
    let registered = device.on_method("double", |call| async move {
        let number = call.json().unwrap().as_i64().unwrap();
        MethodResponse::json(200, &json!(number * 2))
    });
    let (registered, filter) = tokio::join!(registered, peer.grant());
    registered.unwrap();
    assert_eq!(filter, "$iothub/methods/POST/#");

    peer.publish("$iothub/methods/POST/double/?$rid=1f", "21", 0)
        .await;
    let answer = peer.read_publish().await;
    assert_eq!(answer.topic(), "$iothub/methods/res/200/?$rid=1f");
    assert_eq!(answer.payload, "42");

    peer.publish("$iothub/methods/POST/other/?$rid=20", "", 0)
        .await;
    assert_eq!(
        peer.read_publish().await.topic(),
        "$iothub/methods/res/404/?$rid=20"
    );

    // A handler that panics costs its caller an answer, and nobody else anything.
    peer.publish("$iothub/methods/POST/double/?$rid=21", "no number", 0)
        .await;
    assert_eq!(
        peer.read_publish().await.topic(),
        "$iothub/methods/res/500/?$rid=21"
    );
    peer.publish("$iothub/methods/POST/double/?$rid=22", "1", 0)
        .await;
    assert_eq!(
        peer.read_publish().await.topic(),
        "$iothub/methods/res/200/?$rid=22"
    );
}

#[tokio::test]
async fn subscriptions_are_made_again_after_a_lost_connection() {
    let hub = Hub::start().await;
    let (device, mut peer) = hub.connected().await;
    let handler = |_| async { MethodResponse::empty(200) };
    let (registered, _) = tokio::join!(device.on_method("m", handler), peer.grant());
    registered.unwrap();

    drop(peer);
    let mut peer = hub.welcome().await;

    assert_eq!(peer.grant().await, "$iothub/methods/POST/#");
    peer.publish("$iothub/methods/POST/m/?$rid=1", "", 0).await;
    assert_eq!(
        peer.read_publish().await.topic(),
        "$iothub/methods/res/200/?$rid=1"
    );
}

#[tokio::test]
async fn twin_is_read_and_patched() {
    let hub = Hub::start().await;
    let (device, mut peer) = hub.connected().await;

    let (twin, ()) = tokio::join!(device.twin(), async {
        assert_eq!(peer.grant().await, "$iothub/twin/res/#");
        assert_eq!(
            peer.read_publish().await.topic(),
            "$iothub/twin/GET/?$rid=1"
        );
        let body = r#"{"desired":{"a":1,"$version":3},"reported":{"$version":1}}"#;
        peer.publish("$iothub/twin/res/200/?$rid=1", body, 0).await;
    });
    assert_eq!(twin.unwrap().desired.version, 3);

    let patch = json!({"b": null});
    let (version, ()) = tokio::join!(device.patch_reported(&patch), async {
        let publish = peer.read_publish().await;
        assert_eq!(
            publish.topic(),
            "$iothub/twin/PATCH/properties/reported/?$rid=2"
        );
        assert_eq!(publish.payload, r#"{"b":null}"#);
        peer.publish("$iothub/twin/res/204/?$rid=2&$version=9", "", 0)
            .await;
    });
    assert_eq!(version.unwrap(), 9);
}

#[tokio::test]
async fn cloud_message_is_acknowledged_when_it_is_taken() {
    let hub = Hub::start().await;
    let (device, mut peer) = hub.connected().await;
    let (messages, filter) = tokio::join!(device.messages(), peer.grant());
    let mut messages = messages.unwrap();
    assert_eq!(filter, "devices/d1/messages/devicebound/#");

    peer.publish("devices/d1/messages/devicebound/%24.to=x&a=b", "hello", 77)
        .await;
    let message = messages.next().await.unwrap();

    assert_eq!(message.body, "hello");
    assert_eq!(message.properties.get("a").as_deref(), Some("b"));
    assert_eq!(peer.read().await, Some(ClientPacket::PubAck(77)));
}

#[tokio::test]
async fn refusal_of_the_first_connection_is_an_error_at_once() {
    for (code, refusal) in [
        (ConnAckCode::NotAuthorized, ConnectRefusal::NotAuthorized),
        (ConnAckCode::IdentifierRejected, ConnectRefusal::ClientId),
    ] {
        let hub = Hub::start().await;
        let (connected, ()) = tokio::join!(hub.device().connect(), async {
            let (mut peer, _) = hub.accept().await;
            peer.connack(code).await;
        });

        let error = connected.err().unwrap();
        assert_eq!(error.kind(), &ErrorKind::ConnectionRefused(refusal));
    }
}

#[tokio::test]
async fn hub_that_is_not_available_is_tried_again() {
    let hub = Hub::start().await;

    let (connected, _peer) = tokio::join!(hub.device().connect(), async {
        let (mut peer, _) = hub.accept().await;
        peer.connack(ConnAckCode::ServerUnavailable).await;
        hub.welcome().await
    });

    connected.unwrap();
}

#[tokio::test]
async fn hub_that_is_not_there_is_given_up_after_the_attempts() {
    let hub = Hub::start().await;
    let builder = hub.device();
    drop(hub);

    let error = builder.connect().await.err().unwrap();

    assert!(
        matches!(error.kind(), ErrorKind::Unreachable(_)),
        "{error:?}"
    );
}

#[tokio::test]
async fn refusal_of_a_later_connection_ends_the_client_and_says_why() {
    let hub = Hub::start().await;
    let (device, peer) = hub.connected().await;

    let (sent, ()) = tokio::join!(device.send_telemetry(json_message(&json!(1))), async {
        drop(peer);
        let (mut peer, _) = hub.accept().await;
        peer.connack(ConnAckCode::NotAuthorized).await;
    });

    let refused = ErrorKind::ConnectionRefused(ConnectRefusal::NotAuthorized);
    assert_eq!(sent.unwrap_err().kind(), &refused);
    assert_eq!(device.twin().await.unwrap_err().kind(), &refused);
    let state = device.connection_states().current();
    assert!(
        matches!(state, ConnectionState::Closed { reason: Some(_) }),
        "{state:?}"
    );
}

#[tokio::test]
async fn close_finishes_what_is_under_way_and_says_goodbye() {
    let hub = Hub::start().await;
    let (device, mut peer) = hub.connected().await;

    let (sent, ()) = tokio::join!(device.send_telemetry(json_message(&json!(1))), async {
        let publish = peer.read_publish().await;
        tokio::join!(device.close(), async {
            peer.write(ServerPacket::PubAck(publish.packet_id)).await;
            assert_eq!(peer.read().await, Some(ClientPacket::Disconnect));
            assert_eq!(peer.read().await, None);
        });
    });

    sent.unwrap();
    let error = device
        .send_telemetry(json_message(&json!(2)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Closed);
}

#[tokio::test]
async fn last_handle_ends_the_connection() {
    let hub = Hub::start().await;
    let (device, mut peer) = hub.connected().await;

    drop(device);

    assert_eq!(peer.read().await, Some(ClientPacket::Disconnect));
}

#[tokio::test]
async fn message_that_is_too_large_is_not_sent() {
    let hub = Hub::start().await;
    let (device, mut peer) = hub.connected().await;
    let large = iothub_device::Message {
        body: vec![0; 256 * 1024 + 1].into(),
        ..Default::default()
    };

    let error = device.send_telemetry(large).await.unwrap_err();

    assert!(matches!(error.kind(), ErrorKind::TooLarge { .. }));
    device.close().await;
    assert_eq!(peer.read().await, Some(ClientPacket::Disconnect));
}

#[tokio::test]
async fn token_is_renewed_by_connecting_anew_before_it_expires() {
    let hub = Hub::start().await;
    let clock = Arc::new(ManualClock::new(1_700_000_000));
    let builder = hub
        .device()
        .clock(clock.clone())
        .token_lifetime(Duration::from_secs(1000));
    let (device, mut peer) = tokio::join!(builder.connect(), hub.welcome());
    let device = device.unwrap();

    clock.advance(Duration::from_secs(800));

    assert_eq!(peer.read().await, Some(ClientPacket::Disconnect));
    let (mut peer, connect) = hub.accept().await;
    let password = connect.password.unwrap();
    let token = SasToken::parse(std::str::from_utf8(&password).unwrap()).unwrap();
    assert_eq!(token.expiry(), Timestamp::from_unix_seconds(1_700_001_800));
    peer.connack(ConnAckCode::Accepted).await;
    let (sent, ()) = tokio::join!(device.send_telemetry(json_message(&json!(1))), async {
        let publish = peer.read_publish().await;
        peer.write(ServerPacket::PubAck(publish.packet_id)).await;
    });
    sent.unwrap();
}

/// A clock that stands until it is advanced.
struct ManualClock {
    now: watch::Sender<Timestamp>,
    // Keeps the channel open.
    _receiver: Mutex<watch::Receiver<Timestamp>>,
}

impl ManualClock {
    fn new(unix_seconds: i64) -> Self {
        let (now, receiver) = watch::channel(Timestamp::from_unix_seconds(unix_seconds));
        Self {
            now,
            _receiver: Mutex::new(receiver),
        }
    }

    fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now = *now + by);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    fn sleep_until(&self, deadline: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut now = self.now.subscribe();
        Box::pin(async move {
            now.wait_for(|&now| now >= deadline)
                .await
                .expect("the clock holds the sender");
        })
    }
}
