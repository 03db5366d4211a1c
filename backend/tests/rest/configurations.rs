//! Configurations and edge deployments.

use iothub_backend::{Configuration, ErrorCode, IfMatch, QueryErrors};
use serde_json::json;

use crate::script::{Script, answer, body, header, line, no_content, ok};

const STORED: &str = r#"{"id":"c1","schemaVersion":"1.0","labels":{},
    "content":{"modulesContent":{"$edgeAgent":{"properties.desired":{}}}},
    "targetCondition":"tags.site='A'","createdTimeUtc":"2026-01-02T03:04:05Z",
    "lastUpdatedTimeUtc":"2026-01-02T03:04:06Z","priority":10,
    "systemMetrics":{"results":{"targetedCount":3},"queries":{"targetedCount":"select 1"}},
    "metrics":{"results":{"mine":1},"queries":{"mine":"select 2"}},"etag":"MQ=="}"#;

#[tokio::test]
async fn configuration_is_created_from_what_was_said_and_nothing_else() {
    let script = Script::play(vec![ok(STORED)]).await;

    let content = json!({"properties.desired.chiller": {"temp": 66}});
    let configuration = Configuration::new("c1")
        .with_device_content(&content)
        .with_target_condition("tags.site='A'")
        .with_priority(10)
        .with_label("k", "v")
        .with_metric("mine", "select 2");
    let stored = script
        .backend()
        .configurations()
        .create(&configuration)
        .await
        .unwrap();

    assert_eq!((stored.etag(), stored.priority()), ("MQ==", 10));
    assert_eq!(stored.target_condition(), "tags.site='A'");
    assert_eq!(stored.metric_result("mine"), Some(1));
    assert_eq!(stored.system_metric_result("targetedCount"), Some(3));
    assert_eq!(stored.metric_result("other"), None);
    assert!(stored.is_edge_deployment() && !configuration.is_edge_deployment());
    assert!(stored.created_time() < stored.last_updated_time());
    let request = script.request(0);
    assert_eq!(
        line(&request),
        "PUT /configurations/c1?api-version=2021-04-12"
    );
    assert_eq!(header(&request, "if-match"), None);
    assert_eq!(
        body(&request),
        json!({
            "id": "c1",
            "schemaVersion": "1.0",
            "labels": {"k": "v"},
            "content": {"deviceContent": content},
            "targetCondition": "tags.site='A'",
            "priority": 10,
            "metrics": {"queries": {"mine": "select 2"}},
        })
    );
}

#[tokio::test]
async fn configuration_is_read_changed_and_deleted() {
    let script = Script::play(vec![ok(STORED), ok(STORED), no_content()]).await;
    let backend = script.backend();
    let configurations = backend.configurations();

    let found = configurations.get("c1").await.unwrap();
    let etag = IfMatch::ETag(found.etag().into());
    let changed = found.with_priority(11).with_label("a", "b");
    configurations.update(&changed, &etag).await.unwrap();
    configurations.delete("c1", &IfMatch::Any).await.unwrap();

    let request = script.request(1);
    assert_eq!(header(&request, "if-match"), Some("\"MQ==\""));
    let sent = body(&request);
    assert_eq!(
        (&sent["priority"], &sent["labels"]),
        (&json!(11), &json!({"a": "b"}))
    );
    assert_eq!(sent["content"], changed.content().clone());
    let request = script.request(2);
    assert_eq!(
        line(&request),
        "DELETE /configurations/c1?api-version=2021-04-12"
    );
    assert_eq!(header(&request, "if-match"), Some("\"*\""));
}

#[tokio::test]
async fn update_without_a_condition_is_forced() {
    let script = Script::play(vec![ok(STORED)]).await;

    let configuration = Configuration::new("c1");
    let update = script
        .backend()
        .configurations()
        .update(&configuration, &IfMatch::Absent)
        .await;

    update.unwrap();
    assert_eq!(header(&script.request(0), "if-match"), Some("\"*\""));
}

#[tokio::test]
async fn configurations_are_listed_with_and_without_a_limit() {
    let script = Script::play(vec![ok(&format!("[{STORED}]")), ok("[]")]).await;
    let backend = script.backend();

    let some = backend.configurations().list(Some(20)).await.unwrap();
    let all = backend.configurations().list(None).await.unwrap();

    assert_eq!((some[0].id(), all.len()), ("c1", 0));
    assert_eq!(
        line(&script.request(0)),
        "GET /configurations?api-version=2021-04-12&top=20"
    );
    assert_eq!(
        line(&script.request(1)),
        "GET /configurations?api-version=2021-04-12"
    );
}

#[tokio::test]
async fn queries_are_tested_and_metrics_asked() {
    let errors = r#"{"targetConditionError":"position 3","customMetricQueryErrors":{"m":"no"}}"#;
    let good = r#"{"targetConditionError":null,"customMetricQueryErrors":{}}"#;
    let rows = r#"[{"deviceId":"d1"}]"#;
    let script = Script::play(vec![ok(errors), ok(good), ok(STORED), ok(rows)]).await;
    let backend = script.backend();
    let configurations = backend.configurations();

    let bad = configurations
        .test_queries("tags.", &[("m", "x")])
        .await
        .unwrap();
    let none = configurations.test_queries("*", &[]).await.unwrap();
    let configuration = configurations.get("c1").await.unwrap();
    let metric = configurations
        .metric(&configuration, "targetedCount")
        .unwrap();
    let found = metric.collect().await.unwrap();

    assert_eq!(
        bad,
        QueryErrors {
            target_condition: Some("position 3".into()),
            custom_metric_queries: [("m".into(), "no".into())].into(),
        }
    );
    assert!(none.is_empty() && !bad.is_empty());
    assert!(configurations.metric(&configuration, "other").is_none());
    assert_eq!(found, [json!({"deviceId": "d1"})]);
    let request = script.request(0);
    assert_eq!(
        line(&request),
        "POST /configurations/testQueries?api-version=2021-04-12"
    );
    assert_eq!(
        body(&request),
        json!({"targetCondition": "tags.", "customMetricQueries": {"m": "x"}})
    );
    assert_eq!(body(&script.request(3)), json!({"query": "select 1"}));
}

#[tokio::test]
async fn content_is_applied_once() {
    let text = r#"{"Message":"ErrorCode:DeviceNotFound;d1","ExceptionMessage":"t"}"#;
    let script = Script::play(vec![no_content(), answer("404 Not Found", "", text)]).await;
    let backend = script.backend();

    let content = json!({"modulesContent": {}});
    backend
        .configurations()
        .apply_on_device("d1", &content)
        .await
        .unwrap();
    let error = backend
        .configurations()
        .apply_on_device("d1", &content)
        .await
        .unwrap_err();

    assert_eq!(error.code(), Some(ErrorCode::DeviceNotFound));
    let request = script.request(0);
    assert_eq!(
        line(&request),
        "POST /devices/d1/applyConfigurationContent?api-version=2021-04-12"
    );
    assert_eq!(body(&request), content);
}
