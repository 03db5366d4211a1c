//! `spec/device.md` 2.6 to 2.8.

use iothub_hub::{Effect, End, Feature, Guarantee, Outcome, Subscriptions};
use iothub_protocol::registry::IdentitySpec;
use iothub_protocol::sas::sign;
use iothub_protocol::{Error, ErrorCode, Timestamp};
use serde_json::json;

use crate::fixture::{T0, client, fixture, message, secs, spec};
use crate::telemetry::appended;

fn remembering(hub: &mut crate::fixture::Fixture, id: &str) -> iothub_hub::Connected {
    hub.connect_with(id, |request| request.remember = true)
        .0
        .unwrap()
}

#[test]
fn a_device_is_connected_while_it_has_a_session() {
    let mut hub = fixture().device("d1");

    hub.wait(1);
    let session = hub.connect("d1");
    let identity = hub.identity("d1");
    assert!(identity.connected);
    assert_eq!(identity.connection_state_updated, T0 + secs(1));
    assert_eq!(hub.twin("d1")["connectionState"], "Connected");

    hub.wait(1).disconnect(session, End::Goodbye);
    let identity = hub.identity("d1");
    assert!(!identity.connected);
    assert_eq!(identity.connection_state_updated, T0 + secs(2));
    assert_eq!(identity.last_activity, T0 + secs(2));
    assert_eq!(hub.hub.connection_count(), 0);
}

#[test]
fn what_a_client_does_is_its_activity() {
    let mut hub = fixture().device("d1");
    let session = hub.connect("d1");

    hub.wait(7);
    hub.run(|hub, cx| hub.ingest(cx, session, vec![message("x")]))
        .0
        .unwrap();

    assert_eq!(hub.identity("d1").last_activity, T0 + secs(7));
    assert_eq!(hub.twin("d1")["lastActivityTime"], (T0 + secs(7)).to_iso());
}

#[test]
fn the_newest_connection_wins() {
    let mut hub = fixture().device("d1");
    let old = hub.connect("d1");

    let (connected, outcome) = hub.connect_with("d1", |_| {});

    let taken_over = ErrorCode::ConnectionForcefullyClosedOnNewConnection;
    assert_eq!(outcome.effects, [Effect::Disconnect(old, taken_over)]);
    let new = connected.unwrap().session;
    assert_ne!(new, old);
    // The old connection learns late that it is over, which must not end the new one.
    assert_eq!(hub.disconnect(old, End::Lost), Outcome::default());
    assert_eq!(hub.hub.connections()[0].session, new);
    let late = hub.run(|hub, cx| hub.subscribe(cx, old, &[])).0;
    assert_eq!(
        late.unwrap_err().code,
        ErrorCode::DeviceConnectionClosedRemotely
    );
}

#[test]
fn a_device_and_its_modules_are_connected_side_by_side() {
    let mut hub = fixture().device("d1").module("d1/m1").module("d1/m2");

    for id in ["d1", "d1/m1", "d1/m2"] {
        let (_, outcome) = hub.connect_with(id, |_| {});
        assert_eq!(outcome.effects, []);
    }

    assert_eq!(hub.hub.connection_count(), 3);
    assert_eq!(hub.hub.connected_devices(&hub.operator), Ok(1));
}

#[test]
fn a_credential_is_good_for_its_owner_only() {
    let mut hub = fixture().device("d1").device("d2");
    let other = hub.principal("d2");

    let (reply, outcome) = hub.connect_with("d1", |request| request.principal = other);

    assert_eq!(reply.unwrap_err().code, ErrorCode::IotHubUnauthorizedAccess);
    assert_eq!(outcome, Outcome::default());
}

#[test]
fn who_was_disabled_or_deleted_after_it_proved_itself_stays_out() {
    let mut hub = fixture().device("d1").module("d1/m1");
    let (device, module) = (hub.request("d1"), hub.request("d1/m1"));
    hub.update("d1", spec(&json!({"status": "disabled"})))
        .0
        .unwrap();

    for request in [device.clone(), module.clone()] {
        let refused: Result<_, Error> = hub.run(|hub, cx| hub.connect(cx, request)).0;
        assert_eq!(refused.unwrap_err().code, ErrorCode::DeviceDisabled);
    }
    hub.delete("d1/m1").0.unwrap();
    let refused = hub.run(|hub, cx| hub.connect(cx, module)).0;
    assert_eq!(refused.unwrap_err().code, ErrorCode::ModuleNotFound);
    hub.delete("d1").0.unwrap();
    let refused = hub.run(|hub, cx| hub.connect(cx, device)).0;
    assert_eq!(refused.unwrap_err().code, ErrorCode::DeviceNotFound);
}

