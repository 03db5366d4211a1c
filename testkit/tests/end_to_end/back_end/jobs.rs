//! Jobs over many devices, and jobs that export and import.

use std::time::Duration;

use iothub_backend::{ErrorCode, IfMatch, Job, JobStatus, JobType};
use iothub_testkit::TestHub;
use serde_json::json;

use super::identities::register;
use crate::support::{response, secs};

/// The job once it is finished; time passes as it has to.
async fn finished(hub: &TestHub, job: &str) -> Job {
    for _ in 0..100 {
        let found = hub.backend().jobs().get(job).await.unwrap();
        if found.status().is_finished() {
            return found;
        }
        hub.clock().advance(secs(1)).await;
    }
    panic!("job {job} is never finished\n{}", hub.timeline());
}

#[tokio::test]
async fn twins_are_updated_by_a_job() {
    let hub = TestHub::builder().virtual_clock().start().await;
    register(&hub, &["d1", "d2", "x"]).await;
    let jobs = hub.backend().jobs();

    let patch = json!({"tags": {"site": "A"}, "properties": {"desired": {"rate": 5}}});
    let queued = jobs
        .schedule_twin_update("j1", "STARTSWITH(deviceId, 'd')", &patch)
        .send()
        .await
        .unwrap();
    let job = finished(&hub, "j1").await;
    let listed = jobs
        .list(Some(JobType::ScheduleUpdateTwin), None)
        .collect()
        .await
        .unwrap();
    let device_jobs = jobs.device_jobs("j1").collect().await.unwrap();
    let twice = jobs
        .schedule_twin_update("j1", "*", &patch)
        .send()
        .await
        .unwrap_err();

    assert_eq!((queued.id(), queued.status()), ("j1", JobStatus::Queued));
    assert_eq!(job.status(), JobStatus::Completed);
    assert_eq!(
        (
            job.statistics().device_count,
            job.statistics().succeeded_count
        ),
        (2, 2)
    );
    assert_eq!(Job::from_json(listed[0].clone()).unwrap(), job);
    assert_eq!(device_jobs.len(), 2);
    assert_eq!(device_jobs[0]["deviceId"], "d1");
    assert_eq!(twice.code(), Some(ErrorCode::JobAlreadyExists));
    let twin = hub.backend().twins().get("d2").await.unwrap();
    assert_eq!(
        (&twin.tags()["site"], &twin.desired()["rate"]),
        (&json!("A"), &json!(5))
    );
    let other = hub.backend().twins().get("x").await.unwrap();
    assert_eq!(other.desired().get("rate"), None);
}

#[tokio::test]
async fn methods_are_called_by_a_job_at_its_time() {
    let hub = TestHub::builder().virtual_clock().start().await;
    let device = hub.device("d1").await;
    register(&hub, &["d2"]).await;
    device
        .on_method("reboot", |_| async { response(200, "{\"done\":true}") })
        .await
        .unwrap();
    let jobs = hub.backend().jobs();

    let start = hub.clock().now() + secs(30);
    let job = jobs
        .schedule_method("j1", "*", "reboot")
        .payload(&json!({"in": 1}));
    job.start_time(start)
        .response_timeout(secs(5))
        .send()
        .await
        .unwrap();
    hub.clock().advance(secs(10)).await;
    let waiting = jobs.get("j1").await.unwrap();
    hub.clock().advance(secs(20)).await;
    let job = finished(&hub, "j1").await;
    let rows = jobs.device_jobs("j1").collect().await.unwrap();

    assert!(!waiting.status().is_finished());
    assert_eq!(job.statistics().succeeded_count, 1);
    assert_eq!(job.statistics().failed_count, 1);
    let response = &rows[0]["outcome"]["deviceMethodResponse"];
    assert_eq!(
        (&response["status"], &response["payload"]),
        (&json!(200), &json!({"done": true}))
    );
    assert_eq!(rows[1]["status"], "failed");
}

#[tokio::test]
async fn job_that_waits_is_cancelled() {
    let hub = TestHub::builder().virtual_clock().start().await;
    register(&hub, &["d1"]).await;
    let jobs = hub.backend().jobs();
    let later = hub.clock().now() + secs(3600);

    let job = jobs.schedule_twin_update("j1", "*", &json!({"tags": {"a": 1}}));
    job.start_time(later).send().await.unwrap();
    let cancelled = jobs.cancel("j1").await.unwrap();
    hub.clock().advance(secs(7200)).await;

    assert_eq!(cancelled.status(), JobStatus::Cancelled);
    assert_eq!(
        jobs.wait("j1", secs(1)).await.unwrap().status(),
        JobStatus::Cancelled
    );
    let twin = hub.backend().twins().get("d1").await.unwrap();
    assert_eq!(twin.tags().get("a"), None);
}

#[tokio::test]
async fn registry_goes_into_a_folder_and_comes_back() {
    let hub = TestHub::start().await;
    register(&hub, &["d1", "d2"]).await;
    let backend = hub.backend();
    let folder = std::env::temp_dir().join(format!("iothub-export-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let uri = format!("file://{}", folder.display());
    let jobs = backend.registry_jobs();

    let export = jobs.export_devices(&uri).send().await.unwrap();
    let export = jobs
        .wait(export.id(), Duration::from_millis(20))
        .await
        .unwrap();
    let before = backend.registry().device("d1").await.unwrap();
    backend
        .registry()
        .delete_device("d1", &IfMatch::Any)
        .await
        .unwrap();
    let import = jobs.import_devices(&uri, &uri).send().await.unwrap();
    let import = jobs
        .wait(import.id(), Duration::from_millis(20))
        .await
        .unwrap();
    std::fs::remove_dir_all(&folder).unwrap();

    assert_eq!(
        export.status(),
        JobStatus::Completed,
        "{:?}",
        export.failure_reason()
    );
    assert_eq!(
        import.status(),
        JobStatus::Completed,
        "{:?}",
        import.failure_reason()
    );
    let after = backend.registry().device("d1").await.unwrap();
    assert_eq!(after.authentication, before.authentication);
    assert_eq!(jobs.list().await.unwrap().len(), 2);
}
