//! Consumer groups and readers of the event log.

use iothub_hub::{Change, Effect, Hub, Outcome, Principal, ReaderId, ReaderRequest};
use iothub_protocol::{Error, ErrorCode};
use proptest::prelude::*;

use crate::fixture::{Fixture, T0, config, fixture};

fn request(group: &str, partition: u16, owner_level: Option<i64>) -> ReaderRequest<'_> {
    ReaderRequest {
        group,
        partition,
        owner_level,
        name: None,
    }
}

impl Fixture {
    fn read(&mut self, request: ReaderRequest<'_>) -> (Result<ReaderId, Error>, Outcome) {
        let operator = self.operator.clone();
        self.run(|hub, cx| hub.open_reader(cx, &operator, request))
    }

    fn put_group(&mut self, name: &str) -> (Result<(), Error>, Outcome) {
        let operator = self.operator.clone();
        let (put, outcome) = self.run(|hub, cx| hub.put_consumer_group(cx, &operator, name));
        (put.map(drop), outcome)
    }

    fn delete_group(&mut self, name: &str) -> (Result<(), Error>, Outcome) {
        let operator = self.operator.clone();
        self.run(|hub, cx| hub.delete_consumer_group(cx, &operator, name))
    }

    fn group_names(&self) -> Vec<String> {
        let groups = self.hub.consumer_groups(&self.operator).unwrap();
        groups.iter().map(|group| group.name.to_string()).collect()
    }
}

/// Whom the outcome ends, and why.
fn ended(outcome: &Outcome) -> Vec<(ReaderId, ErrorCode)> {
    let effects = outcome.effects.iter().map(|effect| match effect {
        Effect::ReaderEnded(reader, error) => (*reader, error.code),
        other => panic!("{other:?}"),
    });
    effects.collect()
}

const STOLEN: ErrorCode = ErrorCode::LinkCreationConflict;

#[test]
fn the_default_group_is_there_and_others_are_made_whatever_the_case() {
    let mut hub = fixture();

    hub.put_group("Dashboards").0.unwrap();
    let (again, outcome) = hub.put_group("dashboards");

    again.unwrap();
    assert_eq!(outcome, Outcome::default());
    assert_eq!(hub.group_names(), ["$Default", "Dashboards"]);
    let group = hub.hub.consumer_group(&hub.operator, "DASHBOARDS").unwrap();
    assert_eq!(group.created, Some(T0));
    for group in ["$default", "dashBoards"] {
        hub.read(request(group, 3, None)).0.unwrap();
    }
}

#[test]
fn group_names_and_their_number_have_limits() {
    let mut hub = fixture();

    for name in ["", "a b", "$Other", "a/b", &"x".repeat(51)] {
        let refused = hub.put_group(name).0.unwrap_err();
        assert_eq!(refused.code, ErrorCode::ArgumentInvalid, "{name:?}");
    }
    for number in 0..20 {
        hub.put_group(&format!("group-{number}.a_b")).0.unwrap();
    }
    let refused = hub.put_group("one-more").0.unwrap_err();
    assert_eq!(refused.code, ErrorCode::IotHubQuotaExceeded);
    hub.put_group("GROUP-0.a_b").0.unwrap();
}

#[test]
fn the_default_group_stays_and_an_unknown_one_is_not_found() {
    let mut hub = fixture();

    let refused = hub.delete_group("$DEFAULT").0.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidOperation);
    let refused = hub.delete_group("other").0.unwrap_err();
    assert_eq!(refused.code, ErrorCode::GenericNotFound);
    for wish in [
        request("other", 0, None),
        request("$Default", 4, None),
        request("", 0, Some(1)),
    ] {
        let (refused, outcome) = hub.read(wish);
        assert_eq!(refused.unwrap_err().code, ErrorCode::GenericNotFound);
        assert_eq!(outcome, Outcome::default());
    }
}

