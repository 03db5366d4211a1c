//! `spec/device.md` 5.6, `spec/service.md` 8.

use iothub_hub::{Change, DocumentKind, Effect, FeedbackBatch, LockToken, Outcome, Settlement};
use iothub_protocol::{Error, ErrorCode};
use serde_json::json;

use crate::fixture::{Fixture, T0, config, fixture, secs};

/// Sends a message to each and lets it be taken.
fn take(hub: &mut Fixture, id: &str, message: &str) -> Outcome {
    hub.send(id, &format!("$.mid={message}&iothub-ack=full"), "x")
        .0
        .unwrap();
    let received = hub.fetch(id).unwrap();
    let (reply, outcome) = hub.settle(id, received.lock, Settlement::Complete);
    reply.unwrap();
    outcome
}

fn settle(
    hub: &mut Fixture,
    batch: &FeedbackBatch,
    settlement: Settlement,
) -> (Result<(), Error>, Outcome) {
    let operator = hub.operator.clone();
    hub.run(|hub, cx| hub.settle_feedback(cx, &operator, batch.lock, settlement))
}

fn ids(batch: Option<FeedbackBatch>) -> Vec<String> {
    let records = batch.map_or(Vec::new(), |batch| batch.records);
    records
        .iter()
        .map(|it| it.original_message_id.clone())
        .collect()
}

#[test]
fn a_record_says_what_became_of_which_message() {
    let mut hub = fixture().device("d1").module("d1/m1");
    let generation = hub.identity("d1").generation_id;
    take(&mut hub, "d1", "m1");
    hub.wait(1);
    take(&mut hub, "d1/m1", "m2");
    hub.wait(15).fire_due();

    let batch = hub.feedback().unwrap();

    assert_eq!((batch.enqueued, batch.delivery_count), (T0 + secs(16), 0));
    assert_eq!(
        batch.to_json()[0],
        json!({
            "originalMessageId": "m1",
            "enqueuedTimeUtc": "2026-01-01T00:00:00.0000000Z",
            "statusCode": "Success",
            "description": "Success",
            "deviceId": "d1",
            "deviceGenerationId": generation,
        })
    );
    assert_eq!(batch.to_json()[1]["moduleId"], "m1");
    assert_eq!(
        batch.to_json()[1]["enqueuedTimeUtc"],
        "2026-01-01T00:00:01.0000000Z"
    );
}

#[test]
fn a_batch_is_closed_fifteen_seconds_after_its_last_record() {
    let mut hub = fixture().device("d1");
    take(&mut hub, "d1", "m1");
    hub.wait(14).fire_due();
    let outcome = take(&mut hub, "d1", "m2");
    assert_eq!(outcome.effects, []);
    hub.wait(14).fire_due();
    assert_eq!(hub.feedback(), None);

    let outcome = hub.wait(1).fire_due();

    assert_eq!(outcome.effects, [Effect::FeedbackReady]);
    assert_eq!(ids(hub.feedback()), ["m1", "m2"]);
}

#[test]
fn a_batch_is_closed_at_64_records() {
    let mut hub = fixture().device("d1");
    for n in 1..64 {
        assert_eq!(take(&mut hub, "d1", &n.to_string()).effects, []);
    }

    let outcome = take(&mut hub, "d1", "64");

    assert_eq!(outcome.effects, [Effect::FeedbackReady]);
    take(&mut hub, "d1", "65");
    assert_eq!(ids(hub.feedback()).len(), 64);
    assert_eq!(ids(hub.feedback()), [""; 0]);
    hub.wait(15).fire_due();
    assert_eq!(ids(hub.feedback()), ["65"]);
}

#[test]
fn without_delay_each_record_is_a_batch() {
    let mut config = config();
    config.limits.feedback_delay = secs(0);
    let mut hub = Fixture::with(config).device("d1");

    assert_eq!(take(&mut hub, "d1", "m1").effects, [Effect::FeedbackReady]);
    take(&mut hub, "d1", "m2");

    assert_eq!(ids(hub.feedback()), ["m1"]);
    assert_eq!(ids(hub.feedback()), ["m2"]);
}

#[test]
fn a_batch_is_locked_abandoned_and_completed() {
    let mut hub = fixture().device("d1");
    take(&mut hub, "d1", "m1");
    hub.wait(15).fire_due();

    let batch = hub.feedback().unwrap();
    assert_eq!(hub.feedback(), None);
    let (reply, outcome) = settle(&mut hub, &batch, Settlement::Abandon);
    reply.unwrap();
    assert_eq!(outcome.effects, [Effect::FeedbackReady]);

    let again = hub.feedback().unwrap();
    assert_eq!(again.delivery_count, 1);
    let (reply, _) = settle(&mut hub, &batch, Settlement::Complete);
    assert_eq!(reply.unwrap_err().code, ErrorCode::DeviceMessageLockLost);

    let (reply, outcome) = settle(&mut hub, &again, Settlement::Complete);
    reply.unwrap();
    let gone = |key: &str| Change::DeleteDocument(DocumentKind::Feedback, key.into());
    assert_eq!(outcome.changes, [gone("1/1"), gone("1")]);
    assert_eq!(hub.hub.next_deadline(), None);
}

