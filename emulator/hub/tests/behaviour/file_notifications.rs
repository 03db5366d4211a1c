//! `spec/service.md` 8.

use iothub_hub::{
    Change, CountedReturns, DocumentKind, Effect, Hub, LockToken, Outcome,
    ReceivedFileNotification, Settlement,
};
use iothub_protocol::registry::IdentitySpec;
use iothub_protocol::{Error, ErrorCode};

use crate::fixture::{Fixture, T0, config, fixture, secs};

impl Fixture {
    /// Uploads a file of this size.
    fn upload_file(&mut self, id: &str, size: u64) -> Outcome {
        let upload = self.start_upload(id).0.unwrap();
        let (finished, outcome) = self.finish_upload(id, &upload.correlation_id, true, Some(size));
        finished.unwrap();
        outcome
    }

    fn receive_notification(&mut self) -> Option<ReceivedFileNotification> {
        let operator = self.operator.clone();
        self.run(|hub, cx| hub.receive_file_notification(cx, &operator))
            .0
            .unwrap()
    }

    fn complete_notification(&mut self, lock: LockToken) -> (Result<(), Error>, Outcome) {
        self.settle_notification(lock, Settlement::Complete)
    }

    fn abandon_notification(&mut self, lock: LockToken) -> (Result<(), Error>, Outcome) {
        self.settle_notification(lock, Settlement::Abandon)
    }

    fn settle_notification(
        &mut self,
        lock: LockToken,
        settlement: Settlement,
    ) -> (Result<(), Error>, Outcome) {
        let operator = self.operator.clone();
        self.run(|hub, cx| hub.settle_file_notification(cx, &operator, lock, settlement))
    }
}

fn lock_lost(result: Result<(), Error>) {
    assert_eq!(result.unwrap_err().code, ErrorCode::DeviceMessageLockLost);
}

#[test]
fn notifications_are_received_in_order_each_by_one_receiver() {
    let mut hub = fixture().device("d1");
    hub.upload_file("d1", 1);
    hub.wait(1);
    hub.upload_file("d1", 2);

    let first = hub.receive_notification().unwrap();
    let second = hub.receive_notification().unwrap();

    assert_eq!((first.notification.size, second.notification.size), (1, 2));
    assert_eq!(first.notification.enqueued, T0);
    assert_eq!(first.notification.blob_uri, "https://h/uploads/d1/f.txt");
    assert_eq!(first.locked_until, T0 + secs(61));
    assert_ne!(first.lock, second.lock);
    assert_eq!(hub.receive_notification(), None);
}

#[test]
fn a_completed_notification_is_gone_and_its_lock_with_it() {
    let mut hub = fixture().device("d1");
    hub.upload_file("d1", 1);
    let received = hub.receive_notification().unwrap();

    let (completed, outcome) = hub.complete_notification(received.lock);

    completed.unwrap();
    assert_eq!(
        outcome.changes,
        [Change::DeleteDocument(
            DocumentKind::FileNotification,
            "0".into()
        )]
    );
    assert_eq!(hub.hub.next_deadline(), None);
    lock_lost(hub.complete_notification(received.lock).0);
    lock_lost(hub.abandon_notification(received.lock).0);
    lock_lost(hub.complete_notification(LockToken::parse("nonsense")).0);
}

#[test]
fn an_abandoned_notification_is_first_again_until_it_was_delivered_ten_times() {
    let mut hub = fixture().device("d1");
    hub.upload_file("d1", 1);
    hub.upload_file("d1", 2);

    for delivery in 0..10 {
        let received = hub.receive_notification().unwrap();
        assert_eq!(received.notification.size, 1);
        assert_eq!(received.delivery_count, delivery);
        let (abandoned, outcome) = hub.abandon_notification(received.lock);
        abandoned.unwrap();
        let goes_on = outcome.effects == [Effect::FileNotificationsReady];
        assert_eq!(goes_on, delivery < 9);
    }

    assert_eq!(hub.receive_notification().unwrap().notification.size, 2);
}

