//! `spec/service.md` 6.5.

use std::sync::Arc;

use iothub_hub::{Change, Effect, Hub, Outcome, Principal};
use iothub_protocol::registry::{
    BulkError, BulkItem, RegistryJob, RegistryJobSpec, RegistryJobStatus,
};
use iothub_protocol::{Error, ErrorCode};
use serde_json::{Value, json};

use crate::fixture::{Fixture, T0, config, fixture, secs, spec};

fn job_spec(direction: &str) -> RegistryJobSpec {
    let body = json!({
        "type": direction,
        "inputBlobContainerUri": "https://h/in",
        "outputBlobContainerUri": "https://h/out",
    });
    RegistryJobSpec::parse(body.to_string().as_bytes()).unwrap()
}

impl Fixture {
    fn create_job(&mut self) -> (Result<Arc<RegistryJob>, Error>, Outcome) {
        let operator = self.operator.clone();
        self.run(|hub, cx| hub.create_registry_job(cx, &operator, job_spec("import")))
    }

    /// A job that runs.
    fn running_job(&mut self) -> String {
        self.create_job().0.unwrap();
        let next = self.run(Hub::next_registry_job).0;
        next.unwrap().id.clone()
    }

    fn job(&self, id: &str) -> Arc<RegistryJob> {
        self.hub.registry_job(&self.operator, id).unwrap()
    }

    fn end_job(&mut self, id: &str, result: Result<(), String>) {
        self.run(|hub, cx| hub.end_registry_job(cx, id, result));
    }

    fn import(&mut self, job: &str, lines: &[Value]) -> Vec<BulkError> {
        let items = lines
            .iter()
            .map(|line| BulkItem::parse_line(line.to_string().as_bytes()).unwrap())
            .collect();
        let (failed, _) = self.run(|hub, cx| hub.import(cx, job, items));
        failed
            .unwrap()
            .into_iter()
            .map(|(_, error)| error)
            .collect()
    }

    fn export(&self, exclude_keys: bool) -> Vec<Value> {
        self.hub.export_snapshot().lines(exclude_keys).collect()
    }
}

fn codes(errors: &[BulkError]) -> Vec<(&str, ErrorCode)> {
    errors
        .iter()
        .map(|error| (error.device_id.as_str(), error.code))
        .collect()
}

#[test]
fn a_job_goes_from_enqueued_to_its_end_and_is_announced() {
    let mut hub = fixture();

    let (created, outcome) = hub.create_job();
    let created = created.unwrap();
    assert_eq!(created.status, RegistryJobStatus::Enqueued);
    assert_eq!(created.started, T0);
    assert_eq!(outcome.effects, [Effect::RegistryJobReady]);
    let running = hub.run(Hub::next_registry_job).0.unwrap();
    assert_eq!(running.status, RegistryJobStatus::Running);
    assert_eq!(hub.run(Hub::next_registry_job).0, None);
    assert!(
        hub.run(|hub, cx| hub.note_registry_job(cx, &created.id, 40))
            .0
    );
    assert_eq!(hub.job(&created.id).progress, 40);
    hub.wait(9);
    hub.end_job(&created.id, Ok(()));

    let ended = hub.job(&created.id);
    assert_eq!(ended.status, RegistryJobStatus::Completed);
    assert_eq!((ended.progress, ended.ended), (100, Some(T0 + secs(9))));
    let operator = hub.operator.clone();
    assert_eq!(hub.hub.registry_jobs(&operator).unwrap(), [ended]);
}

#[test]
fn one_job_is_active_at_a_time() {
    let mut hub = fixture();
    let id = hub.running_job();

    let (refused, outcome) = hub.create_job();
    assert_eq!(refused.unwrap_err().code, ErrorCode::JobQuotaExceeded);
    assert_eq!(outcome, Outcome::default());

    hub.end_job(&id, Err("no container".into()));
    let failed = hub.job(&id);
    assert_eq!(failed.status, RegistryJobStatus::Failed);
    assert_eq!(failed.failure.as_deref(), Some("no container"));
    hub.create_job().0.unwrap();
}

