//! `query`.

use serde_json::json;

use crate::served::{Served, text};
use crate::words_and;

#[test]
fn rows_come_over_as_many_pages_as_there_are() {
    let served = Served::start(&[]);
    served.register(150);

    let all = served.json(&words_and("query -q", &["SELECT deviceId FROM devices"]));
    let some = served.json(&words_and(
        "query --top 3 -q",
        &["SELECT deviceId FROM devices WHERE STARTSWITH(deviceId, 'd1')"],
    ));
    let count = served.json(&words_and(
        "query -q",
        &["SELECT COUNT() AS n FROM devices"],
    ));
    let table = served.run(&words_and(
        "query --top 1 -o table -q",
        &["SELECT deviceId, status FROM devices"],
    ));
    let error = served.error(&words_and("query -q", &["SELECT * FROM nowhere"]));

    assert_eq!(all.as_array().map(Vec::len), Some(150));
    assert_eq!(
        some,
        json!([{"deviceId": "d100"}, {"deviceId": "d101"}, {"deviceId": "d102"}])
    );
    assert_eq!(count, json!([{"n": 150}]));
    let expected = "deviceId  status\n--------  ------\nd100      enabled\n";
    assert_eq!(text(&table.stdout), expected);
    assert!(error.contains("ArgumentInvalid (400004)"), "{error}");
}