#[test]
fn subscriptions_are_remembered_when_asked_for() {
    let mut hub = fixture().device("d1");
    let first = remembering(&mut hub, "d1");
    assert!(!first.resumed);
    let wanted = [
        (Feature::Methods, Guarantee::AtLeastOnce),
        (Feature::C2d, Guarantee::AtMostOnce),
    ];
    hub.run(|hub, cx| hub.subscribe(cx, first.session, &wanted))
        .0
        .unwrap();
    hub.run(|hub, cx| hub.unsubscribe(cx, first.session, &[Feature::C2d]))
        .0
        .unwrap();
    hub.disconnect(first.session, End::Lost);

    let second = remembering(&mut hub, "d1");

    let mut expected = Subscriptions::default();
    expected.set(Feature::Methods, Some(Guarantee::AtLeastOnce));
    assert!(second.resumed);
    assert_eq!(second.subscriptions, expected);
}

#[test]
fn a_connection_that_asks_for_nothing_remembered_forgets() {
    let mut hub = fixture().device("d1");
    let first = remembering(&mut hub, "d1");
    hub.subscribe(first.session, &[Feature::Methods]);
    hub.listening("d1", &[Feature::DesiredChanges]);

    let third = remembering(&mut hub, "d1");

    assert!(!third.resumed);
    assert_eq!(third.subscriptions, Subscriptions::default());
}

#[test]
fn what_is_remembered_goes_with_the_identity() {
    let mut hub = fixture().device("d1");
    let session = remembering(&mut hub, "d1").session;
    hub.subscribe(session, &[Feature::Methods]);
    hub.delete("d1").0.unwrap();
    hub.put("d1", IdentitySpec::default()).0.unwrap();

    assert!(!remembering(&mut hub, "d1").resumed);
}

#[test]
fn a_will_is_published_when_the_connection_is_lost_and_not_after_a_goodbye() {
    for (end, expected) in [(End::Lost, 1), (End::Goodbye, 0)] {
        let mut hub = fixture().device("d1");
        let will = Some(message("gone"));
        let session = hub
            .connect_with("d1", |it| it.will = will)
            .0
            .unwrap()
            .session;

        let events = appended(&hub.disconnect(session, end));

        assert_eq!(events.len(), expected);
        for event in events {
            assert_eq!(event.message.body, "gone");
            let kind = event.message.properties.get("iothub-MessageType");
            assert_eq!(kind.as_deref(), Some("Will"));
        }
    }
}

#[test]
fn a_will_is_published_when_another_takes_over_or_the_hub_closes() {
    let will = || Some(message("gone"));
    let mut hub = fixture().device("d1");
    hub.connect_with("d1", |it| it.will = will()).0.unwrap();

    let (_, outcome) = hub.connect_with("d1", |it| it.will = will());
    assert_eq!(appended(&outcome).len(), 1);
    let (_, outcome) = hub.update("d1", spec(&json!({"status": "disabled"})));
    assert_eq!(appended(&outcome).len(), 1);
}

#[test]
fn a_connection_outlives_its_token_by_ten_minutes() {
    let mut hub = fixture().device("d1");
    let token = sign(
        "hub.example/devices/d1",
        T0 + secs(60),
        None,
        &hub.key("d1"),
    );
    let principal = hub.authenticate("d1", &token).unwrap();
    let session = hub
        .connect_with("d1", |it| it.principal = principal)
        .0
        .unwrap()
        .session;

    hub.wait(659);
    assert_eq!(hub.fire_due(), Outcome::default());
    hub.wait(1);
    let outcome = hub.fire_due();

    let expired = Effect::Disconnect(session, ErrorCode::IotHubUnauthorized);
    assert_eq!(outcome.effects, [expired]);
    assert!(!hub.identity("d1").connected);
    assert_eq!(hub.hub.next_deadline(), None);
}

#[test]
fn disabling_a_device_ends_its_connections_and_those_of_its_modules() {
    let mut hub = fixture().device("d1").module("d1/m1").device("d2");
    let (first, second) = (hub.connect("d1"), hub.connect("d1/m1"));
    hub.connect("d2");

    let (_, outcome) = hub.update("d1", spec(&json!({"status": "disabled"})));

    let disabled = |session| Effect::Disconnect(session, ErrorCode::DeviceDisabled);
    assert_eq!(outcome.effects, [disabled(first), disabled(second)]);
    assert_eq!(hub.hub.connection_count(), 1);
}

