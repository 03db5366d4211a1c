//! What is kept of jobs, and for how long.

use iothub_hub::{Change, DocumentKind, End, Feature, Hub, Outcome};
use iothub_protocol::ErrorCode;
use serde_json::json;

use super::{answer, called, counts, job, method_job, put, settle, status, turn, twin_job};
use crate::fixture::{Fixture, fixture, secs};

const DAY: u64 = 24 * 3600;

/// A hub that knows what `outcomes` changed, after a start of its own.
fn restarted(old: &Fixture, outcomes: &[Outcome]) -> Fixture {
    let mut hub = Fixture::with(old.hub.config().clone());
    hub.now = old.now;
    for change in outcomes.iter().flat_map(|outcome| &outcome.changes) {
        hub.hub.restore(change.clone());
    }
    hub.hub.rearm();
    hub
}

#[test]
fn a_job_is_forgotten_after_thirty_days() {
    let mut hub = fixture();
    for n in 0..600 {
        hub = hub.device(&format!("d{n:03}"));
    }
    put(&mut hub, "j1", &twin_job("*")).0.unwrap();
    settle(&mut hub);

    hub.wait(30 * DAY - 1);
    settle(&mut hub);
    assert_eq!(status(&hub, "j1"), "completed");
    hub.wait(1);
    let outcome = settle(&mut hub);

    let gone = |wanted| {
        let deleted = outcome.changes.iter();
        deleted
            .filter(|change| matches!(change, Change::DeleteDocument(kind, _) if *kind == wanted))
            .count()
    };
    assert_eq!(
        (gone(DocumentKind::Job), gone(DocumentKind::DeviceJob)),
        (1, 600)
    );
    let missing = hub.hub.job(&hub.operator, "j1").unwrap_err();
    assert_eq!(missing.code, ErrorCode::JobNotFound);
    assert_eq!(hub.hub.next_deadline(), None);
}

#[test]
fn a_restart_in_any_turn_of_a_twin_job_loses_nothing() {
    for stop in 0..6 {
        let mut hub = fixture();
        let mut outcomes = Vec::new();
        for n in 0..501 {
            outcomes.push(hub.put(&format!("d{n:03}"), Default::default()).1);
        }
        outcomes.push(put(&mut hub, "j1", &twin_job("*")).1);
        for _ in 0..stop {
            outcomes.push(turn(&mut hub));
        }
        let before = job(&hub, "j1");

        let mut hub = restarted(&hub, &outcomes);

        assert_eq!(job(&hub, "j1"), before, "after {stop} turns");
        settle(&mut hub);
        let done = job(&hub, "j1");
        assert_eq!(
            (&done["status"], counts(&done)),
            (&json!("completed"), [501, 0, 501, 0, 0]),
            "after {stop} turns"
        );
        assert_eq!(hub.twin("d500")["version"], 3, "after {stop} turns");
    }
}

#[test]
fn after_a_restart_calls_have_failed_and_the_rest_is_made() {
    let mut hub = fixture();
    let mut outcomes = Vec::new();
    for n in 0..120 {
        let id = format!("d{n:03}");
        outcomes.push(hub.put(&id, Default::default()).1);
        hub.listening(&id, &[Feature::Methods]);
    }
    outcomes.push(put(&mut hub, "j1", &method_job("*")).1);
    outcomes.push(settle(&mut hub));
    assert_eq!(counts(&job(&hub, "j1")), [120, 0, 0, 100, 20]);

    let mut hub = restarted(&hub, &outcomes);
    let session = hub.listening("d119", &[Feature::Methods]);
    let outcome = settle(&mut hub);

    assert_eq!(called(&outcome), [(session, 1)]);
    assert_eq!(counts(&job(&hub, "j1")), [120, 119, 0, 1, 0]);
    answer(&mut hub, session, 1, 200);
    settle(&mut hub);
    assert_eq!(status(&hub, "j1"), "completed");
}

#[test]
fn a_scheduled_job_and_a_time_limit_survive_a_restart() {
    let mut hub = fixture().device("d1");
    let mut later = twin_job("*");
    later["startTime"] = (hub.now + secs(60)).to_iso().into();
    let mut short = method_job("*");
    short["maxExecutionTimeInSeconds"] = 30.into();
    short["cloudToDeviceMethod"]["connectTimeoutInSeconds"] = 300.into();
    let mut outcomes = vec![
        hub.put("d2", Default::default()).1,
        put(&mut hub, "later", &later).1,
        put(&mut hub, "short", &short).1,
    ];
    outcomes.push(settle(&mut hub));
    assert_eq!(status(&hub, "short"), "running");

    let mut hub = restarted(&hub, &outcomes);
    hub.wait(30);
    turn(&mut hub);
    assert_eq!(status(&hub, "later"), "scheduled");
    settle(&mut hub);
    hub.wait(30);
    settle(&mut hub);

    assert_eq!(status(&hub, "later"), "completed");
    assert_ne!(status(&hub, "short"), "running");
}

#[test]
fn a_fork_goes_on_by_itself() {
    let mut hub = fixture().device("d1");
    let session = hub.listening("d1", &[Feature::Methods]);
    put(&mut hub, "j1", &method_job("*")).0.unwrap();
    settle(&mut hub);

    let mut fork = Fixture {
        hub: Hub::fork(&hub.hub),
        ..hub.clone()
    };
    settle(&mut fork);

    assert_eq!(counts(&job(&fork, "j1")), [1, 1, 0, 0, 0]);
    assert_eq!(counts(&job(&hub, "j1")), [1, 0, 0, 1, 0]);
    answer(&mut hub, session, 1, 200);
    settle(&mut hub);
    assert_eq!(counts(&job(&hub, "j1")), [1, 0, 1, 0, 0]);
}

#[test]
fn a_reset_forgets_jobs_and_their_calls() {
    let mut hub = fixture().device("d1");
    let session = hub.listening("d1", &[Feature::Methods]);
    put(&mut hub, "j1", &method_job("*")).0.unwrap();
    settle(&mut hub);

    let (_, outcome) = hub.run(|hub, cx| hub.reset(cx));

    assert_eq!(outcome.changes.last(), Some(&Change::Reset));
    assert!(hub.hub.job(&hub.operator, "j1").is_err());
    assert_eq!(hub.disconnect(session, End::Lost), Outcome::default());
    assert_eq!(hub.hub.next_deadline(), None);
}
