//! File upload and its notifications (`spec/device.md` 8, `spec/service.md` 8).

use std::time::Duration;

use serde_json::{Value, json};

use super::client::Reply;
use super::hub::{TestHub, VERSION};

const FILES: &str = "POST /devices/d1/files";
const DONE: &str = "POST /devices/d1/files/notifications";
const NOTIFICATIONS: &str = "/messages/serviceBound/filenotifications";

async fn device(hub: &TestHub, head: &str, body: &Value) -> Reply {
    let token = hub.token("device");
    hub.connect()
        .0
        .request(
            &format!("{head}?{VERSION}"),
            &[("Authorization", &token)],
            &body.to_string(),
        )
        .await
}

/// Begins an upload; answers what the device was told.
async fn start(hub: &TestHub, file: &str) -> Value {
    let reply = device(hub, FILES, &json!({"blobName": file})).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

/// Puts the file where the device was told.
async fn put(hub: &TestHub, told: &Value, content: &str) -> Reply {
    let text = |name: &str| told[name].as_str().unwrap().replace(' ', "%20");
    let head = format!(
        "PUT /{}/{}{}",
        text("containerName"),
        text("blobName"),
        text("sasToken")
    );
    hub.connect()
        .0
        .request(&head, &[("x-ms-blob-type", "BlockBlob")], content)
        .await
}

fn end(told: &Value, success: bool) -> Value {
    json!({
        "correlationId": told["correlationId"],
        "isSuccess": success,
        "statusCode": 200,
        "statusDescription": "ok",
    })
}

#[tokio::test]
async fn a_file_goes_from_the_device_to_the_back_end() {
    let hub = TestHub::new();
    hub.create("d1").await;

    let told = start(&hub, "f/x y.txt").await;
    assert_eq!(told["hostName"], "hub");
    assert_eq!(told["containerName"], "uploads");
    assert_eq!(told["blobName"], "d1/f/x y.txt");
    let sas = told["sasToken"].as_str().unwrap();
    assert!(sas.starts_with("?sv=2018-03-28&sr=b&sig="), "{sas}");
    assert!(sas.ends_with("&se=2024-03-14T10%3A54%3A49Z&sp=rw"), "{sas}");
    let stored = put(&hub, &told, "hello").await;
    assert_eq!(stored.status, 201, "{stored:?}");
    let done = device(&hub, DONE, &end(&told, true)).await;
    assert_eq!((done.status, done.body.as_str()), (204, ""));

    let reply = hub.owner(&format!("GET {NOTIFICATIONS}"), "").await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.body,
        concat!(
            r#"{"deviceId":"d1","blobUri":"https://hub/uploads/d1/f/x%20y.txt","#,
            r#""blobName":"d1/f/x y.txt","lastUpdatedTime":"2024-03-14T09:54:49+00:00","#,
            r#""blobSizeInBytes":5,"enqueuedTimeUtc":"2024-03-14T09:54:49.6536567Z"}"#
        )
    );
    let lock = reply.etag();
    let again = hub.owner(&format!("GET {NOTIFICATIONS}"), "").await;
    assert_eq!((again.status, again.body.as_str()), (204, ""));
    // The second spelling is the documentation's.
    let abandon = format!("POST /messages/servicebound/fileuploadnotifications/{lock}/abandon");
    assert_eq!(hub.owner(&abandon, "").await.status, 204);
    let lock = hub.owner(&format!("GET {NOTIFICATIONS}"), "").await.etag();
    let complete = format!("DELETE {NOTIFICATIONS}/{lock}");
    assert_eq!(hub.owner(&complete, "").await.status, 204);
    let lost = hub.owner(&complete, "").await;
    assert_eq!(lost.status, 412);
    assert_eq!(
        lost.header("iothub-errorcode"),
        Some("DeviceMessageLockLost")
    );
}

#[tokio::test]
async fn the_older_form_has_the_id_in_the_path() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let told = start(&hub, "x").await;
    put(&hub, &told, "").await;
    let id = told["correlationId"].as_str().unwrap();
    let encoded = id
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    let mut body = end(&told, true);
    body.as_object_mut().unwrap().remove("correlationId");

    let done = device(&hub, &format!("{DONE}/{encoded}"), &body).await;

    assert_eq!(done.status, 204, "{done:?}");
}

