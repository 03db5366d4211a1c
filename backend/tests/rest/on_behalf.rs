//! What is done in a device's name.

use std::time::Duration;

use iothub_backend::{ErrorCode, ErrorKind, OutgoingMessage};
use serde_json::json;
use tokio::net::TcpListener;

use crate::script::{Script, answer, body, header, line, no_content, ok};

#[tokio::test]
async fn telemetry_is_posted_with_its_properties_as_headers() {
    let script = Script::play(vec![no_content()]).await;

    let message = OutgoingMessage::new("{}")
        .property("alert", "true")
        .content_type("application/json")
        .content_encoding("utf-8")
        .message_id("m1")
        .correlation_id("c1")
        .user_id("u1");
    script
        .backend()
        .on_behalf_of("d1/m1")
        .send_event(message)
        .await
        .unwrap();

    let request = script.request(0);
    assert_eq!(
        line(&request),
        "POST /devices/d1/modules/m1/messages/events?api-version=2021-04-12"
    );
    for (name, value) in [
        ("content-type", "application/octet-stream"),
        ("iothub-app-alert", "true"),
        ("iothub-contenttype", "application/json"),
        ("iothub-contentencoding", "utf-8"),
        ("iothub-messageid", "m1"),
        ("iothub-correlationid", "c1"),
        ("iothub-userid", "u1"),
        // By its name, wherever it is: tokens of devices are for a host.
        ("host", "hub.example"),
    ] {
        assert_eq!(header(&request, name), Some(value), "{name}");
    }
    assert!(
        header(&request, "authorization")
            .unwrap()
            .contains("skn=service")
    );
}

#[tokio::test]
async fn messages_are_received_and_settled() {
    let headers = "ETag: \"lock\"\r\niothub-messageid: m1\r\niothub-deliverycount: 0\r\n\
                   IoTHub-App-Level: high\r\nx-ms-request-id: r\r\n";
    let script = Script::play(vec![
        answer("200 OK", headers, "hello"),
        no_content(),
        no_content(),
        no_content(),
        no_content(),
    ])
    .await;
    let backend = script.backend();
    let device = backend.on_behalf_of("d1");

    let lock = Some(Duration::from_secs(90));
    let message = device.receive_c2d(lock).await.unwrap().unwrap();
    device.complete_c2d(&message.lock_token).await.unwrap();
    device.reject_c2d(&message.lock_token).await.unwrap();
    device.abandon_c2d(&message.lock_token).await.unwrap();
    let none = device.receive_c2d(None).await.unwrap();

    assert_eq!(
        (message.lock_token.as_str(), &message.body[..]),
        ("lock", &b"hello"[..])
    );
    assert_eq!(message.system_property("messageid"), Some("m1"));
    assert_eq!(message.system_property("deliverycount"), Some("0"));
    assert_eq!(message.system_properties.len(), 2);
    assert_eq!(
        message.application_properties,
        [("level".into(), "high".into())]
    );
    assert_eq!(none, None);
    let first = script.request(0);
    assert_eq!(
        line(&first),
        "GET /devices/d1/messages/deviceBound?api-version=2021-04-12"
    );
    assert_eq!(header(&first, "iothub-messagelocktimeout"), Some("90"));
    let lines = [
        "DELETE /devices/d1/messages/deviceBound/lock?api-version=2021-04-12",
        "DELETE /devices/d1/messages/deviceBound/lock?api-version=2021-04-12&reject=true",
        "POST /devices/d1/messages/deviceBound/lock/abandon?api-version=2021-04-12",
    ];
    for (index, expected) in lines.into_iter().enumerate() {
        assert_eq!(line(&script.request(index + 1)), expected);
    }
    assert_eq!(
        header(&script.request(4), "iothub-messagelocktimeout"),
        None
    );
}

