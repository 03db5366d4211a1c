//! Direct methods (`spec/service.md` 4).

use std::time::Duration;

use bytes::Bytes;
use iothub_emulator::activity::OperationKind;
use iothub_hub::Delivery;
use iothub_protocol::method::MethodResponse;

use super::hub::{FakeDevice, TestHub, VERSION};

async fn complete(hub: &TestHub, device: &FakeDevice, status: i32, payload: &'static str) {
    let Delivery::MethodRequest { request, .. } = device.delivery().await else {
        panic!("not a method call");
    };
    let session = device.presence.connected.session;
    let response = MethodResponse::from_device(status, Bytes::from_static(payload.as_bytes()));
    hub.handle
        .call(OperationKind::AnswerMethod.on(&device.client), |hub, cx| {
            hub.complete_method(cx, session, request, response)
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_device_answers_whatever_it_likes() {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.create("d1/m1").await;

    for (client, path) in [("d1", "d1"), ("d1/m1", "d1/modules/m1")] {
        let device = hub.attach(client).await;
        for (status, payload, body) in [
            (
                200,
                r#"{"a": [1, 2.50]}"#,
                r#"{"status":200,"payload":{"a": [1, 2.50]}}"#,
            ),
            (404, "", r#"{"status":404,"payload":null}"#),
            (-1, "\"x\"", r#"{"status":-1,"payload":"x"}"#),
        ] {
            let head = format!("POST /twins/{path}/methods");
            let call = r#"{"methodName":"reboot","payload":{"in": 1}}"#;
            let (reply, ()) = tokio::join!(
                hub.owner(&head, call),
                complete(&hub, &device, status, payload)
            );

            assert_eq!((reply.status, reply.body.as_str()), (200, body));
        }
    }
}

#[tokio::test]
async fn the_payload_reaches_the_device_as_it_was_written() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let device = hub.attach("d1").await;
    let (mut client, _served) = hub.connect();
    let token = hub.token("service");

    let body = r#"{"methodName":"m","payload":{"n": 1.50}}"#;
    let length = body.len();
    client
        .write(format!(
            "POST /twins/d1/methods?{VERSION} HTTP/1.1\r\nHost: hub\r\nAuthorization: {token}\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ))
        .await;

    let Delivery::MethodRequest { name, payload, .. } = device.delivery().await else {
        panic!("not a method call");
    };
    assert_eq!((&*name, &payload[..]), ("m", &br#"{"n": 1.50}"#[..]));
}

#[tokio::test]
async fn refusals_are_structured() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let call = r#"{"methodName":"m"}"#;

    let offline = hub.owner("POST /twins/d1/methods", call).await;
    let unknown = hub.owner("POST /twins/d2/methods", call).await;
    let no_module = hub.owner("POST /twins/d1/modules/m1/methods", call).await;
    let nameless = hub.owner("POST /twins/d1/methods", "{}").await;
    let garbled = hub.owner("POST /twins/d1/methods", "{").await;

    for (reply, status, code, name) in [
        (offline, 404, 404_103, "DeviceNotOnline"),
        (unknown, 404, 404_001, "DeviceNotFound"),
        (no_module, 404, 404_010, "ModuleNotFound"),
        (nameless, 400, 400_004, "ArgumentInvalid"),
        (garbled, 400, 400_006, "IotHubFormatError"),
    ] {
        assert_eq!(
            (reply.status, reply.header("iothub-errorcode")),
            (status, Some(name))
        );
        let body = reply.json();
        assert_eq!(body["ExceptionMessage"], "", "{name}");
        let inner: serde_json::Value =
            serde_json::from_str(body["Message"].as_str().unwrap()).unwrap();
        assert_eq!(inner["errorCode"], code, "{name}");
        assert_eq!(inner["info"]["timeout"], "00:00:00", "{name}");
    }
}

#[tokio::test]
async fn a_silent_device_is_a_gateway_timeout() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let device = hub.attach("d1").await;

    let call = r#"{"methodName":"m","responseTimeoutInSeconds":30}"#;
    let (reply, ()) = tokio::join!(hub.owner("POST /twins/d1/methods", call), async {
        device.delivery().await;
        hub.handle.advance(Duration::from_secs(30)).await;
    });

    assert_eq!(
        (reply.status, reply.header("iothub-errorcode")),
        (504, Some("GatewayTimeout"))
    );
    assert!(reply.body.contains("00:00:30"), "{}", reply.body);
}

#[tokio::test]
async fn a_caller_who_leaves_takes_the_call_along() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let device = hub.attach("d1").await;
    let (mut client, served) = hub.connect();
    let token = hub.token("service");

    let body = r#"{"methodName":"m"}"#;
    client
        .write(format!(
            "POST /twins/d1/methods?{VERSION} HTTP/1.1\r\nHost: hub\r\nAuthorization: {token}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    device.delivery().await;
    drop(client);
    served.await.unwrap();

    assert_eq!(hub.handle.inspect(iothub_hub::Hub::next_deadline), None);
}

#[tokio::test]
async fn a_payload_that_is_too_large_is_refused() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let _device = hub.attach("d1").await;

    let body = format!(
        r#"{{"methodName":"m","payload":"{}"}}"#,
        "x".repeat(128 * 1024)
    );
    let reply = hub.owner("POST /twins/d1/methods", &body).await;

    assert_eq!(
        (reply.status, reply.header("iothub-errorcode")),
        (413, Some("MessageTooLarge"))
    );
}
