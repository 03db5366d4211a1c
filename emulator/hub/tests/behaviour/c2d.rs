//! `spec/device.md` 5, 9.3 and 9.4; `spec/service.md` 8.

use std::time::Duration;

use iothub_hub::{
    BeforeSubscription, Change, CountedReturns, Delivery, Effect, End, Feature, Guarantee, Limits,
    LockToken, Outcome, Principal, SessionId, Settlement,
};
use iothub_protocol::feedback::FeedbackStatus;
use iothub_protocol::registry::{IdentitySpec, Status};
use iothub_protocol::{Error, ErrorCode};
use serde_json::json;

use crate::fixture::{Fixture, T0, client, config, fixture, secs, spec};
use Guarantee::{AtLeastOnce, AtMostOnce};

const HOUR: u64 = 3600;

fn with(change: impl FnOnce(&mut Limits)) -> Fixture {
    let mut config = config();
    change(&mut config.limits);
    Fixture::with(config).device("d1")
}

fn code<R>(result: Result<R, Error>) -> Option<ErrorCode> {
    result.err().map(|error| error.code)
}

/// What was delivered: to whom, which body, by which lock, whether for the first time.
fn delivered(outcome: &Outcome) -> Vec<(SessionId, String, Option<LockToken>, bool)> {
    let deliveries = outcome.effects.iter().filter_map(|effect| match effect {
        Effect::Deliver(
            session,
            Delivery::C2d {
                lock,
                redelivered,
                message,
            },
        ) => {
            let body = String::from_utf8(message.message.body.to_vec()).unwrap();
            Some((*session, body, *lock, *redelivered))
        }
        _ => None,
    });
    deliveries.collect()
}

fn bodies(outcome: &Outcome) -> Vec<String> {
    delivered(outcome).into_iter().map(|it| it.1).collect()
}

fn locks(outcome: &Outcome) -> Vec<LockToken> {
    delivered(outcome)
        .into_iter()
        .filter_map(|it| it.2)
        .collect()
}

/// How the messages with these ids ended, in the order of their feedback.
fn endings(hub: &mut Fixture) -> Vec<(String, FeedbackStatus)> {
    hub.wait(15).fire_due();
    let mut all = Vec::new();
    while let Some(batch) = hub.feedback() {
        all.extend(
            batch
                .records
                .iter()
                .map(|it| (it.original_message_id.clone(), it.status)),
        );
    }
    all
}

fn ended(id: &str, status: FeedbackStatus) -> Vec<(String, FeedbackStatus)> {
    vec![(id.to_owned(), status)]
}

fn counts(hub: &Fixture) -> (u64, serde_json::Value) {
    let count = hub.identity("d1").c2d_count;
    (count, hub.twin("d1")["cloudToDeviceMessageCount"].clone())
}

#[test]
fn a_message_waits_until_its_device_has_acknowledged_it() {
    let mut hub = fixture().device("d1");
    let (sequence, outcome) = hub.send("d1", "$.mid=m1&k=v", "hello");
    assert_eq!(sequence.unwrap(), 1);
    assert_eq!(outcome.effects, []);
    assert_eq!(counts(&hub), (1, json!(1)));

    let session = hub.connect("d1");
    let outcome = hub.receive(session, AtLeastOnce);

    let [
        Effect::Deliver(
            to,
            Delivery::C2d {
                lock,
                redelivered,
                message,
            },
        ),
    ] = &outcome.effects[..]
    else {
        panic!("{outcome:?}")
    };
    assert_eq!((*to, *redelivered), (session, false));
    assert_eq!(
        message.message.properties.as_encoded(),
        "%24.mid=m1&%24.to=%2Fdevices%2Fd1%2Fmessages%2FdeviceBound&k=v"
    );
    assert_eq!((message.enqueued, message.expires), (T0, T0 + secs(HOUR)));
    assert_eq!(counts(&hub), (1, json!(1)), "locked messages count, too");

    let outcome = hub.acknowledge(session, &[lock.unwrap()]);

    assert_eq!(outcome.changes, [Change::DeleteC2d(client("d1"), 1)]);
    assert_eq!(outcome.effects, []);
    assert_eq!(counts(&hub), (0, json!(0)));
    assert_eq!(endings(&mut hub), [], "nobody asked for feedback");
}

