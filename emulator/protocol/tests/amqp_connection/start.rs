//! Headers, the security layer, open, and what comes out of order.

use bytes::{Bytes, BytesMut};
use iothub_protocol::amqp::AmqpError;
use iothub_protocol::amqp::connection::{ClientSasl, Connection, Event};
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::frame::{
    Frame, ProtocolHeader, decode_frame, decode_header, encode_frame, encode_sasl,
};
use iothub_protocol::amqp::performative::{Begin, Close, Performative, Role};
use iothub_protocol::amqp::sasl::{SaslCode, SaslFrame};
use iothub_protocol::amqp::value::Symbol;

use crate::pair::{Pair, config, epoch, link};
use crate::raw::{Raw, attach, begin, frames, open};

fn init(mechanism: &'static str) -> BytesMut {
    let mut out = BytesMut::new();
    let frame = SaslFrame::Init {
        mechanism: Symbol::of(mechanism),
        initial_response: None,
        hostname: None,
    };
    encode_sasl(&frame, &mut out);
    out
}

fn sasl_frames(bytes: &[u8]) -> Vec<SaslFrame> {
    let mut input = BytesMut::from(bytes);
    let mut frames = Vec::new();
    while let Some(Frame::Sasl(frame)) = decode_frame(&mut input, 4096).expect("a frame") {
        frames.push(frame);
    }
    frames
}

/// `spec/amqp.md` 2.1 and 8.1.
#[test]
fn a_peer_without_security_layer_is_answered_without_one() {
    let mut raw = Raw::new(config("server"));
    raw.bytes(b"AMQP\0\x01\0");
    assert_eq!(raw.machine.next_output(), None);
    raw.bytes(b"\0");

    assert_eq!(raw.chunk()[..], ProtocolHeader::Amqp.to_bytes());

    raw.say(0, Performative::Open(open()));
    let answer = &frames(&raw.chunk())[0].1;
    assert!(matches!(answer, Performative::Open(open)
        if open.container_id == "server" && open.channel_max == 255
            && open.max_frame_size == 65536 && open.idle_time_out == Some(240_000)));
}

#[test]
fn the_mechanisms_follow_the_header() {
    let mut raw = Raw::new(config("server"));
    raw.bytes(&ProtocolHeader::Sasl.to_bytes());

    let mut output = BytesMut::from(&raw.chunk()[..]);
    assert_eq!(decode_header(&mut output), Ok(Some(ProtocolHeader::Sasl)));
    let mechanisms = ["MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL"].map(Symbol::from);
    assert_eq!(
        sasl_frames(&output),
        [SaslFrame::Mechanisms(mechanisms.to_vec())]
    );
}

#[test]
fn what_is_sent_ahead_is_read_after_the_decision() {
    let mut raw = Raw::new(config("server"));
    let mut ahead = BytesMut::from(&ProtocolHeader::Sasl.to_bytes()[..]);
    ahead.extend(init("ANONYMOUS"));
    ahead.extend(ProtocolHeader::Amqp.to_bytes());
    encode_frame(0, &Performative::Open(open()), b"", &mut ahead);
    encode_frame(0, &Performative::Begin(begin()), b"", &mut ahead);
    let attach = Performative::Attach(Box::new(attach(0, Role::Sender)));
    encode_frame(0, &attach, b"", &mut ahead);
    raw.bytes(&ahead);

    let told = raw.told();
    assert!(matches!(told[..], [Event::SaslInit { .. }]), "{told:?}");
    raw.machine.sasl_outcome(SaslCode::Ok);
    let told = raw.told();
    assert!(
        matches!(
            told[..],
            [
                Event::Opened(_),
                Event::SessionBegun(_),
                Event::LinkAttached { .. }
            ]
        ),
        "{told:?}"
    );
}

#[test]
fn a_peer_that_is_not_let_in_is_told_so_and_no_more() {
    let mut raw = Raw::new(config("server"));
    raw.bytes(&ProtocolHeader::Sasl.to_bytes());
    raw.bytes(&init("PLAIN"));
    raw.chunk();
    raw.machine.sasl_outcome(SaslCode::Auth);

    let outcome = SaslFrame::Outcome {
        code: SaslCode::Auth,
        additional_data: None,
    };
    assert_eq!(sasl_frames(&raw.chunk()), [outcome]);
    assert!(raw.machine.is_closed());
    assert!(matches!(raw.told().pop(), Some(Event::Closed(Some(_)))));
}

#[test]
fn a_mechanism_that_is_not_offered_fails_without_a_question() {
    let mut raw = Raw::new(config("server"));
    raw.bytes(&ProtocolHeader::Sasl.to_bytes());
    raw.bytes(&init("SCRAM-SHA-1"));

    assert!(raw.machine.is_closed());
    assert!(matches!(raw.told()[..], [Event::Closed(Some(_))]));
}

#[test]
fn other_headers_are_answered_with_one_that_is_taken() {
    for header in [*b"AMQP\x02\x01\0\0", *b"GET / HT", *b"AMQP\0\0\x09\x01"] {
        let mut raw = Raw::new(config("server"));
        raw.bytes(&header);

        assert_eq!(raw.chunk()[..], ProtocolHeader::Sasl.to_bytes());
        assert!(raw.machine.is_closed());
    }
}