#[test]
fn a_cancelled_job_does_not_go_on() {
    let mut hub = fixture();
    let id = hub.running_job();
    let operator = hub.operator.clone();

    let (cancelled, _) = hub.run(|hub, cx| hub.cancel_registry_job(cx, &operator, &id));

    cancelled.unwrap();
    assert_eq!(hub.job(&id).status, RegistryJobStatus::Cancelled);
    assert!(!hub.run(|hub, cx| hub.note_registry_job(cx, &id, 50)).0);
    assert_eq!(hub.run(|hub, cx| hub.import(cx, &id, Vec::new())).0, None);
    hub.end_job(&id, Ok(()));
    assert_eq!(hub.job(&id).status, RegistryJobStatus::Cancelled);
    let (unknown, _) = hub.run(|hub, cx| hub.cancel_registry_job(cx, &operator, "other"));
    assert_eq!(unknown.unwrap_err().code, ErrorCode::JobNotFound);
}

#[test]
fn an_import_does_what_each_line_says() {
    let mut hub = fixture().device("old").device("gone");
    let etag = hub.identity("old").etag;
    let job = hub.running_job();

    let errors = hub.import(
        &job,
        &[
            json!({"id": "new", "tags": {"a": 1}, "properties": {"desired": {"b": 2}}}),
            json!({"id": "new", "moduleId": "m1", "importMode": "create"}),
            json!({"id": "new", "importMode": "create"}),
            json!({"id": "old", "importMode": "updateIfMatchETag", "eTag": "x"}),
            json!({"id": "old", "importMode": "updateIfMatchETag", "eTag": etag,
                   "status": "disabled"}),
            json!({"id": "old", "importMode": "updateTwin", "tags": {"c": 3}}),
            json!({"id": "old", "importMode": "updateTwinIfMatchETag", "twinETag": "x"}),
            json!({"id": "gone", "importMode": "delete"}),
            json!({"id": "gone", "importMode": "update"}),
            json!({"id": "bad id", "importMode": "create"}),
            json!({"id": "new", "importMode": "explode"}),
        ],
    );

    assert_eq!(
        codes(&errors),
        [
            ("new", ErrorCode::DeviceAlreadyExists),
            ("old", ErrorCode::PreconditionFailed),
            ("old", ErrorCode::PreconditionFailed),
            ("gone", ErrorCode::DeviceNotFound),
            ("bad id", ErrorCode::ArgumentInvalid),
            ("new", ErrorCode::ArgumentInvalid),
        ]
    );
    assert_eq!(hub.twin("new")["tags"], json!({"a": 1}));
    assert_eq!(hub.twin("new")["properties"]["desired"]["b"], 2);
    assert_eq!(hub.twin("new/m1")["moduleId"], "m1");
    assert_eq!(hub.twin("old")["status"], "disabled");
    assert_eq!(hub.twin("old")["tags"], json!({"c": 3}));
    assert_eq!(
        errors[0].to_log_line().to_string(),
        concat!(
            r#"{"deviceId":"new","errorCode":409001,"#,
            r#""errorStatus":"A device with ID 'new' is already registered."}"#
        )
    );
}

#[test]
fn a_twin_in_a_line_is_written_over_what_exists_when_its_etag_allows() {
    let mut hub = fixture().device("d1");
    let etag = hub.twin("d1")["etag"].clone();
    let job = hub.running_job();

    let errors = hub.import(
        &job,
        &[
            json!({"id": "d1", "twinETag": etag, "tags": {"a": 1}}),
            json!({"id": "d1", "twinETag": etag, "tags": {"a": 2}}),
        ],
    );

    assert_eq!(codes(&errors), [("d1", ErrorCode::PreconditionFailed)]);
    assert_eq!(hub.twin("d1")["tags"], json!({"a": 1}));
}