#[test]
fn a_connected_device_is_sent_a_message_at_once() {
    let mut hub = fixture().device("d1").module("d1/m1");
    let session = hub.connect("d1/m1");
    hub.receive(session, AtLeastOnce);

    assert_eq!(bodies(&hub.send("d1", "", "not for the module").1), [""; 0]);
    assert_eq!(
        bodies(&hub.send("d1/m1", "", "for the module").1),
        ["for the module"]
    );
}

#[test]
fn at_most_once_is_complete_when_it_is_sent() {
    let mut hub = fixture().device("d1");
    for n in 1..=20 {
        hub.send("d1", &format!("$.mid=m{n}&iothub-ack=full"), "x")
            .0
            .unwrap();
    }
    let session = hub.connect("d1");

    let outcome = hub.receive(session, AtMostOnce);

    assert_eq!(delivered(&outcome).len(), 20, "no window holds it up");
    assert!(delivered(&outcome).iter().all(|it| it.2.is_none() && !it.3));
    assert_eq!(counts(&hub).0, 0);
    assert_eq!(endings(&mut hub).len(), 20);
}

#[test]
fn messages_are_delivered_in_order_as_far_as_the_window_goes() {
    let mut hub = with(|limits| limits.c2d_window = 3);
    let session = hub.connect("d1");
    hub.receive(session, AtLeastOnce);
    let mut sent = Vec::new();
    for body in ["1", "2", "3", "4", "5"] {
        sent.extend(delivered(&hub.send("d1", "", body).1));
    }
    let order: Vec<_> = sent.iter().map(|it| it.1.as_str()).collect();
    assert_eq!(order, ["1", "2", "3"]);

    // Acknowledgements come in any order.
    let outcome = hub.acknowledge(session, &[sent[1].2.unwrap()]);
    assert_eq!(bodies(&outcome), ["4"]);
    let outcome = hub.acknowledge(session, &[sent[2].2.unwrap(), sent[0].2.unwrap()]);
    assert_eq!(bodies(&outcome), ["5"]);
    assert_eq!(hub.waiting("d1"), ["4", "5"]);
}

#[test]
fn a_session_that_counts_its_credit_gets_no_more_than_it_asked_for() {
    let mut hub = fixture().device("d1");
    let session = hub.connect("d1");
    let grant = |hub: &mut Fixture, credit| {
        let (reply, outcome) = hub.run(|hub, cx| hub.grant_c2d(cx, session, credit));
        reply.unwrap();
        outcome
    };
    grant(&mut hub, 0);
    hub.receive(session, AtLeastOnce);
    for body in ["1", "2", "3"] {
        assert_eq!(bodies(&hub.send("d1", "", body).1), [""; 0]);
    }

    let outcome = grant(&mut hub, 2);
    assert_eq!(bodies(&outcome), ["1", "2"]);
    let outcome = hub.acknowledge(session, &locks(&outcome));
    assert_eq!(bodies(&outcome), [""; 0], "settling grants nothing");
    assert_eq!(bodies(&grant(&mut hub, 5)), ["3"]);
    assert_eq!(bodies(&hub.send("d1", "", "4").1), ["4"]);
}

#[test]
fn credit_is_added_and_taken_away_as_far_as_it_is_left() {
    let mut hub = fixture().device("d1");
    let session = hub.connect("d1");
    let grant = |hub: &mut Fixture, more| {
        let (reply, outcome) = hub.run(|hub, cx| hub.grant_c2d(cx, session, more));
        (reply.unwrap(), bodies(&outcome))
    };
    grant(&mut hub, 0);
    hub.receive(session, AtLeastOnce);
    for body in ["1", "2", "3", "4"] {
        hub.send("d1", "", body).0.unwrap();
    }

    let sent = |all: &[&str]| all.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
    assert_eq!(grant(&mut hub, 2), (2, sent(&["1", "2"])));
    assert_eq!(grant(&mut hub, -2), (0, sent(&[])), "both are used");
    assert_eq!(grant(&mut hub, 3), (3, sent(&["3", "4"])));
    assert_eq!(grant(&mut hub, -5), (-1, sent(&[])));
    assert_eq!(bodies(&hub.send("d1", "", "5").1), [""; 0]);
}

