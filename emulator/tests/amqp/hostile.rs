//! Peers that mean no good, or know no better: whatever they send, the right close, and others are
//! served as before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use iothub_emulator::Emulator;
use iothub_protocol::amqp::cbs::PutToken;
use iothub_protocol::amqp::connection::ClientSasl;
use iothub_protocol::amqp::frame::encode_frame;
use iothub_protocol::amqp::performative::{
    Attach, Begin, Close, Detach, Disposition, End, Flow, Open, Performative, ReceiverSettleMode,
    Role, SenderSettleMode, Source, Target, Transfer,
};
use iothub_protocol::amqp::{DeliveryState, Value};

use crate::client::{Client, condition_of, encoded};
use crate::hub::{HOST, emulator, frozen_emulator, policy_token};
use crate::wire::Wire;

/// Streams of each kind; each test takes about a second.
const STREAMS: u64 = 300;
/// At the same time.
const TOGETHER: u64 = 20;

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap_or(0) % limit.max(1)
    }
}

fn frame(performative: &Performative, payload: &[u8], out: &mut BytesMut) {
    encode_frame(0, performative, payload, out);
}

fn attach(handle: u32, role: Role, address: &str) -> Performative {
    let address = Some(address.to_owned());
    let (source, target) = match role {
        Role::Sender => (None, address),
        Role::Receiver => (address, None),
    };
    Performative::Attach(Box::new(Attach {
        name: format!("link-{handle}"),
        handle,
        role,
        snd_settle_mode: SenderSettleMode::Mixed,
        rcv_settle_mode: ReceiverSettleMode::First,
        source: Some(Source {
            address: source,
            ..Source::default()
        }),
        target: Some(Target {
            address: target,
            ..Target::default()
        }),
        unsettled: Vec::new(),
        incomplete_unsettled: false,
        initial_delivery_count: Some(0),
        max_message_size: None,
        offered_capabilities: Vec::new(),
        desired_capabilities: Vec::new(),
        properties: Vec::new(),
    }))
}

/// What a client may send from its first byte to its last, and where its token has been put.
fn stream(emulator: &Emulator) -> (Vec<u8>, usize) {
    let mut out = BytesMut::from(&b"AMQP\x00\x01\x00\x00"[..]);
    let open = Open {
        container_id: "client".into(),
        max_frame_size: 65536,
        channel_max: 100,
        idle_time_out: Some(60_000),
        ..Open::default()
    };
    frame(&Performative::Open(open), &[], &mut out);
    let begin = Begin {
        incoming_window: 100,
        outgoing_window: 100,
        handle_max: 100,
        ..Begin::default()
    };
    frame(&Performative::Begin(begin), &[], &mut out);
    frame(&attach(0, Role::Sender, "$cbs"), &[], &mut out);
    frame(&attach(1, Role::Receiver, "$cbs"), &[], &mut out);
    let request = PutToken {
        kind: "servicebus.windows.net:sastoken".into(),
        audience: HOST.into(),
        token: policy_token(emulator, "iothubowner"),
        message_id: Value::Ulong(1),
        reply_to: None,
    };
    let transfer = |handle, id, more| {
        Performative::Transfer(Transfer {
            handle,
            delivery_id: Some(id),
            delivery_tag: Some(vec![0; 4].into()),
            message_format: Some(0),
            settled: Some(false),
            more,
            ..Transfer::default()
        })
    };
    let payload = encoded(&request.to_message());
    frame(&transfer(0, 0, false), &payload, &mut out);
    let proven = out.len();
    let flow = |handle, credit, drain| {
        Performative::Flow(Flow {
            next_incoming_id: Some(0),
            incoming_window: 100,
            next_outgoing_id: 1,
            outgoing_window: 100,
            handle: Some(handle),
            delivery_count: Some(0),
            link_credit: Some(credit),
            drain,
            echo: true,
            ..Flow::default()
        })
    };
    frame(&flow(1, 10, false), &[], &mut out);
    for (handle, role, address) in [
        (2, Role::Sender, "/messages/devicebound"),
        (3, Role::Receiver, "/messages/serviceBound/feedback"),
        (
            4,
            Role::Receiver,
            "localhost/ConsumerGroups/$Default/Partitions/0",
        ),
        (5, Role::Sender, "$management"),
        (6, Role::Receiver, "$management"),
        (7, Role::Sender, "/devices/d1/messages/events"),
        (8, Role::Receiver, "/devices/d1/twin"),
        (9, Role::Receiver, "/messages/events"),
    ] {
        frame(&attach(handle, role, address), &[], &mut out);
    }
    frame(&transfer(2, 1, true), &payload, &mut out);
    frame(&transfer(2, 1, false), &payload, &mut out);
    frame(&transfer(5, 2, false), &payload, &mut out);
    frame(&flow(4, 10, true), &[], &mut out);
    frame(&flow(6, 10, false), &[], &mut out);
    let disposition = Disposition {
        role: Role::Receiver,
        first: 0,
        last: Some(5),
        settled: true,
        state: Some(DeliveryState::Accepted),
        batchable: false,
    };
    frame(&Performative::Disposition(disposition), &[], &mut out);
    let detach = Detach {
        handle: 4,
        closed: true,
        error: None,
    };
    frame(&Performative::Detach(detach), &[], &mut out);
    frame(&Performative::End(End::default()), &[], &mut out);
    frame(&Performative::Close(Close::default()), &[], &mut out);
    (out.to_vec(), proven)
}