#[tokio::test]
async fn lost_lock_is_a_refusal_with_its_code() {
    let text = r#"{"Message":"ErrorCode:DeviceMessageLockLost;lock","ExceptionMessage":"t"}"#;
    let script = Script::play(vec![answer("412 Precondition Failed", "", text)]).await;

    let error = script
        .backend()
        .on_behalf_of("d1")
        .complete_c2d("lock")
        .await
        .unwrap_err();

    assert_eq!(error.code(), Some(ErrorCode::DeviceMessageLockLost));
}

#[tokio::test]
async fn hub_is_told_when_a_file_could_not_be_written() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let storage = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let place = json!({
        "correlationId": "c/=", "hostName": storage, "containerName": "uploads",
        "blobName": "d1/f.txt", "sasToken": "?sig=x",
    });
    let script = Script::play(vec![ok(&place.to_string()), no_content()]).await;

    let backend = script.backend();
    let device = backend.on_behalf_of("d1");
    let error = device
        .upload_file("f.txt", "text".into(), "text/plain")
        .await
        .unwrap_err();

    assert_eq!(error.kind(), &ErrorKind::Unreachable(storage));
    assert_eq!(
        line(&script.request(0)),
        "POST /devices/d1/files?api-version=2021-04-12"
    );
    assert_eq!(body(&script.request(0)), json!({"blobName": "f.txt"}));
    let request = script.request(1);
    assert_eq!(
        line(&request),
        "POST /devices/d1/files/notifications?api-version=2021-04-12"
    );
    let told = body(&request);
    assert_eq!(
        (&told["correlationId"], &told["isSuccess"]),
        (&json!("c/="), &json!(false))
    );
}

#[tokio::test]
async fn files_go_where_the_hub_says_in_one_piece_or_in_blocks() {
    let place = json!({
        "correlationId": "c", "hostName": "hub.example:8443", "containerName": "uploads",
        "blobName": "d1/f/x y.bin", "sasToken": "?sig=x",
    });
    let created = || answer("201 Created", "", "");
    let script = Script::play(vec![
        ok(&place.to_string()),
        created(),
        no_content(),
        ok(&place.to_string()),
        created(),
        created(),
        created(),
        no_content(),
    ])
    .await;
    let backend = script.backend();
    let device = backend.on_behalf_of("d1");

    let small = device
        .upload_file("f/x y.bin", "text".into(), "text/plain")
        .await
        .unwrap();
    let large = "b".repeat(5 * 1024 * 1024);
    device
        .upload_file("f/x y.bin", large.into(), "text/plain")
        .await
        .unwrap();

    assert_eq!(small, "d1/f/x y.bin");
    let put = script.request(1);
    assert_eq!(line(&put), "PUT /uploads/d1/f/x%20y.bin?sig=x");
    assert_eq!(header(&put, "x-ms-blob-type"), Some("BlockBlob"));
    assert_eq!(header(&put, "content-type"), Some("text/plain"));
    // The signature in the address is proof enough, and the policy's token nobody else's business.
    assert_eq!(header(&put, "authorization"), None);
    assert_eq!(body(&script.request(2))["isSuccess"], true);
    let lines = [
        "PUT /uploads/d1/f/x%20y.bin?sig=x&comp=block&blockid=MDAwMDAwMDA%3D",
        "PUT /uploads/d1/f/x%20y.bin?sig=x&comp=block&blockid=MDAwMDAwMDE%3D",
        "PUT /uploads/d1/f/x%20y.bin?sig=x&comp=blocklist",
    ];
    for (index, expected) in lines.into_iter().enumerate() {
        assert_eq!(line(&script.request(index + 4)), expected);
    }
    let list = script.request(6);
    assert!(
        list.ends_with("<Latest>MDAwMDAwMDA=</Latest><Latest>MDAwMDAwMDE=</Latest></BlockList>"),
        "{list}"
    );
    assert_eq!(header(&list, "x-ms-blob-content-type"), Some("text/plain"));
}
