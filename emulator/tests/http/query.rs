//! Queries (`spec/service.md` 5.1).

use std::time::Duration;

use iothub_protocol::Clock;
use iothub_protocol::json::parse_object;
use iothub_protocol::sas::sign;
use serde_json::{Value, json};

use super::client::Reply;
use super::hub::{TestHub, VERSION, key};

const ALL: &str = r#"{"query":"SELECT * FROM devices"}"#;
const PAGE_SIZE: &str = "x-ms-max-item-count";
const CONTINUATION: &str = "x-ms-continuation";
const ITEM_TYPE: &str = "x-ms-item-type";

async fn ask(hub: &TestHub, query: &str, headers: &[(&str, &str)]) -> Reply {
    let body = json!({ "query": query }).to_string();
    hub.owner_with("POST /devices/query", headers, &body).await
}

/// Registers devices `d000`, `d001`, ... of this number.
async fn registered(count: usize) -> TestHub {
    let hub = TestHub::new();
    for first in (0..count).step_by(100) {
        let elements: Vec<Value> = (first..count.min(first + 100))
            .map(|n| {
                json!({
                    "id": format!("d{n:03}"),
                    "importMode": "create",
                    "tags": {"parity": n % 2},
                })
            })
            .collect();
        let body = Value::Array(elements).to_string();
        assert_eq!(hub.owner("POST /devices", &body).await.status, 200);
    }
    hub
}

fn ids(reply: &Reply) -> Vec<String> {
    let rows = reply.json();
    let rows = rows.as_array().unwrap_or_else(|| panic!("{reply:?}"));
    let ids = rows.iter().map(|row| row["deviceId"].as_str().unwrap());
    ids.map(str::to_owned).collect()
}

#[tokio::test]
async fn the_header_says_what_the_rows_are() {
    let hub = registered(3).await;
    hub.create("d000/m1").await;

    for (query, item_type, rows) in [
        ("SELECT * FROM devices", "Twin", 3),
        ("select * from devices.modules", "Twin", 1),
        ("SELECT deviceId FROM devices", "Raw", 3),
        ("SELECT COUNT() AS n FROM devices", "Raw", 1),
        (
            "SELECT tags.parity, COUNT() AS n FROM devices GROUP BY tags.parity",
            "Raw",
            2,
        ),
        ("SELECT * FROM devices.jobs", "DeviceJob", 0),
        ("SELECT * FROM devices WHERE false", "Twin", 0),
        ("\n  SELECT * \n FROM devices ;", "Twin", 3),
    ] {
        let reply = ask(&hub, query, &[]).await;

        assert_eq!(
            (reply.status, reply.header(ITEM_TYPE)),
            (200, Some(item_type)),
            "{query}"
        );
        assert_eq!(
            reply.header("content-type"),
            Some("application/json; charset=utf-8"),
            "{query}"
        );
        assert_eq!(reply.header(CONTINUATION), None, "{query}");
        assert_eq!(reply.json().as_array().unwrap().len(), rows, "{query}");
    }
}

#[tokio::test]
async fn a_row_of_everything_is_the_twin_as_its_own_operation_answers_it() {
    let hub = registered(1).await;
    hub.create("d000/m1").await;

    for (query, twin) in [
        ("SELECT * FROM devices", "GET /twins/d000"),
        (
            "SELECT * FROM devices.modules",
            "GET /twins/d000/modules/m1",
        ),
    ] {
        let rows = ask(&hub, query, &[]).await.json();
        let twin = hub.owner(twin, "").await;

        assert_eq!(rows, json!([twin.json()]));
        // Byte for byte, so that the order of members is the same.
        assert_eq!(ask(&hub, query, &[]).await.body, format!("[{}]", twin.body));
    }
}

