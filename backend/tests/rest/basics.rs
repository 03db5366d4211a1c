//! Methods, twins, identities and events.

use std::time::Duration;

use iothub_backend::{Backend, ErrorCode, ErrorKind, IdentitySpec, IfMatch};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::script::{CONNECTION_STRING, Script, answer, body, header};

#[tokio::test]
async fn method_call_is_posted_and_its_answer_read() {
    let script = Script::play(vec![answer(
        "200 OK",
        "",
        r#"{"status":200,"payload":{"ok":true}}"#,
    )])
    .await;

    let response = script
        .backend()
        .methods()
        .invoke("d1", "reboot")
        .payload(&json!({"delay": 1}))
        .response_timeout(Duration::from_secs(7))
        .send()
        .await
        .unwrap();

    assert_eq!(
        (response.status, &response.payload[..]),
        (200, &br#"{"ok":true}"#[..])
    );
    let request = script.request(0);
    assert!(request.starts_with("POST /twins/d1/methods?api-version=2021-04-12 HTTP/1.1\r\n"));
    let token = header(&request, "authorization").unwrap();
    assert!(
        token.starts_with("SharedAccessSignature sr=hub.example&"),
        "{token}"
    );
    assert!(token.contains("skn=service"), "{token}");
    let sent = body(&request);
    assert_eq!(sent["methodName"], "reboot");
    assert_eq!(sent["payload"], json!({"delay": 1}));
    assert_eq!(sent["responseTimeoutInSeconds"], 7);
}

#[tokio::test]
async fn offline_device_is_a_refusal_with_its_code() {
    let text = r#"{"Message":"{\"errorCode\":404103,\"trackingId\":\"t\",\"message\":\"not online\",\"timestampUtc\":\"2024-03-14T09:54:49Z\"}","ExceptionMessage":""}"#;
    let script = Script::play(vec![answer(
        "404 Not Found",
        "iothub-errorcode: DeviceNotOnline\r\n",
        text,
    )])
    .await;

    let error = script
        .backend()
        .methods()
        .invoke("d1", "reboot")
        .send()
        .await
        .unwrap_err();

    assert_eq!(error.code(), ErrorCode::from_number(404103));
    assert!(error.code().is_some());
    assert!(error.to_string().contains("not online"), "{error}");
}

#[tokio::test]
async fn missing_device_is_a_refusal_with_its_code() {
    let text = r#"{"Message":"ErrorCode:DeviceNotFound;d1","ExceptionMessage":"Tracking ID:t"}"#;
    let script = Script::play(vec![answer(
        "404 Not Found",
        "iothub-errorcode: DeviceNotFound\r\n",
        text,
    )])
    .await;

    let error = script.backend().registry().device("d1").await.unwrap_err();

    assert_eq!(error.code(), ErrorCode::from_name("DeviceNotFound"));
    assert!(error.code().is_some());
}

#[tokio::test]
async fn answer_that_is_no_error_body_is_still_a_refusal() {
    let script = Script::play(vec![answer("502 Bad Gateway", "", "<html>")]).await;

    let error = script.backend().twins().get("d1").await.unwrap_err();

    assert!(
        matches!(error.kind(), ErrorKind::Refused(refusal) if refusal.status == 502),
        "{error:?}"
    );
}

#[tokio::test]
async fn conditional_twin_patch_carries_its_etag() {
    let twin = r#"{"etag":"AAAAAAAAAAI=","version":3,"properties":{"desired":{"a":1}}}"#;
    let script = Script::play(vec![answer("200 OK", "", twin)]).await;

    let patch = json!({"properties": {"desired": {"a": 1}}});
    let condition = IfMatch::ETag("AAAAAAAAAAE=".into());
    let twin = script
        .backend()
        .twins()
        .patch("d1/m1", &patch, &condition)
        .await
        .unwrap();

    assert_eq!((twin.etag(), twin.version()), ("AAAAAAAAAAI=", 3));
    assert_eq!(twin.desired()["a"], 1);
    assert_eq!(twin.tags(), &Value::Null);
    let request = script.request(0);
    assert!(
        request.starts_with("PATCH /twins/d1/modules/m1?"),
        "{request}"
    );
    assert_eq!(header(&request, "if-match"), Some("\"AAAAAAAAAAE=\""));
    assert_eq!(body(&request), patch);
}

#[tokio::test]
async fn delete_without_a_condition_is_forced() {
    let script = Script::play(vec!["HTTP/1.1 204 No Content\r\n\r\n".into()]).await;

    script
        .backend()
        .registry()
        .delete_device("d1", &IfMatch::Absent)
        .await
        .unwrap();

    assert_eq!(header(&script.request(0), "if-match"), Some("\"*\""));
}

#[tokio::test]
async fn creating_a_device_has_no_condition() {
    let text = r#"{"Message":"ErrorCode:DeviceAlreadyExists;d1","ExceptionMessage":"t"}"#;
    let script = Script::play(vec![answer("409 Conflict", "", text)]).await;

    let spec = IdentitySpec::default();
    let error = script
        .backend()
        .registry()
        .create_device("d1", &spec)
        .await
        .unwrap_err();

    assert_eq!(error.code(), ErrorCode::from_name("DeviceAlreadyExists"));
    assert_eq!(header(&script.request(0), "if-match"), None);
}

#[tokio::test]
async fn partial_bulk_failure_is_an_outcome() {
    let text = r#"{"isSuccessful":false,"errors":[{"deviceId":"d1","moduleId":null,
        "errorCode":409001,"errorStatus":"d1","operation":"create"}],"warnings":[]}"#;
    let headers = "iothub-errorcode: BulkRegistryOperationFailure\r\n";
    let script = Script::play(vec![answer("400 Bad Request", headers, text)]).await;

    let items = [json!({"id": "d1", "importMode": "create"})];
    let outcome = script.backend().registry().bulk(&items).await.unwrap();

    assert_eq!(outcome.failures.len(), 1);
    assert_eq!(outcome.failures[0].code, ErrorCode::from_number(409001));
}

#[tokio::test]
async fn hub_that_is_not_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);

    let backend = Backend::builder(CONNECTION_STRING)
        .http_address(&address)
        .build()
        .unwrap();
    let error = backend.registry().statistics().await.unwrap_err();

    assert_eq!(
        error.kind(),
        &ErrorKind::Unreachable(format!("http://{address}"))
    );
}
