//! `spec/device.md` 8.

use std::sync::Arc;

use iothub_hub::{BlobFacts, Change, DocumentKind, Effect, Hub, Outcome, Upload};
use iothub_protocol::upload::UploadEnd;
use iothub_protocol::{Error, ErrorCode};

use crate::fixture::{Fixture, T0, config, device, fixture, secs};

impl Fixture {
    pub(crate) fn start_upload(&mut self, id: &str) -> (Result<Arc<Upload>, Error>, Outcome) {
        let caller = self.principal(id);
        let blob = format!("{id}/f.txt");
        self.run(|hub, cx| hub.start_upload(cx, &caller, &device(id), blob))
    }

    pub(crate) fn finish_upload(
        &mut self,
        id: &str,
        correlation_id: &str,
        success: bool,
        size: Option<u64>,
    ) -> (Result<(), Error>, Outcome) {
        let caller = self.principal(id);
        let end = UploadEnd {
            correlation_id: correlation_id.into(),
            success,
            status_code: None,
            status_description: None,
        };
        let now = self.now;
        self.run(|hub, cx| {
            hub.finish_upload(cx, &caller, &device(id), &end, |name| {
                assert_eq!(name, format!("{id}/f.txt"));
                size.map(|size| BlobFacts {
                    uri: format!("https://h/uploads/{name}"),
                    size,
                    last_modified: now,
                })
            })
        })
    }
}

fn code(result: Result<(), Error>) -> ErrorCode {
    result.unwrap_err().code
}

#[test]
fn an_upload_that_succeeds_is_announced_and_frees_its_place() {
    let mut hub = fixture().device("d1");

    let (started, outcome) = hub.start_upload("d1");
    let upload = started.unwrap();
    assert_eq!(upload.blob, "d1/f.txt");
    assert_eq!(upload.expires, T0 + secs(3600));
    assert!(matches!(
        &outcome.changes[..],
        [Change::PutDocument(document), Change::PutEntropy(_)]
            if document.kind == DocumentKind::Upload && document.key == upload.correlation_id
    ));
    let (finished, outcome) = hub.finish_upload("d1", &upload.correlation_id, true, Some(5));

    finished.unwrap();
    assert_eq!(outcome.effects, [Effect::FileNotificationsReady]);
    assert_eq!(hub.hub.uploads_in_progress(&device("d1")), 0);
    assert_eq!(
        hub.hub.next_deadline(),
        Some(T0 + secs(3600)),
        "of the notification"
    );
    let again = hub.finish_upload("d1", &upload.correlation_id, true, Some(5));
    assert_eq!(code(again.0), ErrorCode::InvalidFileUploadCorrelationId);
}

#[test]
fn an_upload_that_fails_frees_its_place_and_announces_nothing() {
    let mut hub = fixture().device("d1");
    let upload = hub.start_upload("d1").0.unwrap();

    let (finished, outcome) = hub.finish_upload("d1", &upload.correlation_id, false, None);

    finished.unwrap();
    assert_eq!(
        outcome.changes,
        [Change::DeleteDocument(
            DocumentKind::Upload,
            upload.correlation_id.clone()
        )]
    );
    assert_eq!(outcome.effects, []);
    assert_eq!(hub.hub.next_deadline(), None);
}

#[test]
fn success_without_a_blob_is_refused_and_changes_nothing() {
    let mut hub = fixture().device("d1");
    let upload = hub.start_upload("d1").0.unwrap();

    let (finished, outcome) = hub.finish_upload("d1", &upload.correlation_id, true, None);

    assert_eq!(code(finished), ErrorCode::InvalidStorageEndpointOrBlob);
    assert_eq!(outcome, Outcome::default());
    assert_eq!(hub.hub.uploads_in_progress(&device("d1")), 1);
}

#[test]
fn a_device_has_ten_uploads_in_progress_and_others_have_their_own() {
    let mut hub = fixture().device("d1").device("d2");
    for _ in 0..10 {
        hub.start_upload("d1").0.unwrap();
    }

    let (refused, outcome) = hub.start_upload("d1");

    assert_eq!(
        refused.unwrap_err().code,
        ErrorCode::DeviceMaximumActiveFileUploadLimitExceeded
    );
    assert_eq!(outcome, Outcome::default());
    hub.start_upload("d2").0.unwrap();
}

#[test]
fn an_upload_that_nobody_ends_expires_and_is_told_apart_from_an_unknown_one() {
    let mut hub = fixture().device("d1");
    let upload = hub.start_upload("d1").0.unwrap();
    hub.wait(3600);

    let outcome = hub.fire_due();

    assert_eq!(outcome.changes.len(), 1);
    assert_eq!(hub.hub.uploads_in_progress(&device("d1")), 0);
    let (late, _) = hub.finish_upload("d1", &upload.correlation_id, true, Some(1));
    assert_eq!(code(late), ErrorCode::ExpiredFileUploadCorrelationId);
    let (unknown, _) = hub.finish_upload("d1", "bm9uc2Vuc2U=", true, Some(1));
    assert_eq!(code(unknown), ErrorCode::InvalidFileUploadCorrelationId);
}

#[test]
fn an_upload_is_its_own_devices() {
    let mut hub = fixture().device("d1").device("d2");
    let upload = hub.start_upload("d1").0.unwrap();

    let (refused, _) = hub.finish_upload("d2", &upload.correlation_id, true, Some(1));

    assert_eq!(code(refused), ErrorCode::InvalidFileUploadCorrelationId);
    hub.delete("d1").0.unwrap();
    assert_eq!(hub.hub.uploads_in_progress(&device("d1")), 0);
    assert_eq!(hub.hub.next_deadline(), None);
}

#[test]
fn uploads_survive_a_restart_and_a_fork() {
    let mut hub = fixture().device("d1");
    let (upload, outcome) = hub.start_upload("d1");
    let upload = upload.unwrap();
    let mut restored = Hub::new(config());
    for change in outcome.changes {
        restored.restore(change);
    }
    restored.rearm();

    for mut other in [restored, hub.hub.fork()] {
        assert_eq!(other.uploads_in_progress(&device("d1")), 1);
        assert_eq!(other.next_deadline(), Some(upload.expires));
        let mut outcome = Outcome::default();
        other.fire_due(&mut iothub_hub::Cx::new(upload.expires, &mut outcome));
        assert_eq!(other.uploads_in_progress(&device("d1")), 0);
    }
}

#[test]
fn only_who_may_act_as_the_device_uploads() {
    let mut hub = fixture().device("d1").module("d1/m1");
    let stranger = hub.hub.authenticate_service(
        hub.now,
        crate::fixture::HOST,
        &[],
        iothub_hub::Credentials::Token(&iothub_protocol::sas::sign(
            crate::fixture::HOST,
            hub.now + secs(60),
            Some("service"),
            &crate::fixture::policy_key("service"),
        )),
    );
    let stranger = stranger.unwrap();

    let (refused, _) =
        hub.run(|hub, cx| hub.start_upload(cx, &stranger, &device("d1"), "d1/x".into()));

    assert_eq!(
        refused.unwrap_err().code,
        ErrorCode::IotHubUnauthorizedAccess
    );
}
