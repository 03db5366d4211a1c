//! Transfers in parts, their limits, and what becomes of deliveries.

use bytes::{Bytes, BytesMut};
use iothub_protocol::amqp::DeliveryState;
use iothub_protocol::amqp::connection::{AcceptLink, ConnectionConfig, DeliveryId, Event};
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::frame::encode_frame;
use iothub_protocol::amqp::performative::{
    Attach, Disposition, Open, Performative, ReceiverSettleMode, Role, Transfer,
};

use crate::pair::{Pair, config, link, payload};
use crate::raw::{Raw, attach, credit, frames, open, transfer};

fn granting(credit: u32) -> AcceptLink {
    AcceptLink {
        credit,
        ..AcceptLink::default()
    }
}

fn part(handle: u32, delivery: Option<u32>, more: bool) -> Transfer {
    Transfer {
        more,
        delivery_id: delivery,
        delivery_tag: delivery.map(|_| Bytes::from_static(b"tag")),
        message_format: None,
        ..transfer(handle, 0)
    }
}

/// A machine that sends on a link with this credit.
fn sending(credit_now: u32) -> (Raw, iothub_protocol::amqp::LinkId) {
    let mut raw = Raw::begun();
    let link = raw.attach(attach(0, Role::Receiver), AcceptLink::default());
    raw.flow(credit(0, 0, credit_now));
    raw.told();
    (raw, link)
}

#[test]
fn parts_of_deliveries_of_several_links_are_put_together() {
    let mut raw = Raw::begun();
    let links = [0, 1].map(|handle| raw.attach(attach(handle, Role::Sender), granting(5)));
    raw.transfer(part(0, Some(0), true), b"a");
    raw.transfer(part(1, Some(1), true), b"x");
    raw.transfer(part(0, None, true), b"b");
    raw.transfer(part(1, Some(1), false), b"y");
    let mut last = part(0, None, false);
    last.settled = Some(true);
    raw.transfer(last, b"c");

    let deliveries = raw.deliveries();
    let seen: Vec<_> = deliveries
        .iter()
        .map(|delivery| (delivery.link, &delivery.payload[..], delivery.settled))
        .collect();
    assert_eq!(
        seen,
        [(links[1], &b"xy"[..], false), (links[0], &b"abc"[..], true)]
    );
    assert_eq!(deliveries[0].tag, "tag");
}

#[test]
fn an_aborted_delivery_never_was() {
    let mut raw = Raw::begun();
    raw.attach(attach(0, Role::Sender), granting(1));
    raw.transfer(part(0, Some(0), true), b"a");
    let mut aborted = part(0, None, true);
    aborted.aborted = true;
    raw.transfer(aborted, b"b");
    raw.transfer(transfer(0, 1), b"c");

    let deliveries = raw.deliveries();
    assert_eq!(deliveries.len(), 1, "and its credit was restored");
    assert_eq!(deliveries[0].payload, "c");
}

#[test]
fn a_delivery_within_another_detaches_the_link() {
    let mut raw = Raw::begun();
    raw.attach(attach(0, Role::Sender), granting(5));
    raw.transfer(part(0, Some(0), true), b"a");
    raw.transfer(part(0, Some(1), true), b"b");

    assert_eq!(raw.detached_with().condition, condition::NOT_ALLOWED);
}

#[test]
fn a_delivery_without_a_number_detaches_the_link() {
    let mut raw = Raw::begun();
    raw.attach(attach(0, Role::Sender), granting(5));
    raw.transfer(part(0, None, false), b"a");

    assert_eq!(raw.detached_with().condition, condition::INVALID_FIELD);
}

#[test]
fn a_message_above_the_links_limit_detaches_it() {
    for parts in [1, 5] {
        let mut raw = Raw::begun();
        let limited = AcceptLink {
            max_message_size: Some(100),
            ..granting(5)
        };
        raw.attach(attach(0, Role::Sender), limited);
        raw.transfer(transfer(0, 0), &payload(100));
        assert_eq!(raw.deliveries().len(), 1);
        for index in 0..parts {
            raw.transfer(
                part(0, Some(1), index + 1 < parts),
                &payload(101_usize.div_ceil(parts)),
            );
        }
        let error = raw.detached_with();
        assert_eq!(error.condition, condition::MESSAGE_SIZE_EXCEEDED);
    }
}

#[test]
fn unfinished_deliveries_are_bounded_over_all_links() {
    let config = ConnectionConfig {
        max_unfinished: 1000,
        ..config("server")
    };
    let mut raw = Raw::open_with(config, open());
    raw.begin();
    for handle in 0..3 {
        raw.attach(attach(handle, Role::Sender), granting(5));
    }
    raw.transfer(part(0, Some(0), true), &payload(600));
    raw.transfer(part(1, Some(1), true), &payload(600));
    let error = raw.detached_with();
    assert_eq!(error.condition, condition::MESSAGE_SIZE_EXCEEDED);

    raw.transfer(part(0, Some(0), false), &payload(600));
    assert_eq!(raw.deliveries()[0].payload.len(), 1200);
    raw.transfer(part(2, Some(2), true), &payload(900));
    assert_eq!(raw.heard(), [], "the room is free again");
}

