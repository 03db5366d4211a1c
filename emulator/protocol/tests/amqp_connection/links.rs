//! How links are attached, answered, refused and detached.

use iothub_protocol::amqp::connection::{AcceptLink, ConnectionConfig, Event};
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::performative::{
    Attach, Begin, Detach, End, Performative, ReceiverSettleMode, Role, SenderSettleMode, Source,
    Target,
};
use iothub_protocol::amqp::{AmqpError, DeliveryState};

use crate::pair::config;
use crate::raw::{Raw, attach, begin, credit, detach, open, transfer};

fn answer(raw: &mut Raw) -> Attach {
    match raw.heard().into_iter().next() {
        Some(Performative::Attach(attach)) => *attach,
        other => panic!("no attach: {other:?}"),
    }
}

fn granting(credit: u32) -> AcceptLink {
    AcceptLink {
        credit,
        ..AcceptLink::default()
    }
}

fn addressed(address: &str) -> (Option<Source>, Option<Target>) {
    let source = Source {
        address: Some(address.to_owned()),
        ..Source::default()
    };
    let target = Target {
        address: Some(format!("{address}/target")),
        ..Target::default()
    };
    (Some(source), Some(target))
}

/// `spec/amqp.md` 4, attach answer, and 8.4.
#[test]
fn an_answer_echoes_what_was_asked_for_and_receives_in_the_first_mode() {
    let mut raw = Raw::begun();
    let (source, target) = addressed("node");
    let asked = Attach {
        snd_settle_mode: SenderSettleMode::Unsettled,
        rcv_settle_mode: ReceiverSettleMode::Second,
        source: source.clone(),
        target: target.clone(),
        ..attach(7, Role::Sender)
    };
    let link = raw.ask(asked);
    raw.machine.accept_link(
        link,
        AcceptLink {
            max_message_size: Some(262_144),
            ..AcceptLink::default()
        },
    );

    let answer = answer(&mut raw);
    assert_eq!(answer.name, "link-7");
    assert_eq!(answer.role, Role::Receiver);
    assert_eq!(answer.snd_settle_mode, SenderSettleMode::Unsettled);
    assert_eq!(answer.rcv_settle_mode, ReceiverSettleMode::First);
    assert_eq!((answer.source, answer.target), (source, target));
    assert_eq!(answer.max_message_size, Some(262_144));
    assert_eq!(answer.initial_delivery_count, None);
}

#[test]
fn an_answering_sender_tells_its_count_and_keeps_the_receivers_mode() {
    let mut raw = Raw::begun();
    let asked = Attach {
        rcv_settle_mode: ReceiverSettleMode::Second,
        ..attach(0, Role::Receiver)
    };
    let link = raw.ask(asked);
    let (source, _) = addressed("given");
    raw.machine.accept_link(
        link,
        AcceptLink {
            source: source.clone(),
            ..AcceptLink::default()
        },
    );

    let answer = answer(&mut raw);
    assert_eq!(answer.role, Role::Sender);
    assert_eq!(answer.initial_delivery_count, Some(0));
    assert_eq!(answer.rcv_settle_mode, ReceiverSettleMode::Second);
    assert_eq!(answer.source, source);
}

/// `spec/amqp.md` 2.3 and 8.2: a client looks at fields by their position.
#[test]
fn whatever_is_said_is_said_at_full_length() {
    let mut raw = Raw::new(config("server"));
    raw.bytes(b"AMQP\0\x01\0\0");
    raw.chunk();
    raw.say(0, Performative::Open(open()));
    raw.say(0, Performative::Begin(begin()));
    raw.say(0, Performative::Attach(Box::new(attach(0, Role::Sender))));
    raw.say(0, Performative::Attach(Box::new(attach(1, Role::Receiver))));
    raw.flow(credit(1, 0, 1));
    for event in raw.told() {
        if let Event::LinkAttached { link, .. } = event {
            raw.machine.accept_link(link, granting(2));
            let _ = raw
                .machine
                .send(link, b"0123456789abcdef", 0, "x".into(), true);
        }
    }
    raw.transfer(transfer(0, 0), b"x");
    let Some(Event::Delivery(delivery)) = raw.told().pop() else {
        panic!("no delivery");
    };
    let state = DeliveryState::Accepted;
    raw.machine.settle(delivery.link, delivery.id, state);
    raw.say(0, detach(0, true));
    raw.say(0, Performative::End(End::default()));
    raw.machine.close(None);

    let mut said = Vec::new();
    while let Some(mut chunk) = raw.machine.next_output() {
        while !chunk.is_empty() {
            let size = u32::from_be_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
            let frame = chunk.split_to(size as usize);
            // A small ulong, then a list with a count of one byte or of four.
            assert_eq!(frame[8..10], [0x00, 0x53]);
            let count = match frame[11] {
                0xc0 => frame[13],
                0xd0 => frame[19],
                other => panic!("no list: {other:#x}"),
            };
            said.push((frame[10], count));
        }
    }
    said.dedup();
    let (open, begin, attach, flow) = ((0x10, 10), (0x11, 8), (0x12, 14), (0x13, 11));
    let (transfer, disposition, detach) = ((0x14, 11), (0x15, 6), (0x16, 3));
    let expected = [
        open,
        begin,
        attach,
        flow,
        attach,
        transfer,
        disposition,
        flow,
        detach,
        (0x17, 1),
        (0x18, 1),
    ];
    assert_eq!(said, expected);
}

