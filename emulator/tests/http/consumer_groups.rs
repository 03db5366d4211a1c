//! `/_emulator/consumer-groups`.

use serde_json::json;

use crate::hub::TestHub;

#[tokio::test]
async fn groups_are_made_listed_shown_and_deleted() {
    let hub = TestHub::new();

    let made = hub.control("PUT consumer-groups/Readers", "").await;
    let again = hub.control("PUT consumer-groups/readers", "{}").await;
    let shown = hub.control("GET consumer-groups/READERS", "").await;
    let default = hub.control("GET consumer-groups/$Default", "").await;
    let listed = hub.control("GET consumer-groups", "").await;

    assert_eq!(made.status, 200, "{made:?}");
    assert_eq!(
        made.json(),
        json!({
            "name": "Readers",
            "type": "Microsoft.Devices/IotHubs/EventHubEndpoints/ConsumerGroups",
            "etag": null,
            "properties": {"created": "Thu, 14 Mar 2024 09:54:49 GMT"},
        })
    );
    assert_eq!(again.json(), made.json());
    assert_eq!(shown.json(), made.json());
    assert_eq!(
        listed.json(),
        json!({"value": [default.json(), made.json()]})
    );
    let deleted = hub.control("DELETE consumer-groups/readers", "").await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    for gone in [
        "GET consumer-groups/Readers",
        "DELETE consumer-groups/Readers",
    ] {
        assert_eq!(hub.control(gone, "").await.status, 404, "{gone}");
    }
}

#[tokio::test]
async fn what_is_no_name_or_stays_is_refused() {
    let hub = TestHub::new();

    for (request, status) in [
        ("PUT consumer-groups/a%20b", 400),
        ("PUT consumer-groups/$Other", 400),
        ("DELETE consumer-groups/$Default", 400),
        ("POST consumer-groups/a", 405),
    ] {
        let refused = hub.control(request, "").await;
        assert_eq!(refused.status, status, "{request}: {refused:?}");
    }
}
