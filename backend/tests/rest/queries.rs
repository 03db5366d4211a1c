//! Queries and their pages.

use iothub_backend::{ErrorCode, ErrorKind};
use serde_json::json;

use crate::script::{Script, answer, body, header, line};

#[tokio::test]
async fn pages_are_followed_to_the_last() {
    let more = "x-ms-item-type: Raw\r\nx-ms-continuation: t+/=\r\n";
    let script = Script::play(vec![
        answer("200 OK", more, r#"[{"n":1},{"n":2}]"#),
        answer("200 OK", "x-ms-item-type: Raw\r\n", r#"[{"n":3}]"#),
    ])
    .await;

    let backend = script.backend();
    let mut query = backend.query("SELECT n FROM devices").page_size(2);
    let mut rows = Vec::new();
    while let Some(row) = query.next().await.unwrap() {
        rows.push(row);
    }

    assert_eq!(rows, [json!({"n": 1}), json!({"n": 2}), json!({"n": 3})]);
    assert_eq!(query.next().await.unwrap(), None);
    let (first, second) = (script.request(0), script.request(1));
    for request in [&first, &second] {
        assert_eq!(line(request), "POST /devices/query?api-version=2021-04-12");
        assert_eq!(body(request), json!({"query": "SELECT n FROM devices"}));
        assert_eq!(header(request, "x-ms-max-item-count"), Some("2"));
    }
    assert_eq!(header(&first, "x-ms-continuation"), None);
    assert_eq!(header(&second, "x-ms-continuation"), Some("t+/="));
}

#[tokio::test]
async fn page_tells_its_type_and_where_to_go_on() {
    let more = "x-ms-item-type: Twin\r\nx-ms-continuation: t\r\n";
    let script = Script::play(vec![
        answer("200 OK", more, "[]"),
        answer("200 OK", "x-ms-continuation: \r\n", "[{}]"),
    ])
    .await;
    let backend = script.backend();

    let page = backend.query("q").next_page().await.unwrap().unwrap();
    let continuation = page.continuation.unwrap();
    let mut rest = backend.query("q").continue_from(&continuation);
    let last = rest.next_page().await.unwrap().unwrap();

    assert_eq!((page.item_type.as_str(), page.items.len()), ("Twin", 0));
    // An empty header is as good as none.
    assert_eq!((last.continuation, last.items.len()), (None, 1));
    assert_eq!(rest.next_page().await.unwrap(), None);
    assert_eq!(header(&script.request(1), "x-ms-continuation"), Some("t"));
}

#[tokio::test]
async fn empty_page_is_not_the_end() {
    let script = Script::play(vec![
        answer("200 OK", "x-ms-continuation: t\r\n", "[]"),
        answer("200 OK", "", r#"[{"deviceId":"d1","tags":{"a":1}}]"#),
    ])
    .await;

    let twins = script.backend().query("q").collect_twins().await.unwrap();

    assert_eq!(twins.len(), 1);
    assert_eq!((twins[0].device_id(), twins[0].module_id()), ("d1", None));
    assert_eq!(twins[0].tags()["a"], 1);
}

#[tokio::test]
async fn query_that_the_hub_does_not_understand_is_refused() {
    let text = r#"{"Message":"ErrorCode:ArgumentInvalid;BadRequest","ExceptionMessage":"t"}"#;
    let script = Script::play(vec![answer("400 Bad Request", "", text)]).await;

    let error = script.backend().query("SELECT").next().await.unwrap_err();

    assert_eq!(error.code(), Some(ErrorCode::ArgumentInvalid));
}

#[tokio::test]
async fn row_that_is_no_object_is_no_twin() {
    let script = Script::play(vec![
        answer("200 OK", "", "[7]"),
        answer("200 OK", "", "{}"),
    ])
    .await;
    let backend = script.backend();

    let row = backend.query("q").next_twin().await.unwrap_err();
    let page = backend.query("q").next_page().await.unwrap_err();

    for error in [row, page] {
        assert!(
            matches!(error.kind(), ErrorKind::UnexpectedAnswer(_)),
            "{error}"
        );
    }
}
