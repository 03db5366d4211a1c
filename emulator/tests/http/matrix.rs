//! The error matrix: every operation of the route index with each wrong credential and permission,
//! without what it is about, with a stale etag, with a body that is no JSON, and with one that is
//! too large: status, code, body and header (`spec/service.md` 0.6, 0.8, 1.2).

use std::time::Duration;

use iothub_protocol::Clock;
use iothub_protocol::sas::sign;
use serde_json::Value;

use super::client::Reply;
use super::hub::{TestHub, VERSION, key};

/// Policies of the test hub beside the owner's.
const POLICIES: [&str; 3] = ["registryRead", "service", "device"];

/// Who may, beside the owner.
#[derive(Clone, Copy)]
enum Right {
    Read,
    Write,
    Service,
    /// Reading configurations.
    ReadOrService,
    /// Writing configurations: registry and service both.
    WriteAndService,
    Device,
}

impl Right {
    fn has(self, policy: &str) -> bool {
        match self {
            Self::Read => policy == "registryRead",
            Self::Service => policy == "service",
            Self::ReadOrService => policy == "registryRead" || policy == "service",
            Self::Write | Self::WriteAndService => false,
            Self::Device => policy == "device",
        }
    }
}

struct Row {
    head: &'static str,
    /// Good for it; empty: it takes none, or any bytes.
    body: &'static str,
    right: Right,
    /// The same about what does not exist, and the code of the refusal.
    missing: Option<(&'static str, &'static str)>,
    /// Whether it knows `If-Match`.
    etag: bool,
}

const fn row(
    head: &'static str,
    body: &'static str,
    right: Right,
    missing: Option<(&'static str, &'static str)>,
) -> Row {
    Row {
        head,
        body,
        right,
        missing,
        etag: false,
    }
}

const fn with_etag(
    head: &'static str,
    body: &'static str,
    right: Right,
    missing: Option<(&'static str, &'static str)>,
) -> Row {
    Row {
        etag: true,
        ..row(head, body, right, missing)
    }
}

const TWIN: &str = r#"{"tags":{"a":1}}"#;
const METHOD: &str = r#"{"methodName":"m"}"#;
const JOB: &str =
    r#"{"type":"scheduleUpdateTwin","queryCondition":"*","updateTwin":{"etag":"*","tags":{}}}"#;
const CONFIGURATION: &str =
    r#"{"content":{"deviceContent":{"properties.desired.a":1}},"targetCondition":""}"#;
const DEVICE: &str = "DeviceNotFound";
const MODULE: &str = "ModuleNotFound";
const LOST: &str = "DeviceMessageLockLost";