#[test]
fn a_lock_that_nobody_settles_is_lost() {
    let mut hub = fixture().device("d1");
    hub.upload_file("d1", 1);
    let received = hub.receive_notification().unwrap();
    hub.wait(60);

    let outcome = hub.fire_due();

    assert_eq!(outcome.effects, [Effect::FileNotificationsReady]);
    lock_lost(hub.complete_notification(received.lock).0);
    assert_eq!(hub.receive_notification().unwrap().delivery_count, 0);
}

#[test]
fn a_rejected_notification_is_gone() {
    let mut hub = fixture().device("d1");
    hub.upload_file("d1", 1);
    let received = hub.receive_notification().unwrap();

    let (rejected, _) = hub.settle_notification(received.lock, Settlement::Reject);

    rejected.unwrap();
    assert_eq!(hub.hub.file_notification_count(), 0);
}

#[test]
fn what_a_reader_that_is_gone_had_locked_is_there_for_the_others_at_once() {
    let mut hub = fixture().device("d1");
    for size in 1..=3 {
        hub.upload_file("d1", size);
    }
    let locks = [(); 3].map(|()| hub.receive_notification().unwrap().lock);
    hub.complete_notification(locks[1]).0.unwrap();

    let ((), outcome) = hub.run(|hub, cx| hub.release_file_notifications(cx, &locks));

    assert_eq!(outcome.changes, []);
    let ready = || Effect::FileNotificationsReady;
    assert_eq!(outcome.effects, [ready(), ready()]);
    lock_lost(hub.complete_notification(locks[0]).0);
    let again = [(); 2].map(|()| hub.receive_notification().unwrap());
    assert_eq!(again.clone().map(|it| it.notification.size), [1, 3]);
    assert_eq!(again.map(|it| it.delivery_count), [0, 0]);
}

#[test]
fn where_every_return_counts_a_lost_lock_does() {
    let mut config = config();
    config.limits.c2d_counted_returns = CountedReturns::EveryReturn;
    let mut hub = Fixture::with(config).device("d1");
    hub.upload_file("d1", 1);
    hub.receive_notification().unwrap();
    hub.wait(60).fire_due();

    assert_eq!(hub.receive_notification().unwrap().delivery_count, 1);
}

#[test]
fn a_notification_that_nobody_receives_expires_even_under_a_lock() {
    let mut hub = fixture().device("d1");
    hub.upload_file("d1", 1);
    hub.wait(3590);
    let received = hub.receive_notification().unwrap();
    hub.wait(10);

    hub.fire_due();

    assert_eq!(hub.hub.file_notification_count(), 0);
    lock_lost(hub.complete_notification(received.lock).0);
    assert_eq!(hub.hub.next_deadline(), None);
}

#[test]
fn notifications_survive_a_restart_without_their_locks() {
    let mut hub = fixture();
    let mut changes = hub.put("d1", IdentitySpec::default()).1.changes;
    changes.extend(hub.upload_file("d1", 1).changes);
    let received = hub.receive_notification().unwrap();
    changes.extend(hub.abandon_notification(received.lock).1.changes);
    hub.receive_notification().unwrap();
    let mut restored = Hub::new(config());
    for change in changes {
        restored.restore(change);
    }
    restored.rearm();

    hub.hub = restored;
    assert_eq!(hub.hub.next_deadline(), Some(T0 + secs(3600)));
    assert_eq!(hub.receive_notification().unwrap().delivery_count, 1);
    hub.hub = hub.hub.fork();
    let again = hub.receive_notification().unwrap();
    assert_eq!(again.notification.size, 1);
    hub.upload_file("d1", 2);
    hub.complete_notification(again.lock).0.unwrap();
    assert_eq!(hub.receive_notification().unwrap().notification.size, 2);
}