#[test]
fn a_server_without_mechanisms_offers_no_security_layer() {
    let mut raw = Raw::new(iothub_protocol::amqp::ConnectionConfig {
        sasl_mechanisms: Vec::new(),
        ..config("server")
    });
    raw.bytes(&ProtocolHeader::Sasl.to_bytes());

    assert_eq!(raw.chunk()[..], ProtocolHeader::Amqp.to_bytes());
    assert!(raw.machine.is_closed());
}

#[test]
fn frames_out_of_order_close_the_connection() {
    let mut raw = Raw::new(config("server"));
    raw.bytes(&ProtocolHeader::Amqp.to_bytes());
    raw.say(0, Performative::Begin(begin()));
    raw.chunk();
    assert!(raw.machine.is_closed(), "no open");

    let mut raw = Raw::open();
    raw.say(0, Performative::Open(open()));
    assert_eq!(raw.closed_with().condition, condition::NOT_ALLOWED);

    let mut raw = Raw::open();
    raw.bytes(&init("PLAIN"));
    assert_eq!(raw.closed_with().condition, condition::FRAMING_ERROR);
}

#[test]
fn frames_that_cannot_be_read_close_the_connection() {
    let cases: [(&[u8], _); 5] = [
        (&[0, 0, 0, 7, 2, 0, 0, 0], condition::FRAMING_ERROR),
        (&[0, 1, 0, 1, 2, 0, 0, 0], condition::FRAMING_ERROR),
        (&[0, 0, 0, 8, 3, 0, 0, 0], condition::FRAMING_ERROR),
        (&[0, 0, 0, 8, 2, 9, 0, 0], condition::FRAMING_ERROR),
        (
            &[0, 0, 0, 12, 2, 0, 0, 0, 0, 0x53, 0x18, 0x01],
            condition::DECODE_ERROR,
        ),
    ];
    for (bytes, expected) in cases {
        let mut raw = Raw::open();
        raw.bytes(bytes);
        assert_eq!(raw.closed_with().condition, expected, "{bytes:?}");

        raw.say(0, Performative::Begin(begin()));
        assert_eq!(raw.machine.next_output(), None, "over is over");
    }
}

#[test]
fn a_close_is_answered_and_what_follows_ours_is_ignored() {
    let mut raw = Raw::begun();
    raw.say(0, Performative::Close(Close::default()));
    assert_eq!(raw.heard(), [Performative::Close(Close::default())]);
    assert!(raw.machine.is_closed());

    let mut raw = Raw::begun();
    let error = AmqpError::new(condition::CONNECTION_FORCED, "enough");
    raw.machine.close(Some(error.clone()));
    assert_eq!(
        raw.heard(),
        [Performative::Close(Close { error: Some(error) })]
    );
    raw.say(7, Performative::Begin(Begin::default()));
    raw.say(3, Performative::Begin(begin()));
    assert!(!raw.machine.is_closed());
    raw.say(0, Performative::Close(Close::default()));
    assert_eq!(raw.machine.next_output(), None);
    assert_eq!(raw.told().pop(), Some(Event::Closed(None)));
}

#[test]
fn a_client_plans_before_it_is_let_in() {
    let sasl = ClientSasl::Mechanism {
        name: Symbol::of("ANONYMOUS"),
        initial_response: None,
    };
    let mut pair = Pair::new(config("client"), sasl, config("server"));
    let dropped = pair.client.machine.begin();
    let session = pair.client.machine.begin();
    let first = pair
        .client
        .machine
        .attach(session, link("a", Role::Sender, 0));
    let second = pair
        .client
        .machine
        .attach(session, link("b", Role::Receiver, 0));
    pair.client.machine.detach(first, None);
    pair.client.machine.end(dropped, None);
    pair.run();

    let theirs = pair.server.attached();
    pair.server.machine.accept_link(theirs, Default::default());
    pair.run();
    let told = pair.client.told();
    assert!(told.contains(&Event::SessionBegun(session)));
    assert!(!told.contains(&Event::SessionBegun(dropped)));
    assert!(
        matches!(told.last(), Some(Event::LinkAttached { link, ours: true, .. }) if *link == second),
        "{told:?}"
    );
}

#[test]
fn a_client_gives_up_without_its_mechanism_or_layer() {
    let sasl = |name| ClientSasl::Mechanism {
        name: Symbol::of(name),
        initial_response: Some(Bytes::new()),
    };
    let mut pair = Pair::new(config("client"), sasl("GSSAPI"), config("server"));
    pair.run();
    assert!(pair.client.machine.is_closed());
    assert!(matches!(
        pair.client.told().pop(),
        Some(Event::Closed(Some(AmqpError { condition, .. })))
            if condition == condition::UNAUTHORIZED_ACCESS
    ));

    let mut client = Connection::client(config("client"), sasl("PLAIN"), epoch());
    client.receive(epoch(), &ProtocolHeader::Amqp.to_bytes());
    assert!(client.is_closed());
}