#[test]
fn what_is_given_back_returns_to_its_place_uncounted() {
    let mut hub = fixture().device("d1").device("d2");
    let (session, other) = (hub.connect("d1"), hub.connect("d2"));
    hub.run(|hub, cx| hub.grant_c2d(cx, session, 2)).0.unwrap();
    hub.receive(session, AtLeastOnce);
    let mut held = Vec::new();
    for body in ["1", "2"] {
        held.extend(locks(&hub.send("d1", "full", body).1));
    }

    let (reply, outcome) = hub.run(|hub, cx| hub.give_back_c2d(cx, other, &held));
    assert_eq!(
        (reply, outcome),
        (Ok(()), Outcome::default()),
        "not its own"
    );
    let (reply, outcome) = hub.run(|hub, cx| hub.give_back_c2d(cx, session, &held));
    assert_eq!((reply, outcome), (Ok(()), Outcome::default()));

    let (reply, outcome) = hub.run(|hub, cx| hub.grant_c2d(cx, session, 1));
    assert_eq!(reply, Ok(1));
    let again: Vec<_> = delivered(&outcome)
        .into_iter()
        .map(|it| (it.1, it.3))
        .collect();
    assert_eq!(again, [("1".to_owned(), true)]);
    assert!(
        hub.hub
            .waiting_c2d(&client("d1"))
            .iter()
            .all(|it| it.delivery_count == 0)
    );
    let lost = hub.run(|hub, cx| hub.acknowledge_c2d(cx, session, &held, Settlement::Complete));
    assert_eq!(lost.0, Ok(held), "their locks are lost");
}

#[test]
fn a_lost_connection_returns_what_it_holds_to_its_place() {
    let mut hub = fixture().device("d1");
    let session = hub.connect("d1");
    hub.receive(session, AtLeastOnce);
    let mut held = Vec::new();
    for body in ["1", "2", "3"] {
        held.extend(locks(&hub.send("d1", "", body).1));
    }
    hub.acknowledge(session, &held[1..2]);

    hub.disconnect(session, End::Lost);
    hub.send("d1", "", "4").0.unwrap();
    let session = hub.connect("d1");
    let outcome = hub.receive(session, AtLeastOnce);

    let again: Vec<_> = delivered(&outcome)
        .into_iter()
        .map(|it| (it.1, it.3))
        .collect();
    let wanted = [("1", true), ("3", true), ("4", false)];
    assert_eq!(again, wanted.map(|(body, again)| (body.to_owned(), again)));
    let outcome = hub.acknowledge(session, &held);
    assert_eq!(
        outcome.changes,
        [],
        "locks of an earlier session settle nothing"
    );
    assert_eq!(hub.hub.waiting_c2d(&client("d1"))[0].delivery_count, 0);
}

#[test]
fn a_new_connection_of_the_same_device_takes_over_what_waits() {
    let mut hub = fixture().device("d1");
    let (first, _) = hub.connect_with("d1", |it| it.remember = true);
    let first = first.unwrap().session;
    hub.receive(first, AtLeastOnce);
    hub.send("d1", "", "1").0.unwrap();

    let (second, outcome) = hub.connect_with("d1", |it| it.remember = true);

    // Remembered: sent before the device says anything.
    let second = second.unwrap();
    assert!(second.subscriptions.get(Feature::C2d).is_some());
    assert_eq!(
        delivered(&outcome)
            .into_iter()
            .map(|it| (it.0, it.3))
            .collect::<Vec<_>>(),
        [(second.session, true)]
    );
    let code = ErrorCode::ConnectionForcefullyClosedOnNewConnection;
    assert!(outcome.effects.contains(&Effect::Disconnect(first, code)));
}

