//! `spec/service.md` 7: configurations of devices and modules.

use std::collections::BTreeMap;

use iothub_hub::{Change, Delivery, Effect, Feature, Limits, Outcome};
use iothub_protocol::ErrorCode;
use iothub_protocol::registry::IfMatch;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixture::{Fixture, config, fixture, secs};

fn device_content(settings: &Value) -> Value {
    json!({"deviceContent": {"properties.desired": settings}})
}

fn tag(hub: &mut Fixture, id: &str, site: &str) {
    hub.patch(id, &json!({"tags": {"site": site}})).0.unwrap();
}

fn statuses(hub: &Fixture, id: &str) -> Value {
    hub.twin(id)
        .get("configurations")
        .cloned()
        .unwrap_or_default()
}

fn with_devices(ids: &[&str]) -> Fixture {
    ids.iter().fold(fixture(), |hub, id| hub.device(id))
}

#[test]
fn a_configuration_is_written_into_the_twins_of_its_target() {
    let mut hub = with_devices(&["d1", "d2"]);
    tag(&mut hub, "d1", "A");
    let session = hub.listening("d1", &[Feature::DesiredChanges]);

    let content = json!({"deviceContent": {"properties.desired.chiller": {"temp": 66}}});
    let body = json!({"targetCondition": "tags.site = 'A'", "content": content, "priority": 1});
    let (reply, outcome) = hub.put_configuration("c1", &body, &IfMatch::Absent);

    let delivery = Delivery::DesiredChanged {
        version: 2,
        patch: r#"{"chiller":{"temp":66},"$version":2}"#.into(),
    };
    assert_eq!(outcome.effects, [Effect::Deliver(session, delivery)]);
    assert!(matches!(
        outcome.changes[..],
        [
            Change::PutDocument(_),
            Change::PutEntropy(_),
            Change::PutTwin(..)
        ]
    ));
    let results = &reply.unwrap()["systemMetrics"]["results"];
    assert_eq!(*results, json!({"targetedCount": 1, "appliedCount": 1}));
    assert_eq!(hub.desired("d1"), json!({"chiller": {"temp": 66}}));
    assert_eq!(statuses(&hub, "d1"), json!({"c1": {"status": "Applied"}}));
    let metadata = &hub.twin("d1")["properties"]["desired"]["$metadata"]["chiller"];
    assert_eq!(metadata.get("$lastUpdatedBy"), None);
    assert_eq!(metadata["temp"]["$lastUpdatedBy"], "c1");
    let digest = hub.now.dotnet_ticks().to_string();
    assert_eq!(metadata["temp"]["$lastUpdatedByDigest"], digest);
    assert_eq!(hub.desired("d2"), json!({}));
    assert_eq!(statuses(&hub, "d2"), Value::Null);
}

#[test]
fn who_comes_into_the_target_is_configured_and_who_leaves_is_not_any_more() {
    let mut hub = with_devices(&["d1"]);
    hub.configure(
        "c1",
        1,
        "tags.site = 'A'",
        &device_content(&json!({"a": 1, "b": {"c": 2}})),
    );
    hub.patch("d1", &json!({"properties": {"desired": {"mine": 1}}}))
        .0
        .unwrap();

    tag(&mut hub, "d1", "A");
    assert_eq!(hub.desired("d1"), json!({"mine": 1, "a": 1, "b": {"c": 2}}));

    tag(&mut hub, "d1", "B");
    assert_eq!(hub.desired("d1"), json!({"mine": 1}));
    assert_eq!(statuses(&hub, "d1"), Value::Null);
}

#[test]
fn reported_properties_and_new_devices_count() {
    let mut hub = with_devices(&["d1"]);
    let content = device_content(&json!({"a": 1}));
    hub.configure("all", 0, "*", &content);
    hub.configure(
        "ready",
        1,
        "properties.reported.ready = true",
        &device_content(&json!({"b": 1})),
    );
    let session = hub.connect("d1");

    let report = json!({"ready": true});
    hub.run(|hub, cx| hub.patch_reported(cx, session, report.as_object().unwrap(), None))
        .0
        .unwrap();
    let hub = hub.device("d2");

    assert_eq!(hub.desired("d1"), json!({"a": 1, "b": 1}));
    assert_eq!(hub.desired("d2"), json!({"a": 1}));
}

