//! Scheduled jobs, and jobs that import and export.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use iothub_backend::{Backend, ErrorCode, JobStatus, JobType};
use iothub_protocol::{Clock, Timestamp};
use serde_json::json;

use crate::script::{CONNECTION_STRING, Script, answer, body, header, line, no_content, ok};

const QUEUED: &str = r#"{"jobId":"j1","type":"scheduleUpdateTwin","status":"queued"}"#;
const COMPLETED: &str = r#"{"jobId":"j1","type":"scheduleUpdateTwin","status":"completed",
    "deviceJobStatistics":{"deviceCount":1,"failedCount":0,"succeededCount":1,"runningCount":0,
    "pendingCount":0}}"#;

#[tokio::test]
async fn twin_update_is_scheduled_by_force() {
    let script = Script::play(vec![ok(QUEUED)]).await;

    let patch = json!({"etag": "AA==", "tags": {"k": "v"}});
    let job = script
        .backend()
        .jobs()
        .schedule_twin_update("j1", "deviceId IN ['d1']", &patch)
        .start_time(Timestamp::parse_iso("2026-01-02T03:04:05Z").unwrap())
        .max_execution_time(Duration::from_secs(60))
        .send()
        .await
        .unwrap();

    assert_eq!((job.id(), job.status()), ("j1", JobStatus::Queued));
    let request = script.request(0);
    assert_eq!(line(&request), "PUT /jobs/v2/j1?api-version=2021-04-12");
    assert_eq!(header(&request, "if-match"), None);
    assert_eq!(
        body(&request),
        json!({
            "jobId": "j1",
            "type": "scheduleUpdateTwin",
            "queryCondition": "deviceId IN ['d1']",
            "updateTwin": {"etag": "*", "tags": {"k": "v"}},
            "startTime": "2026-01-02T03:04:05.0000000Z",
            "maxExecutionTimeInSeconds": 60,
        })
    );
}

#[tokio::test]
async fn method_is_scheduled_with_its_time_limits() {
    let script = Script::play(vec![ok(QUEUED)]).await;

    script
        .backend()
        .jobs()
        .schedule_method("j 1", "*", "reboot")
        .payload(&json!([1]))
        .response_timeout(Duration::from_secs(7))
        .connect_timeout(Duration::from_secs(8))
        .send()
        .await
        .unwrap();

    let request = script.request(0);
    assert_eq!(line(&request), "PUT /jobs/v2/j%201?api-version=2021-04-12");
    assert_eq!(
        body(&request),
        json!({
            "jobId": "j 1",
            "type": "scheduleDeviceMethod",
            "queryCondition": "*",
            "cloudToDeviceMethod": {
                "methodName": "reboot",
                "payload": [1],
                "responseTimeoutInSeconds": 7,
                "connectTimeoutInSeconds": 8,
            },
        })
    );
}

/// Moves on by itself to whatever is waited for.
#[derive(Debug)]
struct LeapingClock(Mutex<Timestamp>);

impl Clock for LeapingClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    fn sleep_until(&self, deadline: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        *self.0.lock().unwrap() = deadline;
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test]
async fn waiting_looks_at_the_job_until_it_is_finished() {
    let running = QUEUED.replace("queued", "running");
    let script = Script::play(vec![ok(QUEUED), ok(&running), ok(COMPLETED)]).await;
    let start = Timestamp::from_unix_seconds(1_700_000_000);
    let clock = Arc::new(LeapingClock(Mutex::new(start)));
    let backend = Backend::builder(CONNECTION_STRING)
        .http_address(&script.address)
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .build()
        .unwrap();

    let job = backend
        .jobs()
        .wait("j1", Duration::from_secs(10))
        .await
        .unwrap();

    assert_eq!(job.status(), JobStatus::Completed);
    assert_eq!(job.statistics().succeeded_count, 1);
    assert_eq!(clock.now(), start + Duration::from_secs(20));
    assert_eq!(
        line(&script.request(2)),
        "GET /jobs/v2/j1?api-version=2021-04-12"
    );
}