#[test]
fn new_keys_leave_a_connection_alone() {
    let mut hub = fixture().device("d1");
    hub.connect("d1");
    let old = hub.key("d1");

    let (_, outcome) = hub.update("d1", IdentitySpec::default());

    assert_ne!(hub.key("d1"), old);
    assert_eq!(outcome.effects, []);
    assert!(hub.identity("d1").connected);
}

#[test]
fn a_connection_can_be_dropped_on_request() {
    let mut hub = fixture().device("d1");
    let session = hub.connect("d1");
    let operator = hub.operator.clone();
    let mut drop = || hub.run(|hub, cx| hub.drop_connection(cx, &operator, &client("d1")));

    let (reply, outcome) = drop();
    reply.unwrap();
    let code = ErrorCode::ConnectionForcefullyClosedOnFaultInjection;
    assert_eq!(outcome.effects, [Effect::Disconnect(session, code)]);
    assert_eq!(drop().0.unwrap_err().code, ErrorCode::DeviceNotOnline);
}

#[test]
fn a_reset_closes_everything_and_reuses_no_number() {
    let mut hub = fixture().device("d1");
    let old = hub.connect("d1");

    let (_, outcome) = hub.run(|hub, cx| hub.reset(cx));

    let closed = ErrorCode::DeviceConnectionClosedRemotely;
    assert_eq!(outcome.effects, [Effect::Disconnect(old, closed)]);
    assert!(hub.hub.devices(&hub.operator, None).unwrap().is_empty());
    hub.put("d1", IdentitySpec::default()).0.unwrap();
    let new = hub.connect("d1");
    // The connection that was closed says so late.
    hub.disconnect(old, End::Lost);
    assert_eq!(hub.hub.session_client(new), Some(&client("d1")));
}

#[test]
fn connections_are_listed_in_the_order_they_came() {
    let mut hub = fixture().device("d2").device("d1");
    hub.connect("d2");
    hub.wait(1)
        .listening("d1", &[Feature::Methods, Feature::DesiredChanges]);

    let connections = hub.hub.connections();

    let listed: Vec<_> = connections
        .iter()
        .map(|it| {
            (
                it.client.to_string(),
                it.since,
                it.subscriptions.features().count(),
            )
        })
        .collect();
    assert_eq!(
        listed,
        [("d2".into(), T0, 0), ("d1".into(), T0 + secs(1), 2)]
    );
}

#[test]
fn a_fork_leaves_connections_and_deadlines_behind() {
    let mut hub = fixture().device("d1");
    hub.connect("d1");

    let fork = hub.hub.fork();

    assert_eq!(fork.connection_count(), 0);
    assert_eq!(fork.next_deadline(), None);
    assert!(
        !fork
            .device(&hub.operator, &client("d1").device)
            .unwrap()
            .connected
    );
    assert!(hub.identity("d1").connected);
    assert_ne!(hub.identity("d1").last_activity, Timestamp::NEVER);
}

#[test]
fn a_newer_token_keeps_a_session() {
    let mut hub = fixture().device("d1").device("d2");
    let session = hub.connect("d1");
    let first = hub.hub.next_deadline().unwrap();
    hub.wait(60);

    let newer = hub.principal("d1");
    hub.run(|hub, _| hub.renew_session(session, &newer))
        .0
        .unwrap();

    assert_eq!(hub.hub.next_deadline(), Some(first + secs(60)));
    hub.now = first;
    assert_eq!(hub.fire_due(), Outcome::default());
    hub.wait(60);
    let expired = Effect::Disconnect(session, ErrorCode::IotHubUnauthorized);
    assert_eq!(hub.fire_due().effects, [expired]);
}

#[test]
fn a_session_is_renewed_by_its_own_client_only() {
    let mut hub = fixture().device("d1").device("d2");
    let session = hub.connect("d1");
    let first = hub.hub.next_deadline();
    hub.wait(60);

    let other = hub.principal("d2");
    let refused = hub.run(|hub, _| hub.renew_session(session, &other)).0;
    assert_eq!(
        refused.unwrap_err().code,
        ErrorCode::IotHubUnauthorizedAccess
    );
    assert_eq!(hub.hub.next_deadline(), first);

    let own = hub.principal("d1");
    hub.disconnect(session, End::Goodbye);
    let ended = hub.run(|hub, _| hub.renew_session(session, &own)).0;
    assert_eq!(
        ended.unwrap_err().code,
        ErrorCode::DeviceConnectionClosedRemotely
    );
}