#[test]
fn without_a_subscription_nothing_is_sent() {
    let mut hub = fixture().device("d1");
    let session = hub.listening("d1", &[Feature::Methods, Feature::DesiredChanges]);
    assert_eq!(bodies(&hub.send("d1", "", "1").1), [""; 0]);
    hub.receive(session, AtLeastOnce);
    hub.run(|hub, cx| hub.unsubscribe(cx, session, &[Feature::C2d]))
        .0
        .unwrap();
    assert_eq!(bodies(&hub.send("d1", "", "2").1), [""; 0]);

    // What was sent before stays with the session.
    assert_eq!(bodies(&hub.receive(session, AtLeastOnce)), ["2"]);
}

#[test]
fn a_lock_is_lost_after_a_minute_and_the_message_comes_again() {
    let mut hub = fixture().device("d1");
    let session = hub.connect("d1");
    hub.receive(session, AtLeastOnce);
    let first = locks(&hub.send("d1", "", "1").1)[0];

    assert_eq!(hub.wait(59).fire_due(), Outcome::default());
    let outcome = hub.wait(1).fire_due();

    let again = delivered(&outcome);
    assert_eq!((again.len(), again[0].3), (1, true));
    assert_eq!(hub.acknowledge(session, &[first]).changes, [], "too late");
    assert_eq!(counts(&hub).0, 1);
    hub.acknowledge(session, &locks(&outcome));
    assert_eq!(counts(&hub).0, 0);
}

#[test]
fn only_being_abandoned_counts_unless_every_return_does() {
    for (rule, lost) in [
        (CountedReturns::AbandonOnly, None),
        (
            CountedReturns::EveryReturn,
            Some(FeedbackStatus::DeliveryCountExceeded),
        ),
    ] {
        let mut hub = with(|limits| {
            limits.c2d_counted_returns = rule;
            limits.c2d_delivery_count = 3;
        });
        hub.send("d1", "$.mid=m&iothub-ack=full", "x").0.unwrap();

        hub.fetch("d1").unwrap();
        hub.wait(60).fire_due();
        let session = hub.connect("d1");
        hub.receive(session, AtLeastOnce);
        hub.disconnect(session, End::Goodbye);
        let session = hub.connect("d1");
        hub.receive(session, AtLeastOnce);
        hub.disconnect(session, End::Lost);

        let endings = endings(&mut hub);
        assert_eq!(endings.first().map(|it| it.1), lost, "{rule:?}");
    }
}

#[test]
fn the_tenth_return_is_one_too_many() {
    let mut hub = fixture().device("d1");
    hub.send("d1", "$.mid=m&iothub-ack=negative", "x")
        .0
        .unwrap();
    for count in 0..10 {
        let received = hub.fetch("d1").unwrap();
        assert_eq!(received.message.delivery_count, count);
        hub.settle("d1", received.lock, Settlement::Abandon)
            .0
            .unwrap();
    }

    assert_eq!(hub.fetch("d1"), None);
    let lost = ended("m", FeedbackStatus::DeliveryCountExceeded);
    assert_eq!(endings(&mut hub), lost);
}

#[test]
fn a_message_is_fetched_completed_rejected_and_abandoned() {
    let mut hub = fixture().device("d1").module("d1/m1");
    for n in 1..=3 {
        let properties = format!("$.mid=m{n}&iothub-ack=full");
        hub.send("d1/m1", &properties, &n.to_string()).0.unwrap();
    }

    let one = hub.fetch("d1/m1").unwrap();
    let two = hub.fetch("d1/m1").unwrap();
    assert_eq!((one.message.sequence, two.message.sequence), (1, 2));
    let three = hub.fetch("d1/m1").unwrap();
    assert_eq!(hub.fetch("d1/m1"), None, "each is locked");
    hub.settle("d1/m1", two.lock, Settlement::Complete)
        .0
        .unwrap();
    hub.settle("d1/m1", three.lock, Settlement::Reject)
        .0
        .unwrap();
    let (_, outcome) = hub.settle("d1/m1", one.lock, Settlement::Abandon);

    assert!(matches!(&outcome.changes[..], [Change::PutC2d(it)] if it.delivery_count == 1));
    let again = hub.fetch("d1/m1").unwrap();
    assert_eq!(
        (again.message.sequence, again.message.delivery_count),
        (1, 1)
    );
    assert_ne!(again.lock, one.lock);
    let mut wanted = ended("m2", FeedbackStatus::Success);
    wanted.extend(ended("m3", FeedbackStatus::Rejected));
    assert_eq!(endings(&mut hub), wanted);
}

