//! Queries: the example corpus of the reference, and the rules of evaluation
//! (`spec/service.md` 5.2 to 5.5).

use iothub_hub::{Condition, End, Hub, ItemType, Page, PageRequest, Query};
use iothub_protocol::ErrorCode;
use serde_json::{Value, json};

use crate::fixture::{Fixture, fixture, object, spec};

/// The fixture of `spec/service.md` 5.4, without its job and configuration.
fn corpus() -> Fixture {
    let mut f = fixture()
        .device("d1")
        .device("d2")
        .device("d3")
        .module("d1/m1");
    let put = |f: &mut Fixture, id: &str, body: Value| f.put(id, spec(&body)).0.unwrap();
    put(&mut f, "e1", json!({"capabilities": {"iotEdge": true}}));
    let scope = f.identity("e1").device_scope;
    put(&mut f, "l1", json!({"deviceScope": scope}));
    for (id, patch) in [
        (
            "d1",
            json!({"tags": {"site": "A", "floor": 1}, "properties": {"desired": {"rate": 5}}}),
        ),
        ("d2", json!({"tags": {"site": "A", "floor": 2}})),
        ("d3", json!({"tags": {"site": "B", "group": "g1"}})),
    ] {
        f.patch(id, &patch).0.unwrap();
    }
    for (id, reported) in [
        ("d1", json!({"fw": "1.0", "temp": 20})),
        ("d2", json!({"fw": "2.0", "temp": 30.5})),
        ("d1/m1", json!({"status": "scanning"})),
    ] {
        let session = f.connect(id);
        let patch = object(reported);
        f.run(|hub, cx| hub.patch_reported(cx, session, &patch, None))
            .0
            .unwrap();
        if id != "d1" {
            f.disconnect(session, End::Goodbye);
        }
    }
    f.update("d2", spec(&json!({"status": "disabled"})))
        .0
        .unwrap();
    f
}

fn run(f: &Fixture, text: &str) -> Result<Page, iothub_protocol::Error> {
    let snapshot = f.hub.query_snapshot(&f.operator)?;
    Query::parse(text, false)?.run(&snapshot, &PageRequest::default())
}

fn rows(f: &Fixture, text: &str) -> Vec<Value> {
    run(f, text)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
        .items
}

/// The ids of the rows, modules with their devices.
fn ids(f: &Fixture, text: &str) -> String {
    let ids = rows(f, text).into_iter().map(|row| {
        let id = row["deviceId"].as_str().unwrap().to_owned();
        match row["moduleId"].as_str() {
            Some(module) => format!("{id}/{module}"),
            None => id,
        }
    });
    ids.collect::<Vec<_>>().join(",")
}

