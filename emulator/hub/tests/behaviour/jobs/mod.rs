//! `spec/service.md` 6.1 to 6.4.

mod kept;

use iothub_hub::{
    Change, Delivery, Effect, Feature, JobFilter, Limits, Outcome, PageRequest, Query, SessionId,
};
use iothub_protocol::job::{JobRequest, JobStatus, JobType};
use iothub_protocol::method::MethodResponse;
use iothub_protocol::{Error, ErrorCode};
use serde_json::{Value, json};

use crate::fixture::{Fixture, config, fixture, secs};

fn twin_job(condition: &str) -> Value {
    json!({
        "type": "scheduleUpdateTwin",
        "queryCondition": condition,
        "updateTwin": {"etag": "*", "tags": {"k": "v"}, "properties": {"desired": {"x": 1}}},
    })
}

fn method_job(condition: &str) -> Value {
    json!({
        "type": "scheduleDeviceMethod",
        "queryCondition": condition,
        "cloudToDeviceMethod": {"methodName": "reboot", "payload": {"in": [1]},
            "responseTimeoutInSeconds": 20},
    })
}

fn put(hub: &mut Fixture, id: &str, job: &Value) -> (Result<Value, Error>, Outcome) {
    let operator = hub.operator.clone();
    let (request, sent) = JobRequest::parse(id, job.to_string().as_bytes()).unwrap();
    hub.run(|hub, cx| hub.put_job(cx, &operator, request, &sent))
}

fn cancel(hub: &mut Fixture, id: &str) -> (Value, Outcome) {
    let operator = hub.operator.clone();
    let (job, outcome) = hub.run(|hub, cx| hub.cancel_job(cx, &operator, id));
    (job.unwrap(), outcome)
}

fn job(hub: &Fixture, id: &str) -> Value {
    hub.hub.job(&hub.operator, id).unwrap()
}

fn status(hub: &Fixture, id: &str) -> String {
    job(hub, id)["status"].as_str().unwrap().to_owned()
}

/// What became of each device, by `SELECT * FROM devices.jobs`.
fn device_jobs(hub: &Fixture, id: &str) -> Vec<Value> {
    let snapshot = hub.hub.query_snapshot(&hub.operator).unwrap();
    let text = format!("SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '{id}'");
    let query = Query::parse(&text, false).unwrap();
    let page = query.run(&snapshot, &PageRequest::default()).unwrap();
    assert_eq!(page.item_type.name(), "DeviceJob");
    page.items
}

/// Device, status and error code of each device job.
fn ends(hub: &Fixture, id: &str) -> Vec<String> {
    let text = |row: &Value, path| row.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let rows = device_jobs(hub, id).into_iter().map(|row| {
        ["/deviceId", "/status", "/error/code"]
            .into_iter()
            .filter_map(|path| text(&row, path))
            .collect::<Vec<_>>()
            .join(" ")
    });
    rows.collect()
}

/// One turn of the hub.
fn turn(hub: &mut Fixture) -> Outcome {
    hub.fire_due()
}

/// Turns until nothing is due, at most so many. Everything that they left behind.
fn settle(hub: &mut Fixture) -> Outcome {
    let mut all = Outcome::default();
    for _ in 0..10_000 {
        if hub.hub.next_deadline().is_none_or(|next| next > hub.now) {
            return all;
        }
        let outcome = turn(hub);
        all.changes.extend(outcome.changes);
        all.effects.extend(outcome.effects);
    }
    panic!(
        "there is always something due: {:?}",
        hub.hub.next_deadline()
    );
}

/// `[total, failed, succeeded, running, pending]`
fn counts(job: &Value) -> [u64; 5] {
    [
        "deviceCount",
        "failedCount",
        "succeededCount",
        "runningCount",
        "pendingCount",
    ]
    .map(|name| job["deviceJobStatistics"][name].as_u64().unwrap())
}

fn called(outcome: &Outcome) -> Vec<(SessionId, u32)> {
    let calls = outcome.effects.iter().filter_map(|effect| match effect {
        Effect::Deliver(session, Delivery::MethodRequest { request, .. }) => {
            Some((*session, *request))
        }
        _ => None,
    });
    calls.collect()
}

fn answer(hub: &mut Fixture, session: SessionId, request: u32, status: i32) -> Outcome {
    let payload = "{}".into();
    let response = MethodResponse { status, payload };
    let (reply, outcome) = hub.run(|hub, cx| hub.complete_method(cx, session, request, response));
    reply.unwrap();
    outcome
}