#[tokio::test]
async fn jobs_are_cancelled_listed_and_looked_into() {
    let cancelled = QUEUED.replace("queued", "cancelled");
    let script = Script::play(vec![
        ok(&cancelled),
        answer(
            "200 OK",
            "x-ms-item-type: JobResponse\r\n",
            &format!("[{QUEUED}]"),
        ),
        ok("[]"),
        ok("[]"),
    ])
    .await;
    let backend = script.backend();

    let job = backend.jobs().cancel("j1").await.unwrap();
    let some = backend
        .jobs()
        .list(Some(JobType::ScheduleUpdateTwin), Some(JobStatus::Queued));
    let listed = some.page_size(5).collect().await.unwrap();
    let all = backend.jobs().list(None, None).collect().await.unwrap();
    backend.jobs().device_jobs("it's").collect().await.unwrap();

    assert_eq!(job.status(), JobStatus::Cancelled);
    assert_eq!((listed.len(), all.len()), (1, 0));
    assert_eq!(
        line(&script.request(0)),
        "POST /jobs/v2/j1/cancel?api-version=2021-04-12"
    );
    let request = script.request(1);
    assert_eq!(
        line(&request),
        "GET /jobs/v2/query?api-version=2021-04-12&jobType=scheduleUpdateTwin&jobStatus=queued"
    );
    assert_eq!(header(&request, "x-ms-max-item-count"), Some("5"));
    assert_eq!(
        line(&script.request(2)),
        "GET /jobs/v2/query?api-version=2021-04-12"
    );
    let query = r"SELECT * FROM devices.jobs WHERE devices.jobs.jobId = 'it\'s'";
    assert_eq!(body(&script.request(3)), json!({"query": query}));
}

#[tokio::test]
async fn job_that_does_not_exist_is_a_refusal() {
    let text = r#"{"Message":"ErrorCode:JobNotFound;j1","ExceptionMessage":"t"}"#;
    let script = Script::play(vec![answer("404 Not Found", "", text)]).await;

    let error = script.backend().jobs().get("j1").await.unwrap_err();

    assert_eq!(error.code(), Some(ErrorCode::JobNotFound));
}

#[tokio::test]
async fn registry_is_exported_and_imported_by_jobs() {
    let answered = r#"{"jobId":"g","type":"export","status":"enqueued","progress":0}"#;
    let failed = r#"{"jobId":"g","status":"failed","progress":40,"failureReason":"why"}"#;
    let script = Script::play(vec![
        ok(answered),
        ok(answered),
        ok(failed),
        ok(&format!("[{failed}]")),
        no_content(),
    ])
    .await;
    let backend = script.backend();
    let jobs = backend.registry_jobs();

    let export = jobs
        .export_devices("file:///tmp/out?x=1")
        .exclude_keys(true)
        .output_blob_name("all.txt")
        .send()
        .await
        .unwrap();
    jobs.import_devices("file:///in", "file:///out")
        .input_blob_name("some.txt")
        .include_configurations(true)
        .configurations_blob_name("c.txt")
        .send()
        .await
        .unwrap();
    let job = jobs.wait("g", Duration::from_secs(1)).await.unwrap();
    let all = jobs.list().await.unwrap();
    jobs.cancel("g").await.unwrap();

    assert_eq!((export.id(), export.status()), ("g", JobStatus::Enqueued));
    assert_eq!((job.failure_reason(), job.progress()), (Some("why"), 40));
    assert_eq!(all, [job]);
    assert_eq!(
        line(&script.request(0)),
        "POST /jobs/create?api-version=2021-04-12"
    );
    assert_eq!(
        body(&script.request(0)),
        json!({
            "type": "export",
            "outputBlobContainerUri": "file:///tmp/out?x=1",
            "excludeKeysInExport": true,
            "outputBlobName": "all.txt",
        })
    );
    assert_eq!(
        body(&script.request(1)),
        json!({
            "type": "import",
            "inputBlobContainerUri": "file:///in",
            "outputBlobContainerUri": "file:///out",
            "inputBlobName": "some.txt",
            "includeConfigurations": true,
            "configurationsBlobName": "c.txt",
        })
    );
    assert_eq!(
        line(&script.request(2)),
        "GET /jobs/g?api-version=2021-04-12"
    );
    assert_eq!(line(&script.request(3)), "GET /jobs?api-version=2021-04-12");
    assert_eq!(
        line(&script.request(4)),
        "DELETE /jobs/g?api-version=2021-04-12"
    );
}
