//! `spec/device.md` 2.7, 4.4 to 4.6.

use iothub_hub::{Change, Effect, Event, Hub, Outcome, PartitionHead, SessionId};
use iothub_protocol::ErrorCode;
use iothub_protocol::Message;
use iothub_protocol::property_bag::PropertyBag;

use crate::fixture::{Fixture, T0, client, device, fixture, message, secs};

/// Events that an outcome writes down.
pub(crate) fn appended(outcome: &Outcome) -> Vec<Event> {
    let events = outcome.changes.iter().filter_map(|change| match change {
        Change::AppendEvents(events) => Some(events.clone()),
        _ => None,
    });
    events.flatten().collect()
}

/// The event that one message becomes.
pub(crate) fn send(hub: &mut Fixture, session: SessionId, body: &str) -> Event {
    let (reply, outcome) = hub.run(|hub, cx| hub.ingest(cx, session, vec![message(body)]));
    reply.unwrap();
    appended(&outcome).pop().unwrap()
}

fn sized(bytes: usize) -> Message {
    let properties = PropertyBag::from_encoded("a%20b=%20%20").unwrap();
    Message {
        body: vec![0; bytes - 5].into(),
        properties,
    }
}

#[test]
fn a_message_is_stamped_numbered_and_announced() {
    let mut hub = fixture().device("d1").module("d1/m1");
    let session = hub.connect("d1/m1");
    hub.wait(3);

    let (reply, outcome) =
        hub.run(|hub, cx| hub.ingest(cx, session, vec![message("a"), message("b")]));

    reply.unwrap();
    let events = appended(&outcome);
    let partition = hub.hub.partition_of(&device("d1"));
    assert_eq!(outcome.effects, [Effect::EventsAppended(partition)]);
    assert_eq!(
        events.iter().map(|it| it.sequence).collect::<Vec<_>>(),
        [0, 1]
    );
    assert!(events[0].offset < events[1].offset);
    for event in &events {
        assert_eq!(event.partition, partition);
        assert_eq!(event.enqueued, T0 + secs(3));
        assert_eq!(event.origin.client, client("d1/m1"));
        assert_eq!(event.source.name(), "Telemetry");
        assert_eq!(event.origin.generation.len(), 18);
    }
}

#[test]
fn the_origin_is_the_identity_that_is_connected() {
    let mut hub = fixture().device("d1");
    let model = "dtmi:example:Thing;1";
    let connected = hub
        .connect_with("d1", |it| it.model_id = Some(model.into()))
        .0;

    let event = send(&mut hub, connected.unwrap().session, "x");

    assert_eq!(*event.origin.generation, *hub.identity("d1").generation_id);
    assert_eq!(event.origin.model_id.as_deref(), Some(model));
}

#[test]
fn events_of_a_device_and_its_modules_share_a_partition_and_others_spread() {
    let ids: Vec<_> = (0..64).map(|n| format!("device-{n}")).collect();
    let hub = fixture();
    let mut counts = [0; 4];

    for id in &ids {
        counts[usize::from(hub.hub.partition_of(&device(id)))] += 1;
    }

    assert!(counts.iter().all(|&count| count > 4), "{counts:?}");
}

#[test]
fn sequence_numbers_go_on_across_devices_calls_and_restarts() {
    let mut config = crate::fixture::config();
    config.partitions = 1;
    let mut hub = Fixture::with(config.clone()).device("d1").device("d2");
    let (first, second) = (hub.connect("d1"), hub.connect("d2"));

    let events = [send(&mut hub, first, "a"), send(&mut hub, second, "b")];

    assert_eq!(events.each_ref().map(|it| it.sequence), [0, 1]);
    let mut restored = Hub::new(config);
    restored.restore(Change::AppendEvents(events.into()));
    assert_eq!(restored.partition_heads(), hub.hub.partition_heads());
    let head = PartitionHead {
        next_sequence: 9,
        next_offset: 99,
    };
    restored.restore(Change::PutPartitionHead(0, head));
    assert_eq!(restored.partition_heads(), [head]);
}