const ROWS: &[Row] = &[
    row("GET /devices", "", Right::Read, None),
    row("POST /devices", r#"[{"id":"d9"}]"#, Right::Write, None),
    row(
        "POST /devices/query",
        r#"{"query":"select * from devices"}"#,
        Right::Service,
        None,
    ),
    row(
        "POST /devices/keys/regenerate",
        r#"{"policyKey":"both","devices":[{"id":"d1"}]}"#,
        Right::Write,
        None,
    ),
    row(
        "GET /devices/d1",
        "",
        Right::Read,
        Some(("GET /devices/zz", DEVICE)),
    ),
    with_etag(
        "PUT /devices/d1",
        "{}",
        Right::Write,
        Some(("PUT /devices/zz", DEVICE)),
    ),
    with_etag(
        "DELETE /devices/d1",
        "",
        Right::Write,
        Some(("DELETE /devices/zz", DEVICE)),
    ),
    row(
        "DELETE /devices/d1/commands",
        "",
        Right::Service,
        Some(("DELETE /devices/zz/commands", DEVICE)),
    ),
    row(
        "POST /devices/d1/applyConfigurationContent",
        r#"{"deviceContent":{"properties.desired.a":1}}"#,
        Right::WriteAndService,
        Some(("POST /devices/zz/applyConfigurationContent", DEVICE)),
    ),
    row(
        "GET /devices/d1/modules",
        "",
        Right::Read,
        Some(("GET /devices/zz/modules", DEVICE)),
    ),
    row(
        "GET /devices/d1/modules/m1",
        "",
        Right::Read,
        Some(("GET /devices/d1/modules/zz", MODULE)),
    ),
    with_etag(
        "PUT /devices/d1/modules/m1",
        "{}",
        Right::Write,
        Some(("PUT /devices/d1/modules/zz", MODULE)),
    ),
    with_etag(
        "DELETE /devices/d1/modules/m1",
        "",
        Right::Write,
        Some(("DELETE /devices/d1/modules/zz", MODULE)),
    ),
    row(
        "DELETE /devices/d1/modules/m1/commands",
        "",
        Right::Service,
        Some(("DELETE /devices/d1/modules/zz/commands", MODULE)),
    ),
    row(
        "GET /twins/d1",
        "",
        Right::Service,
        Some(("GET /twins/zz", DEVICE)),
    ),
    with_etag(
        "PATCH /twins/d1",
        TWIN,
        Right::Service,
        Some(("PATCH /twins/zz", DEVICE)),
    ),
    with_etag(
        "PUT /twins/d1",
        TWIN,
        Right::Service,
        Some(("PUT /twins/zz", DEVICE)),
    ),
    row(
        "GET /twins/d1/modules/m1",
        "",
        Right::Service,
        Some(("GET /twins/d1/modules/zz", MODULE)),
    ),
    with_etag(
        "PATCH /twins/d1/modules/m1",
        TWIN,
        Right::Service,
        Some(("PATCH /twins/d1/modules/zz", MODULE)),
    ),
    with_etag(
        "PUT /twins/d1/modules/m1",
        TWIN,
        Right::Service,
        Some(("PUT /twins/d1/modules/zz", MODULE)),
    ),
    row(
        "POST /twins/d1/methods",
        METHOD,
        Right::Service,
        Some(("POST /twins/zz/methods", DEVICE)),
    ),
    row(
        "POST /twins/d1/modules/m1/methods",
        METHOD,
        Right::Service,
        Some(("POST /twins/d1/modules/zz/methods", MODULE)),
    ),
    row("GET /statistics/devices", "", Right::Read, None),
    row("GET /statistics/service", "", Right::Service, None),
    row("GET /jobs", "", Right::Write, None),
    row(
        "GET /jobs/j1",
        "",
        Right::Write,
        Some(("GET /jobs/zz", "JobNotFound")),
    ),
    row(
        "DELETE /jobs/j1",
        "",
        Right::Write,
        Some(("DELETE /jobs/zz", "JobNotFound")),
    ),
    row("GET /jobs/v2/query", "", Right::Service, None),
    row(
        "GET /jobs/v2/j1",
        "",
        Right::Service,
        Some(("GET /jobs/v2/zz", "JobNotFound")),
    ),
    row("PUT /jobs/v2/j2", JOB, Right::Service, None),
    row(
        "POST /jobs/v2/j1/cancel",
        "",
        Right::Service,
        Some(("POST /jobs/v2/zz/cancel", "JobNotFound")),
    ),
    row("GET /configurations", "", Right::ReadOrService, None),
    row(
        "POST /configurations/testQueries",
        r#"{"targetCondition":"*","customMetricQueries":{}}"#,
        Right::ReadOrService,
        None,
    ),
    row(
        "GET /configurations/c1",
        "",
        Right::ReadOrService,
        Some(("GET /configurations/zz", "ConfigurationNotFound")),
    ),
    with_etag(
        "PUT /configurations/c1",
        CONFIGURATION,
        Right::WriteAndService,
        Some(("PUT /configurations/zz", "ConfigurationNotFound")),
    ),
    with_etag(
        "DELETE /configurations/c1",
        "",
        Right::WriteAndService,
        Some(("DELETE /configurations/zz", "ConfigurationNotFound")),
    ),
    row(
        "GET /messages/serviceBound/feedback",
        "",
        Right::Service,
        None,
    ),
    row(
        "DELETE /messages/serviceBound/feedback/zz",
        "",
        Right::Service,
        Some(("DELETE /messages/serviceBound/feedback/zz", LOST)),
    ),
    row(
        "POST /messages/serviceBound/feedback/zz/abandon",
        "",
        Right::Service,
        Some(("POST /messages/serviceBound/feedback/zz/abandon", LOST)),
    ),
    row(
        "GET /messages/serviceBound/filenotifications",
        "",
        Right::Service,
        None,
    ),
    row(
        "DELETE /messages/serviceBound/filenotifications/zz",
        "",
        Right::Service,
        Some(("DELETE /messages/serviceBound/filenotifications/zz", LOST)),
    ),
    row(
        "POST /messages/serviceBound/filenotifications/zz/abandon",
        "",
        Right::Service,
        Some((
            "POST /messages/serviceBound/filenotifications/zz/abandon",
            LOST,
        )),
    ),
    row(
        "POST /devices/d1/messages/deviceBound",
        "",
        Right::Service,
        Some(("POST /devices/zz/messages/deviceBound", DEVICE)),
    ),
    row(
        "POST /devices/d1/modules/m1/messages/deviceBound",
        "",
        Right::Service,
        Some(("POST /devices/d1/modules/zz/messages/deviceBound", MODULE)),
    ),
    row(
        "GET /digitaltwins/d1",
        "",
        Right::Service,
        Some(("GET /digitaltwins/zz", DEVICE)),
    ),
    with_etag(
        "PATCH /digitaltwins/d1",
        r#"[{"op":"add","path":"/a","value":1}]"#,
        Right::Service,
        Some(("PATCH /digitaltwins/zz", DEVICE)),
    ),
    row(
        "POST /digitaltwins/d1/commands/c",
        "{}",
        Right::Service,
        Some(("POST /digitaltwins/zz/commands/c", DEVICE)),
    ),
    row(
        "POST /digitaltwins/d1/components/x/commands/c",
        "{}",
        Right::Service,
        Some(("POST /digitaltwins/zz/components/x/commands/c", DEVICE)),
    ),
    row("POST /devices/d1/messages/events", "", Right::Device, None),
    row(
        "GET /devices/d1/messages/deviceBound",
        "",
        Right::Device,
        None,
    ),
    row(
        "DELETE /devices/d1/messages/deviceBound/zz",
        "",
        Right::Device,
        Some(("DELETE /devices/d1/messages/deviceBound/zz", LOST)),
    ),
    row(
        "POST /devices/d1/messages/deviceBound/zz/abandon",
        "",
        Right::Device,
        Some(("POST /devices/d1/messages/deviceBound/zz/abandon", LOST)),
    ),
    row(
        "POST /devices/d1/modules/m1/messages/events",
        "",
        Right::Device,
        None,
    ),
    row(
        "GET /devices/d1/modules/m1/messages/deviceBound",
        "",
        Right::Device,
        None,
    ),
    row(
        "POST /devices/d1/files",
        r#"{"blobName":"x"}"#,
        Right::Device,
        None,
    ),
    row(
        "POST /devices/d1/files/notifications",
        r#"{"correlationId":"zz","isSuccess":true,"statusCode":200,"statusDescription":""}"#,
        Right::Device,
        Some((
            "POST /devices/d1/files/notifications",
            "InvalidFileUploadCorrelationId",
        )),
    ),
];

/// A hub with what the rows are about.
async fn hub() -> TestHub {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.create("d1/m1").await;
    for (head, body) in [
        ("PUT /jobs/v2/j1", JOB),
        ("PUT /configurations/c1", CONFIGURATION),
    ] {
        let made = hub.owner(head, body).await;
        assert_eq!(made.status, 200, "{head}: {made:?}");
    }
    hub
}

async fn ask(hub: &TestHub, head: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    hub.connect()
        .0
        .request(&format!("{head}?{VERSION}"), headers, body)
        .await
}

/// The name of the refusal in the header, which the body has to say, too: as text in one format,
/// as a number that begins with the status in the other.
fn code(reply: &Reply) -> String {
    let named = reply.header("iothub-errorcode").unwrap_or("-").to_owned();
    let body = reply.json();
    let message = body["Message"].as_str().unwrap_or_default();
    let structured = serde_json::from_str::<Value>(message).ok();
    match structured.as_ref().and_then(|it| it["errorCode"].as_u64()) {
        Some(number) => assert_eq!(number / 1000, u64::from(reply.status), "{reply:?}"),
        None => assert!(
            message.starts_with(&format!("ErrorCode:{named};")),
            "{reply:?}"
        ),
    }
    let known = reply.header("content-type");
    assert_eq!(known, Some("application/json; charset=utf-8"), "{reply:?}");
    assert!(reply.header("x-ms-request-id").is_some(), "{reply:?}");
    named
}

#[tokio::test]
async fn nobody_in_particular_gets_401() {
    let hub = hub().await;
    let now = hub.handle.clock().now();
    let later = now + Duration::from_secs(3600);
    let expired = sign("hub", now, Some("iothubowner"), &key("iothubowner"));
    let forged = sign("hub", later, Some("iothubowner"), &key("other"));
    let unknown = sign("hub", later, Some("unknown"), &key("iothubowner"));
    let elsewhere = sign(
        "hub/elsewhere",
        later,
        Some("iothubowner"),
        &key("iothubowner"),
    );
    hub.handle.advance(Duration::from_secs(600)).await;

    for row in ROWS {
        for token in [
            None,
            Some(""),
            Some("Bearer x"),
            Some(&*expired),
            Some(&*forged),
            Some(&*unknown),
            Some(&*elsewhere),
        ] {
            let headers: Vec<_> = token.iter().map(|it| ("Authorization", *it)).collect();
            for body in [row.body, "{"] {
                let reply = ask(&hub, row.head, &headers, body).await;
                assert_eq!(reply.status, 401, "{} {token:?}: {reply:?}", row.head);
                assert_eq!(code(&reply), "IotHubUnauthorizedAccess", "{}", row.head);
            }
        }
    }
}

#[tokio::test]
async fn a_policy_may_what_its_permissions_say() {
    let hub = hub().await;
    for row in ROWS {
        for policy in POLICIES {
            if row.right.has(policy) {
                continue;
            }
            let token = hub.token(policy);
            let reply = ask(&hub, row.head, &[("Authorization", &token)], row.body).await;
            assert_eq!(reply.status, 401, "{policy} {}: {reply:?}", row.head);
            assert_eq!(code(&reply), "IotHubUnauthorizedAccess", "{}", row.head);
        }
    }
    for row in ROWS {
        for policy in POLICIES.into_iter().filter(|policy| row.right.has(policy)) {
            let token = hub.token(policy);
            let reply = ask(&hub, row.head, &[("Authorization", &token)], row.body).await;
            assert_ne!(reply.status, 401, "{policy} {}: {reply:?}", row.head);
        }
    }
}

#[tokio::test]
async fn every_operation_needs_an_api_version() {
    let hub = hub().await;
    let token = hub.token("iothubowner");
    for row in ROWS {
        for query in [
            "",
            "?api-version=",
            "?api-version=latest",
            "?api-version=2015-01-01",
        ] {
            let head = format!("{}{query}", row.head);
            let headers = [("Authorization", &*token)];
            let reply = hub.connect().0.request(&head, &headers, row.body).await;
            assert_eq!(reply.status, 400, "{head}: {reply:?}");
            assert_eq!(code(&reply), "InvalidProtocolVersion", "{head}");
        }
    }
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let hub = hub().await;
    let token = hub.token("iothubowner");
    for row in ROWS {
        let Some((head, expected)) = row.missing else {
            continue;
        };
        let mut headers = vec![("Authorization", &*token)];
        if row.etag {
            headers.push(("If-Match", "\"*\""));
        }
        let reply = ask(&hub, head, &headers, row.body).await;
        assert_eq!(code(&reply), expected, "{head}: {reply:?}");
    }
}

#[tokio::test]
async fn a_stale_etag_is_refused() {
    let hub = hub().await;
    let token = hub.token("iothubowner");
    for row in ROWS.iter().filter(|row| row.etag) {
        let headers = [("Authorization", &*token), ("If-Match", "\"c3RhbGU=\"")];
        let reply = ask(&hub, row.head, &headers, row.body).await;
        assert_eq!(reply.status, 412, "{}: {reply:?}", row.head);
        assert_eq!(code(&reply), "PreconditionFailed", "{}", row.head);
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_is_refused() {
    let hub = hub().await;
    let token = hub.token("iothubowner");
    for row in ROWS.iter().filter(|row| !row.body.is_empty()) {
        for body in ["{", "nothing", "{\"a\":}", "\u{0}"] {
            let mut headers = vec![("Authorization", &*token)];
            if row.etag {
                headers.push(("If-Match", "*"));
            }
            let reply = ask(&hub, row.head, &headers, body).await;
            assert_eq!(reply.status, 400, "{} {body:?}: {reply:?}", row.head);
            assert_eq!(code(&reply), "IotHubFormatError", "{} {body:?}", row.head);
        }
    }
}

#[tokio::test]
async fn deep_and_huge_bodies_are_refused_in_bounded_time() {
    let hub = hub().await;
    let token = hub.token("iothubowner");
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let huge = format!("\"{}\"", "x".repeat(2 * 1024 * 1024));
    for row in ROWS.iter().filter(|row| !row.body.is_empty()) {
        let mut headers = vec![("Authorization", &*token)];
        if row.etag {
            headers.push(("If-Match", "*"));
        }
        let reply = ask(&hub, row.head, &headers, &deep).await;
        // A command's payload is the whole body, and any JSON: nobody is there to take it.
        let expected = if row.head.contains("/commands/") {
            404
        } else {
            400
        };
        assert_eq!(reply.status, expected, "{}: {}", row.head, code(&reply));
        let reply = ask(&hub, row.head, &headers, &huge).await;
        assert_eq!(reply.status, 413, "{}: {reply:?}", row.head);
        assert_eq!(code(&reply), "MessageTooLarge", "{}", row.head);
    }
}