/// `spec/amqp.md` 2.3: a client fails on a null source or target.
#[test]
fn no_end_of_an_answer_is_null() {
    for refused in [false, true] {
        let mut raw = Raw::begun();
        let asked = Attach {
            source: None,
            target: None,
            ..attach(0, Role::Sender)
        };
        let link = raw.ask(asked);
        match refused {
            true => raw
                .machine
                .refuse_link(link, AmqpError::new(condition::NOT_FOUND, "")),
            false => raw.machine.accept_link(link, AcceptLink::default()),
        }
        let answer = answer(&mut raw);
        assert_eq!(answer.source, Some(Source::default()));
        assert_eq!(answer.target, Some(Target::default()));
    }
}

/// `spec/amqp.md` 4, credit.
#[test]
fn credit_leaves_together_with_the_answer() {
    let mut raw = Raw::begun();
    let link = raw.ask(attach(0, Role::Sender));
    raw.machine.accept_link(link, granting(1000));

    let chunks = raw.chunks();
    let [chunk] = &chunks[..] else {
        panic!("{chunks:?}");
    };
    assert!(matches!(&chunk[0].1, Performative::Attach(_)));
    assert!(matches!(&chunk[1].1, Performative::Flow(flow)
        if flow.link_credit == Some(1000) && flow.delivery_count == Some(0)));
}

/// `spec/amqp.md` 4, refusal, and 8.12.
#[test]
fn refusals_leave_in_writes_of_their_own() {
    let mut raw = Raw::begun();
    let first = raw.ask(attach(0, Role::Receiver));
    let second = raw.ask(attach(1, Role::Receiver));
    let error = AmqpError::new(condition::LINK_REDIRECT, "elsewhere");
    raw.machine.refuse_link(first, error.clone());
    raw.machine.refuse_link(second, error.clone());

    let chunks: Vec<Vec<Performative>> = raw
        .chunks()
        .into_iter()
        .map(|chunk| chunk.into_iter().map(|(_, said, _)| said).collect())
        .collect();
    assert_eq!(chunks.len(), 3, "{chunks:?}");
    let is_attach = |said: &Performative| matches!(said, Performative::Attach(_));
    let detach = |handle| {
        Performative::Detach(Detach {
            handle,
            closed: true,
            error: Some(error.clone()),
        })
    };
    assert!(is_attach(&chunks[0][0]) && chunks[0].len() == 1);
    assert!(chunks[1][0] == detach(0) && is_attach(&chunks[1][1]));
    assert_eq!(chunks[2], [detach(1)]);
}

#[test]
fn a_refused_link_leaves_its_handle_once_the_peer_has_detached() {
    let mut raw = Raw::begun();
    for _ in 0..3 {
        let link = raw.ask(attach(0, Role::Sender));
        raw.machine
            .refuse_link(link, AmqpError::new(condition::NOT_FOUND, ""));
        raw.heard();
        raw.flow(credit(0, 0, 5));
        raw.transfer(transfer(0, 0), b"unheard");
        raw.say(0, detach(0, true));
        assert_eq!((raw.heard(), raw.told()), (vec![], vec![]));
    }
}

#[test]
fn a_handle_has_one_link_at_a_time_and_stays_within_the_limit() {
    let mut raw = Raw::begun();
    raw.attach(attach(0, Role::Sender), granting(1));
    raw.say(0, Performative::Attach(Box::new(attach(0, Role::Sender))));
    assert_eq!(raw.ended_with().condition, condition::HANDLE_IN_USE);

    let mut raw = Raw::begun();
    raw.say(
        0,
        Performative::Attach(Box::new(attach(1024, Role::Sender))),
    );
    assert_eq!(raw.closed_with().condition, condition::FRAMING_ERROR);
}

