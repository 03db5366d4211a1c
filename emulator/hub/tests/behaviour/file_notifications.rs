//! `spec/service.md` 8.

use iothub_hub::{Change, DocumentKind, Effect, Hub, Outcome, ReceivedFileNotification};
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

    fn complete_notification(&mut self, lock: &str) -> (Result<(), Error>, Outcome) {
        let operator = self.operator.clone();
        self.run(|hub, cx| hub.complete_file_notification(cx, &operator, lock))
    }

    fn abandon_notification(&mut self, lock: &str) -> (Result<(), Error>, Outcome) {
        let operator = self.operator.clone();
        self.run(|hub, cx| hub.abandon_file_notification(cx, &operator, lock))
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
    assert_ne!(first.lock_token, second.lock_token);
    assert_eq!(hub.receive_notification(), None);
}

#[test]
fn a_completed_notification_is_gone_and_its_lock_with_it() {
    let mut hub = fixture().device("d1");
    hub.upload_file("d1", 1);
    let received = hub.receive_notification().unwrap();

    let (completed, outcome) = hub.complete_notification(&received.lock_token);

    completed.unwrap();
    assert_eq!(
        outcome.changes,
        [Change::DeleteDocument(
            DocumentKind::FileNotification,
            "0".into()
        )]
    );
    assert_eq!(hub.hub.next_deadline(), None);
    lock_lost(hub.complete_notification(&received.lock_token).0);
    lock_lost(hub.abandon_notification(&received.lock_token).0);
    lock_lost(hub.complete_notification("nonsense").0);
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
        let (abandoned, outcome) = hub.abandon_notification(&received.lock_token);
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
    lock_lost(hub.complete_notification(&received.lock_token).0);
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
    lock_lost(hub.complete_notification(&received.lock_token).0);
    assert_eq!(hub.hub.next_deadline(), None);
}

#[test]
fn notifications_survive_a_restart_without_their_locks() {
    let mut hub = fixture();
    let mut changes = hub.put("d1", IdentitySpec::default()).1.changes;
    changes.extend(hub.upload_file("d1", 1).changes);
    let received = hub.receive_notification().unwrap();
    changes.extend(hub.abandon_notification(&received.lock_token).1.changes);
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
    hub.complete_notification(&again.lock_token).0.unwrap();
    assert_eq!(hub.receive_notification().unwrap().notification.size, 2);
}
