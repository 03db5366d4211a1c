//! Scheduled jobs with connected devices (`spec/service.md` 6).

use iothub_emulator::activity::OperationKind;
use iothub_hub::{PageRequest, Principal, Query};
use iothub_protocol::job::JobRequest;
use iothub_testkit::{MethodResponse, TestHub};
use serde_json::{Value, json};

use crate::support::secs;

async fn put(hub: &TestHub, id: &str, job: &Value) -> Value {
    let (request, sent) = JobRequest::parse(id, job.to_string().as_bytes()).unwrap();
    hub.handle()
        .call(OperationKind::PutJob.hub_wide(), |hub, cx| {
            hub.put_job(cx, &Principal::operator(), request, &sent)
        })
        .await
        .unwrap()
}

fn job(hub: &TestHub, id: &str) -> Value {
    let look = |hub: &iothub_hub::Hub| hub.job(&Principal::operator(), id).unwrap();
    hub.handle().inspect(look)
}

/// The job once it has ended, as a client that polls gets to know of it.
async fn ended(hub: &TestHub, id: &str) -> Value {
    let ends = async {
        loop {
            let job = job(hub, id);
            if !job["endTime"].is_null() {
                return job;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(iothub_testkit::WAIT_LIMIT, ends)
        .await
        .expect("the job ends in time")
}

fn rows(hub: &TestHub, query: &str) -> Vec<Value> {
    let query = Query::parse(query, false).unwrap();
    let snapshot = hub
        .handle()
        .inspect(|hub| hub.query_snapshot(&Principal::operator()).unwrap());
    query.run(&snapshot, &PageRequest::default()).unwrap().items
}

#[tokio::test]
async fn a_method_job_calls_two_devices_and_fails_for_the_one_that_is_offline() {
    let hub = TestHub::start().await;
    let mut devices = Vec::new();
    for id in ["d1", "d2"] {
        let device = hub.device(id).await;
        device
            .on_method("reboot", move |call| async move {
                MethodResponse::json(200, &json!({"id": id, "in": call.json()}))
            })
            .await
            .unwrap();
        devices.push(device);
    }
    hub.device_connection_string("d3").await;
    let request = json!({
        "type": "scheduleDeviceMethod",
        "queryCondition": "deviceId IN ['d1', 'd2', 'd3']",
        "cloudToDeviceMethod": {"methodName": "reboot", "payload": [1]},
    });

    assert_eq!(put(&hub, "j1", &request).await["status"], "queued");
    let done = ended(&hub, "j1").await;

    assert_eq!(done["status"], "completed");
    let statistics = &done["deviceJobStatistics"];
    assert_eq!(
        (&statistics["succeededCount"], &statistics["failedCount"]),
        (&json!(2), &json!(1))
    );
    let rows = rows(&hub, "SELECT * FROM devices.jobs");
    assert_eq!(
        rows[0]["outcome"]["deviceMethodResponse"],
        json!({"status": 200, "payload": {"id": "d1", "in": [1]}})
    );
    assert_eq!(
        rows[1]["outcome"]["deviceMethodResponse"]["payload"]["id"],
        "d2"
    );
    assert_eq!(
        (&rows[2]["status"], &rows[2]["error"]["code"]),
        (&json!("failed"), &json!("404103"))
    );
}

#[tokio::test]
async fn a_twin_job_reaches_the_device_that_it_is_for() {
    let hub = TestHub::builder().virtual_clock().start().await;
    let device = hub.device("d1").await;
    let mut updates = device.desired_updates().await.unwrap();
    hub.device_connection_string("d2").await;
    let start = (hub.clock().now() + secs(60)).to_iso();
    let request = json!({
        "type": "scheduleUpdateTwin",
        "queryCondition": "deviceId = 'd1'",
        "updateTwin": {"etag": "*", "properties": {"desired": {"colour": "green"}}},
        "startTime": start,
    });
    put(&hub, "j1", &request).await;

    hub.clock().advance(secs(59)).await;
    assert_eq!(job(&hub, "j1")["status"], "scheduled");
    hub.clock().advance(secs(1)).await;

    let done = ended(&hub, "j1").await;
    assert_eq!(
        (&done["status"], &done["startTime"]),
        (&json!("completed"), &json!(start))
    );
    let update = updates.next().await.unwrap();
    assert_eq!(update.properties.values["colour"], "green");
    let twin = rows(
        &hub,
        "SELECT deviceId FROM devices WHERE properties.desired.colour = 'green'",
    );
    assert_eq!(twin, [json!({"deviceId": "d1"})]);
}
