//! The main course: open, begin, attach, deliveries both ways, and the ends.

use bytes::Bytes;
use iothub_protocol::amqp::connection::{AcceptLink, ClientSasl, DeliveryId, Event, SendError};
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::performative::Role;
use iothub_protocol::amqp::sasl::SaslCode;
use iothub_protocol::amqp::value::Symbol;
use iothub_protocol::amqp::{AmqpError, DeliveryState};

use crate::pair::{Pair, config, link, payload};

#[test]
fn a_peer_that_authenticates_is_let_in_and_opens() {
    let sasl = ClientSasl::Mechanism {
        name: Symbol::of("PLAIN"),
        initial_response: Some(Bytes::from_static(b"\0user\0password")),
    };
    let mut pair = Pair::new(config("client"), sasl, config("server"));
    pair.piece = 3;

    pair.run();

    let told = pair.server.told();
    assert!(
        matches!(&told[0], Event::SaslInit { mechanism, initial_response: Some(response), .. }
            if mechanism.as_str() == "PLAIN" && response == "\0user\0password"[..].as_bytes()),
        "{told:?}"
    );
    assert!(matches!(&told[1], Event::Opened(open) if open.container_id == "client"));
    let told = pair.client.told();
    assert_eq!(told[0], Event::SaslEnded(SaslCode::Ok));
    assert!(matches!(&told[1], Event::Opened(open) if open.container_id == "server"));
}

#[test]
fn deliveries_come_in_and_are_settled() {
    let mut pair = Pair::open();
    let session = pair.session();
    let credit = AcceptLink {
        credit: 10,
        ..AcceptLink::default()
    };
    let (ours, theirs) = pair.attach(session, link("out", Role::Sender, 0), credit);
    assert_eq!(pair.client.machine.sendable(ours), 10);
    let client = &mut pair.client.machine;
    let first = client.send(ours, b"a", 0, payload(10), false).unwrap();
    let second = client.send(ours, b"b", 7, payload(200_000), false).unwrap();
    pair.run();

    let deliveries = pair.server.deliveries();
    assert_eq!(deliveries.len(), 2);
    assert_eq!(
        (&deliveries[0].tag[..], deliveries[0].format),
        (&b"a"[..], 0)
    );
    assert_eq!(deliveries[0].payload, payload(10));
    assert_eq!(
        (&deliveries[1].tag[..], deliveries[1].format),
        (&b"b"[..], 7)
    );
    assert_eq!(deliveries[1].payload, payload(200_000));
    for delivery in deliveries {
        pair.server
            .machine
            .settle(theirs, delivery.id, DeliveryState::Accepted);
    }
    pair.run();

    let outcome = |delivery| Event::Outcome {
        link: ours,
        delivery,
        state: Some(DeliveryState::Accepted),
        settled: true,
    };
    let told: Vec<Event> = pair
        .client
        .told()
        .into_iter()
        .filter(|event| matches!(event, Event::Outcome { .. }))
        .collect();
    assert_eq!(told, [outcome(first), outcome(second)]);
}

#[test]
fn deliveries_go_out_within_the_credit() {
    let mut pair = Pair::open();
    let session = pair.session();
    let (ours, theirs) = pair.attach(
        session,
        link("in", Role::Receiver, 4),
        AcceptLink::default(),
    );
    for number in 0_u8..4 {
        let sent = pair
            .server
            .machine
            .send_with(theirs, &[number; 16], 0, true, |out| {
                out.extend_from_slice(b"x")
            });
        assert_eq!(sent, Ok(DeliveryId(number.into())));
    }
    let fifth = pair.server.machine.send(theirs, b"", 0, payload(1), true);
    assert_eq!(fifth, Err(SendError::NoCredit));
    pair.run();

    assert_eq!(pair.client.deliveries().len(), 4);
    assert_eq!(pair.server.machine.sendable(theirs), 4, "topped up");
    pair.client.machine.detach(ours, None);
    pair.run();
    let detached = Event::LinkDetached {
        link: theirs,
        closed: true,
        error: None,
    };
    assert_eq!(pair.server.told().last(), Some(&detached));
}

#[test]
fn a_refused_link_is_answered_and_detached_in_two_writes() {
    let mut pair = Pair::open();
    let session = pair.session();
    let ours = pair
        .client
        .machine
        .attach(session, link("in", Role::Receiver, 4));
    pair.run();
    let theirs = pair.server.attached();
    let error = AmqpError::new(condition::NOT_FOUND, "no such node");
    pair.server.machine.refuse_link(theirs, error.clone());

    let first = pair.server.machine.next_output().unwrap();
    let second = pair.server.machine.next_output().unwrap();
    assert_eq!(first[8..11], [0x00, 0x53, 0x12]);
    assert_eq!(second[8..11], [0x00, 0x53, 0x16]);
    pair.client.machine.receive(pair.now, &first);
    pair.client.machine.receive(pair.now, &second);
    let told = pair.client.told();
    let detached = Event::LinkDetached {
        link: ours,
        closed: true,
        error: Some(error),
    };
    assert_eq!(told.last(), Some(&detached));
}

#[test]
fn sessions_and_connections_end() {
    let mut pair = Pair::open();
    let session = pair.session();
    let (_, theirs) = pair.attach(
        session,
        link("in", Role::Receiver, 4),
        AcceptLink::default(),
    );
    pair.server.told();
    pair.client.machine.end(session, None);
    pair.client.machine.close(None);
    pair.run();

    let told = pair.server.told();
    assert!(matches!(told[0], Event::LinkDetached { link, .. } if link == theirs));
    assert!(matches!(told[1], Event::SessionEnded(_, None)));
    assert_eq!(told[2], Event::Closed(None));
    assert_eq!(pair.client.told().last(), Some(&Event::Closed(None)));
    assert!(pair.client.machine.is_closed() && pair.server.machine.is_closed());
}
