//! Channels, windows of sessions, and their ends.

use bytes::Bytes;
use iothub_protocol::amqp::connection::{AcceptLink, ConnectionConfig, Event, SessionId};
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::performative::{Begin, End, Flow, Open, Performative, Role};

use crate::pair::{Pair, config, link, payload};
use crate::raw::{Raw, attach, begin, credit, detach, open, transfer, window};

fn end() -> Performative {
    Performative::End(End::default())
}

#[test]
fn a_begin_is_answered_on_the_same_channel() {
    let mut raw = Raw::open();
    raw.say(9, Performative::Begin(begin()));

    let chunks = raw.chunks();
    let (channel, Performative::Begin(answer), _) = &chunks[0][0] else {
        panic!("{chunks:?}");
    };
    assert_eq!((*channel, answer.remote_channel), (9, Some(9)));
    assert_eq!((answer.incoming_window, answer.handle_max), (5000, 1023));
}

#[test]
fn a_channel_has_one_session_at_a_time_and_stays_within_the_limit() {
    let mut raw = Raw::begun();
    raw.say(0, Performative::Begin(begin()));
    assert_eq!(raw.closed_with().condition, condition::NOT_ALLOWED);

    let mut raw = Raw::open();
    raw.say(256, Performative::Begin(begin()));
    assert_eq!(raw.closed_with().condition, condition::FRAMING_ERROR);

    let mut raw = Raw::open();
    let answer = Begin {
        remote_channel: Some(0),
        ..begin()
    };
    raw.say(0, Performative::Begin(answer));
    assert_eq!(raw.closed_with().condition, condition::NOT_ALLOWED);
}

#[test]
fn channels_are_used_again_and_again() {
    let mut raw = Raw::open();
    for _ in 0..1000 {
        raw.say(3, Performative::Begin(begin()));
        raw.say(3, end());
        let told = raw.told();
        assert!(matches!(
            told[..],
            [Event::SessionBegun(_), Event::SessionEnded(..)]
        ));
        let heard = raw.heard();
        assert!(matches!(
            heard[..],
            [Performative::Begin(_), Performative::End(_)]
        ));
    }
}

#[test]
fn more_sessions_than_the_limit_are_refused() {
    let config = ConnectionConfig {
        max_sessions: 2,
        ..config("server")
    };
    let mut raw = Raw::open_with(config, open());
    raw.machine.begin();
    raw.say(0, Performative::Begin(begin()));
    raw.say(1, Performative::Begin(begin()));

    let error = raw.closed_with();
    assert_eq!(error.condition, condition::RESOURCE_LIMIT_EXCEEDED);
}

#[test]
fn sessions_of_ours_stay_within_the_peers_limit() {
    let open = Open {
        channel_max: 0,
        ..open()
    };
    let mut raw = Raw::open_with(config("server"), open);
    raw.machine.begin();
    let second = raw.machine.begin();

    assert!(matches!(
        raw.told()[..],
        [Event::SessionEnded(session, Some(_))] if session == second
    ));
}

/// `spec/amqp.md` 2.5 and 8.11.
#[test]
fn frames_of_a_session_that_has_ended_are_ignored() {
    let mut raw = Raw::begun();
    let link = raw.attach(attach(0, Role::Receiver), AcceptLink::default());
    raw.say(0, end());
    assert_eq!(raw.heard(), [end()]);
    assert!(matches!(raw.told()[0], Event::LinkDetached { link: over, .. } if over == link));

    raw.say(0, detach(0, true));
    raw.flow(credit(0, 0, 10));
    raw.transfer(transfer(0, 0), b"late");
    raw.say(0, end());

    assert_eq!(raw.heard(), []);
    assert_eq!(raw.told(), []);
    assert!(raw.machine.is_open());
}

#[test]
fn frames_of_a_session_that_was_ended_from_here_are_ignored_until_its_end() {
    let mut raw = Raw::begun();
    let link = raw.attach(attach(0, Role::Sender), AcceptLink::default());
    raw.machine.end(SessionId(0), None);
    assert_eq!(raw.heard(), [end()]);
    assert!(matches!(
        raw.told()[..],
        [Event::LinkDetached { link: over, .. }, Event::SessionEnded(..)] if over == link
    ));

    raw.transfer(transfer(0, 0), b"late");
    raw.say(0, detach(0, true));
    raw.say(0, Performative::Attach(Box::new(attach(1, Role::Sender))));
    raw.say(0, end());
    assert_eq!((raw.heard(), raw.told()), (vec![], vec![]));
    raw.begin();
    assert!(raw.machine.is_open());
}

#[test]
fn frames_of_a_channel_that_never_had_a_session_close_the_connection() {
    for performative in [end(), detach(0, true), Performative::Flow(Flow::default())] {
        let mut raw = Raw::begun();
        raw.say(1, performative);
        assert_eq!(raw.closed_with().condition, condition::NOT_ALLOWED);
    }
}

