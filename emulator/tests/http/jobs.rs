//! Scheduled jobs (`spec/service.md` 6.1 to 6.3, 16 traps 3 and 14).

use std::time::Duration;

use bytes::Bytes;
use iothub_emulator::activity::OperationKind;
use iothub_hub::Delivery;
use iothub_protocol::method::MethodResponse;
use serde_json::{Value, json};

use super::client::Reply;
use super::hub::{FakeDevice, TestHub};

const TWIN_JOB: &str = r#"{"jobId":"j1","type":"scheduleUpdateTwin","queryCondition":"deviceId IN ['d1']","updateTwin":{"etag":"*","tags":{"k":"v"},"properties":{"desired":{"x":1}}},"startTime":null,"maxExecutionTimeInSeconds":60}"#;
const METHOD_JOB: &str = r#"{"type":"ScheduleDeviceMethod","queryCondition":"deviceId IN ['d1', 'd2']","cloudToDeviceMethod":{"methodName":"reboot","payload":{"n": 1.50}}}"#;

async fn put(hub: &TestHub, id: &str, body: &str) -> Reply {
    hub.owner(&format!("PUT /jobs/v2/{id}"), body).await
}

async fn get(hub: &TestHub, id: &str) -> Value {
    let reply = hub.owner(&format!("GET /jobs/v2/{id}"), "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

/// All that is due happens.
async fn settle(hub: &TestHub) {
    hub.handle.advance(Duration::ZERO).await;
}

async fn answer(hub: &TestHub, device: &FakeDevice, payload: &'static str) -> Bytes {
    let Delivery::MethodRequest {
        request,
        payload: sent,
        ..
    } = device.delivery().await
    else {
        panic!("not a method call");
    };
    let session = device.presence.connected.session;
    let response = MethodResponse::from_device(200, Bytes::from_static(payload.as_bytes()));
    hub.handle
        .call(OperationKind::AnswerMethod.on(&device.client), |hub, cx| {
            hub.complete_method(cx, session, request, response)
        })
        .await
        .unwrap();
    sent
}

#[tokio::test]
async fn a_twin_job_is_answered_with_what_was_sent_and_then_done() {
    let hub = TestHub::new();
    hub.create("d1").await;

    let reply = put(&hub, "j1", TWIN_JOB).await;

    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.body,
        concat!(
            r#"{"jobId":"j1","queryCondition":"deviceId IN ['d1']","#,
            r#""createdTime":"2024-03-14T09:54:49.6536567Z","#,
            r#""startTime":"2024-03-14T09:54:49.6536567Z","endTime":null,"#,
            r#""maxExecutionTimeInSeconds":60,"type":"scheduleUpdateTwin","#,
            r#""updateTwin":{"etag":"*","tags":{"k":"v"},"properties":{"desired":{"x":1}}},"#,
            r#""status":"queued","statusMessage":null,"#,
            r#""deviceJobStatistics":{"deviceCount":0,"failedCount":0,"succeededCount":0,"#,
            r#""runningCount":0,"pendingCount":0}}"#,
        )
    );
    settle(&hub).await;
    let done = get(&hub, "j1").await;
    assert_eq!(done["status"], "completed");
    assert_eq!(done["endTime"], "2024-03-14T09:54:49.6536567Z");
    assert_eq!(done["deviceJobStatistics"]["succeededCount"], 1);
    let twin = hub.owner("GET /twins/d1", "").await.json();
    assert_eq!(twin["tags"], json!({"k": "v"}));
}

#[tokio::test]
async fn a_method_job_waits_for_its_devices() {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.create("d2").await;
    let device = hub.attach("d1").await;

    let reply = put(&hub, "j1", METHOD_JOB).await;
    assert_eq!(reply.json()["type"], "scheduleDeviceMethod");
    settle(&hub).await;
    assert_eq!(get(&hub, "j1").await["status"], "running");
    let sent = answer(&hub, &device, r#"{"ok":true}"#).await;
    settle(&hub).await;

    assert_eq!(sent, r#"{"n": 1.50}"#);
    let done = get(&hub, "j1").await;
    assert_eq!(done["status"], "completed");
    assert_eq!(
        done["deviceJobStatistics"],
        json!({"deviceCount": 2, "failedCount": 1, "succeededCount": 1, "runningCount": 0,
            "pendingCount": 0})
    );
}

#[tokio::test]
async fn a_job_is_cancelled_and_one_that_is_done_stays_so() {
    let hub = TestHub::new();
    hub.create("d1").await;
    put(
        &hub,
        "j1",
        &TWIN_JOB.replace("null", r#""2099-01-01T00:00:00.000Z""#),
    )
    .await;
    settle(&hub).await;
    assert_eq!(get(&hub, "j1").await["status"], "scheduled");

    let reply = hub.owner("POST /jobs/v2/j1/cancel", "").await;

    assert_eq!(
        (reply.status, &reply.json()["status"]),
        (200, &json!("cancelled"))
    );
    put(&hub, "j2", &TWIN_JOB.replace("j1", "j2")).await;
    settle(&hub).await;
    let reply = hub.owner("POST /jobs/v2/j2/cancel", "").await;
    assert_eq!(
        (reply.status, &reply.json()["status"]),
        (200, &json!("completed"))
    );
}

#[tokio::test]
async fn refusals_name_their_codes() {
    let hub = TestHub::new();
    hub.create("d1").await;
    put(&hub, "j1", TWIN_JOB).await;

    for (head, body, refusal) in [
        ("GET /jobs/v2/j9", "", "404 JobNotFound"),
        ("POST /jobs/v2/j9/cancel", "", "404 JobNotFound"),
        ("PUT /jobs/v2/j1", TWIN_JOB, "409 JobAlreadyExists"),
        ("PUT /jobs/v2/j2", TWIN_JOB, "400 ArgumentInvalid"),
        ("PUT /jobs/v2/j2", "{", "400 IotHubFormatError"),
        ("PUT /jobs/v2/j2", "{}", "400 ArgumentInvalid"),
        (
            "PUT /jobs/v2/j2",
            r#"{"type":"scheduleUpdateTwin","queryCondition":"SELECT","updateTwin":{"etag":"*"}}"#,
            "400 ArgumentInvalid",
        ),
        (
            "GET /jobs/v2/query?jobType=nonsense",
            "",
            "400 ArgumentInvalid",
        ),
        (
            "GET /jobs/v2/query?jobStatus=canceled",
            "",
            "400 ArgumentInvalid",
        ),
    ] {
        let reply = hub.owner(head, body).await;
        assert!(
            reply.refusal().starts_with(refusal),
            "{head} {body}: {}",
            reply.refusal()
        );
    }
    let stale = TWIN_JOB.replace(r#""etag":"*""#, r#""etag":"AAAAAAAAAAE=""#);
    assert_eq!(
        put(&hub, "j2", &stale.replace("j1", "j2")).await.refusal(),
        "400 ArgumentInvalid ErrorCode:ArgumentInvalid;Missing or invalid etag for job type \
         ScheduleUpdateTwin. ScheduleUpdateTwin job type is a force update, which only accepts \
         '*' as the Etag."
    );
    let long = TWIN_JOB
        .replace("d1", &"x".repeat(9000))
        .replace("j1", "j2");
    assert!(
        put(&hub, "j2", &long)
            .await
            .refusal()
            .starts_with("412 PreconditionFailed")
    );
}

#[tokio::test]
async fn the_list_is_an_array_in_pages_with_the_headers_of_queries() {
    let hub = TestHub::new();
    hub.create("d1").await;
    for id in ["a", "b", "c"] {
        put(&hub, id, &TWIN_JOB.replace("j1", id)).await;
    }
    settle(&hub).await;
    put(&hub, "d", METHOD_JOB).await;
    let ids = |reply: &Reply| -> String {
        let jobs = reply.json();
        let ids = jobs.as_array().unwrap().iter();
        ids.map(|job| job["jobId"].as_str().unwrap()).collect()
    };

    let all = hub
        .owner("GET /jobs/v2/query?jobType=&jobStatus=", "")
        .await;
    assert_eq!((all.status, ids(&all).as_str()), (200, "abcd"));
    assert_eq!(all.header("x-ms-item-type"), Some("JobResponse"));
    assert_eq!(all.header("x-ms-continuation"), None);
    for (query, wanted) in [
        ("jobType=ScheduleUpdateTwin", "abc"),
        ("jobType=scheduleDeviceMethod&jobStatus=Queued", "d"),
        ("jobStatus=completed", "abc"),
        ("jobStatus=cancelled", ""),
        ("jobType=export", ""),
    ] {
        let some = hub.owner(&format!("GET /jobs/v2/query?{query}"), "").await;
        assert_eq!(ids(&some), wanted, "{query}");
    }

    let head = "GET /jobs/v2/query?jobStatus=completed";
    let two = [("x-ms-max-item-count", "2")];
    let first = hub.owner_with(head, &two, "").await;
    let token = first.header("x-ms-continuation").unwrap().to_owned();
    let goes_on = [two[0], ("x-ms-continuation", token.as_str())];
    let second = hub.owner_with(head, &goes_on, "").await;
    assert_eq!((ids(&first), ids(&second)), ("ab".into(), "c".into()));
    assert_eq!(second.header("x-ms-continuation"), None);

    let other = hub.owner_with("GET /jobs/v2/query", &goes_on, "").await;
    assert!(other.refusal().starts_with("400 ArgumentInvalid"));
    for (name, value) in [
        ("x-ms-continuation", "nonsense"),
        ("x-ms-max-item-count", "0"),
        ("x-ms-max-item-count", "-1"),
        ("x-ms-max-item-count", "many"),
    ] {
        let reply = hub.owner_with(head, &[(name, value)], "").await;
        assert!(
            reply.refusal().starts_with("400 ArgumentInvalid"),
            "{name}: {value}"
        );
    }
}
