//! Twins (`spec/service.md` 3).

use iothub_hub::Delivery;
use serde_json::json;

use super::hub::TestHub;

#[tokio::test]
async fn a_twin_is_read_patched_and_replaced() {
    let hub = TestHub::new();
    hub.create("d1").await;

    let fresh = hub.owner("GET /twins/d1", "").await;
    assert_eq!((fresh.status, fresh.etag().as_str()), (200, "AAAAAAAAAAE="));
    assert_eq!(fresh.json()["etag"], "AAAAAAAAAAE=");
    assert_eq!(fresh.json()["version"], 2);

    let patch = r#"{"tags":{"a":1,"b":2},"properties":{"desired":{"x":1,"y":2}}}"#;
    let patched = hub.owner("PATCH /twins/d1", patch).await;
    assert_eq!(patched.json()["tags"], json!({"a": 1, "b": 2}));
    assert_eq!(patched.json()["properties"]["desired"]["x"], 1);
    assert_eq!(patched.etag(), "AAAAAAAAAAI=");

    let replaced = hub
        .owner("PUT /twins/d1", r#"{"properties":{"desired":{"z":3}}}"#)
        .await;
    assert_eq!(replaced.json()["tags"], json!({"a": 1, "b": 2}));
    assert_eq!(replaced.json()["properties"]["desired"]["z"], 3);
    assert_eq!(replaced.json()["properties"]["desired"].get("x"), None);
    assert_eq!(replaced.json()["properties"]["desired"]["$version"], 3);
}

#[tokio::test]
async fn a_patch_may_come_as_a_post() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let header = ("X-HTTP-Method-Override", "PATCH");

    let patched = hub
        .owner_with("POST /twins/d1", &[header], r#"{"tags":{"a":1}}"#)
        .await;
    let plain = hub.owner("POST /twins/d1", "{}").await;

    assert_eq!(
        (patched.status, &patched.json()["tags"]),
        (200, &json!({"a": 1}))
    );
    assert_eq!(
        (plain.status, plain.header("iothub-errorcode")),
        (405, Some("GenericMethodNotAllowed"))
    );
}

#[tokio::test]
async fn a_stale_etag_is_refused_and_a_quoted_star_is_not() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let patch = |if_match: &'static str| {
        let hub = &hub;
        async move {
            hub.owner_with(
                "PATCH /twins/d1",
                &[("If-Match", if_match)],
                r#"{"tags":{"a":1}}"#,
            )
            .await
        }
    };

    assert_eq!(patch("\"*\"").await.status, 200);
    assert_eq!(patch("\"AAAAAAAAAAI=\"").await.status, 200);
    let stale = patch("\"AAAAAAAAAAI=\"").await;

    assert_eq!(
        (stale.status, stale.header("iothub-errorcode")),
        (412, Some("PreconditionFailed"))
    );
    assert_eq!(hub.owner("GET /twins/d1", "").await.etag(), "AAAAAAAAAAM=");
}

#[tokio::test]
async fn a_change_reaches_the_device() {
    let hub = TestHub::new();
    hub.create("d1").await;
    hub.create("d1/m1").await;
    let module = hub.attach("d1/m1").await;

    let body = r#"{"properties":{"desired":{"x":1}}}"#;
    let reply = hub.owner("PATCH /twins/d1/modules/m1", body).await;

    assert_eq!(
        (reply.status, &reply.json()["moduleId"]),
        (200, &json!("m1"))
    );
    let Delivery::DesiredChanged { version, patch } = module.delivery().await else {
        panic!("not a change of desired properties");
    };
    assert_eq!((version, &patch[..]), (2, &br#"{"x":1,"$version":2}"#[..]));
}
