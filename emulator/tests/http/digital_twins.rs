//! Digital twins and their commands (`spec/service.md` 9).

use bytes::Bytes;
use iothub_emulator::activity::OperationKind;
use iothub_hub::Delivery;
use iothub_protocol::method::MethodResponse;
use serde_json::json;

use super::hub::{FakeDevice, TestHub};

#[tokio::test]
async fn a_digital_twin_is_read_and_changed() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let device = hub.attach("d1").await;

    let fresh = hub.owner("GET /digitaltwins/d1", "").await;
    assert_eq!(
        (fresh.status, fresh.etag().as_str(), fresh.body.as_str()),
        (200, "AAAAAAAAAAE=", r#"{"$dtId":"d1","$metadata":{}}"#)
    );
    assert_eq!(
        fresh.header("content-type"),
        Some("application/json; charset=utf-8")
    );

    let patch = r#"[{"op":"add","path":"/c/x","value":1}]"#;
    let patched = hub.owner("PATCH /digitaltwins/d1", patch).await;
    assert_eq!(
        (patched.status, patched.etag().as_str(), &*patched.body),
        (202, "AAAAAAAAAAI=", "")
    );
    assert_eq!(
        patched.header("location"),
        Some("https://hub/digitaltwins/d1")
    );
    let Delivery::DesiredChanged { patch, .. } = device.delivery().await else {
        panic!("not a change of desired properties");
    };
    assert_eq!(patch, r#"{"c":{"__t":"c","x":1},"$version":2}"#);

    let read = hub.owner("GET /digitaltwins/d1", "").await;
    assert_eq!(
        read.json()["c"],
        json!({"$metadata": {"x": {"desiredValue": 1, "desiredVersion": 2}}})
    );
}

/// Case means nothing in the name of a header, but the Java SDK finds these two by theirs.
#[tokio::test]
async fn etag_and_location_are_spelled_as_documented() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let (mut client, _) = hub.connect();

    for (verb, spelled) in [
        ("GET", &["ETag: \"AAAAAAAAAAE=\""][..]),
        (
            "PATCH",
            &["ETag: \"AAAAAAAAAAI=\"", "Location: https://hub/"],
        ),
    ] {
        let token = hub.token("iothubowner");
        let body = r#"[{"op":"add","path":"/x","value":1}]"#;
        client
            .write(format!(
                "{verb} /digitaltwins/d1?api-version=2021-04-12 HTTP/1.1\r\nHost: hub\r\n\
                 Authorization: {token}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ))
            .await;
        let head = client.head().await;
        for spelled in spelled {
            assert!(head.contains(spelled), "{head}");
        }
        // The rest of a head is as it always was.
        assert!(head.contains("x-ms-request-id: "), "{head}");
        let length = head.split("content-length: ").nth(1).unwrap();
        let length = length.split("\r\n").next().unwrap().parse().unwrap();
        client.bytes(length).await;
    }
}

#[tokio::test]
async fn refusals_of_the_digital_twin() {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.owner(
        "PATCH /twins/d1",
        r#"{"properties":{"desired":{"plain":1}}}"#,
    )
    .await;

    for (head, headers, body, expected) in [
        (
            "GET /digitaltwins/d2",
            vec![],
            "",
            "404 DeviceNotFound ErrorCode:DeviceNotFound;d2",
        ),
        (
            "PATCH /digitaltwins/d2",
            vec![],
            "[]",
            "404 DeviceNotFound ErrorCode:DeviceNotFound;d2",
        ),
        (
            "PATCH /digitaltwins/d1",
            vec![("If-Match", "\"x\"")],
            "[]",
            "412 PreconditionFailed ErrorCode:PreconditionFailed;Precondition failed: the \
             current etag is AAAAAAAAAAI=",
        ),
        (
            "PATCH /digitaltwins/d1",
            vec![],
            "{}",
            "400 InvalidDigitalTwinJsonPatch ErrorCode:InvalidDigitalTwinJsonPatch;the patch \
             must be an array of operations",
        ),
        (
            "PATCH /digitaltwins/d1",
            vec![("If-Match", "*")],
            r#"[{"op":"add","path":"/plain/x","value":1}]"#,
            "400 ArgumentInvalid ErrorCode:ArgumentInvalid;'plain' exists within the device twin \
             and is not digital twin conformant property. Please refer to aka.ms/dtpatch to \
             update this to be conformant.",
        ),
    ] {
        let reply = hub.owner_with(head, &headers, body).await;
        assert_eq!(reply.refusal(), expected, "{head} {body}");
    }
    let garbled = hub.owner("PATCH /digitaltwins/d1", "[").await;
    assert_eq!(
        garbled.header("iothub-errorcode"),
        Some("IotHubFormatError")
    );
}

async fn answer(hub: &TestHub, device: &FakeDevice, payload: &'static str) -> (String, Bytes) {
    let Delivery::MethodRequest {
        request,
        name,
        payload: asked,
    } = device.delivery().await
    else {
        panic!("not a method call");
    };
    let session = device.presence.connected.session;
    let response = MethodResponse::from_device(404, Bytes::from_static(payload.as_bytes()));
    hub.handle
        .call(OperationKind::AnswerMethod.on(&device.client), |hub, cx| {
            hub.complete_method(cx, session, request, response)
        })
        .await
        .unwrap();
    (name.to_string(), asked)
}

#[tokio::test]
async fn a_command_is_a_method_whose_status_is_a_header() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let device = hub.attach("d1").await;
    for (path, body, name, asked, payload, answered) in [
        ("commands/reboot", "5", "reboot", "5", "[1.50]", "[1.50]"),
        (
            "components/c1/commands/report?connectTimeoutInSeconds=1&responseTimeoutInSeconds=9",
            "",
            "c1*report",
            "null",
            "",
            "null",
        ),
    ] {
        let head = format!("POST /digitaltwins/d1/{path}");
        let (reply, seen) = tokio::join!(hub.owner(&head, body), answer(&hub, &device, payload));

        assert_eq!(seen, (name.to_owned(), asked.into()));
        assert_eq!((reply.status, reply.body.as_str()), (200, answered));
        assert_eq!(reply.header("x-ms-command-statuscode"), Some("404"));
        assert!(reply.header("x-ms-request-id").is_some());
    }
}

#[tokio::test]
async fn refusals_of_commands_are_structured() {
    let hub = TestHub::new();
    hub.create("d1").await;

    for (path, body, name) in [
        ("d1/commands/reboot", "", "DeviceNotOnline"),
        ("d2/commands/reboot", "", "DeviceNotFound"),
        ("d1/commands/reboot", "{", "IotHubFormatError"),
        ("d1/components/a%20b/commands/reboot", "", "ArgumentInvalid"),
        (
            "d1/commands/reboot?responseTimeoutInSeconds=x",
            "",
            "ArgumentInvalid",
        ),
    ] {
        let reply = hub.owner(&format!("POST /digitaltwins/{path}"), body).await;
        assert_eq!(reply.header("iothub-errorcode"), Some(name), "{path}");
        assert_eq!(reply.json()["ExceptionMessage"], "", "{path}");
    }
}
