//! Queries and conditions of any text over any twins: nothing panics, and pages are all the rows.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "fixture/mod.rs"]
mod fixture;

use iothub_hub::{
    Condition, Hub, PackedTwin, PageRequest, Query, QuerySnapshot, RouteCondition, RouteSubject,
    Twin,
};
use iothub_protocol::ErrorCode;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Number, Value};

use fixture::{Fixture, fixture, spec};

/// What texts are made of, so that many of them can be read.
const WORDS: &[&str] = &[
    "SELECT",
    "TOP",
    "FROM",
    "WHERE",
    "GROUP BY",
    "AND",
    "OR",
    "NOT",
    "IN",
    "NIN",
    "AS",
    "*",
    "(",
    ")",
    "[",
    "]",
    "[[",
    "]]",
    ",",
    ".",
    ";",
    "=",
    "!=",
    "<>",
    "<",
    "<=",
    ">",
    ">=",
    "+",
    "-",
    "/",
    "%",
    "'",
    "\"",
    "\\",
    "--",
    "/*",
    "*/",
    "devices",
    "devices.modules",
    "devices.jobs",
    "deviceId",
    "moduleId",
    "tags",
    "tags.a",
    "tags.a.b",
    "tags.a[0]",
    "tags.a['b']",
    "properties.reported.a",
    "properties.desired.$version",
    "properties.reported.$metadata.a.$lastUpdated",
    "capabilities",
    "parentScopes",
    "configurations.[[c]].status",
    "$body.a",
    "$body",
    "$twin.tags.a",
    "COUNT()",
    "AVG(tags.a)",
    "SUM(tags.a)",
    "MIN(tags.a)",
    "MAX(tags.a)",
    "is_defined(tags.a)",
    "STARTSWITH",
    "STARTS_WITH",
    "ARRAY_CONTAINS",
    "SUBSTRING",
    "CONCAT",
    "INDEX_OF",
    "POWER",
    "AS_NUMBER",
    "LENGTH",
    "ABS",
    "true",
    "false",
    "null",
    "undefined",
    "0",
    "1",
    "-1",
    "1.5",
    "1e308",
    "0x1f",
    "99999999999999999999",
    "'d1'",
    "'é'",
    "'\\u0041'",
    "'10'",
    "\u{1f600}",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        vec(select(WORDS), 0..24).prop_map(|words| words.join(" ")),
        vec(select(WORDS), 0..24).prop_map(|words| words.concat()),
        expression().prop_map(|condition| format!("SELECT * FROM devices WHERE {condition}")),
    ]
}

/// Conditions that can be read.
fn expression() -> impl Strategy<Value = String> {
    let value = select(vec![
        "tags.a",
        "tags.b",
        "tags.a.b",
        "tags.a[0]",
        "tags.a[1].b",
        "tags",
        "deviceId",
        "status",
        "properties.reported.a",
        "properties.reported.b",
        "properties.desired.$version",
        "parentScopes",
        "lastActivityTime",
        "nothing",
        "1",
        "0",
        "-2.5",
        "1e300",
        "'a'",
        "''",
        "true",
        "false",
        "null",
        "undefined",
        "['a', 1, null]",
    ]);
    value
        .prop_map(str::to_owned)
        .prop_recursive(5, 48, 3, |inner| {
            let sign = select(vec![
                "=", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "AND", "OR",
            ]);
            let one = select(vec![
                "NOT",
                "-",
                "ABS",
                "SQRT",
                "LENGTH",
                "UPPER",
                "AS_NUMBER",
                "IS_NULL",
                "IS_STRING",
                "EXP",
                "SIGN",
                "CEILING",
            ]);
            let two = select(vec![
                "STARTSWITH",
                "ENDSWITH",
                "CONTAINS",
                "ARRAY_CONTAINS",
                "CONCAT",
                "POWER",
                "INDEX_OF",
                "SUBSTRING",
            ]);
            prop_oneof![
                (inner.clone(), sign, inner.clone()).prop_map(|(l, s, r)| format!("({l} {s} {r})")),
                (one, inner.clone()).prop_map(|(f, of)| format!("({f}({of}))")),
                (two, inner.clone(), inner.clone()).prop_map(|(f, l, r)| format!("{f}({l}, {r})")),
                (inner.clone(), inner.clone(), inner.clone())
                    .prop_map(|(t, s, l)| format!("SUBSTRING({t}, {s}, {l})")),
                inner.prop_map(|of| format!("({of} IN ['a', 1, -2.5, true, null])")),
            ]
        })
}

/// Members of a twin's section, named so that the expressions meet them.
fn section() -> impl Strategy<Value = Map<String, Value>> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-10..10).prop_map(Value::from),
        any::<f64>().prop_map(|it| Number::from_f64(it).map_or(Value::from(0), Value::from)),
        select(vec!["", "a", "b", "10", "é\u{1f600}"]).prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            btree_map(select(vec!["a", "b"]), inner, 0..3).prop_map(|members| {
                let members = members.into_iter().map(|(name, it)| (name.to_owned(), it));
                Value::Object(members.collect())
            }),
        ]
    });
    btree_map(select(vec!["a", "b", "c"]), value, 0..4).prop_map(|members| {
        let members = members.into_iter().map(|(name, it)| (name.to_owned(), it));
        members.collect()
    })
}

/// Tags and reported properties.
type Sections = (Map<String, Value>, Map<String, Value>);

