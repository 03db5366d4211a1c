//! Configurations and edge deployments.

use iothub_backend::{Configuration, ErrorCode, IdentitySpec, IfMatch};
use iothub_testkit::TestHub;
use serde_json::json;

use super::identities::register;

#[tokio::test]
async fn configuration_sets_measures_and_takes_back() {
    let hub = TestHub::start().await;
    register(&hub, &["d1", "d2"]).await;
    let backend = hub.backend();
    backend
        .twins()
        .patch("d1", &json!({"tags": {"site": "A"}}), &IfMatch::Any)
        .await
        .unwrap();

    let configuration = Configuration::new("c1")
        .with_device_content(&json!({"properties.desired.chiller": {"temp": 66}}))
        .with_target_condition("tags.site='A'")
        .with_priority(10)
        .with_metric(
            "mine",
            "SELECT deviceId FROM devices WHERE is_defined(tags.site)",
        );
    let configurations = backend.configurations();
    let created = configurations.create(&configuration).await.unwrap();
    let twice = configurations.create(&configuration).await.unwrap_err();
    let found = configurations.get("c1").await.unwrap();
    let applied = configurations
        .metric(&found, "appliedCount")
        .unwrap()
        .collect()
        .await
        .unwrap();
    let set = backend.twins().get("d1").await.unwrap();
    let stale = configurations
        .update(
            &found.clone().with_priority(11),
            &IfMatch::ETag("AAAA".into()),
        )
        .await
        .unwrap_err();
    let etag = IfMatch::ETag(found.etag().into());
    let moved = found.clone().with_target_condition("tags.site='B'");
    configurations.update(&moved, &etag).await.unwrap();
    let taken = backend.twins().get("d1").await.unwrap();

    assert_eq!((created.id(), created.priority()), ("c1", 10));
    assert_eq!(twice.code(), Some(ErrorCode::ConfigurationAlreadyExists));
    assert_eq!(found.metric_result("mine"), Some(1));
    assert_eq!(found.system_metric_result("targetedCount"), Some(1));
    assert_eq!(applied, [json!({"deviceId": "d1"})]);
    assert_eq!(set.desired()["chiller"]["temp"], 66);
    assert_eq!(stale.code(), Some(ErrorCode::PreconditionFailed));
    assert_eq!(taken.desired().get("chiller"), None);
    assert_eq!(configurations.list(None).await.unwrap().len(), 1);
    configurations.delete("c1", &IfMatch::Any).await.unwrap();
    let gone = configurations.get("c1").await.unwrap_err();
    assert_eq!(gone.code(), Some(ErrorCode::ConfigurationNotFound));
}

#[tokio::test]
async fn queries_are_tested_without_making_anything() {
    let hub = TestHub::start().await;
    let configurations = hub.backend().configurations();

    let good = configurations
        .test_queries("*", &[("n", "SELECT * FROM devices")])
        .await
        .unwrap();
    let bad = configurations
        .test_queries("tags.", &[("n", "SELECT")])
        .await
        .unwrap();

    assert!(good.is_empty(), "{good:?}");
    assert!(bad.target_condition.is_some());
    assert!(bad.custom_metric_queries.contains_key("n"), "{bad:?}");
    assert!(configurations.list(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn content_is_applied_to_an_edge_device_once() {
    let hub = TestHub::start().await;
    let backend = hub.backend();
    let edge = IdentitySpec {
        iot_edge: true,
        ..IdentitySpec::default()
    };
    backend.registry().create_device("e1", &edge).await.unwrap();

    let content = json!({"modulesContent": {
        "$edgeAgent": {"properties.desired": {"schemaVersion": "1.0", "modules": {}}},
        "$edgeHub": {"properties.desired": {"schemaVersion": "1.0", "routes": {}}},
    }});
    backend
        .configurations()
        .apply_on_device("e1", &content)
        .await
        .unwrap();
    let missing = backend
        .configurations()
        .apply_on_device("e2", &content)
        .await
        .unwrap_err();

    let twin = backend.twins().get("e1/$edgeAgent").await.unwrap();
    assert_eq!(twin.desired()["schemaVersion"], "1.0");
    assert_eq!(missing.code(), Some(ErrorCode::DeviceNotFound));
}
