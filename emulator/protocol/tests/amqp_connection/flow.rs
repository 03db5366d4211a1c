//! Credit, both ways.

use iothub_protocol::amqp::DeliveryState;
use iothub_protocol::amqp::connection::{AcceptLink, Event, SendError};
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::performative::{Attach, Flow, Performative, Role};

use crate::pair::payload;
use crate::raw::{Raw, attach, credit, transfer, window};

fn granting(credit: u32) -> AcceptLink {
    AcceptLink {
        credit,
        ..AcceptLink::default()
    }
}

fn link_flows(heard: &[Performative]) -> Vec<(Option<u32>, Option<u32>, bool)> {
    heard
        .iter()
        .filter_map(|said| match said {
            Performative::Flow(flow) if flow.handle.is_some() => {
                Some((flow.delivery_count, flow.link_credit, flow.drain))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn credit_is_restored_at_half_by_settled_deliveries() {
    let mut raw = Raw::begun();
    let link = raw.attach(attach(0, Role::Sender), granting(10));
    for delivery in 0..10 {
        raw.transfer(transfer(0, delivery), b"x");
    }
    let deliveries = raw.deliveries();
    assert_eq!(link_flows(&raw.heard()), []);
    for delivery in &deliveries[..4] {
        raw.machine
            .settle(link, delivery.id, DeliveryState::Accepted);
    }
    assert_eq!(link_flows(&raw.heard()), []);
    raw.machine
        .settle(link, deliveries[4].id, DeliveryState::Accepted);

    assert_eq!(link_flows(&raw.heard()), [(Some(10), Some(5), false)]);
}

#[test]
fn settled_deliveries_restore_credit_by_themselves() {
    let mut raw = Raw::begun();
    raw.attach(attach(0, Role::Sender), granting(4));
    for delivery in 0..4 {
        let mut transfer = transfer(0, delivery);
        transfer.settled = Some(true);
        raw.transfer(transfer, b"x");
    }

    assert_eq!(
        link_flows(&raw.heard()),
        [(Some(2), Some(4), false), (Some(4), Some(4), false)]
    );
}

#[test]
fn an_owner_without_a_level_grants_by_itself() {
    let mut raw = Raw::begun();
    let asked = Attach {
        initial_delivery_count: Some(u32::MAX),
        ..attach(0, Role::Sender)
    };
    let link = raw.attach(asked, granting(0));
    raw.machine.grant(link, 2);
    assert_eq!(link_flows(&raw.heard()), [(Some(u32::MAX), Some(2), false)]);
    raw.transfer(transfer(0, 0), b"x");
    raw.transfer(transfer(0, 1), b"x");
    for delivery in raw.deliveries() {
        raw.machine
            .settle(link, delivery.id, DeliveryState::Accepted);
    }

    assert_eq!(link_flows(&raw.heard()), []);
    raw.machine.grant(link, 7);
    assert_eq!(link_flows(&raw.heard()), [(Some(1), Some(7), false)]);
}

#[test]
fn a_delivery_beyond_the_credit_detaches_the_link() {
    let mut raw = Raw::begun();
    raw.attach(attach(0, Role::Sender), granting(2));
    for delivery in 0..3 {
        raw.transfer(transfer(0, delivery), b"x");
    }

    let error = raw.detached_with();
    assert_eq!(error.condition, condition::TRANSFER_LIMIT_EXCEEDED);
}

#[test]
fn what_was_sent_before_credit_was_lowered_is_no_breach() {
    let mut raw = Raw::begun();
    let link = raw.attach(attach(0, Role::Sender), granting(0));
    raw.machine.grant(link, 3);
    raw.machine.grant(link, 0);
    for delivery in 0..3 {
        raw.transfer(transfer(0, delivery), b"x");
    }
    assert_eq!(raw.deliveries().len(), 3);
    raw.transfer(transfer(0, 3), b"x");

    let error = raw.detached_with();
    assert_eq!(error.condition, condition::TRANSFER_LIMIT_EXCEEDED);
}

#[test]
fn a_sender_that_lets_credit_lapse_gets_it_again() {
    let mut raw = Raw::begun();
    raw.attach(attach(0, Role::Sender), granting(10));
    raw.flow(Flow {
        delivery_count: Some(10),
        link_credit: Some(0),
        ..credit(0, 0, 0)
    });

    assert_eq!(link_flows(&raw.heard()), [(Some(10), Some(10), false)]);
}

#[test]
fn credit_counts_from_what_the_receiver_has_seen() {
    let mut raw = Raw::begun();
    let link = raw.attach(attach(0, Role::Receiver), AcceptLink::default());
    raw.flow(credit(0, 0, 5));
    for _ in 0..3 {
        raw.machine.send(link, b"t", 0, payload(1), true).unwrap();
    }
    assert_eq!(raw.machine.sendable(link), 2);
    raw.flow(credit(0, 1, 5));
    assert_eq!(raw.machine.sendable(link), 3);
    raw.flow(credit(0, 0, 2));
    assert_eq!(raw.machine.sendable(link), 0);
    let sent = raw.machine.send(link, b"t", 0, payload(1), true);
    assert_eq!(sent, Err(SendError::NoCredit));
}

#[test]
fn credit_that_comes_before_the_answer_counts() {
    let mut raw = Raw::begun();
    let link = raw.ask(attach(0, Role::Receiver));
    raw.flow(Flow {
        delivery_count: None,
        ..credit(0, 0, 5)
    });
    assert_eq!(raw.machine.sendable(link), 0);
    raw.machine.accept_link(link, AcceptLink::default());

    assert_eq!(raw.machine.sendable(link), 5);
    assert!(matches!(
        raw.told()[..],
        [Event::Credit { drain: false, .. }]
    ));
}

/// `spec/amqp.md` 4, credit: a drain advances the count and is answered.
#[test]
fn a_drain_is_answered_when_the_owner_has_nothing_left() {
    let mut raw = Raw::begun();
    let link = raw.attach(attach(0, Role::Receiver), AcceptLink::default());
    raw.flow(Flow {
        drain: true,
        echo: true,
        ..credit(0, 0, 5)
    });
    assert!(matches!(
        raw.told()[..],
        [Event::Credit { drain: true, .. }]
    ));
    assert_eq!(raw.heard(), [], "the answer comes with the drain's end");
    raw.machine.send(link, b"t", 0, payload(1), true).unwrap();
    raw.heard();
    raw.machine.drained(link);
    assert_eq!(link_flows(&raw.heard()), [(Some(5), Some(0), true)]);
    raw.machine.drained(link);
    assert_eq!(raw.heard(), [], "nobody waits for it");
}

#[test]
fn a_drain_waits_for_what_waits_for_the_window() {
    let mut raw = Raw::begun();
    let link = raw.attach(attach(0, Role::Receiver), AcceptLink::default());
    raw.flow(Flow {
        drain: true,
        incoming_window: 1,
        ..credit(0, 0, 5)
    });
    raw.machine.send(link, b"t", 0, payload(1), true).unwrap();
    raw.machine.send(link, b"t", 0, payload(1), true).unwrap();
    raw.machine.drained(link);
    let heard = raw.heard();
    assert!(
        matches!(heard[..], [Performative::Transfer(_)]),
        "{heard:?}"
    );

    raw.flow(window(1, 1));
    let heard = raw.heard();
    assert!(matches!(heard[0], Performative::Transfer(_)));
    assert_eq!(link_flows(&heard), [(Some(5), Some(0), true)]);
}

#[test]
fn a_drain_into_a_shut_window_is_asked_for_again() {
    let mut raw = Raw::begun();
    let link = raw.attach(attach(0, Role::Receiver), AcceptLink::default());
    raw.flow(Flow {
        drain: true,
        incoming_window: 0,
        ..credit(0, 0, 5)
    });
    raw.told();
    raw.machine.drained(link);
    assert_eq!(raw.heard(), []);
    raw.flow(window(0, 10));
    assert!(matches!(
        raw.told()[..],
        [Event::Credit { drain: true, .. }]
    ));
    raw.machine.drained(link);

    assert_eq!(link_flows(&raw.heard()), [(Some(5), Some(0), true)]);
}

#[test]
fn an_echo_is_answered_by_the_state_of_the_link() {
    let mut raw = Raw::begun();
    raw.attach(attach(0, Role::Receiver), AcceptLink::default());
    raw.attach(attach(1, Role::Sender), granting(3));
    raw.flow(Flow {
        echo: true,
        ..credit(0, 0, 5)
    });
    assert_eq!(link_flows(&raw.heard()), [(Some(0), Some(5), false)]);
    raw.flow(Flow {
        echo: true,
        ..credit(1, 0, 0)
    });
    assert_eq!(link_flows(&raw.heard()), [(Some(0), Some(3), false)]);
}

#[test]
fn a_window_that_opens_is_told_once_however_often_it_does() {
    let mut raw = Raw::begun();
    for handle in 0..20 {
        raw.attach(attach(handle, Role::Receiver), AcceptLink::default());
        raw.flow(credit(handle, 0, 5));
    }
    raw.told();
    for _ in 0..1000 {
        raw.flow(window(0, 0));
        raw.flow(window(0, 10));
    }

    assert_eq!(raw.told().len(), 20);
    raw.flow(window(0, 0));
    raw.flow(window(0, 10));
    assert_eq!(raw.told().len(), 20);
}
