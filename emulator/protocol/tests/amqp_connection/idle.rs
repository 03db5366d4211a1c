//! Silence.

use std::time::Duration;

use iothub_protocol::amqp::connection::{ConnectionConfig, Event};
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::performative::{Open, Performative};

use crate::pair::{config, epoch};
use crate::raw::{Raw, begin, open};

const HEARTBEAT: &[u8] = b"\0\0\0\x08\x02\0\0\0";

fn patient(idle_time_out: Option<u32>, idle_timeout: Option<Duration>) -> Raw {
    let config = ConnectionConfig {
        idle_timeout,
        ..config("server")
    };
    let open = Open {
        idle_time_out,
        ..open()
    };
    Raw::open_with(config, open)
}

#[test]
fn a_sign_of_life_is_sent_at_half_of_what_the_peer_bears() {
    let mut raw = patient(Some(30_000), None);
    let due = epoch() + Duration::from_secs(15);
    assert_eq!(raw.machine.next_timeout(), Some(due));

    raw.machine.tick(epoch() + Duration::from_secs(14));
    assert_eq!(raw.machine.next_output(), None);
    raw.machine.tick(due);
    assert_eq!(raw.chunk()[..], *HEARTBEAT);
    assert_eq!(
        raw.machine.next_timeout(),
        Some(due + Duration::from_secs(15))
    );
}

#[test]
fn whatever_else_is_sent_is_a_sign_of_life() {
    let mut raw = patient(Some(30_000), None);
    raw.now = epoch() + Duration::from_secs(10);
    raw.say(0, Performative::Begin(begin()));
    raw.heard();
    raw.machine.tick(epoch() + Duration::from_secs(20));

    assert_eq!(raw.machine.next_output(), None);
    assert_eq!(
        raw.machine.next_timeout(),
        Some(epoch() + Duration::from_secs(25))
    );
}

#[test]
fn an_impatient_peer_does_not_keep_us_busy() {
    let raw = patient(Some(1), None);
    assert_eq!(
        raw.machine.next_timeout(),
        Some(epoch() + Duration::from_millis(50))
    );
    assert_eq!(patient(Some(0), None).machine.next_timeout(), None);
    assert_eq!(patient(None, None).machine.next_timeout(), None);
}

#[test]
fn a_silent_peer_is_given_up_after_twice_what_it_was_told() {
    let mut raw = patient(None, Some(Duration::from_secs(480)));
    let due = epoch() + Duration::from_secs(480);
    assert_eq!(raw.machine.next_timeout(), Some(due));
    raw.machine.tick(due - Duration::from_millis(1));
    assert!(raw.machine.is_open());
    raw.machine.tick(due);

    let error = raw.closed_with();
    assert_eq!(error.condition, condition::CONNECTION_FORCED);
    assert!(error.description.unwrap().contains("240000 milliseconds"));
    assert_eq!(raw.machine.next_timeout(), None);
}

#[test]
fn a_sign_of_life_is_heard() {
    let mut raw = patient(None, Some(Duration::from_secs(480)));
    raw.now = epoch() + Duration::from_secs(100);
    raw.bytes(HEARTBEAT);

    assert_eq!(
        raw.machine.next_timeout(),
        Some(epoch() + Duration::from_secs(580))
    );
}

#[test]
fn a_close_that_is_not_answered_is_an_end_after_a_while() {
    let mut raw = patient(None, None);
    raw.machine.close(None);
    raw.heard();
    let late = epoch() + Duration::from_secs(1000);
    assert_eq!(raw.machine.next_timeout(), Some(epoch()));
    raw.machine.tick(late);
    assert!(!raw.machine.is_closed());
    let due = raw.machine.next_timeout().unwrap();
    assert!(due > late);
    raw.machine.tick(due);

    assert!(raw.machine.is_closed());
    assert_eq!(raw.told().pop(), Some(Event::Closed(None)));
}