#[test]
fn what_is_exported_is_imported_by_an_empty_hub() {
    let mut hub = fixture();
    hub.put("edge-1", spec(&json!({"capabilities": {"iotEdge": true}})))
        .0
        .unwrap();
    let scope = hub.identity("edge-1").device_scope.unwrap();
    // Its parent comes after it.
    hub.put("child", spec(&json!({"deviceScope": scope})))
        .0
        .unwrap();
    hub.put("child/m1", spec(&json!({"managedBy": "me"})))
        .0
        .unwrap();
    hub.patch(
        "child",
        &json!({"tags": {"a": 1}, "properties": {"desired": {"b": {"c": 2}}}}),
    )
    .0
    .unwrap();
    hub.patch(
        "edge-1/$edgeAgent",
        &json!({"properties": {"desired": {"x": 1}}}),
    )
    .0
    .unwrap();
    let lines = hub.export(false);

    let mut other = fixture();
    let job = other.running_job();
    let orphans = other.import(&job, &lines);
    let again = other.import(&job, &lines);

    assert_eq!(
        codes(&orphans),
        [
            ("child", ErrorCode::InvalidDeviceScope),
            ("child", ErrorCode::DeviceNotFound)
        ]
    );
    assert_eq!(codes(&again), []);
    let comparable = |mut lines: Vec<Value>| {
        for line in &mut lines {
            for changing in ["eTag", "twinETag"] {
                line.as_object_mut().unwrap().remove(changing);
            }
            for section in ["desired", "reported"] {
                let section = line["properties"][section].as_object_mut().unwrap();
                section.remove("$metadata");
                section.remove("$version");
            }
            // The system's modules come with their device, and their keys with them.
            if line["moduleId"]
                .as_str()
                .is_some_and(|id| id.starts_with('$'))
            {
                line.as_object_mut().unwrap().remove("authentication");
            }
        }
        lines
    };
    assert_eq!(comparable(other.export(false)), comparable(lines));
}

#[test]
fn a_line_of_an_export_is_as_documented() {
    let mut hub = fixture();
    hub.put(
        "d1",
        spec(&json!({"authentication": {"symmetricKey": {
            "primaryKey": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
            "secondaryKey": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        }}})),
    )
    .0
    .unwrap();
    let etag = hub.identity("d1").etag;

    let line = hub.export(true).pop().unwrap();

    let section = r#"{"$metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"$version":1}"#;
    assert_eq!(
        line.to_string(),
        format!(
            concat!(
                r#"{{"id":"d1","eTag":"{etag}","status":"enabled","authentication":"#,
                r#"{{"symmetricKey":{{"primaryKey":null,"secondaryKey":null}},"#,
                r#""x509Thumbprint":{{"primaryThumbprint":null,"secondaryThumbprint":null}},"#,
                r#""type":"sas"}},"twinETag":"AAAAAAAAAAE=","tags":{{}},"#,
                r#""properties":{{"desired":{section},"reported":{section}}},"#,
                r#""capabilities":{{"iotEdge":false}},"parentScopes":[]}}"#
            ),
            etag = etag,
            section = section
        )
    );
    let key = &hub.export(false)[0]["authentication"]["symmetricKey"]["primaryKey"];
    assert_eq!(key, "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=");
}

#[test]
fn a_job_that_ran_when_the_hub_ended_has_failed() {
    let mut hub = fixture();
    let (created, outcome) = hub.create_job();
    let created = created.unwrap();
    let (_, started) = hub.run(Hub::next_registry_job);
    let restore = |changes: &[Change]| {
        let mut restored = Hub::new(config());
        for change in changes {
            restored.restore(change.clone());
        }
        restored.rearm();
        restored
    };
    let operator = Principal::operator();

    let waiting = restore(&outcome.changes);
    let job = waiting.registry_job(&operator, &created.id).unwrap();
    assert_eq!(job.status, RegistryJobStatus::Enqueued);
    let broken_off = restore(&[outcome.changes, started.changes].concat());
    let job = broken_off.registry_job(&operator, &created.id).unwrap();
    assert_eq!(job.status, RegistryJobStatus::Failed);
    assert_eq!(job.failure.as_deref(), Some("the hub was restarted"));
}

#[test]
fn only_a_hundred_jobs_are_remembered() {
    let mut hub = fixture();
    for _ in 0..103 {
        let id = hub.running_job();
        hub.end_job(&id, Ok(()));
    }

    let operator = hub.operator.clone();
    assert_eq!(hub.hub.registry_jobs(&operator).unwrap().len(), 100);
}