#[test]
fn the_examples_of_the_reference_select_what_it_says() {
    let f = corpus();
    let scope = f.identity("e1").device_scope.unwrap();
    let array_contains =
        format!("select deviceId from devices where array_contains(parentScopes, '{scope}')");
    let listed = "\n  SELECT deviceId as DeviceId, status as Status, lastActivityTime as L,\n statusUpdatedTime as S, authenticationType as A, cloudToDeviceMessageCount as C,\n capabilities.iotEdge as E, modelId as M, tags as T FROM devices\n WHERE (capabilities.iotEdge=true AND status='enabled')";
    for (text, expected) in [
        ("SELECT * FROM devices", "d1,d2,d3,e1,l1"),
        ("select * from devices", "d1,d2,d3,e1,l1"),
        ("SELECT TOP 2 * FROM devices", "d1,d2"),
        ("SELECT * FROM devices WHERE deviceId = 'd1'", "d1"),
        ("SELECT * FROM devices WHERE deviceId = 'D1'", ""),
        (
            "SELECT * FROM devices WHERE deviceId IN ['d1','d2']",
            "d1,d2",
        ),
        (
            "SELECT * FROM devices WHERE deviceId NIN ['d1','d2']",
            "d3,e1,l1",
        ),
        (
            "SELECT * FROM devices WHERE NOT deviceId IN ['d1']",
            "d2,d3,e1,l1",
        ),
        (
            "SELECT * FROM devices WHERE deviceId NOT IN ['d1']",
            "d2,d3,e1,l1",
        ),
        ("SELECT * FROM devices WHERE tags.site = 'A'", "d1,d2"),
        ("SELECT * FROM devices WHERE tags.site = \"A\"", "d1,d2"),
        ("SELECT * FROM devices WHERE tags.site != 'A'", "d3"),
        ("SELECT * FROM devices WHERE tags.site <> 'A'", "d3"),
        ("SELECT * FROM devices WHERE NOT tags.site = 'A'", "d3"),
        (
            "SELECT * FROM devices WHERE NOT is_defined(tags.site)",
            "e1,l1",
        ),
        (
            "SELECT * FROM devices WHERE is_defined(properties.reported.fw)",
            "d1,d2",
        ),
        (
            "SELECT * FROM devices WHERE properties.reported.temp >= 25",
            "d2",
        ),
        (
            "SELECT * FROM devices WHERE properties.reported.temp > '25'",
            "",
        ),
        (
            "SELECT * FROM devices WHERE properties.reported.temp + 5 = 25",
            "d1",
        ),
        ("SELECT * FROM devices WHERE tags.floor % 2 = 0", "d2"),
        ("SELECT * FROM devices WHERE tags.floor = 0x1", "d1"),
        (
            "SELECT * FROM devices WHERE tags.site = 'A' AND properties.reported.temp >= 25",
            "d2",
        ),
        (
            "SELECT * FROM devices WHERE tags.site = 'B' OR tags.floor = 1 AND status = 'enabled'",
            "d1,d3",
        ),
        (
            "SELECT * FROM devices WHERE (tags.site = 'B' OR tags.floor = 1) AND status = 'disabled'",
            "",
        ),
        (
            "SELECT * FROM devices WHERE capabilities.iotEdge = true",
            "e1",
        ),
        (
            "SELECT * FROM devices WHERE capabilities.iotEdge=false",
            "d1,d2,d3,l1",
        ),
        (
            "SELECT * FROM devices WHERE connectionState = 'Connected'",
            "d1",
        ),
        (
            "SELECT * FROM devices WHERE STARTSWITH(deviceId, 'd')",
            "d1,d2,d3",
        ),
        (
            "SELECT * FROM devices WHERE STARTSWITH(devices.deviceId, 'd')",
            "d1,d2,d3",
        ),
        (
            "SELECT * FROM devices d WHERE startswith(d.id, 'd')",
            "d1,d2,d3",
        ),
        (
            "SELECT * FROM devices WHERE not startswith(deviceId, 'd') and not startswith(deviceId, 'e')",
            "l1",
        ),
        (
            "SELECT * FROM devices WHERE ENDSWITH(deviceId,'1')",
            "d1,e1,l1",
        ),
        (&array_contains, "l1"),
        ("SELECT * FROM devices WHERE tags.[[group]] = 'g1'", "d3"),
        (
            "SELECT * FROM devices WHERE configurations.[[c1]].status = 'Applied'",
            "",
        ),
        (
            "SELECT * FROM devices WHERE properties.desired.$version > 1",
            "d1",
        ),
        ("SELECT * FROM devices WHERE tags.site = undefined", ""),
        (
            "SELECT * FROM devices WHERE properties.desired = properties.reported",
            "",
        ),
        (
            "SELECT * FROM devices.modules",
            "d1/m1,e1/$edgeAgent,e1/$edgeHub",
        ),
        (
            "SELECT * FROM devices.modules WHERE deviceId in ['d1']",
            "d1/m1",
        ),
        (
            "select * from devices.modules where devices.deviceId='e1'",
            "e1/$edgeAgent,e1/$edgeHub",
        ),
        (
            "SELECT * FROM devices.modules WHERE properties.reported.status = 'scanning' AND deviceId IN ['d1','d2']",
            "d1/m1",
        ),
        (
            "select deviceId from devices.modules where moduleId = '$edgeAgent' and configurations.[[c1]].status = 'Applied' and properties.desired.$version = properties.reported.lastDesiredVersion and properties.reported.lastDesiredStatus.code = 200",
            "",
        ),
        ("SELECT * FROM devices WHERE tags.site = 'it\\'s'", ""),
        ("select *", "d1,d2,d3,e1,l1"),
        ("SELECT deviceId FROM devices -- all\n;", "d1,d2,d3,e1,l1"),
    ] {
        assert_eq!(ids(&f, text), expected, "{text}");
    }
    assert_eq!(rows(&f, listed).len(), 1);
}