#[test]
fn the_newer_link_takes_the_name() {
    let mut raw = Raw::begun();
    let named = |handle, role| Attach {
        name: "name".to_owned(),
        ..attach(handle, role)
    };
    let older = raw.attach(named(0, Role::Sender), granting(5));
    raw.attach(named(1, Role::Receiver), AcceptLink::default());
    raw.say(0, Performative::Attach(Box::new(named(2, Role::Sender))));

    let told = raw.told();
    assert!(
        matches!(&told[0], Event::LinkDetached { link, closed: true, error: Some(error) }
            if *link == older && error.condition == condition::LINK_STOLEN)
    );
    assert!(matches!(told[1], Event::LinkAttached { .. }));
    assert_eq!(told.len(), 2, "the other direction has a name of its own");
}

#[test]
fn a_name_is_free_once_its_link_is_over_and_only_then() {
    let mut raw = Raw::begun();
    let named = |handle| Attach {
        name: "name".to_owned(),
        ..attach(handle, Role::Sender)
    };
    let stolen = |told: &[Event]| {
        let mut links = told.iter().filter_map(|event| match event {
            Event::LinkDetached { link, .. } => Some(*link),
            _ => None,
        });
        links.next()
    };
    raw.attach(named(0), granting(5));
    let second = raw.attach(named(1), granting(5));
    // The older link is over for good; the name stays the newer one's.
    raw.say(0, detach(0, true));
    raw.told();
    raw.say(0, Performative::Attach(Box::new(named(2))));
    let told = raw.told();
    assert_eq!(stolen(&told), Some(second));
    let Some(Event::LinkAttached { link: third, .. }) = told.last() else {
        panic!("{told:?}");
    };
    raw.machine.accept_link(*third, granting(5));
    raw.machine.detach(*third, None);
    raw.say(0, Performative::Attach(Box::new(named(3))));
    assert_eq!(stolen(&raw.told()), None, "it was detached from here");
    raw.say(0, detach(3, true));
    raw.told();
    raw.say(0, Performative::Attach(Box::new(named(4))));
    assert_eq!(stolen(&raw.told()), None, "it was detached from there");
}

#[test]
fn a_name_that_cannot_be_taken_ends_the_session_and_no_link_is_told_after_it() {
    let mut raw = Raw::open();
    let few = Begin {
        handle_max: 0,
        ..begin()
    };
    raw.say(0, Performative::Begin(few));
    raw.told();
    raw.attach(attach(0, Role::Sender), granting(5));
    let named = |handle| Attach {
        name: "name".to_owned(),
        ..attach(handle, Role::Sender)
    };
    raw.ask(named(1));
    raw.say(0, Performative::Attach(Box::new(named(2))));
    let told = raw.told();
    let attached = told
        .iter()
        .any(|event| matches!(event, Event::LinkAttached { .. }));
    assert!(!attached, "{told:?}");
    let ended = told
        .iter()
        .any(|event| matches!(event, Event::SessionEnded(_, Some(_))));
    assert!(ended, "{told:?}");
}

#[test]
fn more_links_than_the_limit_are_refused_and_in_the_end_not_heard() {
    let config = ConnectionConfig {
        max_links: 2,
        ..config("server")
    };
    let mut raw = Raw::open_with(config, open());
    raw.begin();
    raw.attach(attach(0, Role::Sender), granting(1));
    raw.attach(attach(1, Role::Sender), granting(1));
    for handle in 2..4 {
        raw.say(
            0,
            Performative::Attach(Box::new(attach(handle, Role::Sender))),
        );
        assert_eq!(raw.told(), []);
        let heard = raw.heard();
        assert!(
            matches!(&heard[..], [Performative::Attach(_), Performative::Detach(detach)]
                if detach.error.as_ref().unwrap().condition == condition::RESOURCE_LIMIT_EXCEEDED),
            "{heard:?}"
        );
    }
    raw.say(0, Performative::Attach(Box::new(attach(4, Role::Sender))));
    assert_eq!(
        raw.ended_with().condition,
        condition::RESOURCE_LIMIT_EXCEEDED
    );
}

