//! Configurations (`spec/service.md` 7).

use iothub_hub::Delivery;
use serde_json::{Value, json};

use super::hub::TestHub;

const CONTENT: &str = r#"{"deviceContent":{"properties.desired.chiller":{"temp":66}}}"#;

fn body(id: &str) -> String {
    format!(
        r#"{{"id":"{id}","schemaVersion":"1.0","content":{CONTENT},"targetCondition":"tags.site='A'",
            "priority":10,"labels":{{"k":"v"}},
            "metrics":{{"queries":{{"mine":"SELECT deviceId FROM devices"}}}}}}"#
    )
}

#[tokio::test]
async fn a_configuration_is_created_read_updated_listed_and_deleted() {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.owner("PATCH /twins/d1", r#"{"tags":{"site":"A"}}"#)
        .await;
    let device = hub.attach("d1").await;

    let created = hub.owner("PUT /configurations/c1", &body("c1")).await;

    assert_eq!(created.status, 200, "{created:?}");
    let etag = created.etag();
    assert_eq!(
        created.body,
        format!(
            concat!(
                r#"{{"id":"c1","schemaVersion":"1.0","labels":{{"k":"v"}},"#,
                r#""content":{{"deviceContent":{{"properties.desired.chiller":{{"temp":66}}}}}},"#,
                r#""contentType":null,"targetCondition":"tags.site='A'","#,
                r#""createdTimeUtc":"2024-03-14T09:54:49.6536567Z","#,
                r#""lastUpdatedTimeUtc":"2024-03-14T09:54:49.6536567Z","priority":10,"#,
                r#""systemMetrics":{{"results":{{"targetedCount":1,"appliedCount":1}},"#,
                r#""queries":{{"targetedCount":"select deviceId from devices where tags.site='A'","#,
                r#""appliedCount":"select deviceId from devices where "#,
                r#"configurations.[[c1]].status = 'Applied'"}}}},"#,
                r#""metrics":{{"results":{{"mine":1}},"#,
                r#""queries":{{"mine":"SELECT deviceId FROM devices"}}}},"etag":"{}"}}"#,
            ),
            etag
        )
    );
    let Delivery::DesiredChanged { patch, .. } = device.delivery().await else {
        panic!("not a change of desired properties");
    };
    assert_eq!(patch, r#"{"chiller":{"temp":66},"$version":2}"#);
    let twin = hub.owner("GET /twins/d1", "").await.json();
    assert_eq!(twin["configurations"], json!({"c1": {"status": "Applied"}}));
    let leaf = &twin["properties"]["desired"]["$metadata"]["chiller"]["temp"];
    assert_eq!(leaf["$lastUpdatedBy"], "c1");
    assert_eq!(leaf["$lastUpdatedByDigest"], "638460068896536567");

    let updated = hub
        .owner_with(
            "PUT /configurations/c1",
            &[("If-Match", &format!("\"{etag}\""))],
            r#"{"schemaVersion":"1.0","targetCondition":"tags.site='B'"}"#,
        )
        .await;
    assert_eq!(updated.status, 200, "{updated:?}");
    assert_ne!(updated.etag(), etag);
    let read = hub.owner("GET /configurations/c1", "").await;
    assert_eq!(read.json(), updated.json());
    assert_eq!(read.etag(), updated.etag());
    assert_eq!(
        read.json()["content"],
        serde_json::from_str::<Value>(CONTENT).unwrap()
    );
    assert_eq!(read.json()["systemMetrics"]["results"]["targetedCount"], 0);
    let twin = hub.owner("GET /twins/d1", "").await.json();
    assert_eq!(twin["properties"]["desired"].get("chiller"), None);
    assert_eq!(twin.get("configurations"), None);

    hub.owner("PUT /configurations/c2", &body("c2")).await;
    let all = hub.owner("GET /configurations/", "").await.json();
    assert_eq!(all.as_array().unwrap().len(), 2);
    let first = hub.owner("GET /configurations?top=1", "").await.json();
    assert_eq!(first[0]["id"], "c1");

    let deleted = hub
        .owner_with("DELETE /configurations/c1", &[("If-Match", "*")], "")
        .await;
    assert_eq!((deleted.status, deleted.body.as_str()), (204, ""));
}

#[tokio::test]
async fn refusals_of_configurations() {
    let hub = TestHub::new();
    hub.owner("PUT /configurations/c1", &body("c1")).await;
    let content = |content: &str| format!(r#"{{"content":{content}}}"#);
    let condition = |condition: &str| format!(r#"{{"targetCondition":"{condition}"}}"#);

    for (head, if_match, body, status, name) in [
        (
            "GET /configurations/x",
            "",
            String::new(),
            404,
            "ConfigurationNotFound",
        ),
        (
            "DELETE /configurations/x",
            "",
            String::new(),
            404,
            "ConfigurationNotFound",
        ),
        (
            "DELETE /configurations/c1",
            "\"x\"",
            String::new(),
            412,
            "PreconditionFailed",
        ),
        (
            "PUT /configurations/c1",
            "",
            body("c1"),
            409,
            "ConfigurationAlreadyExists",
        ),
        (
            "PUT /configurations/C1",
            "",
            body("c1"),
            409,
            "ConfigurationAlreadyExists",
        ),
        (
            "PUT /configurations/x",
            "*",
            body("x"),
            404,
            "ConfigurationNotFound",
        ),
        (
            "PUT /configurations/c1",
            "\"x\"",
            body("c1"),
            412,
            "PreconditionFailed",
        ),
        (
            "PUT /configurations/x",
            "",
            "{".into(),
            400,
            "IotHubFormatError",
        ),
        (
            "PUT /configurations/x",
            "",
            body("y"),
            400,
            "ArgumentInvalid",
        ),
        (
            "PUT /configurations/a%20b",
            "",
            body("x"),
            400,
            "ArgumentInvalid",
        ),
        (
            "PUT /configurations/x",
            "",
            content(r#"{"deviceContent":{"tags.a":1}}"#),
            400,
            "InvalidConfigurationContent",
        ),
        (
            "PUT /configurations/c1",
            "*",
            content(r#"{"deviceContent":{"properties.desired.a":1}}"#),
            400,
            "CannotModifyImmutableConfigurationContent",
        ),
        (
            "PUT /configurations/x",
            "",
            condition("SELECT * FROM devices"),
            400,
            "InvalidConfigurationTargetCondition",
        ),
        (
            "PUT /configurations/x",
            "",
            condition("properties.desired.a = 1"),
            400,
            "InvalidConfigurationTargetCondition",
        ),
        (
            "PUT /configurations/x",
            "",
            r#"{"metrics":{"queries":{"a":"nonsense"}}}"#.into(),
            400,
            "InvalidConfigurationCustomMetricsQuery",
        ),
        (
            "GET /configurations?top=x",
            "",
            String::new(),
            400,
            "ArgumentInvalid",
        ),
    ] {
        let headers = [("If-Match", if_match)];
        let headers = if if_match.is_empty() {
            &[][..]
        } else {
            &headers
        };
        let reply = hub.owner_with(head, headers, &body).await;
        assert_eq!(
            (reply.status, reply.header("iothub-errorcode")),
            (status, Some(name)),
            "{head} {body} {reply:?}"
        );
        let message = format!("ErrorCode:{name};");
        assert!(
            reply.json()["Message"]
                .as_str()
                .unwrap()
                .starts_with(&message)
        );
    }
}

#[tokio::test]
async fn queries_are_tested_without_a_configuration() {
    let hub = TestHub::new();

    let good = hub
        .owner(
            "POST /configurations/testQueries",
            r#"{"targetCondition":"tags.a=1","customMetricQueries":{"m":"SELECT * FROM devices"}}"#,
        )
        .await;
    let bad = hub
        .owner(
            "POST /configurations/testQueries",
            r#"{"targetCondition":"tags.","customMetricQueries":{"m":"nonsense"}}"#,
        )
        .await;

    assert_eq!(
        (good.status, good.body.as_str()),
        (
            200,
            r#"{"targetConditionError":null,"customMetricQueryErrors":{}}"#
        )
    );
    assert_eq!(bad.status, 200);
    assert!(bad.json()["targetConditionError"].is_string(), "{bad:?}");
    assert!(bad.json()["customMetricQueryErrors"]["m"].is_string());
}

#[tokio::test]
async fn content_is_applied_once() {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.owner("PUT /devices/e1", r#"{"capabilities":{"iotEdge":true}}"#)
        .await;
    let modules = r#"{"modulesContent":{"$edgeAgent":{"properties.desired":{"a":1}},
                      "m1":{"properties.desired.x":2}}}"#;
    let apply = |device: &'static str, body: &'static str| {
        let hub = &hub;
        async move {
            hub.owner(
                &format!("POST /devices/{device}/applyConfigurationContent"),
                body,
            )
            .await
        }
    };

    let applied = apply("e1", modules).await;
    assert_eq!((applied.status, applied.body.as_str()), (204, ""));
    let module = hub.owner("GET /devices/e1/modules/m1", "").await.json();
    assert_eq!(module["managedBy"], "iotEdge");
    let twin = hub.owner("GET /twins/e1/modules/m1", "").await.json();
    assert_eq!(twin["properties"]["desired"]["x"], 2);
    assert_eq!(apply("d1", CONTENT).await.status, 204);

    for (device, body, status, name) in [
        ("d1", modules, 400, "InvalidConfigurationContent"),
        ("x", CONTENT, 404, "DeviceNotFound"),
        ("d1", "{}", 400, "InvalidConfigurationContent"),
        ("d1", "[", 400, "IotHubFormatError"),
    ] {
        let reply = apply(device, body).await;
        assert_eq!(
            (reply.status, reply.header("iothub-errorcode")),
            (status, Some(name)),
            "{device} {body}"
        );
    }
}

#[tokio::test]
async fn writing_takes_both_rights_and_reading_one_of_them() {
    let hub = TestHub::new();
    let ask = |policy: &'static str, head: &'static str, body: String| {
        let hub = &hub;
        async move {
            let token = hub.token(policy);
            let head = format!("{head}?{}", super::hub::VERSION);
            let headers = [("Authorization", token.as_str())];
            hub.connect().0.request(&head, &headers, &body).await.status
        }
    };

    for policy in ["service", "registryRead", "device"] {
        assert_eq!(ask(policy, "PUT /configurations/c1", body("c1")).await, 401);
    }
    assert_eq!(
        ask("iothubowner", "PUT /configurations/c1", body("c1")).await,
        200
    );
    for (policy, status) in [("service", 200), ("registryRead", 200), ("device", 401)] {
        assert_eq!(
            ask(policy, "GET /configurations/c1", String::new()).await,
            status
        );
        assert_eq!(
            ask(policy, "DELETE /configurations/c1", String::new()).await,
            401
        );
    }
}