#[test]
fn a_lock_that_is_lost_or_never_was_settles_nothing() {
    let mut hub = fixture().device("d1").device("d2");
    hub.send("d1", "", "1").0.unwrap();
    let lock = hub.fetch("d1").unwrap().lock;
    let lost = Some(ErrorCode::DeviceMessageLockLost);
    assert_eq!(code(hub.settle("d2", lock, Settlement::Complete).0), lost);
    hub.wait(60).fire_due();

    for settlement in [
        Settlement::Complete,
        Settlement::Reject,
        Settlement::Abandon,
    ] {
        let (reply, outcome) = hub.settle("d1", lock, settlement);
        assert_eq!((code(reply), outcome), (lost, Outcome::default()));
    }
    assert_ne!(LockToken::parse("nonsense"), lock);
    assert_eq!(LockToken::parse(&format!("\"{lock}\"")), lock);
    assert_eq!(hub.waiting("d1"), ["1"]);
}

#[test]
fn a_client_may_ask_for_another_lock_time() {
    let mut hub = fixture().device("d1");
    hub.send("d1", "", "1").0.unwrap();
    let fetch = |hub: &mut Fixture, seconds| {
        let (caller, d1) = (hub.principal("d1"), client("d1"));
        let timeout = Some(Duration::from_secs(seconds));
        let (reply, _) = hub.run(|hub, cx| hub.receive_c2d(cx, &caller, &d1, timeout));
        reply.unwrap().is_some()
    };

    assert!(fetch(&mut hub, 5));
    hub.wait(4).fire_due();
    assert!(!fetch(&mut hub, 5));
    hub.wait(1).fire_due();
    assert!(fetch(&mut hub, 99_999));
    hub.wait(299).fire_due();
    assert!(!fetch(&mut hub, 0), "five minutes is the longest");
    hub.wait(1).fire_due();
    assert!(fetch(&mut hub, 0));
    hub.wait(1).fire_due();
    assert!(fetch(&mut hub, 0), "a second is the shortest");
}

#[test]
fn only_the_client_itself_receives_and_only_a_back_end_sends() {
    let mut hub = fixture().device("d1").device("d2");
    hub.send("d1", "", "1").0.unwrap();
    let lock = hub.fetch("d1").unwrap().lock;
    let (other, d1) = (hub.principal("d2"), client("d1"));
    let unauthorized = Some(ErrorCode::IotHubUnauthorizedAccess);

    let (reply, _) = hub.run(|hub, cx| hub.receive_c2d(cx, &other, &d1, None));
    assert_eq!(code(reply), unauthorized);
    let (reply, _) = hub.run(|hub, cx| hub.settle_c2d(cx, &other, &d1, lock, Settlement::Complete));
    assert_eq!(code(reply), unauthorized);
    let (reply, _) = hub.run(|hub, cx| hub.send_c2d(cx, &other, &d1, Default::default()));
    assert_eq!(code(reply), unauthorized);
    let (reply, _) = hub.run(|hub, cx| hub.purge_c2d(cx, &other, &d1));
    assert_eq!(code(reply), unauthorized);
    let (reply, _) = hub.run(|hub, cx| hub.receive_feedback(cx, &other));
    assert_eq!(code(reply), unauthorized);
}