#[test]
fn projections_are_flat_objects_with_the_right_names() {
    let f = corpus();

    let page = run(
        &f,
        "SELECT DeviceId, LastActivityTime FROM devices WHERE status = 'enabled'",
    )
    .unwrap();
    assert_eq!(page.item_type, ItemType::Raw);
    assert_eq!(page.items.len(), 4);
    let keys: Vec<_> = page.items[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["deviceId", "lastActivityTime"]);

    assert_eq!(
        rows(
            &f,
            "SELECT deviceId as DeviceId, capabilities.iotEdge IotEdge, modelId as ModelId FROM devices WHERE id='e1'"
        ),
        [json!({"DeviceId": "e1", "IotEdge": true, "ModelId": ""})]
    );
    assert_eq!(
        rows(
            &f,
            "SELECT tags.site, properties.desired.rate, nothing FROM devices WHERE deviceId='d1'"
        ),
        [json!({"site": "A", "rate": 5})]
    );
    assert_eq!(
        rows(
            &f,
            "SELECT properties.desired FROM devices WHERE deviceId='d1'"
        ),
        [json!({"desired": {"rate": 5, "$version": 2}})]
    );
    assert_eq!(
        run(&f, "SELECT * FROM devices").unwrap().item_type,
        ItemType::Twin
    );
}

#[test]
fn aggregates_and_groups() {
    let f = corpus();

    for (text, expected) in [
        ("SELECT COUNT() AS n FROM devices", json!([{"n": 5}])),
        (
            "SELECT COUNT() as n FROM devices WHERE tags.site='Z'",
            json!([{"n": 0}]),
        ),
        (
            "SELECT tags.site AS site, COUNT() AS n FROM devices GROUP BY tags.site",
            json!([{"site": "A", "n": 2}, {"site": "B", "n": 1}, {"n": 2}]),
        ),
        (
            "SELECT AVG(properties.reported.temp) AS a, MIN(properties.reported.temp) AS lo, MAX(properties.reported.temp) AS hi, SUM(properties.reported.temp) AS s FROM devices",
            json!([{"a": 25.25, "lo": 20, "hi": 30.5, "s": 50.5}]),
        ),
        (
            "SELECT COUNT(tags.site), COUNT(*) FROM devices",
            json!([{"$1": 3, "$2": 5}]),
        ),
        (
            "SELECT AVG(tags.nothing) AS a, MIN(tags.site) AS m FROM devices",
            json!([{}]),
        ),
        (
            "SELECT TOP 1 tags.site FROM devices GROUP BY tags.site",
            json!([{"site": "A"}]),
        ),
    ] {
        assert_eq!(Value::from(rows(&f, text)), expected, "{text}");
    }
}

#[test]
fn what_the_language_does_not_have_is_refused_with_its_place() {
    let f = corpus();
    let long = format!(
        "SELECT * FROM devices WHERE deviceId = '{}'",
        "x".repeat(8192)
    );
    let deep = format!(
        "SELECT * FROM devices WHERE {}1=1{}",
        "(".repeat(4000),
        ")".repeat(4000)
    );
    let nots = format!("SELECT * FROM devices WHERE {} true", "NOT ".repeat(2000));
    let minus = format!("SELECT * FROM devices WHERE 1 = {}1", "- ".repeat(4000));

    for (text, expected) in [
        (
            "SELECT * FROM devices WHERE STARTS_WITH(deviceId,'d')",
            "position 29",
        ),
        (
            "SELECT * FROM devices WHERE tags.group = 'g1'",
            "position 34: group is a word",
        ),
        (
            "SELECT tags.floor, COUNT() AS n FROM devices GROUP BY tags.site",
            "position 8",
        ),
        ("SELECT jobId FROM devices.jobs", "devices.jobs knows only"),
        (
            "SELECT * FROM devices ORDER BY deviceId",
            "ORDER is not supported",
        ),
        (
            "SELECT DISTINCT deviceId FROM devices",
            "DISTINCT is not supported",
        ),
        ("SELECT * FROM nowhere", "no collection nowhere"),
        ("SELECT", "expected a name, found the end"),
        (
            "SELECT * FROM devices WHERE",
            "expected a name, found the end",
        ),
        ("SELECT * FROM devices WHERE a = 1 b", "position 35"),
        ("SELECT * FROM devices WHERE a IN []", "expected a string"),
        (
            "SELECT * FROM devices WHERE is_defined('x')",
            "takes a property",
        ),
        (
            "SELECT * FROM devices WHERE startswith(a)",
            "takes 2 arguments, not 1",
        ),
        (
            "SELECT * FROM devices WHERE nonsense(a)",
            "no function nonsense",
        ),
        ("DELETE FROM devices", "expected SELECT, found 'DELETE'"),
        (&long, "longer than 8192"),
        (&deep, "nested more than"),
        (&nots, "nested more than"),
        (&minus, "nested more than"),
    ] {
        let error = run(&f, text).unwrap_err();
        assert_eq!(error.code, ErrorCode::ArgumentInvalid, "{text:.60}");
        assert!(
            error.detail.contains(expected),
            "{text:.60}: {}",
            error.detail
        );
    }
}