#[test]
fn a_transfer_has_eleven_fields_and_names_its_delivery_once() {
    let limited = Open {
        max_frame_size: 512,
        ..open()
    };
    let mut raw = Raw::open_with(config("server"), limited);
    raw.begin();
    let link = raw.attach(attach(300, Role::Receiver), AcceptLink::default());
    raw.flow(credit(300, 0, 10));
    raw.machine
        .send(link, &[9; 16], 0x8001_3700, payload(1200), true)
        .unwrap();

    let chunk = raw.chunk();
    let frames = frames(&chunk);
    let first = Transfer {
        delivery_id: Some(0),
        delivery_tag: Some(Bytes::from_static(&[9; 16])),
        message_format: Some(0x8001_3700),
        handle: 300,
        settled: Some(true),
        more: true,
        ..Transfer::default()
    };
    let next = Transfer {
        delivery_id: None,
        delivery_tag: None,
        message_format: None,
        ..first.clone()
    };
    let last = Transfer {
        more: false,
        ..next.clone()
    };
    // Byte for byte what the codec writes, which is tested for its full length.
    let mut expected = BytesMut::new();
    let mut whole = Vec::new();
    for ((_, performative, part), transfer) in frames.iter().zip([first, next, last]) {
        assert_eq!(performative, &Performative::Transfer(transfer));
        encode_frame(0, performative, part, &mut expected);
        whole.extend_from_slice(part);
    }
    assert_eq!(expected[..], chunk[..]);
    assert_eq!(whole, payload(1200));
    assert_eq!(frames.len(), 3);
}

#[test]
fn what_is_written_in_place_is_split_when_it_is_too_long() {
    let mut pair = Pair::open();
    let session = pair.session();
    let (_, theirs) = pair.attach(
        session,
        link("in", Role::Receiver, 10),
        AcceptLink::default(),
    );
    for length in [0, 1, 65_000, 65_536, 200_000] {
        pair.server
            .machine
            .send_with(theirs, b"tag", 0, false, |out| {
                out.extend_from_slice(&payload(length));
            })
            .unwrap();
    }
    pair.run();

    let lengths: Vec<usize> = pair
        .client
        .deliveries()
        .iter()
        .map(|delivery| delivery.payload.len())
        .collect();
    assert_eq!(lengths, [0, 1, 65_000, 65_536, 200_000]);
}

#[test]
fn transfers_leave_in_chunks_that_others_get_between() {
    let mut raw = Raw::begun();
    let link = raw.attach(attach(0, Role::Receiver), AcceptLink::default());
    raw.flow(credit(0, 0, 1000));
    for _ in 0..500 {
        raw.machine
            .send(link, b"t", 0, payload(1000), true)
            .unwrap();
    }
    let waiting = raw.machine.output_len();
    let lengths: Vec<usize> = std::iter::from_fn(|| raw.machine.next_output())
        .map(|chunk| chunk.len())
        .collect();

    assert_eq!(lengths.len(), 2);
    assert_eq!(lengths.iter().sum::<usize>(), waiting);
}

#[test]
fn runs_of_one_state_are_one_disposition() {
    let mut raw = Raw::begun();
    let link = raw.attach(attach(0, Role::Sender), granting(100));
    for index in 0..10_u32 {
        raw.transfer(transfer(0, (u32::MAX - 4).wrapping_add(index)), b"x");
    }
    for delivery in raw.deliveries() {
        let state = match delivery.id.0 {
            7 => DeliveryState::Released,
            _ => DeliveryState::Accepted,
        };
        raw.machine.settle(link, delivery.id, state.clone());
        raw.machine.settle(link, delivery.id, state);
    }

    let said: Vec<_> = raw
        .heard()
        .into_iter()
        .map(|said| match said {
            Performative::Disposition(said) => (said.role, said.first, said.last, said.settled),
            other => panic!("{other:?}"),
        })
        .collect();
    let receiver = Role::Receiver;
    assert_eq!(
        said,
        [
            (receiver, u32::MAX - 4, Some(1), true),
            (receiver, 2, Some(2), true),
            (receiver, 3, Some(4), true),
        ]
    );
}

