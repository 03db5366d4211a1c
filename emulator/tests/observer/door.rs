//! Who is let in, and what an observer may ask for.

use bytes::Bytes;
use iothub_emulator::observer;
use iothub_protocol::mqtt::packet::{
    ClientPacket, ConnAckCode, Connect, Publish, QoS, ServerPacket, SubAckCode, Unsubscribe, Will,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::world::{ALONE, GRANTED, Observer, World, connect, within};

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