/// Changes a stream behind `from`: bits, bytes, lengths, order.
fn mutate(bytes: &mut Vec<u8>, from: usize, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = from + random.below(bytes.len() - from);
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = u8::MAX,
            2 => bytes[at] = 0,
            3 => bytes.truncate(at.max(from + 1)),
            4 => {
                let piece: Vec<u8> = bytes[at..].iter().take(64).copied().collect();
                bytes.splice(at..at, piece);
            }
            _ => {
                let byte = random.next().to_le_bytes();
                bytes.splice(at..at, byte);
            }
        }
    }
}

/// Sends a stream, then nothing any more, and reads to the end of what comes back.
async fn send(emulator: &Emulator, bytes: &[u8]) {
    let Wire::Tcp(mut stream) = Wire::tcp(emulator).await else {
        unreachable!("a wire in the clear");
    };
    let (mut reader, mut writer) = stream.split();
    let write = async {
        use tokio::io::AsyncWriteExt;

        // The other end may have closed already.
        let _ = writer.write_all(bytes).await;
        let _ = writer.shutdown().await;
    };
    let read = async {
        use tokio::io::AsyncReadExt;

        let mut rest = Vec::new();
        let _ = reader.read_to_end(&mut rest).await;
        rest.len()
    };
    let both = async { tokio::join!(write, read) };
    tokio::time::timeout(Duration::from_secs(20), both)
        .await
        .expect("the connection ends");
}

/// Counts what panics on the way, whoever does: a task's panic ends its connection only.
fn count_panics() -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let inside = info
            .location()
            .is_some_and(|at| !at.file().contains("tests/"));
        if inside {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        before(info);
    }));
    count
}