#[test]
fn a_name_that_nobody_needs_is_refused() {
    let mut raw = Raw::begun();
    let asked = Attach {
        name: "x".repeat(2049),
        ..attach(0, Role::Sender)
    };
    raw.say(0, Performative::Attach(Box::new(asked)));

    assert_eq!(raw.told(), []);
    let heard = raw.heard();
    assert!(
        matches!(&heard[..], [Performative::Attach(_), Performative::Detach(detach)]
            if detach.error.as_ref().unwrap().condition == condition::INVALID_FIELD),
        "{heard:?}"
    );
}

#[test]
fn a_peer_without_handles_left_cannot_be_answered() {
    let mut raw = Raw::open();
    let few = Begin {
        handle_max: 0,
        ..begin()
    };
    raw.say(0, Performative::Begin(few));
    raw.attach(attach(0, Role::Sender), granting(1));
    let link = raw.ask(attach(1, Role::Sender));
    raw.machine.accept_link(link, granting(1));

    assert_eq!(
        raw.ended_with().condition,
        condition::RESOURCE_LIMIT_EXCEEDED
    );
}

#[test]
fn a_detach_is_answered_in_kind() {
    for closed in [true, false] {
        let mut raw = Raw::begun();
        let link = raw.attach(attach(3, Role::Sender), granting(1));
        raw.say(0, detach(3, closed));

        assert_eq!(raw.heard(), [detach(3, closed)]);
        let over = Event::LinkDetached {
            link,
            closed,
            error: None,
        };
        assert_eq!(raw.told(), [over]);
    }
}

#[test]
fn a_link_that_leaves_before_it_is_answered_is_answered_and_left() {
    let mut raw = Raw::begun();
    let link = raw.ask(attach(0, Role::Sender));
    raw.say(0, detach(0, true));
    raw.machine.accept_link(link, granting(100));

    let heard = raw.heard();
    assert!(
        matches!(
            heard[..],
            [Performative::Attach(_), Performative::Detach(_)]
        ),
        "{heard:?}"
    );
    assert!(matches!(raw.told()[..], [Event::LinkDetached { .. }]));
}

#[test]
fn what_was_under_way_to_a_link_that_is_over_is_ignored() {
    let mut raw = Raw::begun();
    let link = raw.attach(attach(0, Role::Sender), granting(100));
    raw.machine.detach(link, None);
    assert_eq!(raw.heard(), [detach(0, true)]);
    raw.transfer(transfer(0, 0), b"late");
    raw.flow(credit(0, 0, 1));
    raw.say(0, detach(0, true));
    // And once more, though both have said farewell.
    raw.transfer(transfer(0, 1), b"later");
    raw.flow(credit(0, 0, 1));
    raw.say(0, detach(0, true));

    assert_eq!((raw.heard(), raw.told()), (vec![], vec![]));
    assert!(raw.machine.is_open());
}

#[test]
fn a_transfer_to_a_handle_that_never_had_a_link_ends_the_session() {
    let mut raw = Raw::begun();
    raw.attach(attach(0, Role::Sender), granting(1));
    raw.transfer(transfer(1, 0), b"x");

    assert_eq!(raw.ended_with().condition, condition::UNATTACHED_HANDLE);
}

#[test]
fn a_transfer_to_a_sender_detaches_its_link() {
    let mut raw = Raw::begun();
    raw.attach(attach(0, Role::Receiver), AcceptLink::default());
    raw.transfer(transfer(0, 0), b"x");

    assert_eq!(raw.detached_with().condition, condition::NOT_ALLOWED);
}

#[test]
fn ids_are_not_used_twice() {
    let mut raw = Raw::begun();
    let first = raw.attach(attach(0, Role::Sender), granting(1));
    raw.say(0, detach(0, true));
    let second = raw.attach(attach(0, Role::Sender), granting(1));
    assert_ne!(first, second);
}

#[test]
fn calls_about_links_that_are_gone_are_ignored() {
    let mut raw = Raw::begun();
    let link = raw.attach(attach(0, Role::Sender), granting(1));
    raw.say(0, detach(0, true));
    raw.heard();
    raw.told();
    let machine = &mut raw.machine;
    machine.accept_link(link, granting(1));
    machine.refuse_link(link, AmqpError::new(condition::NOT_FOUND, ""));
    machine.grant(link, 5);
    machine.drained(link);
    machine.detach(link, None);
    assert_eq!((machine.sendable(link), machine.credit(link)), (0, 0));
    assert!(
        machine
            .send(link, b"", 0, Default::default(), true)
            .is_err()
    );

    assert_eq!((raw.heard(), raw.told()), (vec![], vec![]));
}