#[test]
fn groups_survive_a_restart_and_a_fork_and_readers_do_not() {
    let mut hub = fixture();
    let mut changes = hub.put_group("two").1.changes;
    changes.extend(hub.put_group("Three").1.changes);
    changes.extend(hub.delete_group("Two").1.changes);
    hub.read(request("tHree", 0, Some(7))).0.unwrap();
    let mut restored = Hub::new(config());
    for change in changes {
        restored.restore(change);
    }

    assert_eq!(
        restored
            .consumer_groups(&Principal::operator())
            .unwrap()
            .iter()
            .map(|group| (*group.name).to_owned())
            .collect::<Vec<_>>(),
        ["$Default", "Three"]
    );
    assert_eq!(restored.reader_count(), 0);
    let fork = hub.hub.fork();
    assert_eq!(fork.reader_count(), 0);
    assert_eq!(hub.hub.reader_count(), 1);
}

#[test]
fn a_higher_claim_displaces_a_lower_one_and_an_equal_one_goes_to_the_newest() {
    let mut hub = fixture();
    let first = hub.read(request("$Default", 0, Some(1))).0.unwrap();

    let (second, outcome) = hub.read(request("$default", 0, Some(1)));
    let second = second.unwrap();
    assert_eq!(ended(&outcome), [(first, STOLEN)]);
    let (third, outcome) = hub.read(request("$Default", 0, Some(5)));
    assert_eq!(ended(&outcome), [(second, STOLEN)]);

    for lower in [Some(4), Some(-1), None] {
        let (refused, outcome) = hub.read(request("$Default", 0, lower));
        assert_eq!(refused.unwrap_err().code, STOLEN, "{lower:?}");
        assert_eq!(outcome, Outcome::default());
    }
    // Another partition is another matter.
    hub.read(request("$Default", 1, None)).0.unwrap();
    hub.hub.close_reader(first);
    hub.read(request("$Default", 0, None)).0.unwrap_err();
    hub.hub.close_reader(third.unwrap());
    hub.read(request("$Default", 0, None)).0.unwrap();
}

#[test]
fn a_claim_displaces_all_who_have_none_and_says_who_came() {
    let mut hub = fixture();
    let shared: Vec<_> = (0..3)
        .map(|_| hub.read(request("$Default", 0, None)).0.unwrap())
        .collect();

    let (_, outcome) = hub.read(ReaderRequest {
        name: Some("me"),
        ..request("$Default", 0, Some(0))
    });

    let expected: Vec<_> = shared.iter().map(|&reader| (reader, STOLEN)).collect();
    assert_eq!(ended(&outcome), expected);
    let Effect::ReaderEnded(_, error) = &outcome.effects[0] else {
        panic!("{outcome:?}");
    };
    assert!(
        error.detail.starts_with(
            "New receiver 'me' with higher epoch of '0' is created hence current receiver 'nil' \
             with no epoch is getting disconnected."
        ),
        "{error}"
    );
}

#[test]
fn five_share_a_partition_and_a_sixth_is_told_who_they_are() {
    let mut hub = fixture();
    let names = ["a", "b", "c", "d"];
    for name in names {
        hub.read(ReaderRequest {
            name: Some(name),
            ..request("$Default", 2, None)
        })
        .0
        .unwrap();
    }
    let fifth = hub.read(request("$Default", 2, None)).0.unwrap();

    let refused = hub.read(request("$Default", 2, None)).0.unwrap_err();

    assert_eq!(refused.code, ErrorCode::IotHubQuotaExceeded);
    assert_eq!(
        refused.detail,
        "Exceeded the maximum number of allowed receivers per partition in a consumer group \
         which is 5. List of connected receivers - a, b, c, d, nil."
    );
    hub.hub.close_reader(fifth);
    hub.read(request("$Default", 2, None)).0.unwrap();
}

#[test]
fn readers_end_with_their_group() {
    let mut hub = fixture();
    hub.put_group("one").0.unwrap();
    hub.put_group("two").0.unwrap();
    let of_one = hub.read(request("one", 0, None)).0.unwrap();
    let of_two = hub.read(request("two", 0, Some(1))).0.unwrap();
    let of_default = hub.read(request("$Default", 0, None)).0.unwrap();

    let (deleted, outcome) = hub.delete_group("ONE");
    deleted.unwrap();
    assert_eq!(ended(&outcome), [(of_one, ErrorCode::GenericNotFound)]);

    let outcome = hub.run(Hub::reset).1;
    assert_eq!(ended(&outcome), [(of_two, ErrorCode::GenericNotFound)]);
    assert_eq!(outcome.changes, [Change::Reset]);
    assert_eq!(hub.group_names(), ["$Default"]);
    assert_eq!(hub.hub.reader_count(), 1);
    let next = hub.read(request("$Default", 1, None)).0.unwrap();
    assert!(next > of_default, "ids are not given out twice");
}