#[test]
fn the_fifty_first_message_is_refused() {
    let mut hub = fixture().device("d1");
    for _ in 0..50 {
        hub.send("d1", "", "x").0.unwrap();
    }
    let lock = hub.fetch("d1").unwrap().lock;

    let (reply, outcome) = hub.send("d1", "", "x");

    let full = Some(ErrorCode::DeviceMaximumQueueDepthExceeded);
    assert_eq!((code(reply), outcome), (full, Outcome::default()));
    hub.settle("d1", lock, Settlement::Complete).0.unwrap();
    assert_eq!(hub.send("d1", "", "x").0.unwrap(), 51);
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let mut hub = fixture().device("d1");
    let large = "x".repeat(64 * 1024);
    for (to, properties, body, wanted) in [
        ("d9", "", "x", ErrorCode::DeviceNotFound),
        ("d9/m1", "", "x", ErrorCode::DeviceNotFound),
        ("d1/m9", "", "x", ErrorCode::ModuleNotFound),
        ("d1", "k=v", &large, ErrorCode::MessageTooLarge),
        (
            "d1",
            "$.exp=2025-12-31T23:59:59Z",
            "x",
            ErrorCode::InvalidMessageExpiryTime,
        ),
        (
            "d1",
            "$.exp=2026-01-03T00:00:01Z",
            "x",
            ErrorCode::InvalidMessageExpiryTime,
        ),
        ("d1", "$.exp=soon", "x", ErrorCode::ArgumentInvalid),
        ("d1", "iothub-ack=maybe", "x", ErrorCode::ArgumentInvalid),
    ] {
        let (reply, outcome) = hub.send(to, properties, body);
        assert_eq!(code(reply), Some(wanted), "{to} {properties}");
        assert_eq!(outcome, Outcome::default());
    }
    assert_eq!(code(hub.send("d1", "", &large).0), None);
}

#[test]
fn a_message_expires_in_its_place() {
    let mut hub = fixture().device("d1");
    let properties = "iothub-ack=negative&$.exp=2026-01-01T00:10:00Z";
    hub.send("d1", &format!("$.mid=a&{properties}"), "1")
        .0
        .unwrap();
    hub.send("d1", "$.mid=b&iothub-ack=full", "2").0.unwrap();

    hub.wait(599).fire_due();
    assert_eq!(hub.waiting("d1"), ["1", "2"]);
    let outcome = hub.wait(1).fire_due();

    assert_eq!(outcome.changes[0], Change::DeleteC2d(client("d1"), 1));
    assert_eq!(hub.waiting("d1"), ["2"]);
    assert_eq!(endings(&mut hub), ended("a", FeedbackStatus::Expired));
    hub.wait(HOUR).fire_due();
    assert_eq!(endings(&mut hub), ended("b", FeedbackStatus::Expired));
    assert_eq!(
        hub.hub.next_deadline(),
        Some(hub.now + secs(60)),
        "a lock of feedback, no more"
    );
}

#[test]
fn who_holds_a_message_may_still_take_it_when_it_expires() {
    let mut hub = fixture().device("d1");
    for id in ["a", "b"] {
        let properties = format!("$.mid={id}&iothub-ack=full&$.exp=2026-01-01T00:00:30Z");
        hub.send("d1", &properties, id).0.unwrap();
    }
    let (a, _b) = (hub.fetch("d1").unwrap(), hub.fetch("d1").unwrap());

    hub.wait(40).fire_due();
    hub.settle("d1", a.lock, Settlement::Complete).0.unwrap();
    hub.wait(20).fire_due();

    let mut wanted = ended("a", FeedbackStatus::Success);
    wanted.extend(ended("b", FeedbackStatus::Expired));
    assert_eq!(endings(&mut hub), wanted);
}