#[tokio::test]
async fn pages_follow_by_the_token_and_the_last_has_no_header() {
    let hub = registered(5).await;

    for size in ["1", "2", "3", "4", "5", "6"] {
        let mut seen = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut headers = vec![(PAGE_SIZE, size)];
            headers.extend(token.as_deref().map(|token| (CONTINUATION, token)));
            let reply = ask(&hub, "SELECT * FROM devices", &headers).await;
            let page = ids(&reply);

            assert!(page.len() <= size.parse().unwrap());
            assert!(!page.is_empty(), "no page is empty");
            seen.extend(page);
            match reply.header(CONTINUATION) {
                Some(next) => {
                    assert!(!next.is_empty() && next.len() <= 1024);
                    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
                    assert!(next.bytes().all(plain), "{next}");
                    token = Some(next.to_owned());
                }
                None => break,
            }
        }

        assert_eq!(seen, ["d000", "d001", "d002", "d003", "d004"], "{size}");
    }
}

#[tokio::test]
async fn a_page_has_a_hundred_rows_and_of_columns_up_to_a_thousand() {
    let hub = registered(130).await;
    let everything = "SELECT * FROM devices";
    let columns = "SELECT deviceId FROM devices";

    for (query, size, rows) in [
        (everything, None, 100),
        (everything, Some("100"), 100),
        (everything, Some("101"), 100),
        (everything, Some("99999999999999999999999999"), 100),
        (everything, Some(" 7 "), 7),
        (everything, Some(""), 100),
        (columns, None, 100),
        (columns, Some("120"), 120),
        (columns, Some("5000"), 130),
    ] {
        let headers: Vec<_> = size.iter().map(|size| (PAGE_SIZE, *size)).collect();
        let reply = ask(&hub, query, &headers).await;

        assert_eq!(ids(&reply).len(), rows, "{query} {size:?}");
        assert_eq!(
            reply.header(CONTINUATION).is_some(),
            rows < 130,
            "{query} {size:?}"
        );
    }
    for size in ["0", "-1", "+5", "x", "1.5", "0x10", "1e2", "\u{e9}"] {
        let reply = ask(&hub, everything, &[(PAGE_SIZE, size)]).await;
        assert!(
            reply.refusal().starts_with("400 ArgumentInvalid"),
            "{size}: {reply:?}"
        );
    }
}

#[tokio::test]
async fn a_token_is_good_for_its_query_and_as_it_was_given() {
    let hub = registered(3).await;
    let first = ask(&hub, "SELECT * FROM devices", &[(PAGE_SIZE, "1")]).await;
    let token = first.header(CONTINUATION).unwrap();
    let changed = format!("{token}A");

    let cut = &token[..token.len() - 4];
    for (query, token) in [
        ("SELECT deviceId FROM devices", token),
        ("SELECT * FROM devices", &changed),
        ("SELECT * FROM devices", cut),
        ("SELECT * FROM devices", "x"),
        ("SELECT * FROM devices", "%00"),
        ("SELECT * FROM devices", &"A".repeat(3000)),
    ] {
        let reply = ask(&hub, query, &[(CONTINUATION, token)]).await;
        assert!(
            reply.refusal().starts_with("400 ArgumentInvalid"),
            "{token}: {reply:?}"
        );
    }

    // The device it names may be gone by then.
    hub.owner("DELETE /devices/d000", "").await;
    let next = ask(&hub, "SELECT * FROM devices", &[(CONTINUATION, token)]).await;
    assert_eq!(ids(&next), ["d001", "d002"]);
}

