//! Refusals that every operation has in common (`spec/service.md` 0.3, 0.6, 0.8, 1.1).

use std::time::Duration;

use iothub_protocol::Clock;
use iothub_protocol::sas::sign;

use super::hub::{TestHub, VERSION, key};

const UNAUTHORIZED: &str =
    "401 IotHubUnauthorizedAccess ErrorCode:IotHubUnauthorizedAccess;Unauthorized";

/// Each operation with a body that is good for it.
const OPERATIONS: [(&str, &str); 17] = [
    ("GET /devices", ""),
    ("POST /devices", r#"[{"id":"d2"}]"#),
    ("GET /devices/d1", ""),
    ("PUT /devices/d2", "{}"),
    ("DELETE /devices/d1", ""),
    ("GET /devices/d1/modules", ""),
    ("GET /devices/d1/modules/m1", ""),
    ("PUT /devices/d1/modules/m2", "{}"),
    ("DELETE /devices/d1/modules/m1", ""),
    ("GET /twins/d1", ""),
    ("PATCH /twins/d1", "{}"),
    ("PUT /twins/d1", "{}"),
    ("GET /twins/d1/modules/m1", ""),
    ("POST /twins/d1/methods", r#"{"methodName":"m"}"#),
    ("GET /statistics/devices", ""),
    ("GET /statistics/service", ""),
    (
        "POST /devices/query",
        r#"{"query":"select * from devices"}"#,
    ),
];

async fn refused(hub: &TestHub, authorization: Option<&str>) {
    for (head, body) in OPERATIONS {
        for body in [body, "{"] {
            let headers: Vec<_> = authorization
                .iter()
                .map(|value| ("Authorization", *value))
                .collect();
            let head = format!("{head}?{VERSION}");
            let reply = hub.connect().0.request(&head, &headers, body).await;

            assert_eq!(reply.refusal(), UNAUTHORIZED, "{head} {authorization:?}");
            let exception = reply.json()["ExceptionMessage"]
                .as_str()
                .unwrap()
                .to_owned();
            assert!(exception.starts_with("Tracking ID:"), "{exception}");
        }
    }
}

#[tokio::test]
async fn bad_credentials_look_all_the_same_whatever_else_is_wrong() {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.create("d1/m1").await;
    let now = hub.handle.clock().now();
    let later = now + Duration::from_secs(60);
    let expired = sign("hub", now, Some("iothubowner"), &key("iothubowner"));
    hub.handle.advance(Duration::from_secs(600)).await;

    refused(&hub, None).await;
    refused(&hub, Some("")).await;
    refused(&hub, Some("Bearer x")).await;
    refused(&hub, Some(&expired)).await;
    refused(
        &hub,
        Some(&sign("hub", later, Some("nobody"), &key("nobody"))),
    )
    .await;
    refused(
        &hub,
        Some(&sign("hub", later, Some("iothubowner"), &key("device"))),
    )
    .await;
    refused(
        &hub,
        Some(&sign(
            "other",
            later,
            Some("iothubowner"),
            &key("iothubowner"),
        )),
    )
    .await;
    refused(
        &hub,
        Some(&sign(
            "hub/a",
            later,
            Some("iothubowner"),
            &key("iothubowner"),
        )),
    )
    .await;
    assert_eq!(
        hub.owner("GET /statistics/devices", "").await.json()["totalDeviceCount"],
        1
    );
}

#[tokio::test]
async fn a_policy_does_what_its_permissions_allow() {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.create("d1/m1").await;

    for (policy, allowed) in [
        (
            "registryRead",
            &["GET /devices", "GET /statistics/devices"][..],
        ),
        (
            "service",
            &["/twins/", "GET /statistics/service", "POST /devices/query"],
        ),
        ("device", &[]),
    ] {
        for (head, body) in OPERATIONS {
            let token = hub.token(policy);
            let request = format!("{head}?{VERSION}");
            let reply = hub
                .connect()
                .0
                .request(&request, &[("Authorization", &token)], body)
                .await;

            let may = allowed.iter().any(|allowed| head.contains(allowed));
            assert_eq!(reply.status == 401, !may, "{policy}: {head}: {reply:?}");
        }
    }
}

#[tokio::test]
async fn an_api_version_is_needed() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let token = hub.token("iothubowner");
    let authorized = [("Authorization", token.as_str())];

    for query in [
        "",
        "?api-version=",
        "?api-version=2015-01-01",
        "?api-version=latest",
    ] {
        let head = format!("GET /devices/d1{query}");
        let reply = hub.connect().0.request(&head, &authorized, "").await;
        assert!(
            reply.refusal().starts_with("400 InvalidProtocolVersion"),
            "{query}: {reply:?}"
        );
    }
    for version in [
        "2016-02-03",
        "2017-11-08-preview",
        "2021-04-12",
        "2024-03-31",
    ] {
        let head = format!("GET /devices/d1?api-version={version}");
        let reply = hub.connect().0.request(&head, &authorized, "").await;
        assert_eq!(reply.status, 200, "{version}");
    }
}

#[tokio::test]
async fn bodies_and_names_that_make_no_sense_are_refused() {
    let hub = TestHub::new();
    hub.create("d1").await;

    for (head, body, expected) in [
        ("PUT /devices/d2", "{", "400 IotHubFormatError"),
        ("PUT /devices/d2", "[]", "400 ArgumentInvalid"),
        (
            "PUT /devices/d2",
            r#"{"deviceId":"d3"}"#,
            "400 ArgumentInvalid",
        ),
        ("PUT /devices/a%20b", "{}", "400 ArgumentInvalid"),
        ("PUT /devices/invalid%2Fname", "{}", "404 GenericNotFound"),
        ("GET /devices//modules", "", "400 ArgumentInvalid"),
        ("GET /devices?top=x", "", "400 ArgumentInvalid"),
        ("GET /devices?top=0", "", "400 ArgumentInvalid"),
        ("PUT /devices/d1", "{}", "409 DeviceAlreadyExists"),
        ("PATCH /twins/d1", "{", "400 IotHubFormatError"),
        (
            "PATCH /twins/d1",
            r#"{"tags":{"a.b":1}}"#,
            "400 ArgumentInvalid",
        ),
        ("PATCH /twins/d2", "{}", "404 DeviceNotFound"),
        ("POST /devices", "{}", "400 ArgumentInvalid"),
        ("GET /devices/d1/modules/m1", "", "404 ModuleNotFound"),
        ("PUT /devices/d2/modules/m1", "{}", "404 DeviceNotFound"),
        ("DELETE /devices/d2", "", "404 DeviceNotFound"),
        ("DELETE /devices/d1/modules/m1", "", "404 ModuleNotFound"),
        ("GET /devices/d2/modules", "", "404 DeviceNotFound"),
        ("GET /twins/d2", "", "404 DeviceNotFound"),
        ("PUT /twins/d2", "{}", "404 DeviceNotFound"),
        ("GET /twins/d1/modules/m1", "", "404 ModuleNotFound"),
        ("PATCH /twins/d1/modules/m1", "{}", "404 ModuleNotFound"),
    ] {
        let reply = hub.owner(head, body).await;
        assert!(
            reply.refusal().starts_with(expected),
            "{head} {body}: {reply:?}"
        );
    }
}

#[tokio::test]
async fn a_condition_on_something_else_is_refused() {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.create("d1/m1").await;
    let stale = ("If-Match", "\"AAAAAAAAAAk=\"");

    for (head, body) in [
        ("PUT /devices/d1", "{}"),
        ("DELETE /devices/d1", ""),
        ("PUT /devices/d1/modules/m1", "{}"),
        ("DELETE /devices/d1/modules/m1", ""),
        ("PATCH /twins/d1", "{}"),
        ("PUT /twins/d1", "{}"),
        ("PATCH /twins/d1/modules/m1", "{}"),
        ("PUT /twins/d1/modules/m1", "{}"),
    ] {
        let reply = hub.owner_with(head, &[stale], body).await;
        assert!(
            reply
                .refusal()
                .starts_with("412 PreconditionFailed ErrorCode:"),
            "{head}: {reply:?}"
        );
    }
    let missing = hub
        .owner_with("PUT /devices/d2", &[("If-Match", "*")], "{}")
        .await;
    assert_eq!(
        (missing.status, missing.header("iothub-errorcode")),
        (404, Some("DeviceNotFound"))
    );
}

#[tokio::test]
async fn what_is_not_emulated_says_so_and_is_counted() {
    let hub = TestHub::new();

    let unknown = hub.owner("GET /nothing", "").await;
    let verb = hub.owner("PATCH /devices/d1", "").await;
    let head = hub.owner("OPTIONS /devices", "").await;

    assert_eq!(
        unknown.refusal(),
        "404 GenericNotFound ErrorCode:GenericNotFound;not emulated: GET /nothing"
    );
    assert_eq!(
        (verb.status, verb.header("iothub-errorcode")),
        (405, Some("GenericMethodNotAllowed"))
    );
    assert_eq!(head.status, 405);
    let counts = hub.control("GET not-emulated", "").await.json();
    assert_eq!(counts["GET /nothing"], 1);
}

#[tokio::test]
async fn nothing_allows_pages_of_other_origins() {
    let hub = TestHub::new();
    let origin = ("Origin", "https://elsewhere.example");

    let reply = hub.owner_with("GET /devices", &[origin], "").await;
    let (mut client, _served) = hub.connect();
    let reset = client.request("POST /_emulator/reset", &[origin], "").await;

    assert!(
        reply
            .headers
            .iter()
            .all(|(name, _)| !name.starts_with("access-control"))
    );
    assert_eq!(
        (reset.status, reset.header("iothub-errorcode")),
        (403, Some("GenericForbidden"))
    );
}