#[test]
fn a_purge_empties_the_queue_and_says_so() {
    let mut hub = fixture().device("d1").device("d2");
    for id in ["a", "b"] {
        let properties = format!("$.mid={id}&iothub-ack=negative");
        hub.send("d1", &properties, id).0.unwrap();
        hub.send("d2", "", id).0.unwrap();
    }
    let locked = hub.fetch("d1").unwrap();
    let operator = Principal::operator();
    let purge = |hub: &mut Fixture, id: &str| {
        let (reply, _) = hub.run(|hub, cx| hub.purge_c2d(cx, &operator, &client(id)));
        reply.map_err(|error| error.code)
    };

    assert_eq!(purge(&mut hub, "d1"), Ok(2));
    assert_eq!(purge(&mut hub, "d1"), Ok(0));
    assert_eq!(purge(&mut hub, "d9"), Err(ErrorCode::DeviceNotFound));
    assert_eq!(purge(&mut hub, "d1/m9"), Err(ErrorCode::ModuleNotFound));

    let (reply, _) = hub.settle("d1", locked.lock, Settlement::Complete);
    assert_eq!(code(reply), Some(ErrorCode::DeviceMessageLockLost));
    assert_eq!(hub.waiting("d2"), ["a", "b"]);
    let mut wanted = ended("a", FeedbackStatus::Purged);
    wanted.extend(ended("b", FeedbackStatus::Purged));
    assert_eq!(endings(&mut hub), wanted);
}

#[test]
fn a_deleted_device_leaves_nothing_behind() {
    let mut hub = fixture().device("d1").module("d1/m1");
    hub.send("d1", "iothub-ack=full", "1").0.unwrap();
    hub.send("d1", "iothub-ack=full", "2").0.unwrap();
    hub.send("d1/m1", "iothub-ack=full", "3").0.unwrap();
    let received = hub.fetch("d1").unwrap();
    hub.settle("d1", received.lock, Settlement::Complete)
        .0
        .unwrap();

    hub.delete("d1").0.unwrap();
    let mut hub = hub.device("d1");

    assert_eq!(hub.waiting("d1"), [""; 0]);
    assert_eq!(hub.hub.next_deadline(), None);
    assert_eq!(endings(&mut hub), []);
    assert_eq!(
        hub.send("d1", "", "4").0.unwrap(),
        1,
        "a new device, a new queue"
    );
}

#[test]
fn a_disabled_device_keeps_its_queue() {
    let mut hub = fixture().device("d1");
    let session = hub.connect("d1");
    hub.receive(session, AtLeastOnce);
    hub.send("d1", "", "1").0.unwrap();
    hub.update("d1", spec(&json!({"status": "disabled"})))
        .0
        .unwrap();

    hub.send("d1", "", "2").0.unwrap();
    assert_eq!(hub.identity("d1").status, Status::Disabled);
    hub.update("d1", IdentitySpec::default()).0.unwrap();
    let session = hub.connect("d1");

    assert_eq!(bodies(&hub.receive(session, AtLeastOnce)), ["1", "2"]);
}

#[test]
fn messages_before_the_subscription_are_rejected_where_that_is_the_rule() {
    let mut hub = with(|limits| limits.c2d_before_first_subscribe = BeforeSubscription::Reject);
    hub.send("d1", "$.mid=before&iothub-ack=full", "before")
        .0
        .unwrap();
    hub.wait(1);
    let (connected, _) = hub.connect_with("d1", |it| it.remember = true);
    let session = connected.unwrap().session;

    assert_eq!(bodies(&hub.receive(session, AtLeastOnce)), [""; 0]);
    hub.disconnect(session, End::Goodbye);
    hub.send("d1", "", "while away").0.unwrap();
    hub.wait(1);
    let (_, outcome) = hub.connect_with("d1", |it| it.remember = true);

    assert_eq!(
        bodies(&outcome),
        ["while away"],
        "the subscription is older"
    );
    let rejected = ended("before", FeedbackStatus::Rejected);
    assert_eq!(endings(&mut hub), rejected);
}

