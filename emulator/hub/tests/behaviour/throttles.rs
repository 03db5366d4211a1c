//! `spec/device.md` 16.1, `spec/service.md` 14.

use iothub_hub::{Change, Decision, DocumentKind, HubConfig, Limits, Outcome, Sku, Throttle, Tier};
use iothub_protocol::ErrorCode;
use iothub_protocol::job::JobRequest;

use crate::fixture::{Fixture, config, secs};

fn hub_of(sku: Sku) -> Fixture {
    let limits = Limits {
        tier: Tier::new(sku, 1),
        ..Limits::default()
    };
    Fixture::with(HubConfig { limits, ..config() })
}

fn charge(hub: &mut Fixture, messages: u64) -> (Option<ErrorCode>, Outcome) {
    let (reply, outcome) = hub.run(|hub, cx| {
        hub.check_quota(cx.now(), messages)?;
        hub.charge_quota(cx, messages);
        Ok::<_, iothub_protocol::Error>(())
    });
    (reply.err().map(|error| error.code), outcome)
}

fn used(hub: &mut Fixture) -> u64 {
    let now = hub.now;
    hub.hub.meters(now).unwrap().2.used
}

#[test]
fn without_a_tier_nothing_is_held_up_and_nothing_counted() {
    let mut hub = Fixture::with(config());

    for _ in 0..10 {
        let decision = hub.hub.throttle(hub.now, Throttle::Queries, 1_000_000);
        assert_eq!(decision, Decision::Pass);
    }
    assert_eq!(charge(&mut hub, u64::MAX), (None, Outcome::default()));
    let now = hub.now;
    assert!(hub.hub.meters(now).is_none());
}

#[test]
fn the_quota_is_that_of_the_tier_and_a_refusal_is_not_charged() {
    let mut hub = hub_of(Sku::F1);

    assert_eq!(charge(&mut hub, 8000).0, None);
    let (refusal, outcome) = charge(&mut hub, 1);

    assert_eq!(refusal, Some(ErrorCode::IotHubQuotaExceeded));
    assert_eq!(outcome, Outcome::default());
    assert_eq!(used(&mut hub), 8000);
}

#[test]
fn a_day_ends_at_midnight_of_the_hubs_clock() {
    let mut hub = hub_of(Sku::F1);
    // The fixture begins at midnight.
    hub.wait(24 * 3600 - 1);
    charge(&mut hub, 8000);
    assert!(charge(&mut hub, 1).0.is_some());

    hub.wait(1);

    assert_eq!(charge(&mut hub, 1).0, None);
    assert_eq!(used(&mut hub), 1);
}

#[test]
fn the_meter_is_written_down_now_and_then_and_survives_a_restart() {
    let mut hub = hub_of(Sku::S1);
    let mut changes = Vec::new();
    for _ in 0..250 {
        changes.extend(charge(&mut hub, 1).1.changes);
    }
    let meters = changes.iter().filter(
        |change| matches!(change, Change::PutDocument(it) if it.kind == DocumentKind::Meter),
    );
    assert_eq!(meters.count(), 3);

    let mut restarted = hub_of(Sku::S1);
    for change in changes {
        restarted.hub.restore(change);
    }

    assert_eq!(used(&mut restarted), 200);
    restarted.wait(24 * 3600);
    assert_eq!(used(&mut restarted), 0);
}

#[test]
fn a_job_goes_on_at_the_rate_of_its_tier() {
    let mut hub = hub_of(Sku::S1);
    for n in 0..650 {
        hub = hub.device(&format!("d{n:03}"));
    }
    let job = br#"{"type":"scheduleUpdateTwin","queryCondition":"*","updateTwin":{"etag":"*","tags":{"k":1}}}"#;
    let (request, sent) = JobRequest::parse("j1", job).unwrap();
    let operator = hub.operator.clone();
    hub.run(|hub, cx| hub.put_job(cx, &operator, request, &sent))
        .0
        .unwrap();
    let succeeded = |hub: &mut Fixture| {
        while hub.hub.next_deadline().is_some_and(|next| next <= hub.now) {
            hub.fire_due();
        }
        let job = hub.hub.job(&hub.operator, "j1").unwrap();
        job["deviceJobStatistics"]["succeededCount"]
            .as_u64()
            .unwrap()
    };

    // A minute's worth at once, then ten in a second.
    assert_eq!(succeeded(&mut hub), 600);
    hub.wait(1);
    assert_eq!(succeeded(&mut hub), 610);
    hub.wait(4);
    assert_eq!(succeeded(&mut hub), 650);
    let job = hub.hub.job(&hub.operator, "j1").unwrap();
    assert_eq!(job["status"], "completed");
    assert_eq!(hub.now, crate::fixture::T0 + secs(5));
}