/// Devices with these, every third with a module.
fn hub_of(twins: &[Sections]) -> Fixture {
    let mut f = fixture();
    for (n, (tags, reported)) in twins.iter().enumerate() {
        let id = format!("d{n}");
        f.put(&id, spec(&Value::Object(Map::new()))).0.unwrap();
        let patch = serde_json::json!({ "tags": tags });
        f.patch(&id, &patch).0.unwrap();
        if n % 3 == 0 {
            f = f.module(&format!("{id}/m"));
        }
        let session = f.connect(&id);
        f.run(|hub, cx| hub.patch_reported(cx, session, reported, None))
            .0
            .unwrap();
    }
    f
}

/// Every row, page by page; `size` of `None` is what the hub gives.
fn pages(query: &Query, snapshot: &QuerySnapshot, size: Option<usize>) -> Vec<Value> {
    let mut request = PageRequest {
        size,
        continuation: None,
    };
    let mut all = Vec::new();
    loop {
        let page = query.run(snapshot, &request).unwrap();
        assert!(page.items.len() <= size.unwrap_or(100));
        assert!(!page.items.is_empty() || page.continuation.is_none());
        all.extend(page.items);
        match page.continuation {
            Some(token) => request.continuation = Some(token),
            None => return all,
        }
    }
}

fn route_subject_of(f: &mut Fixture, message: &str) -> (iothub_hub::Event, Option<Twin>) {
    let session = f.connect("d0");
    let properties = "%24.ct=application%2Fjson&%24.ce=utf-8&a=1&b=x&tags=2";
    let message = iothub_protocol::Message {
        properties: iothub_protocol::property_bag::PropertyBag::from_encoded(properties).unwrap(),
        body: message.to_owned().into(),
    };
    let (_, outcome) = f.run(|hub, cx| hub.ingest(cx, session, vec![message]));
    let event = outcome.changes.iter().find_map(|change| match change {
        iothub_hub::Change::AppendEvents(events) => events.first().cloned(),
        _ => None,
    });
    (event.unwrap(), None)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_text_is_read_or_refused(text in text()) {
        for parsed in [
            Query::parse(&text, false).map(drop),
            Query::parse(&text, true).map(drop),
            Condition::parse(&text).map(drop),
            RouteCondition::parse(&text).map(drop),
            Hub::check_query(&text),
        ] {
            if let Err(error) = parsed {
                prop_assert_eq!(error.code, ErrorCode::ArgumentInvalid);
                // However long the text is, it is not told back.
                prop_assert!(error.detail.len() < 4 * text.len() + 200);
            }
        }
    }

    #[test]
    fn what_can_be_read_can_be_asked(
        text in text(),
        twins in vec((section(), section()), 1..4),
    ) {
        let mut f = hub_of(&twins);
        if let Ok(query) = Query::parse(&text, false) {
            let snapshot = f.hub.query_snapshot(&f.operator).unwrap();
            query.run(&snapshot, &PageRequest::default()).unwrap();
        }
        if let Ok(condition) = RouteCondition::parse(&text) {
            let body = Value::Object(twins[0].0.clone()).to_string();
            let (event, twin) = route_subject_of(&mut f, &body);
            let twin = twin.as_ref().map(PackedTwin::pack);
            condition.matches(&RouteSubject { event: &event, twin: twin.as_ref() });
        }
    }

    #[test]
    fn expressions_are_true_false_or_undefined_whatever_the_twin(
        condition in expression(),
        twins in vec((section(), section()), 1..6),
    ) {
        let f = hub_of(&twins);
        let snapshot = f.hub.query_snapshot(&f.operator).unwrap();
        let ids = |condition: String| {
            let text = format!("SELECT deviceId FROM devices WHERE {condition}");
            let query = Query::parse(&text, false).unwrap_or_else(|it| panic!("{text}: {it}"));
            pages(&query, &snapshot, None)
        };
        // A condition is never true together with its opposite, and both have their rows at most.
        let (yes, no) = (ids(condition.clone()), ids(format!("NOT {condition}")));
        prop_assert!(yes.iter().all(|row| !no.contains(row)));
        prop_assert_eq!(ids(format!("{condition} AND {condition}")).len(), yes.len());
        prop_assert_eq!(ids(format!("{condition} OR NOT {condition}")).len(), yes.len() + no.len());
        // A narrower look at the ids finds no others.
        let narrowed = ids(format!("{condition} AND deviceId IN ['d0', 'd2']"));
        let expected: Vec<_> = yes
            .into_iter()
            .filter(|row| row["deviceId"] == "d0" || row["deviceId"] == "d2")
            .collect();
        prop_assert_eq!(narrowed, expected);
    }

    #[test]
    fn pages_together_are_all_rows(
        twins in vec((section(), section()), 0..12),
        size in 1..8usize,
        top in proptest::option::of(0..15usize),
        what in select(vec![
            "* FROM devices",
            "* FROM devices.modules",
            "deviceId, tags FROM devices WHERE is_defined(tags.a)",
            "* FROM devices WHERE startswith(deviceId, 'd1')",
            "* FROM devices WHERE deviceId IN ['d3', 'd1', 'd1', 'd10']",
            "tags.a, COUNT() AS n FROM devices GROUP BY tags.a",
            "deviceId, moduleId FROM devices.modules WHERE deviceId != 'd0'",
            "COUNT() AS n FROM devices",
        ]),
    ) {
        let f = hub_of(&twins);
        let snapshot = f.hub.query_snapshot(&f.operator).unwrap();
        let whole = Query::parse(&format!("SELECT {what}"), false).unwrap();
        let all = pages(&whole, &snapshot, None);
        let (query, wanted) = match top {
            Some(top) => (Query::parse(&format!("SELECT TOP {top} {what}"), false).unwrap(), top),
            None => (whole, usize::MAX),
        };

        let paged = pages(&query, &snapshot, Some(size));

        prop_assert_eq!(&paged[..], &all[..all.len().min(wanted)]);
    }
}