#[test]
fn who_may_not_connect_to_the_service_does_not_read() {
    let mut hub = fixture().device("d1");
    let device = hub.principal("d1");

    let (refused, _) =
        hub.run(|hub, cx| hub.open_reader(cx, &device, request("$Default", 0, None)));

    assert_eq!(
        refused.unwrap_err().code,
        ErrorCode::IotHubUnauthorizedAccess
    );
    let (refused, _) = hub.run(|hub, cx| hub.put_consumer_group(cx, &device, "g"));
    refused.unwrap_err();
}

#[derive(Clone, Debug)]
enum Step {
    Open(usize, u16, Option<i64>),
    Close(usize),
    Delete,
    Put,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..GROUPS.len(), 0..3_u16, prop::option::of(0..3_i64))
            .prop_map(|(group, partition, level)| Step::Open(group, partition, level)),
        4 => (0..40_usize).prop_map(Step::Close),
        1 => Just(Step::Delete),
        1 => Just(Step::Put),
    ]
}

/// Two spellings of one group, and one that comes and goes.
const GROUPS: [&str; 3] = ["$Default", "$DEFAULT", "Other"];

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// The rule itself, over a plain list of everybody.
    #[test]
    fn readers_agree_with_a_list(steps in prop::collection::vec(any_step(), 0..60)) {
        let mut hub = fixture();
        let mut there = false;
        let mut all: Vec<(ReaderId, bool, u16, Option<i64>)> = Vec::new();
        let mut given = Vec::new();
        for step in steps {
            match step {
                Step::Open(group, partition, level) => {
                    let other = group == 2;
                    let mates: Vec<_> = all
                        .iter()
                        .filter(|it| (it.1, it.2) == (other, partition))
                        .copied()
                        .collect();
                    let highest = mates.iter().filter_map(|it| it.3).max();
                    let (opened, outcome) = hub.read(request(GROUPS[group], partition, level));
                    let expected = if (other && !there) || partition > 3 {
                        Err(ErrorCode::GenericNotFound)
                    } else if highest.is_some_and(|highest| level.is_none_or(|it| it < highest)) {
                        Err(STOLEN)
                    } else if level.is_none() && mates.len() >= 5 {
                        Err(ErrorCode::IotHubQuotaExceeded)
                    } else {
                        Ok(())
                    };
                    prop_assert_eq!(opened.as_ref().map(drop).map_err(|it| it.code), expected);
                    let displaced: Vec<_> = match (&opened, level) {
                        (Ok(_), Some(_)) => mates.iter().map(|it| (it.0, STOLEN)).collect(),
                        _ => Vec::new(),
                    };
                    prop_assert_eq!(ended(&outcome), displaced.clone());
                    all.retain(|it| !displaced.iter().any(|gone| gone.0 == it.0));
                    if let Ok(reader) = opened {
                        prop_assert!(!given.contains(&reader));
                        given.push(reader);
                        all.push((reader, other, partition, level));
                    }
                }
                Step::Close(number) => {
                    if let Some(&reader) = given.get(number) {
                        hub.hub.close_reader(reader);
                        all.retain(|it| it.0 != reader);
                    }
                }
                Step::Delete => {
                    let (deleted, outcome) = hub.delete_group("OTHER");
                    prop_assert_eq!(deleted.is_ok(), there);
                    there = false;
                    let gone = all.iter().filter(|it| it.1).count();
                    prop_assert_eq!(ended(&outcome).len(), gone);
                    all.retain(|it| !it.1);
                }
                Step::Put => {
                    hub.put_group("other").0.unwrap();
                    there = true;
                }
            }
            prop_assert_eq!(hub.hub.reader_count(), all.len());
        }
    }
}
