//! Many identities at once, new keys, and the edge hierarchy.

use iothub_backend::{ErrorCode, ErrorKind, IdentitySpec, IfMatch, KeyKind};
use iothub_testkit::TestHub;

/// Registers devices with keys.
pub(super) async fn register(hub: &TestHub, devices: &[&str]) {
    let all: Vec<_> = devices
        .iter()
        .map(|&device| (device, IdentitySpec::default()))
        .collect();
    let outcome = hub.backend().registry().add_all(&all).await.unwrap();
    assert!(outcome.is_successful(), "{outcome:?}");
}

fn edge() -> IdentitySpec {
    IdentitySpec {
        iot_edge: true,
        ..IdentitySpec::default()
    }
}

#[tokio::test]
async fn many_are_registered_changed_and_removed() {
    let hub = TestHub::start().await;
    let registry = hub.backend().registry();
    register(&hub, &["a", "b"]).await;

    let again = [
        ("a", IdentitySpec::default()),
        ("c", IdentitySpec::default()),
    ];
    let outcome = registry.add_all(&again).await.unwrap();
    let etag = registry.device("a").await.unwrap().etag;
    let conditional = IdentitySpec {
        status_reason: Some("why".into()),
        etag: Some(etag),
        ..IdentitySpec::default()
    };
    let changed = registry
        .update_all(&[("a", conditional.clone())])
        .await
        .unwrap();
    let stale = registry.update_all(&[("a", conditional)]).await.unwrap();
    let gone = [("b", IfMatch::Any), ("c", IfMatch::ETag("AAAA".into()))];
    let removed = registry.remove_all(&gone).await.unwrap();

    assert_eq!(outcome.failures.len(), 1);
    assert_eq!(
        outcome.failures[0].code,
        Some(ErrorCode::DeviceAlreadyExists)
    );
    assert!(changed.is_successful());
    assert_eq!(
        registry.device("a").await.unwrap().status_reason.as_deref(),
        Some("why")
    );
    assert_eq!(stale.failures[0].code, Some(ErrorCode::PreconditionFailed));
    assert_eq!(
        removed.failures[0].code,
        Some(ErrorCode::PreconditionFailed)
    );
    let left: Vec<_> = registry.devices(10).await.unwrap();
    let left: Vec<_> = left
        .iter()
        .map(|device| device.device_id.as_str())
        .collect();
    assert_eq!(left, ["a", "c"]);
}

#[tokio::test]
async fn new_keys_are_made_and_exchanged() {
    let hub = TestHub::start().await;
    let registry = hub.backend().registry();
    register(&hub, &["d1"]).await;
    registry
        .create_module("d1/m1", &IdentitySpec::default())
        .await
        .unwrap();
    let before = registry.device("d1").await.unwrap().authentication;

    let rotation = registry
        .regenerate_keys(KeyKind::Secondary, &["d1", "d1/m1", "nobody"])
        .await
        .unwrap();
    let after = registry.device("d1").await.unwrap().authentication;
    let swapped = registry
        .swap_device_keys("d1")
        .await
        .unwrap()
        .authentication;

    assert_eq!(rotation.rotated.len(), 2);
    assert_eq!(rotation.failures[0].device_id, "nobody");
    assert_eq!(rotation.failures[0].code, Some(ErrorCode::DeviceNotFound));
    let keys = |authentication| match authentication {
        iothub_backend::Authentication::Sas { primary, secondary } => {
            (primary.to_base64(), secondary.to_base64())
        }
        other => panic!("{other:?}"),
    };
    let (before, after, swapped) = (keys(before), keys(after), keys(swapped));
    assert_eq!(before.0, after.0);
    assert_ne!(before.1, after.1);
    assert_eq!(rotation.rotated[0].secondary_key, after.1);
    assert_eq!(swapped, (after.1, after.0));
}

#[tokio::test]
async fn devices_move_between_edge_devices() {
    let hub = TestHub::start().await;
    let registry = hub.backend().registry();
    registry.create_device("e1", &edge()).await.unwrap();
    registry.create_device("e2", &edge()).await.unwrap();
    register(&hub, &["l1", "l2"]).await;

    registry.set_parent("l1", "e1").await.unwrap();
    registry.set_parent("l2", "e1").await.unwrap();
    registry.set_parent("e2", "e1").await.unwrap();
    registry.set_parent("l2", "e2").await.unwrap();
    let first = registry.children("e1").await.unwrap();
    let second = registry.children("e2").await.unwrap();
    let parent = registry.parent("l2").await.unwrap().unwrap();
    registry.remove_parent("l1").await.unwrap();
    let refused = registry.set_parent("l1", "l2").await.unwrap_err();

    assert_eq!(
        (first, second),
        (vec!["e2".into(), "l1".into()], vec!["l2".to_owned()])
    );
    assert_eq!(parent.device_id.as_str(), "e2");
    assert_eq!(registry.parent("l1").await.unwrap(), None);
    assert_eq!(registry.children("l1").await.unwrap(), Vec::<String>::new());
    assert!(
        matches!(refused.kind(), ErrorKind::Unsuitable(_)),
        "{refused}"
    );
}