#[test]
fn a_model_that_is_announced_late_counts_from_then_on() {
    let mut hub = fixture().device("d1");
    let session = hub.connect("d1");
    let model = "dtmi:com:example:Thermostat;1";

    hub.run(|hub, cx| hub.announce_model(cx, session, model))
        .0
        .unwrap();

    assert_eq!(hub.twin("d1")["modelId"], model);
    let version = hub.twin("d1")["version"].clone();
    let (_, outcome) = hub.run(|hub, cx| hub.ingest(cx, session, vec![message("x")]));
    let origin = &appended(&outcome)[0].origin;
    assert_eq!(origin.model_id.as_deref(), Some(model));
    hub.run(|hub, cx| hub.announce_model(cx, session, model))
        .0
        .unwrap();
    assert_eq!(hub.twin("d1")["version"], version, "nothing new");
}

#[test]
fn a_token_can_be_made_to_expire_and_ends_its_session_as_it_would_in_time() {
    let by_time = |hub: &mut crate::fixture::Fixture| {
        hub.now = hub.hub.next_deadline().unwrap();
        hub.fire_due().effects
    };
    let on_request = |hub: &mut crate::fixture::Fixture| {
        let operator = hub.operator.clone();
        let (reply, outcome) = hub.run(|hub, cx| hub.expire_token(cx, &operator, &client("d1")));
        reply.unwrap();
        outcome.effects
    };
    let mut hub = fixture().device("d1");
    let session = hub.connect("d1");
    let mut other = hub.clone();

    let expired = [Effect::Disconnect(session, ErrorCode::IotHubUnauthorized)];
    assert_eq!(by_time(&mut hub), expired);
    assert_eq!(on_request(&mut other), expired);
    assert!(!other.identity("d1").connected);
    assert_eq!(other.hub.next_deadline(), None);
}

#[test]
fn only_a_token_that_keeps_a_session_open_can_be_made_to_expire() {
    let mut hub = fixture().device("d1").device("d2");
    let operator = hub.operator.clone();
    hub.connect_with("d2", |request| request.principal = operator.clone())
        .0
        .unwrap();

    let expire = |hub: &mut crate::fixture::Fixture, id: &str| {
        let (reply, outcome) = hub.run(|hub, cx| hub.expire_token(cx, &operator, &client(id)));
        assert_eq!(outcome, Outcome::default());
        reply.unwrap_err().code
    };

    assert_eq!(expire(&mut hub, "d1"), ErrorCode::DeviceNotOnline);
    assert_eq!(expire(&mut hub, "d2"), ErrorCode::ArgumentInvalid);
    let device = hub.principal("d2");
    let (refused, _) = hub.run(|hub, cx| hub.expire_token(cx, &device, &client("d2")));
    assert_eq!(
        refused.unwrap_err().code,
        ErrorCode::IotHubUnauthorizedAccess
    );
}

#[test]
fn connections_are_counted_by_what_carries_them() {
    let mut hub = fixture().device("d1").device("d2").module("d1/m1");
    let by = |hub: &mut crate::fixture::Fixture, id: &str, transport| {
        let (connected, _) = hub.connect_with(id, |request| request.transport = transport);
        connected.unwrap().session
    };
    let counts = |hub: &crate::fixture::Fixture| {
        let counts = hub.hub.connection_counts().iter();
        let counts: Vec<_> = counts.map(|(name, count)| (*name, *count)).collect();
        (counts, hub.hub.connected_devices(&hub.operator).unwrap())
    };

    by(&mut hub, "d1", "a");
    by(&mut hub, "d1/m1", "a");
    let last = by(&mut hub, "d2", "b");
    assert_eq!(counts(&hub), (vec![("a", 2), ("b", 1)], 2));

    by(&mut hub, "d1", "b");
    hub.disconnect(last, End::Lost);
    hub.disconnect(last, End::Lost);
    assert_eq!(counts(&hub), (vec![("a", 1), ("b", 1)], 1));

    hub.delete("d1").0.unwrap();
    assert_eq!(counts(&hub), (vec![("a", 0), ("b", 0)], 0));
}

#[test]
fn the_connections_of_a_device_are_its_own_and_its_modules() {
    let mut hub = fixture()
        .device("d1")
        .module("d1/m1")
        .module("d1/m2")
        .device("d10");
    for id in ["d10", "d1/m2", "d1"] {
        hub.connect(id);
    }

    let connections = hub.hub.connections_of(&crate::fixture::device("d1"));

    let clients: Vec<_> = connections.iter().map(|it| it.client.to_string()).collect();
    assert_eq!(clients, ["d1", "d1/m2"]);
    let until = connections[0].expires.unwrap();
    assert_eq!(Some(until), hub.hub.next_deadline());
}
