//! Links in general (`spec/amqp.md` 4).

use bytes::{Buf, BytesMut};
use iothub_protocol::amqp::connection::AttachLink;
use iothub_protocol::amqp::connection::ClientSasl;
use iothub_protocol::amqp::frame::{Frame, decode_frame, encode_frame};
use iothub_protocol::amqp::performative::{Begin, Open, Performative, Target};

use crate::client::{Client, condition_of};
use crate::hub::emulator;
use crate::wire::Wire;

#[tokio::test]
async fn a_link_before_any_proof_is_refused() {
    let emulator = emulator().await;
    let mut client = Client::connect(&emulator).await;
    for address in [
        "/messages/devicebound",
        "/messages/serviceBound/feedback",
        "/devices/d1/messages/events",
        "localhost/ConsumerGroups/$Default/Partitions/0",
        "/nothing/of/the/kind",
    ] {
        let sender = client.attach_sender(address).await.unwrap_err();
        let receiver = client.attach_receiver(address, 1).await.unwrap_err();

        assert_eq!(
            condition_of(&sender),
            "amqp:unauthorized-access",
            "{address}"
        );
        assert_eq!(
            condition_of(&receiver),
            "amqp:unauthorized-access",
            "{address}"
        );
    }
    client.expect_alive().await;
}

#[tokio::test]
async fn management_is_opened_before_any_proof() {
    let emulator = emulator().await;
    let mut client = Client::connect(&emulator).await;

    client.attach_sender("$management").await.unwrap();
    client.attach_receiver("$management", 1).await.unwrap();

    client.expect_alive().await;
}

#[tokio::test]
async fn a_node_that_is_none_is_not_found_and_a_coordinator_is_not_emulated() {
    let emulator = emulator().await;
    let mut client = Client::service(&emulator, "service").await;

    let unknown = client.attach_sender("/messages/nowhere").await.unwrap_err();
    let wrong_way = client.attach_receiver("/messages/devicebound", 1).await;
    let sender = client.sender("x");
    let coordinator = AttachLink {
        target: Target {
            coordinator: true,
            ..Target::default()
        },
        ..sender.clone()
    };
    let coordinator = client.attach(coordinator).await.unwrap_err();
    let nameless = AttachLink {
        target: Target::default(),
        name: "nameless".into(),
        ..sender
    };
    let nameless = client.attach(nameless).await.unwrap_err();

    assert_eq!(condition_of(&unknown), "amqp:not-found");
    assert_eq!(condition_of(&wrong_way.unwrap_err()), "amqp:not-found");
    assert_eq!(condition_of(&coordinator), "amqp:not-implemented");
    assert_eq!(condition_of(&nameless), "amqp:invalid-field");
    client.expect_alive().await;
}

#[tokio::test]
async fn a_link_without_the_permission_is_refused_with_a_reason() {
    let emulator = emulator().await;
    let mut client = Client::service(&emulator, "registryRead").await;

    let refused = client.attach_sender("/messages/devicebound").await;

    let error = refused.unwrap_err();
    assert_eq!(condition_of(&error), "amqp:unauthorized-access");
    let text = error.description.unwrap();
    assert!(text.contains("ServiceConnect"), "{text}");
}

/// Clients look for the detach only once they have seen the answer to their attach.
#[tokio::test]
async fn a_refusal_is_two_writes_the_answer_first() {
    let emulator = emulator().await;
    let wire = Wire::tls(&emulator).await;
    let wire = refused_over(wire).await;
    drop(wire);
    let wire = Wire::websocket(&emulator, "/$iothub/websocket").await;
    drop(refused_over(wire).await);
}

/// Attaches a link that is refused; asserts that the answer came in one piece, and the detach in the
/// next: a record of TLS, or a message of WebSocket, is never read together with another.
async fn refused_over(mut wire: Wire) -> Wire {
    let mut out = BytesMut::new();
    out.extend_from_slice(b"AMQP\x00\x01\x00\x00");
    let open = Open {
        container_id: "test".into(),
        max_frame_size: 65536,
        channel_max: 10,
        ..Open::default()
    };
    encode_frame(0, &Performative::Open(open), &[], &mut out);
    let begin = Begin {
        incoming_window: 10,
        outgoing_window: 10,
        handle_max: 10,
        ..Begin::default()
    };
    encode_frame(0, &Performative::Begin(begin), &[], &mut out);
    wire.write(&out).await.unwrap();
    let mut input = BytesMut::new();
    while input.len() < 8 {
        assert_ne!(wire.read(&mut input).await, 0);
    }
    input.advance(8);
    // Open and begin.
    for _ in 0..2 {
        next_frame(&mut wire, &mut input).await;
    }
    assert!(input.is_empty(), "{input:?}");

    out.clear();
    let attach = attach_of("/messages/devicebound");
    encode_frame(0, &Performative::Attach(Box::new(attach)), &[], &mut out);
    wire.write(&out).await.unwrap();
    let first = next_frame(&mut wire, &mut input).await;
    assert!(input.is_empty(), "more came with the answer: {input:?}");
    let second = next_frame(&mut wire, &mut input).await;

    let Frame::Amqp {
        performative: Some(Performative::Attach(answer)),
        ..
    } = first
    else {
        panic!("{first:?}");
    };
    assert!(answer.source.is_some() && answer.target.is_some());
    let Frame::Amqp {
        performative: Some(Performative::Detach(detach)),
        ..
    } = second
    else {
        panic!("{second:?}");
    };
    assert!(detach.closed);
    let error = detach.error.unwrap();
    assert_eq!(condition_of(&error), "amqp:unauthorized-access");
    wire
}

async fn next_frame(wire: &mut Wire, input: &mut BytesMut) -> Frame {
    loop {
        if let Some(frame) = decode_frame(input, 65536).unwrap() {
            return frame;
        }
        assert_ne!(wire.read(input).await, 0, "the end: {input:?}");
    }
}

fn attach_of(address: &str) -> iothub_protocol::amqp::performative::Attach {
    use iothub_protocol::amqp::performative::{
        Attach, ReceiverSettleMode, Role, SenderSettleMode, Source,
    };

    Attach {
        name: "link".into(),
        handle: 0,
        role: Role::Sender,
        snd_settle_mode: SenderSettleMode::Mixed,
        rcv_settle_mode: ReceiverSettleMode::First,
        source: Some(Source::default()),
        target: Some(Target {
            address: Some(address.into()),
            ..Target::default()
        }),
        unsettled: Vec::new(),
        incomplete_unsettled: false,
        initial_delivery_count: Some(0),
        max_message_size: None,
        offered_capabilities: Vec::new(),
        desired_capabilities: Vec::new(),
        properties: Vec::new(),
    }
}

#[tokio::test]
async fn a_name_may_be_used_again_after_a_detach_and_links_come_in_any_session() {
    let emulator = emulator().await;
    let wire = Wire::tcp(&emulator).await;
    let opened = Client::open(&emulator, wire, ClientSasl::None).await;
    let mut client = opened.unwrap().0;
    for _ in 0..3 {
        let session = client.machine.begin();
        let link = AttachLink {
            name: "$cbs-sender".into(),
            ..client.sender("amqps://localhost:5671/$cbs")
        };

        let (link, _) = client.attach_in(session, link).await.unwrap();
        client.detach(link).await;
    }
}
