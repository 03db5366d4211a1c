//! Digital twins and their commands.

use std::time::Duration;

use iothub_backend::{ErrorKind, IfMatch};
use serde_json::{Value, json};

use crate::script::{Script, answer, body, header, line};

#[tokio::test]
async fn digital_twin_is_read_and_patched() {
    let text = r#"{"$dtId":"d1","temp":21,"$metadata":{"$model":"dtmi:x;1"}}"#;
    let script = Script::play(vec![
        answer("200 OK", "ETag: \"AAA=\"\r\n", text),
        answer("202 Accepted", "ETag: \"AAB=\"\r\nLocation: x\r\n", ""),
    ])
    .await;
    let backend = script.backend();

    let twin = backend.digital_twins().get("d1").await.unwrap();
    let patch = json!([{"op": "add", "path": "/temp", "value": 22}]);
    let etag = IfMatch::ETag(twin.etag().into());
    let after = backend
        .digital_twins()
        .patch("d1", &patch, &etag)
        .await
        .unwrap();

    assert_eq!((twin.id(), twin.model_id()), ("d1", Some("dtmi:x;1")));
    assert_eq!((twin.etag(), after.as_str()), ("AAA=", "AAB="));
    assert_eq!(twin.as_json()["temp"], 21);
    let request = script.request(1);
    assert_eq!(
        line(&request),
        "PATCH /digitaltwins/d1?api-version=2021-04-12"
    );
    assert_eq!(header(&request, "if-match"), Some("\"AAA=\""));
    assert_eq!(body(&request), patch);
}

#[tokio::test]
async fn commands_carry_the_payload_alone_and_bring_the_devices_status() {
    let script = Script::play(vec![
        answer(
            "200 OK",
            "x-ms-command-statuscode: 404\r\nx-ms-request-id: r\r\n",
            "{\"a\":1}",
        ),
        answer("200 OK", "", ""),
    ])
    .await;
    let backend = script.backend();
    let twins = backend.digital_twins();

    let answered = twins
        .invoke_component_command("d1", "thermostat1", "getMax")
        .payload(&json!("x"))
        .connect_timeout(Duration::from_secs(5))
        .response_timeout(Duration::from_secs(6))
        .send()
        .await
        .unwrap();
    let silent = twins.invoke_command("d1", "reboot").send().await.unwrap();

    assert_eq!(
        (answered.status, &answered.payload[..]),
        (Some(404), &b"{\"a\":1}"[..])
    );
    assert_eq!(answered.request_id.as_deref(), Some("r"));
    assert_eq!((silent.status, silent.payload.len()), (None, 0));
    assert_eq!(
        line(&script.request(0)),
        "POST /digitaltwins/d1/components/thermostat1/commands/getMax?api-version=2021-04-12\
         &connectTimeoutInSeconds=5&responseTimeoutInSeconds=6"
    );
    assert_eq!(body(&script.request(0)), json!("x"));
    assert_eq!(
        line(&script.request(1)),
        "POST /digitaltwins/d1/commands/reboot?api-version=2021-04-12"
    );
    assert_eq!(body(&script.request(1)), Value::Null);
}

#[tokio::test]
async fn command_status_that_is_no_number_is_an_unexpected_answer() {
    let script = Script::play(vec![answer(
        "200 OK",
        "x-ms-command-statuscode: ok\r\n",
        "",
    )])
    .await;

    let error = script
        .backend()
        .digital_twins()
        .invoke_command("d1", "c")
        .send()
        .await;

    let kind = error.unwrap_err().kind().clone();
    assert!(matches!(kind, ErrorKind::UnexpectedAnswer(_)), "{kind:?}");
}