#[tokio::test]
async fn refusals_have_their_codes_and_texts() {
    let hub = registered(1).await;
    let long = |count: usize| {
        let text = format!(
            "SELECT * FROM devices WHERE deviceId = '{}'",
            "x".repeat(count)
        );
        json!({ "query": text }).to_string()
    };
    let longest = 8192 - "SELECT * FROM devices WHERE deviceId = ''".len();
    let wide = json!({"query": format!("SELECT * FROM devices WHERE tags.a = '{}'",
        "\u{1f600}".repeat(8192 - "SELECT * FROM devices WHERE tags.a = ''".len()))});

    for (body, expected) in [
        ("{}", "400 ArgumentNull ErrorCode:ArgumentNull;BadRequest"),
        (
            r#"{"query":null}"#,
            "400 ArgumentNull ErrorCode:ArgumentNull;BadRequest",
        ),
        (
            r#"{"query":""}"#,
            "400 ArgumentNull ErrorCode:ArgumentNull;BadRequest",
        ),
        (
            r#"{"query":" \n"}"#,
            "400 ArgumentNull ErrorCode:ArgumentNull;BadRequest",
        ),
        (
            r#"{"query":"SELECT * FROM devices WHERE"}"#,
            "400 ArgumentInvalid ErrorCode:ArgumentInvalid;The query is invalid at position 28: expected a name, found the end",
        ),
        (
            r#"{"query":"SELECT * FROM devices WHERE STARTS_WITH(deviceId,'d')"}"#,
            "400 ArgumentInvalid ErrorCode:ArgumentInvalid;The query is invalid at position 29",
        ),
        (r#"{"query":5}"#, "400 ArgumentInvalid"),
        (r#"{"query":["SELECT"]}"#, "400 ArgumentInvalid"),
        ("[]", "400 ArgumentInvalid"),
        ("SELECT * FROM devices", "400 IotHubFormatError"),
        ("", "400"),
        (&long(longest + 1), "400 ArgumentInvalid"),
        (&long(1_000_000), "400 ArgumentInvalid"),
        (&long(2_000_000), "413 MessageTooLarge"),
    ] {
        let reply = hub.owner("POST /devices/query", body).await;
        assert!(
            reply.refusal().starts_with(expected),
            "{body:.80}: {reply:?}"
        );
        assert_eq!(reply.header(ITEM_TYPE), None);
        assert!(parse_object(reply.body.as_bytes()).is_ok());
    }
    for body in [long(longest), wide.to_string()] {
        let reply = hub.owner("POST /devices/query", &body).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "[]"));
    }
}

#[tokio::test]
async fn the_path_may_be_written_in_other_ways_and_other_verbs_are_not_known() {
    let hub = registered(1).await;

    for path in [
        "/devices/query",
        "/devices/query/",
        "/devices%2Fquery",
        "/devices%2fquery",
    ] {
        let reply = hub.owner(&format!("POST {path}"), ALL).await;
        assert_eq!(ids(&reply), ["d000"], "{path}");
    }
    let put = hub.owner("PATCH /devices/query", ALL).await;
    assert_eq!(put.status, 405);
    let unversioned = hub
        .connect()
        .0
        .request(
            "POST /devices/query",
            &[("Authorization", &hub.token("iothubowner"))],
            ALL,
        )
        .await;
    assert!(
        unversioned
            .refusal()
            .starts_with("400 InvalidProtocolVersion"),
        "{unversioned:?}"
    );
}

#[tokio::test]
async fn only_who_connects_as_a_service_may_ask() {
    let hub = registered(1).await;
    let later = hub.handle.clock().now() + Duration::from_secs(60);
    let own = sign("hub/devices/d000", later, None, &key("d000"));

    for (token, allowed) in [
        (hub.token("iothubowner"), true),
        (hub.token("service"), true),
        (hub.token("registryRead"), false),
        (hub.token("device"), false),
        (own, false),
    ] {
        for body in [ALL, "{", r#"{"query":"nonsense"}"#] {
            let head = format!("POST /devices/query?{VERSION}");
            let headers = [("Authorization", token.as_str()), (PAGE_SIZE, "1")];
            let reply = hub.connect().0.request(&head, &headers, body).await;

            let expected = match (allowed, body) {
                (false, _) => 401,
                (true, ALL) => 200,
                (true, _) => 400,
            };
            assert_eq!(reply.status, expected, "{body}: {reply:?}");
        }
    }
}