#[test]
fn a_lock_is_lost_after_a_minute() {
    let mut hub = fixture().device("d1");
    take(&mut hub, "d1", "m1");
    hub.wait(15).fire_due();
    let batch = hub.feedback().unwrap();

    hub.wait(59).fire_due();
    assert_eq!(hub.feedback(), None);
    let outcome = hub.wait(1).fire_due();

    assert_eq!(outcome.effects, [Effect::FeedbackReady]);
    let (reply, _) = settle(&mut hub, &batch, Settlement::Complete);
    assert_eq!(reply.unwrap_err().code, ErrorCode::DeviceMessageLockLost);
    assert_eq!(hub.feedback().unwrap().delivery_count, 0);
}

#[test]
fn what_a_reader_that_is_gone_had_locked_is_there_for_the_others_at_once() {
    let mut hub = fixture().device("d1");
    for message in ["m1", "m2"] {
        take(&mut hub, "d1", message);
        hub.wait(15).fire_due();
    }
    let locks = [(); 2].map(|()| hub.feedback().unwrap().lock);

    let ((), outcome) = hub.run(|hub, cx| {
        hub.release_feedback(cx, &[locks[0], LockToken::parse("nobody's")]);
    });

    assert_eq!(outcome.changes, []);
    assert_eq!(outcome.effects, [Effect::FeedbackReady]);
    let again = hub.feedback().unwrap();
    assert_eq!((again.sequence, again.delivery_count), (1, 0));
    assert_eq!(hub.feedback(), None);
}

#[test]
fn the_tenth_return_is_one_too_many() {
    let mut hub = fixture().device("d1");
    take(&mut hub, "d1", "m1");
    hub.wait(15).fire_due();
    for _ in 0..10 {
        let batch = hub.feedback().unwrap();
        settle(&mut hub, &batch, Settlement::Abandon).0.unwrap();
    }

    assert_eq!(hub.feedback(), None);
    assert_eq!(hub.hub.next_deadline(), None);
}

#[test]
fn a_batch_expires_after_an_hour_unless_someone_holds_it() {
    let mut hub = fixture().device("d1");
    take(&mut hub, "d1", "m1");
    hub.wait(15).fire_due();
    take(&mut hub, "d1", "m2");
    hub.wait(15).fire_due();
    hub.wait(3580).fire_due();
    let first = hub.feedback().unwrap();
    hub.wait(20).fire_due();

    assert_eq!(hub.feedback(), None, "the second has expired");
    settle(&mut hub, &first, Settlement::Abandon).0.unwrap();
    assert_eq!(
        hub.feedback(),
        None,
        "and so has the first, once it is given back"
    );
    assert_eq!(hub.hub.next_deadline(), None);
}

#[test]
fn records_of_a_deleted_device_are_dropped_and_those_of_others_stay() {
    let mut hub = fixture().device("d1").device("d2");
    take(&mut hub, "d1", "m1");
    take(&mut hub, "d2", "m2");
    hub.wait(15).fire_due();
    take(&mut hub, "d1", "m3");

    hub.delete("d1").0.unwrap();
    hub.wait(15).fire_due();

    assert_eq!(ids(hub.feedback()), ["m2"]);
    assert_eq!(ids(hub.feedback()), [""; 0]);
}

#[test]
fn the_oldest_batch_makes_room_when_nobody_reads() {
    let mut config = config();
    config.limits.feedback_delay = secs(0);
    config.limits.feedback_batches = 2;
    let mut hub = Fixture::with(config).device("d1");
    for id in ["m1", "m2", "m3"] {
        take(&mut hub, "d1", id);
    }

    assert_eq!(ids(hub.feedback()), ["m2"]);
    assert_eq!(ids(hub.feedback()), ["m3"]);
    assert_eq!(ids(hub.feedback()), [""; 0]);
}

#[test]
fn a_restored_hub_has_the_same_batches() {
    let mut hub = fixture().device("d1");
    let mut changes = take(&mut hub, "d1", "m1").changes;
    changes.extend(hub.wait(15).fire_due().changes);
    let batch = hub.feedback().unwrap();
    changes.extend(settle(&mut hub, &batch, Settlement::Abandon).1.changes);
    changes.extend(take(&mut hub, "d1", "m2").changes);

    let mut restored = fixture().device("d1");
    for change in changes {
        restored.hub.restore(change);
    }
    restored.hub.rearm();
    restored.now = hub.now;
    let mut fork = hub.clone();
    fork.hub = hub.hub.fork();

    for other in [&mut restored, &mut fork] {
        let first = other.feedback().unwrap();
        assert_eq!((first.delivery_count, first.sequence), (1, 1));
        assert_eq!(ids(Some(first)), ["m1"]);
        assert_eq!(other.feedback(), None);
        other.wait(15).fire_due();
        assert_eq!(ids(other.feedback()), ["m2"]);
    }
}