#[test]
fn the_higher_priority_wins_path_by_path_and_the_younger_among_equals() {
    let mut hub = with_devices(&["d1"]);
    hub.configure(
        "low",
        1,
        "*",
        &device_content(&json!({"a": {"x": "low", "y": "low"}})),
    );
    hub.wait(1);
    hub.configure(
        "high",
        9,
        "*",
        &device_content(&json!({"a": {"x": "high"}})),
    );
    hub.wait(1);
    hub.configure(
        "loser",
        1,
        "*",
        &device_content(&json!({"a": {"x": "loser"}})),
    );
    hub.wait(1);
    hub.configure(
        "younger",
        1,
        "*",
        &device_content(&json!({"a": {"y": "younger"}})),
    );

    assert_eq!(
        hub.desired("d1"),
        json!({"a": {"x": "high", "y": "younger"}})
    );
    assert_eq!(
        statuses(&hub, "d1"),
        json!({
            "high": {"status": "Applied"}, "loser": {"status": "Targeted"},
            "low": {"status": "Targeted"}, "younger": {"status": "Applied"},
        })
    );

    hub.delete_configuration("high").0.unwrap();
    assert_eq!(
        hub.desired("d1"),
        json!({"a": {"x": "loser", "y": "younger"}})
    );

    let body = json!({"priority": 5});
    hub.put_configuration("low", &body, &IfMatch::Any)
        .0
        .unwrap();
    assert_eq!(hub.desired("d1"), json!({"a": {"x": "low", "y": "low"}}));
}

#[test]
fn what_a_back_end_overwrites_is_its_own_until_the_client_is_looked_at_again() {
    let mut hub = with_devices(&["d1"]);
    hub.configure("c1", 1, "*", &device_content(&json!({"a": 1})));

    let patch = json!({"properties": {"desired": {"a": 2}}});
    hub.patch("d1", &patch).0.unwrap();
    assert_eq!(hub.desired("d1"), json!({"a": 2}));
    let metadata = &hub.twin("d1")["properties"]["desired"]["$metadata"]["a"];
    assert_eq!(metadata.get("$lastUpdatedBy"), None);

    tag(&mut hub, "d1", "A");
    assert_eq!(hub.desired("d1"), json!({"a": 1}));
}

#[test]
fn an_update_of_what_does_not_matter_to_twins_leaves_them_alone() {
    let mut hub = with_devices(&["d1"]);
    hub.configure("c1", 1, "*", &device_content(&json!({"a": 1})));

    let body = json!({"labels": {"k": "v"}, "priority": 1});
    let (reply, outcome) = hub.put_configuration("c1", &body, &IfMatch::Any);

    assert_eq!(reply.unwrap()["labels"], json!({"k": "v"}));
    assert!(matches!(
        outcome.changes[..],
        [Change::PutDocument(_), Change::PutEntropy(_)]
    ));
}

#[test]
fn modules_are_configured_by_a_condition_over_modules() {
    let mut hub = with_devices(&["d1"]).module("d1/m1").module("d1/m2");
    let content = json!({"moduleContent": {"properties.desired.a": 1}});

    hub.configure(
        "c1",
        1,
        "FROM devices.modules WHERE moduleId = 'm1'",
        &content,
    );

    assert_eq!(hub.desired("d1/m1"), json!({"a": 1}));
    assert_eq!(
        statuses(&hub, "d1/m1"),
        json!({"c1": {"status": "Applied"}})
    );
    assert_eq!(
        (hub.desired("d1"), hub.desired("d1/m2")),
        (json!({}), json!({}))
    );
}

#[test]
fn a_condition_fits_its_content() {
    let mut hub = fixture();
    let module = json!({"moduleContent": {"properties.desired.a": 1}});
    let device = device_content(&json!({"a": 1}));
    for (target, content) in [
        ("tags.a = 1", &module),
        ("FROM devices.modules WHERE tags.a = 1", &device),
        ("properties.desired.a = 1", &device),
        ("properties . desired . a = 1", &device),
        ("tags.a =", &device),
    ] {
        let body = json!({"targetCondition": target, "content": content});
        let (reply, outcome) = hub.put_configuration("c1", &body, &IfMatch::Absent);
        let code = ErrorCode::InvalidConfigurationTargetCondition;
        assert_eq!(reply.unwrap_err().code, code, "{target}");
        assert_eq!(outcome, Outcome::default());
    }
    let body = json!({"targetCondition": "tags.a = 'properties.desired'", "content": device});
    hub.put_configuration("c1", &body, &IfMatch::Absent)
        .0
        .unwrap();
}

#[test]
fn nobody_is_the_target_of_nothing() {
    let mut hub = with_devices(&["d1"]);

    hub.configure("c1", 1, "", &device_content(&json!({"a": 1})));

    assert_eq!(hub.desired("d1"), json!({}));
}