#[test]
fn a_twin_job_goes_from_queued_to_completed() {
    let mut hub = fixture().device("d1").device("d2");

    let (reply, _) = put(&mut hub, "j1", &twin_job("deviceId IN ['d1']"));
    let reply = reply.unwrap();
    assert_eq!(
        (&reply["status"], counts(&reply)),
        (&json!("queued"), [0; 5])
    );
    assert_eq!(reply["updateTwin"], twin_job("")["updateTwin"]);
    assert_eq!(reply.get("cloudToDeviceMethod"), None);
    assert_eq!(reply["startTime"], reply["createdTime"]);

    turn(&mut hub);
    assert_eq!(status(&hub, "j1"), "running");
    turn(&mut hub);
    assert_eq!(counts(&job(&hub, "j1")), [1, 0, 0, 0, 1]);
    turn(&mut hub);
    let done = job(&hub, "j1");
    assert_eq!(
        (&done["status"], counts(&done)),
        (&json!("completed"), [1, 0, 1, 0, 0])
    );
    assert_eq!(done["endTime"], hub.now.to_iso());
    assert_eq!(done.get("failureReason"), None);

    assert_eq!(hub.twin("d1")["tags"], json!({"k": "v"}));
    assert_eq!(hub.twin("d1")["properties"]["desired"]["x"], 1);
    let now = hub.now.to_iso();
    assert_eq!(
        device_jobs(&hub, "j1"),
        [
            json!({"deviceId": "d1", "jobId": "j1", "jobType": "scheduleUpdateTwin",
            "status": "completed", "startTimeUtc": now, "endTimeUtc": now,
            "createdDateTimeUtc": now, "lastUpdatedDateTimeUtc": now})
        ]
    );
    assert_eq!(hub.twin("d2").get("tags"), None);
}

#[test]
fn a_job_with_a_start_time_waits_for_it() {
    let mut hub = fixture().device("d1");
    let mut request = twin_job("*");
    request["startTime"] = (hub.now + secs(3600)).to_iso().into();

    assert_eq!(put(&mut hub, "j1", &request).0.unwrap()["status"], "queued");
    settle(&mut hub);
    assert_eq!(status(&hub, "j1"), "scheduled");
    hub.wait(3599);
    settle(&mut hub);
    assert_eq!(status(&hub, "j1"), "scheduled");
    hub.wait(1);
    settle(&mut hub);
    assert_eq!(status(&hub, "j1"), "completed");
}

#[test]
fn a_start_time_that_has_passed_means_now() {
    let mut hub = fixture().device("d1");
    let mut request = twin_job("*");
    request["startTime"] = "2020-01-01T00:00:00Z".into();

    let reply = put(&mut hub, "j1", &request).0.unwrap();
    settle(&mut hub);

    assert_eq!(reply["startTime"], reply["createdTime"]);
    assert_eq!(status(&hub, "j1"), "completed");
}

#[test]
fn what_cannot_become_a_job_leaves_nothing() {
    let limits = Limits {
        active_jobs: Some(1),
        ..Limits::default()
    };
    let mut hub = Fixture::with(iothub_hub::HubConfig { limits, ..config() });

    let (reply, outcome) = put(&mut hub, "j1", &twin_job("SELECT * FROM devices"));
    assert_eq!(reply.unwrap_err().code, ErrorCode::ArgumentInvalid);
    assert_eq!(outcome, Outcome::default());

    put(&mut hub, "j1", &twin_job("*")).0.unwrap();
    let (reply, outcome) = put(&mut hub, "j1", &twin_job("*"));
    assert_eq!(reply.unwrap_err().code, ErrorCode::JobAlreadyExists);
    assert_eq!(outcome, Outcome::default());
    let (reply, outcome) = put(&mut hub, "j2", &twin_job("*"));
    let code = ErrorCode::ThrottlingMaxActiveJobCountExceeded;
    assert_eq!(reply.unwrap_err().code, code);
    assert_eq!(outcome, Outcome::default());

    settle(&mut hub);
    put(&mut hub, "j2", &twin_job("*")).0.unwrap();
    let unknown = hub.hub.job(&hub.operator, "j3").unwrap_err();
    assert_eq!(unknown.code, ErrorCode::JobNotFound);
}

#[test]
fn it_takes_the_right_of_a_service() {
    let mut hub = fixture().device("d1");
    let device = hub.principal("d1");
    let (request, sent) = JobRequest::parse("j1", twin_job("*").to_string().as_bytes()).unwrap();

    let (reply, outcome) = hub.run(|hub, cx| hub.put_job(cx, &device, request, &sent));

    assert_eq!(reply.unwrap_err().code, ErrorCode::IotHubUnauthorizedAccess);
    assert_eq!(outcome, Outcome::default());
    let code = ErrorCode::IotHubUnauthorizedAccess;
    assert_eq!(hub.hub.job(&device, "j1").unwrap_err().code, code);
    let page = hub.hub.jobs_page(&device, JobFilter::default(), None, 10);
    assert_eq!(page.unwrap_err().code, code);
    let (reply, _) = hub.run(|hub, cx| hub.cancel_job(cx, &device, "j1"));
    assert_eq!(reply.unwrap_err().code, code);
}