#[test]
fn long_chains_are_no_deep_trees() {
    let f = corpus();
    let ors = vec!["a=1"; 1000].join(" OR ");
    let sum = vec!["1"; 2000].join("+");

    assert_eq!(ids(&f, &format!("SELECT * FROM devices WHERE {ors}")), "");
    assert_eq!(
        ids(&f, &format!("SELECT * FROM devices WHERE {sum} = 2000")),
        "d1,d2,d3,e1,l1"
    );
}

#[test]
fn undefined_and_other_types_follow_their_rules() {
    let f = corpus();
    let is = |condition: &str| ids(&f, &format!("SELECT * FROM devices WHERE {condition}"));

    for (condition, expected) in [
        // d3, e1 and l1 have no floor.
        ("NOT (tags.floor > 1)", "d1"),
        ("tags.floor > 1 OR deviceId = 'e1'", "d2,e1"),
        ("tags.floor > 1 AND deviceId = 'e1'", ""),
        (
            "NOT (tags.floor > 1 AND deviceId = 'nobody')",
            "d1,d2,d3,e1,l1",
        ),
        ("tags.floor != 'x'", "d1,d2"),
        ("tags.floor = 1.0", "d1"),
        ("1 / 0 = 1", ""),
        ("tags.site", ""),
        ("true", "d1,d2,d3,e1,l1"),
        ("null = null", "d1,d2,d3,e1,l1"),
        ("is_null(tags.site)", ""),
        ("is_string(tags.site) AND is_number(tags.floor)", "d1,d2"),
        (
            "is_object(properties.desired) AND is_object(tags)",
            "d1,d2,d3",
        ),
        ("-tags.floor = -2", "d2"),
        ("2 + 3 * 2 - 1 = 7", "d1,d2,d3,e1,l1"),
        ("tags.floor IN [1, -2, 'x']", "d1"),
        ("tags.floor NIN [1]", "d2"),
        ("lower(tags.site) = 'b' AND length(deviceId) = 2", "d3"),
        (
            "substring(deviceId, 1) = '3' AND index_of(deviceId, '3') = 1",
            "d3",
        ),
        ("contains(tags.site, 'A')", "d1,d2"),
        ("TAGS.site = 'A' AND DeviceId = 'd1'", "d1"),
        ("tags.Site = 'A'", ""),
        ("statusUpdateTime = statusUpdatedTime", "d1,d2,d3,e1,l1"),
        ("parentScopes[0] = deviceScope", "l1"),
        ("startswith(deviceId, 'd') AND deviceId != 'd2'", "d1,d3"),
    ] {
        assert_eq!(is(condition), expected, "{condition}");
    }
}

#[test]
fn strict_queries_know_only_the_documented_functions() {
    for text in [
        "SELECT * FROM devices WHERE CONTAINS(deviceId, 'd')",
        "SELECT * FROM devices WHERE ABS(tags.floor) = 1",
    ] {
        assert!(Query::parse(text, false).is_ok());
        assert!(Query::parse(text, true).is_err());
    }
    for known in [
        "IS_DEFINED(a)",
        "STARTSWITH(a,'x')",
        "ARRAY_CONTAINS(a,1)",
        "IS_STRING(a)",
    ] {
        assert!(Query::parse(&format!("SELECT * FROM devices WHERE {known}"), true).is_ok());
    }
}

#[test]
fn pages_follow_one_another_to_the_last() {
    let f = corpus();
    for (text, expected) in [
        ("SELECT * FROM devices", "d1,d2|d3,e1|l1"),
        ("SELECT TOP 3 * FROM devices", "d1,d2|d3"),
        ("SELECT TOP 4 deviceId FROM devices", "d1,d2|d3,e1"),
        (
            "SELECT * FROM devices WHERE startswith(deviceId, 'd')",
            "d1,d2|d3",
        ),
        (
            "SELECT * FROM devices WHERE deviceId IN ['l1','d3','e1','zz']",
            "d3,e1|l1",
        ),
        ("SELECT * FROM devices.modules", "d1,e1|e1"),
        (
            "SELECT deviceId FROM devices GROUP BY deviceId",
            "d1,d2|d3,e1|l1",
        ),
        ("SELECT * FROM devices WHERE false", ""),
    ] {
        let query = Query::parse(text, false).unwrap();
        let snapshot = f.hub.query_snapshot(&f.operator).unwrap();
        let mut request = PageRequest {
            size: Some(2),
            continuation: None,
        };
        let mut pages = Vec::new();
        loop {
            let page = query.run(&snapshot, &request).unwrap();
            let ids: Vec<_> = page
                .items
                .iter()
                .map(|it| it["deviceId"].as_str().unwrap())
                .collect();
            pages.push(ids.join(","));
            match page.continuation {
                Some(token) => request.continuation = Some(token),
                None => break,
            }
        }

        assert_eq!(pages.join("|"), expected, "{text}");
    }
}