#[test]
fn a_clean_session_is_a_new_subscription_each_time() {
    let mut hub = with(|limits| limits.c2d_before_first_subscribe = BeforeSubscription::Reject);
    let session = hub.connect("d1");
    hub.receive(session, AtLeastOnce);
    hub.send("d1", "", "1").0.unwrap();
    hub.disconnect(session, End::Goodbye);
    hub.wait(1);

    let session = hub.connect("d1");
    assert_eq!(bodies(&hub.receive(session, AtLeastOnce)), [""; 0]);
    assert_eq!(bodies(&hub.send("d1", "", "2").1), ["2"]);
    // Subscribing again is nothing new.
    hub.wait(1);
    assert_eq!(bodies(&hub.receive(session, AtLeastOnce)), [""; 0]);
    assert_eq!(hub.waiting("d1"), ["2"]);
}

#[test]
fn a_restored_hub_and_a_fork_go_on_with_what_waits_and_nobody_holds() {
    let mut hub = fixture().device("d1");
    let mut changes = Vec::new();
    for body in ["1", "2", "3"] {
        changes.extend(hub.send("d1", "iothub-ack=full", body).1.changes);
    }
    let one = hub.fetch("d1").unwrap();
    changes.extend(hub.settle("d1", one.lock, Settlement::Abandon).1.changes);
    let one = hub.fetch("d1").unwrap();
    changes.extend(hub.settle("d1", one.lock, Settlement::Complete).1.changes);
    hub.fetch("d1").unwrap();

    let mut restored = fixture().device("d1");
    for change in changes {
        restored.hub.restore(change);
    }
    restored.hub.rearm();
    let mut fork = hub.clone();
    fork.hub = hub.hub.fork();

    for other in [&mut restored, &mut fork] {
        assert_eq!(other.waiting("d1"), ["2", "3"]);
        assert_eq!(other.fetch("d1").unwrap().message.sequence, 2);
        assert_eq!(other.send("d1", "", "4").0.unwrap(), 4);
        other.wait(HOUR).fire_due();
        assert_eq!(other.waiting("d1"), [""; 0]);
        assert_eq!(endings(other).len(), 3, "one was taken, two expired");
    }
    assert_eq!(hub.waiting("d1"), ["2", "3"]);
}

#[test]
fn an_ended_session_acknowledges_nothing() {
    let mut hub = fixture().device("d1");
    let session = hub.connect("d1");
    hub.receive(session, AtLeastOnce);
    let held = locks(&hub.send("d1", "", "1").1);
    hub.disconnect(session, End::Lost);

    let (reply, outcome) =
        hub.run(|hub, cx| hub.acknowledge_c2d(cx, session, &held, Settlement::Complete));

    let gone = Some(ErrorCode::DeviceConnectionClosedRemotely);
    assert_eq!((code(reply), outcome), (gone, Outcome::default()));
}

#[test]
fn a_look_at_the_queue_tells_who_has_which_message_and_takes_none() {
    let mut hub = fixture().device("d1");
    for (properties, body) in [("%24.mid=a&iothub-ack=full", "1"), ("", "2"), ("", "3")] {
        hub.send("d1", properties, body).0.unwrap();
    }
    let received = hub.fetch("d1").unwrap();
    let look = |hub: &Fixture, most| {
        let queue = hub.hub.c2d_queue(&hub.operator, &client("d1"), most);
        queue.unwrap()
    };

    let (messages, total) = look(&hub, 2);

    assert_eq!(total, 3);
    let told: Vec<_> = messages
        .iter()
        .map(|it| (it.message.sequence, it.lock, it.delivered, it.ack().name()))
        .collect();
    let until = hub.hub.next_deadline().unwrap();
    assert_eq!(
        told,
        [
            (1, Some((received.lock, until)), true, "full"),
            (2, None, false, "none"),
        ]
    );
    hub.settle("d1", received.lock, Settlement::Abandon)
        .0
        .unwrap();
    let (messages, _) = look(&hub, 1);
    assert_eq!((messages[0].lock, messages[0].delivered), (None, true));
    assert_eq!(messages[0].message.delivery_count, 1);
    let unknown = hub.hub.c2d_queue(&hub.operator, &client("d2"), 1);
    assert_eq!(code(unknown), Some(ErrorCode::DeviceNotFound));
}