#[test]
fn many_devices_are_dealt_with_in_slices() {
    let mut hub = fixture();
    for n in 0..1200 {
        hub = hub.device(&format!("d{n:04}"));
    }
    put(&mut hub, "j1", &twin_job("*")).0.unwrap();

    let mut turns = 0;
    while status(&hub, "j1") != "completed" {
        let outcome = turn(&mut hub);
        let written = outcome
            .changes
            .iter()
            .filter(|change| matches!(change, Change::PutTwin(..)));
        assert!(written.count() <= 500);
        turns += 1;
    }

    assert!((7..=9).contains(&turns), "{turns} turns");
    assert_eq!(counts(&job(&hub, "j1")), [1200, 0, 1200, 0, 0]);
    assert_eq!(hub.twin("d1199")["tags"]["k"], "v");
}

#[test]
fn a_device_that_goes_meanwhile_fails_alone() {
    let mut hub = fixture().device("d1").device("d2");
    put(&mut hub, "j1", &twin_job("*")).0.unwrap();
    turn(&mut hub);
    turn(&mut hub);
    hub.delete("d1").0.unwrap();

    settle(&mut hub);

    let done = job(&hub, "j1");
    assert_eq!(
        (&done["status"], counts(&done)),
        (&json!("completed"), [2, 1, 1, 0, 0])
    );
}