#[test]
fn a_hub_has_a_limited_number_of_configurations() {
    let limits = Limits {
        configurations: 1,
        ..Limits::default()
    };
    let mut hub = Fixture::with(iothub_hub::HubConfig { limits, ..config() });
    hub.configure("c1", 1, "", &json!({}));

    let (reply, outcome) = hub.put_configuration("c2", &json!({}), &IfMatch::Absent);

    let code = ErrorCode::ConfigurationCountLimitExceeded;
    assert_eq!(reply.unwrap_err().code, code);
    assert_eq!(outcome, Outcome::default());
    hub.put_configuration("C1", &json!({}), &IfMatch::Any)
        .0
        .unwrap();
}

#[test]
fn what_does_not_fit_into_a_twin_is_not_applied() {
    let mut hub = with_devices(&["d1", "d2"]);
    let long = "x".repeat(4000);
    let many = |prefix: &str| -> Value {
        (0..5)
            .map(|i| (format!("{prefix}{i}"), json!(long)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    hub.patch("d1", &json!({"properties": {"desired": many("mine")}}))
        .0
        .unwrap();

    hub.configure("c1", 1, "*", &device_content(&many("theirs")));

    assert_eq!(statuses(&hub, "d1"), json!({"c1": {"status": "Targeted"}}));
    assert_eq!(hub.desired("d1"), many("mine"));
    assert_eq!(statuses(&hub, "d2"), json!({"c1": {"status": "Applied"}}));
}

/// A hub that looks at three clients in one go, with ten devices.
fn slow() -> Fixture {
    let limits = Limits {
        evaluation_slice: 3,
        ..Limits::default()
    };
    let mut hub = Fixture::with(iothub_hub::HubConfig { limits, ..config() });
    for index in 0..10 {
        hub = hub.device(&format!("d{index}"));
    }
    hub
}

fn configured(hub: &Fixture) -> usize {
    let is_configured = |index: &usize| hub.desired(&format!("d{index}")) == json!({"a": 1});
    (0..10).filter(is_configured).count()
}

#[test]
fn many_devices_are_looked_at_slice_by_slice() {
    let mut hub = slow();

    hub.configure("c1", 1, "*", &device_content(&json!({"a": 1})));
    let mut steps = vec![configured(&hub)];
    while hub.hub.next_deadline().is_some_and(|due| due <= hub.now) {
        hub.fire_due();
        steps.push(configured(&hub));
    }

    assert_eq!(steps, [3, 6, 9, 10]);
}

#[test]
fn a_restart_goes_on_where_a_sweep_was() {
    let mut hub = slow();
    let mut changes = Vec::new();
    let body = json!({"targetCondition": "*", "content": device_content(&json!({"a": 1}))});
    for index in 0..10 {
        let spec = iothub_protocol::registry::IdentitySpec::default();
        let mut other = slow();
        other.delete(&format!("d{index}")).0.unwrap();
        changes.extend(other.put(&format!("d{index}"), spec).1.changes);
    }
    changes.extend(
        hub.put_configuration("c1", &body, &IfMatch::Absent)
            .1
            .changes,
    );

    let restart = |changes: &[Change]| {
        let mut hub = Fixture::with(hub.hub.config().clone());
        changes
            .iter()
            .cloned()
            .for_each(|change| hub.hub.restore(change));
        hub.hub.rearm();
        while hub.hub.next_deadline().is_some_and(|due| due <= hub.now) {
            changes_of(&mut hub);
        }
        hub
    };
    let mut restarted = restart(&changes);
    assert_eq!(configured(&restarted), 10);
    assert_eq!(
        statuses(&restarted, "d9"),
        json!({"c1": {"status": "Applied"}})
    );

    // Half of the settings are removed when the next restart comes.
    let twins: Vec<_> = (0..10)
        .map(|index| {
            restarted
                .patch(&format!("d{index}"), &json!({"tags": {"x": 1}}))
                .1
        })
        .flat_map(|outcome| outcome.changes)
        .collect();
    changes.extend(twins);
    changes.extend(restarted.delete_configuration("c1").1.changes);
    assert_eq!(configured(&restarted), 7);
    assert_eq!(configured(&restart(&changes)), 0);
}

fn changes_of(hub: &mut Fixture) -> Vec<Change> {
    hub.fire_due().changes
}

#[test]
fn a_deleted_device_is_forgotten() {
    let mut hub = with_devices(&["d1"]);
    hub.configure("c1", 1, "*", &device_content(&json!({"a": 1})));

    hub.delete("d1").0.unwrap();

    let (reply, _) = hub.put_configuration("c1", &json!({}), &IfMatch::Any);
    let results = &reply.unwrap()["systemMetrics"]["results"];
    assert_eq!(results["targetedCount"], 0);
}

#[derive(Clone, Debug)]
enum Step {
    Tag(usize, usize),
    Put(usize, i64, usize, Value),
    Update(usize, i64, usize),
    Delete(usize),
    Fire,
}

fn settings() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        (0..4).prop_map(Value::from),
        Just(Value::Null),
        Just(json!({}))
    ];
    let inner = leaf.prop_recursive(1, 4, 2, |inner| {
        proptest::collection::btree_map("[xy]", inner, 1..3).prop_map(|members| {
            members
                .into_iter()
                .collect::<serde_json::Map<_, _>>()
                .into()
        })
    });
    proptest::collection::btree_map("[ab]", inner, 0..3).prop_map(|members| {
        members
            .into_iter()
            .collect::<serde_json::Map<_, _>>()
            .into()
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..5usize, 0..3usize).prop_map(|(device, site)| Step::Tag(device, site)),
        3 => (0..3usize, 0..3i64, 0..4usize, settings())
            .prop_map(|(id, priority, site, content)| Step::Put(id, priority, site, content)),
        2 => (0..3usize, 0..3i64, 0..4usize)
            .prop_map(|(id, priority, site)| Step::Update(id, priority, site)),
        2 => (0..3usize).prop_map(Step::Delete),
        1 => Just(Step::Fire),
    ];
    proptest::collection::vec(step, 1..14)
}

fn condition(site: usize) -> String {
    match site {
        3 => "*".into(),
        site => format!("tags.site = '{site}'"),
    }
}

fn settle(hub: &mut Fixture) {
    while hub.hub.next_deadline().is_some_and(|due| due <= hub.now) {
        hub.fire_due();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happened before: the twins are as if the configurations that there are had been
    /// made for fresh ones, and what is nobody's stays.
    #[test]
    fn twins_end_as_a_fresh_hub_has_them(steps in steps()) {
        let small = |slice| Limits { evaluation_slice: slice, ..Limits::default() };
        let mut hub = Fixture::with(iothub_hub::HubConfig { limits: small(2), ..config() });
        let devices = ["d0", "d1", "d2", "d3", "d4"];
        for id in devices {
            hub = hub.device(id);
            hub.patch(id, &json!({"properties": {"desired": {"mine": {"x": 1}}}})).0.unwrap();
        }
        let mut sites = BTreeMap::new();
        let mut configurations: BTreeMap<usize, (i64, iothub_protocol::Timestamp, usize, Value)> =
            BTreeMap::new();
        for step in steps {
            hub.now = hub.now + secs(1);
            match step {
                Step::Tag(device, site) => {
                    tag(&mut hub, devices[device], &site.to_string());
                    sites.insert(device, site);
                }
                Step::Put(id, priority, site, content) => {
                    let body = json!({"priority": priority, "targetCondition": condition(site),
                        "content": device_content(&content)});
                    let (reply, _) = hub.put_configuration(&format!("c{id}"), &body, &IfMatch::Absent);
                    prop_assert_eq!(reply.is_err(), configurations.contains_key(&id));
                    configurations.entry(id).or_insert((priority, hub.now, site, content));
                }
                Step::Update(id, priority, site) => {
                    let body = json!({"priority": priority, "targetCondition": condition(site)});
                    let (reply, _) = hub.put_configuration(&format!("c{id}"), &body, &IfMatch::Any);
                    prop_assert_eq!(reply.is_ok(), configurations.contains_key(&id));
                    if let Some(known) = configurations.get_mut(&id) {
                        (known.0, known.2) = (priority, site);
                    }
                }
                Step::Delete(id) => {
                    let (reply, _) = hub.delete_configuration(&format!("c{id}"));
                    prop_assert_eq!(reply.is_ok(), configurations.remove(&id).is_some());
                }
                Step::Fire => settle(&mut hub),
            }
        }
        settle(&mut hub);

        let mut fresh = with_devices(&devices);
        let mut ordered: Vec<_> = configurations.into_iter().collect();
        ordered.sort_by_key(|(_, (_, created, ..))| *created);
        for (id, (priority, _, site, content)) in ordered {
            fresh.now = fresh.now + secs(1);
            fresh.configure(&format!("c{id}"), priority, &condition(site), &device_content(&content));
        }
        for (device, site) in sites {
            tag(&mut fresh, devices[device], &site.to_string());
        }
        for id in devices {
            let mut expected = fresh.desired(id);
            expected["mine"] = json!({"x": 1});
            prop_assert_eq!(hub.desired(id), expected, "{}", id);
            prop_assert_eq!(statuses(&hub, id), statuses(&fresh, id), "{}", id);
        }
    }
}