#[tokio::test]
async fn refusals_have_their_codes() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let told = start(&hub, "x").await;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut body = end(&told, true);
        change(&mut body);
        body
    };

    for (body, status, code) in [
        (json!([]), 400, "ArgumentInvalid"),
        (json!({}), 400, "InvalidFileUploadCorrelationId"),
        (
            with(&|body| body["correlationId"] = "bm8=".into()),
            400,
            "InvalidFileUploadCorrelationId",
        ),
        (
            with(&|body| body["isSuccess"] = "yes".into()),
            400,
            "InvalidFileUploadCompletionStatus",
        ),
        (with(&|_| {}), 400, "InvalidStorageEndpointOrBlob"),
        (with(&|body| body["isSuccess"] = false.into()), 204, "-"),
        (
            with(&|body| body["isSuccess"] = false.into()),
            400,
            "InvalidFileUploadCorrelationId",
        ),
    ] {
        let reply = device(&hub, DONE, &body).await;
        let found = reply.header("iothub-errorcode").unwrap_or("-");
        assert_eq!((reply.status, found), (status, code), "{body}");
    }
    for body in [json!({}), json!({"blobName": ""}), json!({"blobName": 1})] {
        assert_eq!(device(&hub, FILES, &body).await.status, 400, "{body}");
    }
    hub.create("d1/m1").await;
    let module = device(&hub, "POST /devices/d1/modules/m1/files", &json!({})).await;
    assert_eq!(module.status, 404);
    // The slash is the C SDK's.
    let slash = device(&hub, "POST /devices/d1/FILES/", &json!({"blobName": "y"})).await;
    assert_eq!(slash.status, 200);
}

#[tokio::test]
async fn an_expired_upload_is_told_apart() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let told = start(&hub, "x").await;
    hub.handle.advance(Duration::from_secs(3600)).await;

    let stored = put(&hub, &told, "late").await;
    let reply = device(&hub, DONE, &end(&told, true)).await;

    assert_eq!(stored.status, 403, "{stored:?}");
    assert_eq!(
        stored.header("x-ms-error-code"),
        Some("AuthenticationFailed")
    );
    assert_eq!(
        reply.header("iothub-errorcode"),
        Some("ExpiredFileUploadCorrelationId")
    );
}

#[tokio::test]
async fn the_eleventh_upload_in_progress_is_refused_in_the_other_format() {
    let hub = TestHub::new();
    hub.create("d1").await;
    for _ in 0..10 {
        start(&hub, "x").await;
    }

    let refused = device(&hub, FILES, &json!({"blobName": "x"})).await;

    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.header("iothub-errorcode"),
        Some("DeviceMaximumActiveFileUploadLimitExceeded")
    );
    let body = refused.json();
    assert_eq!(body["ExceptionMessage"], "");
    let message: Value = serde_json::from_str(body["Message"].as_str().unwrap()).unwrap();
    assert_eq!(message["errorCode"], 403_006);
    assert_eq!(
        message["message"],
        "Number of active file upload requests exceeded limit"
    );
    assert_eq!(message.get("info"), None);
}

#[tokio::test]
async fn only_back_ends_read_notifications() {
    let hub = TestHub::new();
    let token = hub.token("registryRead");

    for head in [
        format!("GET {NOTIFICATIONS}"),
        format!("DELETE {NOTIFICATIONS}/x"),
        format!("POST {NOTIFICATIONS}/x/abandon"),
    ] {
        let reply = hub
            .connect()
            .0
            .request(
                &format!("{head}?{VERSION}"),
                &[("Authorization", &token)],
                "",
            )
            .await;
        assert_eq!(reply.status, 401, "{head}");
    }
}

#[tokio::test]
async fn a_reset_forgets_files() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let told = start(&hub, "x").await;
    put(&hub, &told, "hello").await;

    assert_eq!(hub.control("POST reset", "").await.status, 204);

    let text = |name: &str| told[name].as_str().unwrap().to_owned();
    let head = format!("GET /uploads/d1/x{}", text("sasToken"));
    let gone = hub.connect().0.request(&head, &[], "").await;
    assert_eq!(gone.status, 404);
    assert_eq!(gone.header("x-ms-error-code"), Some("BlobNotFound"));
}