#[test]
fn a_method_job_calls_those_who_listen_and_fails_for_those_who_do_not() {
    let mut hub = fixture().device("d1").device("d2").device("d3");
    let d1 = hub.listening("d1", &[Feature::Methods]);
    let d3 = hub.listening("d3", &[Feature::Methods]);
    put(&mut hub, "j1", &method_job("*")).0.unwrap();

    let outcome = settle(&mut hub);

    let payload = outcome.effects.iter().find_map(|effect| match effect {
        Effect::Deliver(_, Delivery::MethodRequest { payload, .. }) => Some(payload.clone()),
        _ => None,
    });
    assert_eq!(payload.unwrap(), r#"{"in":[1]}"#);
    assert_eq!(called(&outcome), [(d1, 1), (d3, 1)]);
    assert_eq!(counts(&job(&hub, "j1")), [3, 1, 0, 2, 0]);

    let outcome = answer(&mut hub, d1, 1, 500);
    assert!(
        outcome.effects.is_empty(),
        "nobody outside waits: {outcome:?}"
    );
    settle(&mut hub);
    assert_eq!(counts(&job(&hub, "j1")), [3, 1, 1, 1, 0]);
    hub.wait(20);
    settle(&mut hub);
    let done = job(&hub, "j1");
    assert_eq!(
        (&done["status"], counts(&done)),
        (&json!("completed"), [3, 2, 1, 0, 0])
    );
    assert_eq!(
        ends(&hub, "j1"),
        ["d1 completed", "d2 failed 404103", "d3 failed 504101"]
    );
    assert_eq!(
        device_jobs(&hub, "j1")[0]["outcome"],
        json!({"deviceMethodResponse": {"status": 500, "payload": {}}})
    );
}

#[test]
fn calls_of_a_job_are_not_all_made_at_once() {
    let mut hub = fixture();
    let mut sessions = Vec::new();
    for n in 0..150 {
        let id = format!("d{n:03}");
        hub = hub.device(&id);
        sessions.push(hub.listening(&id, &[Feature::Methods]));
    }
    put(&mut hub, "j1", &method_job("*")).0.unwrap();

    let outcome = settle(&mut hub);

    assert_eq!(called(&outcome).len(), 100);
    assert_eq!(counts(&job(&hub, "j1")), [150, 0, 0, 100, 50]);
    answer(&mut hub, sessions[0], 1, 200);
    assert_eq!(called(&settle(&mut hub)), [(sessions[100], 1)]);
    for session in &sessions[1..] {
        settle(&mut hub);
        answer(&mut hub, *session, 1, 200);
    }
    settle(&mut hub);
    assert_eq!(counts(&job(&hub, "j1")), [150, 0, 150, 0, 0]);
    assert_eq!(status(&hub, "j1"), "completed");
}

#[test]
fn a_job_that_takes_too_long_fails_with_what_is_left() {
    let mut hub = fixture();
    for n in 0..101 {
        let id = format!("d{n:03}");
        hub = hub.device(&id);
        hub.listening(&id, &[Feature::Methods]);
    }
    let mut request = method_job("*");
    request["maxExecutionTimeInSeconds"] = 5.into();
    put(&mut hub, "j1", &request).0.unwrap();
    settle(&mut hub);

    hub.wait(5);
    settle(&mut hub);

    let done = job(&hub, "j1");
    assert_eq!(done["status"], "failed");
    assert!(
        done["failureReason"]
            .as_str()
            .unwrap()
            .contains("maxExecutionTimeInSeconds")
    );
    assert_eq!(counts(&done), [101, 101, 0, 0, 0]);
    let ends = ends(&hub, "j1");
    assert!(
        ends.iter().all(|end| end.ends_with(" failed 500008")),
        "{ends:?}"
    );
    hub.wait(60);
    assert_eq!(settle(&mut hub).effects, [], "no call is left");
}

#[test]
fn a_job_is_cancelled_in_every_state() {
    let mut hub = fixture().device("d1").device("d2");
    let session = hub.listening("d1", &[Feature::Methods]);
    let mut later = twin_job("*");
    later["startTime"] = (hub.now + secs(60)).to_iso().into();

    put(&mut hub, "queued", &twin_job("*")).0.unwrap();
    assert_eq!(cancel(&mut hub, "queued").0["status"], "cancelled");

    put(&mut hub, "scheduled", &later).0.unwrap();
    settle(&mut hub);
    let (job_now, _) = cancel(&mut hub, "scheduled");
    assert_eq!(
        (&job_now["status"], counts(&job_now)),
        (&json!("cancelled"), [0; 5])
    );

    put(&mut hub, "selected", &twin_job("*")).0.unwrap();
    turn(&mut hub);
    turn(&mut hub);
    let (job_now, _) = cancel(&mut hub, "selected");
    assert_eq!(counts(&job_now), [2, 0, 0, 0, 0]);

    put(&mut hub, "calling", &method_job("*")).0.unwrap();
    settle(&mut hub);
    let (job_now, _) = cancel(&mut hub, "calling");
    assert_eq!(
        (&job_now["status"], counts(&job_now)),
        (&json!("cancelled"), [2, 1, 0, 0, 0])
    );
    assert_eq!(ends(&hub, "calling"), ["d1 canceled", "d2 failed 404103"]);
    assert_eq!(ends(&hub, "selected"), ["d1 canceled", "d2 canceled"]);
    assert_eq!(answer(&mut hub, session, 1, 200), Outcome::default());

    put(&mut hub, "done", &twin_job("*")).0.unwrap();
    settle(&mut hub);
    let (job_now, outcome) = cancel(&mut hub, "done");
    assert_eq!(job_now["status"], "completed");
    assert_eq!(outcome, Outcome::default());

    hub.wait(120);
    settle(&mut hub);
    assert_eq!(hub.twin("d1")["version"], 3, "one job has written");
}

#[test]
fn a_job_for_modules_reaches_modules_only() {
    let mut hub = fixture().device("d1").module("d1/m1");
    put(
        &mut hub,
        "j1",
        &twin_job("FROM devices.modules WHERE deviceId = 'd1'"),
    )
    .0
    .unwrap();

    settle(&mut hub);

    assert_eq!(hub.twin("d1/m1")["tags"]["k"], "v");
    assert_eq!(hub.twin("d1").get("tags"), None);
}

#[test]
fn jobs_are_listed_by_name_in_pages_and_by_kind_and_state() {
    let mut hub = fixture().device("d1");
    for id in ["b", "a", "d"] {
        put(&mut hub, id, &twin_job("*")).0.unwrap();
    }
    settle(&mut hub);
    put(&mut hub, "c", &method_job("*")).0.unwrap();
    let list = |hub: &Fixture, filter: JobFilter, after: Option<&str>, max: usize| {
        let (jobs, more) = hub
            .hub
            .jobs_page(&hub.operator, filter, after, max)
            .unwrap();
        let ids: Vec<_> = jobs
            .iter()
            .map(|job| job["jobId"].as_str().unwrap().to_owned())
            .collect();
        (ids.concat(), more)
    };
    let all = JobFilter::default();
    let of = |kind, status| JobFilter { kind, status };

    assert_eq!(list(&hub, all, None, 10), ("abcd".into(), None));
    assert_eq!(list(&hub, all, None, 4), ("abcd".into(), None));
    assert_eq!(list(&hub, all, None, 3), ("abc".into(), Some("c".into())));
    assert_eq!(list(&hub, all, Some("c"), 3), ("d".into(), None));
    let twins = of(Some(JobType::ScheduleUpdateTwin), None);
    assert_eq!(list(&hub, twins, None, 2), ("ab".into(), Some("b".into())));
    assert_eq!(
        list(&hub, of(None, Some(JobStatus::Queued)), None, 9).0,
        "c"
    );
    assert_eq!(list(&hub, of(Some(JobType::Export), None), None, 9).0, "");
}