#[test]
fn a_token_of_another_query_or_a_page_of_nothing_is_refused() {
    let f = corpus();
    let snapshot = f.hub.query_snapshot(&f.operator).unwrap();
    let all = Query::parse("SELECT * FROM devices", false).unwrap();
    let first = PageRequest {
        size: Some(1),
        continuation: None,
    };
    let token = all.run(&snapshot, &first).unwrap().continuation;
    let other = Query::parse("SELECT * FROM devices WHERE true", false).unwrap();

    for (query, request) in [
        (
            &other,
            PageRequest {
                size: None,
                continuation: token,
            },
        ),
        (
            &all,
            PageRequest {
                size: Some(0),
                continuation: None,
            },
        ),
        (
            &all,
            PageRequest {
                size: None,
                continuation: Some("x".into()),
            },
        ),
    ] {
        let refused = query.run(&snapshot, &request).unwrap_err();
        assert_eq!(refused.code, ErrorCode::ArgumentInvalid);
    }
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let mut f = corpus();
    let snapshot = f.hub.query_snapshot(&f.operator).unwrap();

    f.put("d9", spec(&json!({}))).0.unwrap();
    f.patch("d1", &json!({"tags": {"site": "Z"}})).0.unwrap();

    let query = Query::parse(
        "SELECT * FROM devices WHERE tags.site = 'A' OR deviceId = 'd9'",
        false,
    );
    let page = query
        .unwrap()
        .run(&snapshot, &PageRequest::default())
        .unwrap();
    assert_eq!(page.items.len(), 2);
    assert_eq!(page.items[0]["connectionState"], "Connected");
}

#[test]
fn who_is_connected_is_told_of_a_page_without_a_copy_of_everybody() {
    let mut f = corpus();
    f.connect("d1/m1");
    for (text, asks, expected) in [
        ("SELECT * FROM devices", false, "d1"),
        ("SELECT * FROM devices.modules", false, "d1"),
        ("SELECT * FROM devices WHERE tags.site = 'A'", false, "d1"),
        (
            "SELECT * FROM devices WHERE connectionState = 'Connected'",
            true,
            "d1",
        ),
        ("SELECT deviceId, connectionState FROM devices", true, "d1"),
        (
            "SELECT * FROM devices WHERE lastActivityTime > '2020'",
            true,
            "d1",
        ),
    ] {
        let query = Query::parse(text, false).unwrap();
        let whole = f.hub.query_snapshot(&f.operator).unwrap();
        let snapshot = f.hub.snapshot_for(&f.operator, &query).unwrap();
        let request = PageRequest::default();

        let mut page = query.run(&snapshot, &request).unwrap();
        if !query.asks_who_is_connected() {
            f.hub.tell_presence(&mut page);
        }

        assert_eq!(query.asks_who_is_connected(), asks, "{text}");
        assert_eq!(page, query.run(&whole, &request).unwrap(), "{text}");
        let connected: Vec<_> = page
            .items
            .iter()
            .filter(|row| row["connectionState"] == "Connected")
            .map(|row| row["deviceId"].as_str().unwrap())
            .collect();
        assert_eq!(connected, [expected], "{text}");
    }
}

#[test]
fn a_devices_own_credential_asks_nothing() {
    let f = corpus();

    let refused = f.hub.query_snapshot(&f.principal("d1")).err().unwrap();
    assert_eq!(refused.code, ErrorCode::IotHubUnauthorizedAccess);
}

#[test]
fn conditions_are_where_bodies() {
    for (text, of_modules) in [
        ("*", false),
        ("", false),
        ("deviceId IN ['a','b']", false),
        ("FROM devices.modules WHERE tags.x = 1", true),
        ("from devices where tags.x = 1", false),
    ] {
        assert_eq!(
            Condition::parse(text).unwrap().selects_modules(),
            of_modules,
            "{text}"
        );
    }
    for text in [
        "SELECT * FROM devices WHERE tags.x = 1",
        "FROM devices.jobs WHERE a = 1",
        "tags.x =",
        "tags.x = 1 ORDER BY x",
    ] {
        assert!(Condition::parse(text).is_err(), "{text}");
    }
    assert!(Hub::check_query("SELECT * FROM devices").is_ok());
}