#[test]
fn a_message_has_at_most_256_kib_and_is_refused_with_all_of_its_batch() {
    let mut hub = fixture().device("d1");
    let session = hub.connect("d1");
    let limit = 256 * 1024;

    let (reply, _) = hub.run(|hub, cx| hub.ingest(cx, session, vec![sized(limit)]));
    reply.unwrap();
    hub.wait(5);
    let batch = vec![message("small"), sized(limit + 1)];
    let (reply, outcome) = hub.run(|hub, cx| hub.ingest(cx, session, batch));

    assert_eq!(reply.unwrap_err().code, ErrorCode::MessageTooLarge);
    assert_eq!(outcome, Outcome::default());
    assert_eq!(hub.identity("d1").last_activity, T0);
}

#[test]
fn a_will_that_is_too_large_is_not_published() {
    let mut hub = fixture().device("d1");
    let will = Some(sized(256 * 1024));
    let session = hub
        .connect_with("d1", |it| it.will = will)
        .0
        .unwrap()
        .session;

    let outcome = hub.disconnect(session, iothub_hub::End::Lost);

    assert_eq!(appended(&outcome), []);
}

#[test]
fn nothing_to_ingest_is_nothing_to_announce() {
    let mut hub = fixture().device("d1");
    let session = hub.connect("d1");

    let (reply, outcome) = hub.run(|hub, cx| hub.ingest(cx, session, Vec::new()));

    reply.unwrap();
    assert_eq!(outcome, Outcome::default());
}

#[test]
fn an_ended_session_sends_nothing() {
    let mut hub = fixture().device("d1");
    let session = hub.connect("d1");
    hub.connect("d1");

    let (reply, outcome) = hub.run(|hub, cx| hub.ingest(cx, session, vec![message("late")]));

    assert_eq!(
        reply.unwrap_err().code,
        ErrorCode::DeviceConnectionClosedRemotely
    );
    assert_eq!(outcome, Outcome::default());
}

#[test]
fn a_client_without_a_session_sends_and_stays_disconnected() {
    let mut hub = fixture().device("d1").module("d1/m1");
    hub.wait(5);
    for id in ["d1", "d1/m1"] {
        let caller = hub.principal(id);
        let both = vec![message("a"), message("b")];

        let (reply, outcome) = hub.run(|hub, cx| hub.ingest_from(cx, &caller, &client(id), both));

        reply.unwrap();
        let events = appended(&outcome);
        assert_eq!(events.len(), 2);
        assert_eq!(events[0].origin.client, client(id));
        assert!(events[0].origin.auth_method.to_json().contains("sas"));
        let twin = hub.twin(id);
        assert_eq!(twin["connectionState"], "Disconnected");
        assert_eq!(twin["lastActivityTime"], (T0 + secs(5)).to_iso());
    }
    assert_eq!(hub.identity("d1").generation_id.len(), 18);
}

#[test]
fn what_a_client_without_a_session_sends_is_taken_whole_or_not_at_all() {
    let mut hub = fixture().device("d1");
    let caller = hub.principal("d1");
    let messages = vec![message("a"), sized(256 * 1024 + 1)];

    let (reply, outcome) = hub.run(|hub, cx| hub.ingest_from(cx, &caller, &client("d1"), messages));

    assert_eq!(reply.unwrap_err().code, ErrorCode::MessageTooLarge);
    assert_eq!(outcome, Outcome::default());
}

#[test]
fn sending_without_the_session_is_activity_of_the_session() {
    let mut hub = fixture().device("d1");
    hub.connect("d1");
    hub.wait(9);
    let caller = hub.principal("d1");

    let (reply, outcome) =
        hub.run(|hub, cx| hub.ingest_from(cx, &caller, &client("d1"), vec![message("a")]));

    reply.unwrap();
    assert_eq!(outcome.changes.len(), 1, "{:?}", outcome.changes);
    assert_eq!(hub.twin("d1")["connectionState"], "Connected");
    assert_eq!(hub.twin("d1")["lastActivityTime"], (T0 + secs(9)).to_iso());
}