#[test]
fn a_range_of_outcomes_is_told_one_by_one_and_once() {
    let (mut raw, link) = sending(100);
    let other = raw.attach(attach(1, Role::Receiver), AcceptLink::default());
    raw.flow(credit(1, 0, 100));
    raw.told();
    for index in 0..6_u32 {
        let link = if index % 2 == 0 { link } else { other };
        let settled = index == 4;
        raw.machine
            .send(link, b"t", 0, payload(1), settled)
            .unwrap();
    }
    // As many numbers as there can be; known are five.
    raw.outcome(0, u32::MAX / 2, true, DeliveryState::Accepted);
    raw.outcome(0, 5, true, DeliveryState::Released);

    let told: Vec<_> = raw
        .told()
        .into_iter()
        .map(|event| match event {
            Event::Outcome {
                link,
                delivery,
                state: Some(DeliveryState::Accepted),
                settled: true,
            } => (link, delivery.0),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [(link, 0), (other, 1), (link, 2), (other, 3), (other, 5)]
    );
}

#[test]
fn outcomes_of_what_was_never_sent_are_ignored() {
    let (mut raw, link) = sending(10);
    raw.machine.send(link, b"t", 0, payload(1), false).unwrap();
    raw.outcome(1, 5, true, DeliveryState::Accepted);
    raw.outcome(u32::MAX, u32::MAX, true, DeliveryState::Accepted);
    raw.outcome(1, 0, true, DeliveryState::Accepted);

    assert_eq!(raw.told(), []);
}

/// `spec/amqp.md` 5.2 and 7.3: the peer's settle mode is second.
#[test]
fn an_outcome_that_is_not_settled_is_settled_from_here() {
    let (mut raw, link) = sending(10);
    let sent: Vec<DeliveryId> = (0..3)
        .map(|_| raw.machine.send(link, b"t", 0, payload(1), false).unwrap())
        .collect();
    raw.heard();
    raw.outcome(0, 2, false, DeliveryState::Accepted);
    raw.outcome(0, 2, false, DeliveryState::Accepted);
    assert_eq!(raw.told().len(), 3, "each is told once");
    for delivery in &sent {
        raw.machine
            .settle_sent(link, *delivery, DeliveryState::Accepted);
    }

    let settled = Disposition {
        role: Role::Sender,
        first: 0,
        last: Some(2),
        settled: true,
        state: Some(DeliveryState::Accepted),
        batchable: false,
    };
    assert_eq!(raw.heard(), [Performative::Disposition(settled)]);
    raw.outcome(0, 2, true, DeliveryState::Accepted);
    assert_eq!(raw.told(), []);
}

#[test]
fn a_receiver_in_the_second_mode_learns_that_the_sender_has_settled() {
    let mut pair = Pair::open();
    let session = pair.session();
    let mut wanted = link("in", Role::Receiver, 10);
    wanted.rcv_settle_mode = ReceiverSettleMode::Second;
    let (ours, theirs) = pair.attach(session, wanted, AcceptLink::default());
    let sent = pair
        .server
        .machine
        .send(theirs, b"t", 0, payload(1), false)
        .unwrap();
    pair.run();
    let delivery = pair.client.deliveries().remove(0);
    pair.client
        .machine
        .tell(ours, delivery.id, DeliveryState::Accepted);
    pair.run();
    let outcome = |link, delivery, settled| Event::Outcome {
        link,
        delivery,
        state: Some(DeliveryState::Accepted),
        settled,
    };
    assert_eq!(pair.server.told().pop(), Some(outcome(theirs, sent, false)));
    pair.server
        .machine
        .settle_sent(theirs, sent, DeliveryState::Accepted);
    pair.run();

    assert_eq!(pair.client.told(), [outcome(ours, delivery.id, true)]);
}

#[test]
fn a_peer_that_never_settles_is_not_sent_without_end() {
    let (mut raw, link) = sending(0);
    let mut sent = 0;
    loop {
        raw.flow(credit(0, sent, 1000));
        let now = raw.machine.sendable(link);
        if now == 0 {
            break;
        }
        for _ in 0..now {
            raw.machine
                .send(link, b"t", 0, Bytes::new(), false)
                .unwrap();
        }
        sent += now;
        while raw.machine.next_output().is_some() {}
        raw.told();
    }
    assert_eq!(sent, 64 * 1024);
    raw.told();

    raw.outcome(0, 9, true, DeliveryState::Accepted);
    let told = raw.told();
    assert_eq!(told.len(), 11);
    assert!(matches!(told[10], Event::Credit { .. }), "{:?}", told[10]);
    assert_eq!(raw.machine.sendable(link), 10);
}

#[test]
fn a_delivery_that_has_its_tag_in_no_frame_has_none() {
    let mut raw = Raw::begun();
    let asked = Attach {
        initial_delivery_count: None,
        ..attach(0, Role::Sender)
    };
    raw.attach(asked, granting(5));
    let mut bare = transfer(0, 0);
    bare.delivery_tag = None;
    bare.message_format = None;
    bare.settled = None;
    raw.transfer(bare, b"x");

    let delivery = raw.deliveries().remove(0);
    assert_eq!((delivery.tag, delivery.format), (Bytes::new(), 0));
    assert!(!delivery.settled);
}
