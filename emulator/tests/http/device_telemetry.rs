//! Telemetry of devices over HTTPS (`spec/device.md` 9.2).

use serde_json::Value;

use super::client::Reply;
use super::hub::{TestHub, VERSION};

const EVENTS: &str = "POST /devices/d1/messages/events";

async fn send(hub: &TestHub, head: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let token = hub.token("device");
    let mut all = vec![("Authorization", token.as_str())];
    all.extend_from_slice(headers);
    hub.connect()
        .0
        .request(&format!("{head}?{VERSION}"), &all, body)
        .await
}

async fn events(hub: &TestHub) -> Vec<Value> {
    let reply = hub.control("GET events?from=earliest", "").await;
    reply
        .body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn headers_are_properties_of_the_message() {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.create("d1/m1").await;
    for path in ["d1", "d1/modules/m1"] {
        let headers = [
            ("iothub-to", "/devices/d1/messages/events"),
            ("iothub-app-k1", "v+1%"),
            ("IoTHub-MessageId", "m1"),
            ("IoTHub-CorrelationId", "c1"),
            ("iothub-contenttype", "application/json"),
            ("iothub-contentencoding", "utf-8"),
            ("dt-subject", "thermostat"),
            ("Content-Type", "text/plain"),
        ];
        let head = format!("POST /devices/{path}/messages/events/");

        let reply = send(&hub, &head, &headers, r#"{"t":1}"#).await;

        assert_eq!((reply.status, reply.body.as_str()), (204, ""), "{reply:?}");
    }

    let events = events(&hub).await;
    assert_eq!(events.len(), 2);
    for event in &events {
        assert_eq!(event["body"], r#"{"t":1}"#);
        assert_eq!(
            event["applicationProperties"].to_string(),
            r#"{"k1":"v+1%"}"#
        );
        assert_eq!(event["properties"]["message-id"], "m1");
        assert_eq!(event["properties"]["correlation-id"], "c1");
        assert_eq!(event["properties"]["content-type"], "application/json");
        assert_eq!(event["properties"]["content-encoding"], "utf-8");
        let annotations = &event["annotations"];
        assert_eq!(annotations["iothub-connection-device-id"], "d1");
        assert_eq!(annotations["dt-subject"], "thermostat");
        assert_eq!(
            annotations["iothub-connection-auth-method"],
            r#"{"scope":"hub","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#
        );
    }
    assert_eq!(
        events[1]["annotations"]["iothub-connection-module-id"],
        "m1"
    );
}

#[tokio::test]
async fn a_batch_is_taken_in_order_or_not_at_all() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let kind = [("Content-Type", "application/vnd.microsoft.iothub.json")];
    let good = r#"[{"body":"YQ==","properties":{"iothub-app-n":"1"}},
                   {"body":"b","base64Encoded":false}]"#;
    let bad = r#"[{"body":"YQ=="},{"body":"%"}]"#;

    assert_eq!(send(&hub, EVENTS, &kind, good).await.status, 204);
    let refused = send(&hub, EVENTS, &kind, bad).await;

    assert_eq!(
        refused.refusal(),
        "400 ArgumentInvalid ErrorCode:ArgumentInvalid;body is not base64"
    );
    let events = events(&hub).await;
    let bodies: Vec<_> = events.iter().map(|event| &event["body"]).collect();
    assert_eq!(bodies, ["a", "b"]);
    assert_eq!(events[0]["applicationProperties"]["n"], "1");
}

#[tokio::test]
async fn what_is_too_large_or_malformed_is_refused() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let batch = [("Content-Type", "application/vnd.microsoft.iothub.json")];
    let large = "x".repeat(256 * 1024 + 1);
    let many = format!("[{}{{}}]", "{},".repeat(500));
    // The limit counts properties, too.
    let full = "x".repeat(256 * 1024);

    for (headers, body, status) in [
        (&[][..], large.as_str(), 413),
        (&[("iothub-app-k", "v")], &full, 413),
        (&[], &full, 204),
        (&batch, &many, 413),
        (&batch, &large, 413),
        (&batch, "[", 400),
        (&batch, "[]", 400),
        (&[("iothub-app-k", "a b")], "", 400),
        (&[("iothub-messageid", "a b")], "", 400),
        (&[], "", 204),
    ] {
        let reply = send(&hub, EVENTS, headers, body).await;
        assert_eq!(reply.status, status, "{headers:?} {reply:?}");
    }
    assert_eq!(events(&hub).await.len(), 2);
}

#[tokio::test]
async fn who_may_not_is_told_nothing_else() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let large = "x".repeat(256 * 1024 + 1);

    for policy in ["service", "registryRead", "nobody"] {
        let token = hub.token(policy);
        let reply = hub
            .connect()
            .0
            .request(
                &format!("{EVENTS}?{VERSION}"),
                &[("Authorization", &token)],
                &large,
            )
            .await;
        assert_eq!(reply.status, 401, "{policy} {reply:?}");
    }
    let unknown = send(&hub, "POST /devices/d2/messages/events", &[], "").await;
    assert_eq!(unknown.status, 401);
    let reply = hub
        .owner(
            "PUT /devices/d3",
            r#"{"deviceId":"d3","status":"disabled"}"#,
        )
        .await;
    assert_eq!(reply.status, 200);
    let disabled = send(&hub, "POST /devices/d3/messages/events", &[], "").await;
    assert_eq!(disabled.status, 404, "{disabled:?}");
    assert!(events(&hub).await.is_empty());
}