async fn assault(emulator: &Emulator, make: impl Fn(&mut Random) -> Vec<u8>) {
    let panics = count_panics();
    for round in 0..STREAMS / TOGETHER {
        let streams = (0..TOGETHER).map(|number| {
            let seed = 1 + round * TOGETHER + number;
            make(&mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        });
        let sent = streams.map(|bytes| async move { send(emulator, &bytes).await });
        futures_util::future::join_all(sent).await;
    }
    assert_eq!(panics.load(Ordering::SeqCst), 0);
    Client::service(emulator, "service")
        .await
        .expect_alive()
        .await;
}

#[tokio::test]
async fn mutated_streams_before_and_after_the_proof() {
    let emulator = emulator().await;
    let (whole, proven) = stream(&emulator);

    assault(&emulator, |random| {
        let mut bytes = whole.clone();
        let from = [0, 8, proven][random.below(3)];
        mutate(&mut bytes, from, random);
        bytes
    })
    .await;
}

#[tokio::test]
async fn random_bytes_and_random_frames() {
    let emulator = emulator().await;
    let (whole, proven) = stream(&emulator);

    assault(&emulator, |random| {
        let mut bytes = match random.below(3) {
            0 => Vec::new(),
            1 => b"AMQP\x00\x01\x00\x00".to_vec(),
            _ => whole[..proven].to_vec(),
        };
        for _ in 0..random.below(20) {
            let body: Vec<u8> = (0..random.below(60))
                .flat_map(|_| random.next().to_le_bytes())
                .collect();
            let size = u32::try_from(body.len() + 11).unwrap();
            bytes.extend_from_slice(&size.to_be_bytes());
            let descriptor = 0x10 + u8::try_from(random.below(9)).unwrap();
            bytes.extend_from_slice(&[2, 0, 0, 0, 0x00, 0x53, descriptor]);
            bytes.extend_from_slice(&body);
        }
        bytes
    })
    .await;
}

#[tokio::test]
async fn absurd_sizes_and_nesting_end_the_connection_with_the_right_word() {
    let emulator = emulator().await;
    // An open whose list has four thousand million entries; one that is nested two hundred deep.
    let mut counted = b"\x00\x00\x00\x14\x02\x00\x00\x00\x00\x53\x10\xd0\xff\xff\xff\xff".to_vec();
    counted.extend_from_slice(b"\xff\xff\xff\xff");
    let mut nested = Vec::new();
    for depth in 0..200_u32 {
        let inner = 4 + 9 * (200 - depth - 1);
        nested.push(0xd0);
        nested.extend_from_slice(&inner.to_be_bytes());
        nested.extend_from_slice(&1_u32.to_be_bytes());
    }
    let mut deep = u32::try_from(nested.len() + 11)
        .unwrap()
        .to_be_bytes()
        .to_vec();
    deep.extend_from_slice(b"\x02\x00\x00\x00\x00\x53\x10");
    deep.extend_from_slice(&nested);
    for (what, bytes) in [
        (
            "a frame of four gigabytes",
            b"\xff\xff\xff\xff\x02\x00\x00\x00".to_vec(),
        ),
        (
            "a frame of less than its header",
            b"\x00\x00\x00\x07\x02\x00\x00".to_vec(),
        ),
        (
            "a frame of an unknown type",
            b"\x00\x00\x00\x08\x02\x07\x00\x00".to_vec(),
        ),
        (
            "a header beyond the frame",
            b"\x00\x00\x00\x08\xff\x00\x00\x00".to_vec(),
        ),
        ("a count beyond the frame", counted),
        ("nesting", deep),
    ] {
        let mut client = Client::service(&emulator, "service").await;

        client.write_raw(&bytes).await;

        let error = client.expect_close().await.unwrap();
        let condition = condition_of(&error);
        let expected = ["amqp:connection:framing-error", "amqp:decode-error"];
        assert!(expected.contains(&condition), "{what}: {error:?}");
    }
}

#[tokio::test]
async fn hundreds_that_stop_half_way_keep_nobody_out() {
    let emulator = emulator().await;
    let (whole, proven) = stream(&emulator);
    let mut held = Vec::new();
    for number in 0..300 {
        let mut wire = Wire::tcp(&emulator).await;
        let until = [0, 3, 8, 20, proven / 2, proven - 1][number % 6];
        wire.write(&whole[..until]).await.unwrap();
        held.push(wire);
    }

    Client::service(&emulator, "service")
        .await
        .expect_alive()
        .await;

    drop(held);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_given_up() {
    let emulator = frozen_emulator().await;
    let client = Client::service(&emulator, "service").await;
    let pairs = {
        let mut out = BytesMut::new();
        let begin = Begin {
            incoming_window: 1,
            outgoing_window: 1,
            handle_max: 1,
            ..Begin::default()
        };
        for _ in 0..1000 {
            encode_frame(9, &Performative::Begin(begin.clone()), &[], &mut out);
            encode_frame(9, &Performative::End(End::default()), &[], &mut out);
        }
        out.freeze()
    };
    let writer = tokio::spawn(client.write_until_broken(pairs));

    // However often it asks, it is answered only into what the machine keeps for it.
    let mut minutes = 0;
    while !writer.is_finished() {
        emulator.handle().advance(Duration::from_secs(60)).await;
        minutes += 1;
        assert!(minutes < 1_000_000, "still there");
    }

    writer.await.unwrap();
    Client::service(&emulator, "service")
        .await
        .expect_alive()
        .await;
}

#[tokio::test]
async fn without_a_security_layer_nothing_is_open_to_who_has_proved_nothing() {
    let emulator = emulator().await;
    let wire = Wire::tcp(&emulator).await;
    let opened = Client::open(&emulator, wire, ClientSasl::None).await;
    let mut client = opened.unwrap().0;

    for number in 0..500 {
        let address = format!("/devices/d{number}/messages/events");
        let link = client.sender(&address);
        client.machine.attach(client.session, link);
    }
    client.round_trip().await;

    let refused = client.attach_sender("/devices/d1/messages/events").await;
    let error = refused.unwrap_err();
    assert_eq!(condition_of(&error), "amqp:unauthorized-access");
}