#[test]
fn the_window_is_opened_again_before_it_is_shut() {
    let config = ConnectionConfig {
        incoming_window: 10,
        ..config("server")
    };
    let mut raw = Raw::open_with(config, open());
    // Transfers are numbered on past the highest number.
    let first = Begin {
        next_outgoing_id: u32::MAX - 2,
        ..begin()
    };
    raw.say(0, Performative::Begin(first));
    raw.heard();
    raw.told();
    let wide = AcceptLink {
        credit: 100,
        ..AcceptLink::default()
    };
    raw.attach(attach(0, Role::Sender), wide);
    for delivery in 0..5 {
        assert_eq!(raw.heard(), [], "before {delivery}");
        raw.transfer(transfer(0, delivery), b"x");
    }

    let heard = raw.heard();
    let [Performative::Flow(flow)] = &heard[..] else {
        panic!("{heard:?}");
    };
    assert_eq!((flow.next_incoming_id, flow.incoming_window), (Some(2), 10));
    assert_eq!(flow.handle, None);
}

#[test]
fn nothing_is_sent_beyond_the_peers_window() {
    let mut raw = Raw::open();
    let narrow = Begin {
        incoming_window: 2,
        ..begin()
    };
    raw.say(0, Performative::Begin(narrow));
    raw.heard();
    raw.told();
    let link = raw.attach(attach(0, Role::Receiver), AcceptLink::default());
    raw.flow(Flow {
        incoming_window: 2,
        ..credit(0, 0, 100)
    });
    assert_eq!(raw.machine.sendable(link), 2);
    for _ in 0..5 {
        raw.machine.send(link, b"t", 0, payload(5), true).unwrap();
    }
    assert_eq!(raw.heard().len(), 2);
    assert_eq!(
        (raw.machine.sendable(link), raw.machine.credit(link)),
        (0, 95)
    );
    raw.told();

    // It had seen one of them when it spoke: one more.
    raw.flow(window(1, 2));
    assert_eq!(raw.heard().len(), 1);
    assert_eq!(raw.told(), [], "others wait");
    raw.flow(window(3, 5));
    assert_eq!(raw.heard().len(), 2);
    assert_eq!(raw.machine.sendable(link), 3);
    let told = raw.told();
    assert!(
        matches!(told[..], [Event::Credit { link: open, drain: false, .. }] if open == link),
        "{told:?}"
    );
}

#[test]
fn a_window_wider_than_half_of_all_numbers_is_a_wide_window() {
    let mut raw = Raw::begun();
    let link = raw.attach(attach(0, Role::Receiver), AcceptLink::default());
    raw.flow(Flow {
        incoming_window: u32::MAX,
        link_credit: Some(u32::MAX),
        ..credit(0, 0, 0)
    });

    assert_eq!(raw.machine.credit(link), u32::MAX);
    assert_eq!(
        raw.machine.sendable(link),
        64 * 1024,
        "the most unsettled deliveries"
    );
}

#[test]
fn a_transfer_into_a_shut_window_ends_the_session() {
    let config = ConnectionConfig {
        incoming_window: 0,
        ..config("server")
    };
    let mut raw = Raw::open_with(config, open());
    raw.begin();
    raw.attach(
        attach(0, Role::Sender),
        AcceptLink {
            credit: 10,
            ..AcceptLink::default()
        },
    );
    raw.transfer(transfer(0, 0), b"x");

    assert_eq!(raw.ended_with().condition, condition::WINDOW_VIOLATION);
}

#[test]
fn an_echo_is_answered_by_the_state_of_the_session() {
    let mut raw = Raw::begun();
    raw.flow(Flow {
        echo: true,
        ..window(0, 10)
    });

    let heard = raw.heard();
    assert!(
        matches!(&heard[..], [Performative::Flow(flow)]
            if flow.handle.is_none() && !flow.echo && flow.next_incoming_id == Some(0)),
        "{heard:?}"
    );
}

#[test]
fn a_name_is_used_once_in_all_sessions_and_other_links_stay() {
    let mut pair = Pair::open();
    let credit = || AcceptLink {
        credit: 5,
        ..AcceptLink::default()
    };
    let sessions = [pair.session(), pair.session(), pair.session()];
    let (other, _) = pair.attach(sessions[0], link("other", Role::Sender, 0), credit());
    let links = sessions.map(|session| {
        let (ours, _) = pair.attach(session, link("name", Role::Sender, 0), credit());
        ours
    });

    let mut sends = |link| {
        pair.client
            .machine
            .send(link, b"", 0, Bytes::new(), true)
            .is_ok()
    };
    assert_eq!(links.map(&mut sends), [false, false, true]);
    assert!(sends(other));
}
