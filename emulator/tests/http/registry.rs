//! Identities, statistics and bulk changes (`spec/service.md` 2).

use serde_json::json;

use super::hub::{TestHub, VERSION};

#[tokio::test]
async fn a_device_is_created_read_updated_listed_and_deleted() {
    let hub = TestHub::new();

    let created = hub.owner("PUT /devices/d1", r#"{"deviceId":"d1"}"#).await;
    assert_eq!(created.status, 200, "{created:?}");
    assert_eq!(
        created.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    assert_eq!(created.json()["etag"], created.etag());
    assert_eq!(created.header("x-ms-request-id").unwrap().len(), 36);

    let read = hub.owner("GET /devices/d1", "").await;
    assert_eq!((read.status, read.json()), (200, created.json()));
    assert_eq!(read.etag(), created.etag());

    let updated = hub
        .owner_with(
            "PUT /devices/d1",
            &[("If-Match", "*")],
            r#"{"status":"disabled"}"#,
        )
        .await;
    assert_eq!(updated.json()["status"], "disabled");
    assert_ne!(updated.etag(), created.etag());

    let listed = hub.owner("GET /devices/?top=5", "").await;
    assert_eq!(listed.json(), json!([updated.json()]));

    let deleted = hub.owner("DELETE /devices/d1", "").await;
    assert_eq!((deleted.status, deleted.body.as_str()), (204, ""));
    assert_eq!(deleted.header("content-type"), None);
    let gone = hub.owner("GET /devices/d1", "").await;
    assert_eq!(
        gone.refusal(),
        "404 DeviceNotFound ErrorCode:DeviceNotFound;d1"
    );
}

#[tokio::test]
async fn every_spelling_of_if_match_is_understood() {
    let hub = TestHub::new();
    hub.create("d1").await;

    for spelling in ["*", "\"*\"", "\"{etag}\"", "{etag}", "W/\"{etag}\""] {
        let etag = hub.owner("GET /devices/d1", "").await.etag();
        let if_match = spelling.replace("{etag}", &etag);
        let reply = hub
            .owner_with("PUT /devices/d1", &[("If-Match", &if_match)], "{}")
            .await;
        assert_eq!(reply.status, 200, "{spelling}: {reply:?}");
    }
    for spelling in ["\"AAAA\"", "AAAA", "W/\"AAAA\""] {
        let reply = hub
            .owner_with("PUT /devices/d1", &[("If-Match", spelling)], "{}")
            .await;
        assert!(
            reply
                .refusal()
                .starts_with("412 PreconditionFailed ErrorCode:"),
            "{reply:?}"
        );
        let reply = hub
            .owner_with("DELETE /devices/d1", &[("If-Match", spelling)], "")
            .await;
        assert_eq!(reply.status, 412, "{spelling}");
    }
}

#[tokio::test]
async fn modules_belong_to_their_device() {
    let hub = TestHub::new();
    hub.create("d1").await;

    let none = hub.owner("GET /devices/d1/modules", "").await;
    assert_eq!(none.body, "[]");
    let created = hub
        .owner("PUT /devices/d1/modules/m1", r#"{"managedBy":"me"}"#)
        .await;
    assert_eq!(
        (created.status, &created.json()["managedBy"]),
        (200, &json!("me"))
    );
    let read = hub.owner("GET /devices/d1/modules/m1", "").await;
    assert_eq!((read.json(), read.etag()), (created.json(), created.etag()));
    let listed = hub.owner("GET /devices/d1/modules", "").await;
    assert_eq!(listed.json(), json!([read.json()]));
    let again = hub.owner("PUT /devices/d1/modules/m1", "{}").await;
    assert_eq!(
        (again.status, again.header("iothub-errorcode")),
        (409, Some("ModuleAlreadyExistsOnDevice"))
    );
    let deleted = hub.owner("DELETE /devices/d1/modules/m1", "").await;
    assert_eq!(deleted.status, 204);
    let gone = hub.owner("GET /devices/d1/modules/m1", "").await;
    assert_eq!(
        (gone.status, gone.header("iothub-errorcode")),
        (404, Some("ModuleNotFound"))
    );
}

#[tokio::test]
async fn statistics_count_devices_and_connections() {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.owner("PUT /devices/d2", r#"{"status":"disabled"}"#)
        .await;
    let _device = hub.attach("d1").await;

    let devices = hub.owner("GET /statistics/devices", "").await;
    let service = hub.owner("GET /statistics/service", "").await;

    assert_eq!(
        devices.body,
        r#"{"totalDeviceCount":2,"enabledDeviceCount":1,"disabledDeviceCount":1}"#
    );
    assert_eq!(service.body, r#"{"connectedDeviceCount":1}"#);
}

#[tokio::test]
async fn a_bulk_call_tells_what_failed_and_keeps_what_did_not() {
    let hub = TestHub::new();
    let create = r#"[{"id":"d1","importMode":"create"},{"id":"d2","importMode":"create"}]"#;

    let first = hub.owner("POST /devices/", create).await;
    assert_eq!(
        (first.status, first.body.as_str()),
        (200, r#"{"isSuccessful":true,"errors":[],"warnings":[]}"#)
    );
    let second = hub
        .owner(
            "POST /devices",
            r#"[{"id":"d1","importMode":"create"},{"id":"d3"}]"#,
        )
        .await;
    assert_eq!(second.status, 400);
    assert_eq!(
        second.header("iothub-errorcode"),
        Some("BulkRegistryOperationFailure")
    );
    assert_eq!(second.json()["errors"][0]["errorCode"], 409001);
    assert_eq!(second.json()["errors"].as_array().unwrap().len(), 1);
    assert_eq!(hub.owner("GET /devices/d3", "").await.status, 200);
}

#[tokio::test]
async fn a_bulk_call_as_a_whole_is_refused() {
    let hub = TestHub::new();
    let many: Vec<_> = (0..101).map(|n| json!({"id": format!("d{n}")})).collect();

    let many = hub.owner("POST /devices", &json!(many).to_string()).await;
    let empty = hub.owner("POST /devices", "[]").await;
    let twice = hub
        .owner("POST /devices", r#"[{"id":"d1"},{"id":"d1"}]"#)
        .await;

    assert_eq!(
        (many.status, many.header("iothub-errorcode")),
        (413, Some("TooManyDevices"))
    );
    assert_eq!(empty.status, 400);
    assert_eq!(
        twice.refusal(),
        "400 DeviceDefinedMultipleTimes \
         ErrorCode:DeviceDefinedMultipleTimes;DeviceDefinedMultipleTimes, device ID d1"
    );
}

#[tokio::test]
async fn paths_may_be_encoded_and_keep_their_ids() {
    let hub = TestHub::new();

    for id in ["a+b", "a.b:c", "A!'()*;=@,$_%25x"] {
        let put = hub.owner(&format!("PUT /devices/{id}"), "{}").await;
        assert_eq!(put.status, 200, "{id}: {put:?}");
        let whole = format!("GET /Devices%2F{id}/");
        let read = hub.owner(&whole, "").await;
        assert_eq!(read.json()["deviceId"], id.replace("%25", "%"), "{id}");
    }
}

#[tokio::test]
async fn a_chunked_body_is_a_body() {
    let hub = TestHub::new();
    let (mut client, _served) = hub.connect();
    let token = hub.token("iothubowner");

    client
        .write(format!(
            "PUT /devices/d1?{VERSION} HTTP/1.1\r\nHost: hub\r\nAuthorization: {token}\r\n\
             Transfer-Encoding: chunked\r\n\r\n9\r\n{{\"status\"\r\nc\r\n:\"disabled\"}}\r\n0\r\n\r\n"
        ))
        .await;

    let reply = client.reply().await;
    assert_eq!(
        (reply.status, &reply.json()["status"]),
        (200, &json!("disabled"))
    );
}
