//! `spec/device.md` 16.3: events about identities, twins and connections.

use iothub_hub::{Change, ConnectionEvents, End, Event, Feature, HubConfig, Limits, Outcome};
use iothub_protocol::job::JobRequest;
use iothub_protocol::property_bag::SystemProperty;
use serde_json::{Value, json};

use crate::fixture::{Fixture, T0, client, config, fixture, object, secs};
use crate::routing::route_everything;
use crate::telemetry::{appended, send};

/// A hub whose built-in endpoint gets every kind of event.
fn talkative() -> Fixture {
    let mut hub = fixture();
    route_everything(&mut hub);
    hub
}

fn body(event: &Event) -> Value {
    serde_json::from_slice(&event.message.body).unwrap()
}

/// Source, `opType`, client of each event.
fn told(outcome: &Outcome) -> Vec<(&'static str, String, String)> {
    let events = appended(outcome);
    let told = events.iter().map(|event| {
        let operation = application(event, "opType");
        (
            event.source.name(),
            operation,
            event.origin.client.to_string(),
        )
    });
    told.collect()
}

fn application(event: &Event, name: &str) -> String {
    let all = event.message.properties.application();
    let found = all.into_iter().find(|(known, _)| known == name);
    found
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

fn only(outcome: &Outcome) -> Event {
    let mut events = appended(outcome);
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0)
}

#[test]
fn nothing_is_made_that_no_route_wants() {
    let mut hub = fixture().device("d1").module("d1/m1");
    hub.patch("d1", &json!({"tags": {"a": 1}})).0.unwrap();
    let session = hub.listening("d1", &[Feature::Methods]);

    let ended = hub.disconnect(session, End::Goodbye);
    let deleted = hub.delete("d1").1;

    assert_eq!(appended(&ended), []);
    assert_eq!(appended(&deleted), []);
    assert_eq!(hub.hub.partition_heads()[0].next_sequence, 0);
}

#[test]
fn a_created_module_is_told_with_its_twin() {
    let mut hub = talkative();
    hub.put("d1", Default::default()).0.unwrap();
    hub.wait(3);

    let event = only(&hub.put("d1/m1", Default::default()).1);

    assert_eq!(event.source.name(), "deviceLifecycleEvents");
    assert_eq!(event.origin.client, client("d1/m1"));
    assert_eq!(event.enqueued, T0 + secs(3));
    let bag = &event.message.properties;
    let system = |property| bag.system(property).unwrap().into_owned();
    assert_eq!(system(SystemProperty::ContentType), "application/json");
    assert_eq!(system(SystemProperty::ContentEncoding), "utf-8");
    assert_eq!(system(SystemProperty::UserId), "hub");
    let correlation = system(SystemProperty::CorrelationId);
    assert!(correlation.chars().all(|c| c.is_ascii_hexdigit()));
    let all: Vec<_> = bag
        .application()
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(
        all,
        [
            "hubName=hub",
            "deviceId=d1",
            "moduleId=m1",
            "operationTimestamp=2026-01-01T00:00:03.0000000Z",
            "opType=createDeviceIdentity",
            "iothub-message-schema=deviceLifecycleNotification",
        ]
    );
    let section = json!({"$metadata": {"$lastUpdated": "0001-01-01T00:00:00Z"}, "$version": 1});
    assert_eq!(
        body(&event),
        json!({
            "deviceId": "d1",
            "moduleId": "m1",
            "etag": "AAAAAAAAAAE=",
            "version": 2,
            "properties": {"desired": section, "reported": section},
        })
    );
}

#[test]
fn a_deleted_device_takes_its_modules_along_and_shows_its_last_twin() {
    let mut hub = talkative().device("d1").module("d1/m1");
    hub.patch("d1", &json!({"tags": {"floor": "1"}})).0.unwrap();
    hub.listening("d1", &[Feature::Methods]);

    let deleted = hub.delete("d1").1;

    let told = told(&deleted);
    assert_eq!(
        told,
        [
            (
                "deviceLifecycleEvents",
                "deleteDeviceIdentity".into(),
                "d1/m1".into()
            ),
            (
                "deviceConnectionStateEvents",
                "deviceDisconnected".into(),
                "d1".into()
            ),
            (
                "deviceLifecycleEvents",
                "deleteDeviceIdentity".into(),
                "d1".into()
            ),
        ]
    );
    assert_eq!(body(&appended(&deleted)[2])["tags"], json!({"floor": "1"}));
}

#[test]
fn a_patched_twin_is_told_with_what_was_changed_only() {
    let mut hub = talkative().device("d1");
    let first = json!({"tags": {"a": 1, "b": 2}, "properties": {"desired": {"x": 1, "y": 2}}});
    hub.patch("d1", &first).0.unwrap();

    let patch = json!({"tags": {"b": null}, "properties": {"desired": {"y": {"z": 3}}}});
    let event = only(&hub.patch("d1", &patch).1);

    let stamp = json!({"$lastUpdated": "2026-01-01T00:00:00.0000000Z", "$lastUpdatedVersion": 3});
    let mut y = stamp.clone();
    y["z"] = stamp.clone();
    let mut metadata = stamp;
    metadata["y"] = y;
    assert_eq!(application(&event, "opType"), "updateTwin");
    assert_eq!(
        application(&event, "iothub-message-schema"),
        "twinChangeNotification"
    );
    assert_eq!(
        body(&event),
        json!({
            "version": 4,
            "tags": {"b": null},
            "properties": {"desired": {"y": {"z": 3}, "$metadata": metadata, "$version": 3}},
        })
    );
}

#[test]
fn a_replaced_twin_is_told_as_a_whole() {
    let mut hub = talkative().device("d1");
    hub.patch("d1", &json!({"tags": {"a": 1}})).0.unwrap();

    let twin = json!({"properties": {"desired": {"x": 1}}});
    let event = only(&hub.replace("d1", &twin).1);

    let body = object(body(&event));
    assert_eq!(application(&event, "opType"), "replaceTwin");
    let names: Vec<_> = body.keys().map(String::as_str).collect();
    assert_eq!(names, ["deviceId", "etag", "version", "tags", "properties"]);
    assert_eq!(body["properties"]["desired"]["x"], 1);
    assert_eq!(body["properties"]["reported"]["$version"], 1);
}

#[test]
fn reported_properties_are_told_without_versions_in_their_metadata() {
    let mut hub = talkative().device("d1");
    let session = hub.connect("d1");

    let patch = object(json!({"fan": 5}));
    let (reply, outcome) = hub.run(|hub, cx| hub.patch_reported(cx, session, &patch, None));

    reply.unwrap();
    let time = "2026-01-01T00:00:00.0000000Z";
    let metadata = json!({"$lastUpdated": time, "fan": {"$lastUpdated": time}});
    assert_eq!(
        body(&only(&outcome)),
        json!({
            "version": 3,
            "properties": {"reported": {"fan": 5, "$metadata": metadata, "$version": 2}},
        })
    );
}

#[test]
fn a_refused_write_is_not_told() {
    let mut hub = talkative().device("d1");

    let (reply, outcome) = hub.patch("d1", &json!({"tags": {"a": [null]}}));

    assert!(reply.is_err());
    assert_eq!(outcome, Outcome::default());
}

#[test]
fn a_connection_is_told_when_it_is_first_used_and_when_it_ends() {
    let mut hub = talkative().device("d1");

    let (connected, at_connect) = hub.connect_with("d1", |_| {});
    let session = connected.unwrap().session;
    let first = hub.subscribe(session, &[Feature::Methods]);
    let second = hub.subscribe(session, &[Feature::C2d]);
    let ended = hub.disconnect(session, End::Goodbye);

    assert_eq!(told(&at_connect), []);
    assert_eq!(application(&only(&first), "opType"), "deviceConnected");
    assert_eq!(told(&second), []);
    assert_eq!(application(&only(&ended), "opType"), "deviceDisconnected");
    let number = body(&only(&first))["sequenceNumber"].clone();
    let number = number.as_str().unwrap();
    assert_eq!(number.len(), 64);
    assert!(number.chars().all(|c| c.is_ascii_hexdigit()));
}

#[test]
fn sending_is_a_use_and_its_message_comes_after_the_event() {
    let mut hub = talkative().device("d1");
    let session = hub.connect("d1");

    let message = crate::fixture::message("x");
    let (reply, outcome) = hub.run(|hub, cx| hub.ingest(cx, session, vec![message]));

    reply.unwrap();
    let sources: Vec<_> = appended(&outcome)
        .iter()
        .map(|event| event.source.name())
        .collect();
    assert_eq!(sources, ["deviceConnectionStateEvents", "Telemetry"]);
}

#[test]
fn a_connection_that_is_never_used_is_never_told() {
    let mut hub = talkative().device("d1");
    let session = hub.connect("d1");

    assert_eq!(told(&hub.disconnect(session, End::Lost)), []);
}

#[test]
fn a_client_that_comes_back_to_its_subscriptions_is_told_at_once() {
    let mut hub = talkative().device("d1");
    let remember = |request: &mut iothub_hub::ConnectRequest| request.remember = true;
    let session = hub.connect_with("d1", remember).0.unwrap().session;
    hub.subscribe(session, &[Feature::Methods]);
    hub.disconnect(session, End::Lost);

    let back = hub.connect_with("d1", remember).1;

    assert_eq!(application(&only(&back), "opType"), "deviceConnected");
}

#[test]
fn connections_are_told_at_once_when_that_is_chosen() {
    let limits = Limits {
        connection_events: ConnectionEvents::Connect,
        ..Limits::default()
    };
    let mut hub = Fixture::with(HubConfig { limits, ..config() });
    route_everything(&mut hub);
    let mut hub = hub.device("d1");

    let outcome = hub.connect_with("d1", |_| {}).1;

    assert_eq!(application(&only(&outcome), "opType"), "deviceConnected");
}

#[test]
fn sequence_numbers_grow_as_text_even_when_the_clock_goes_back_over_a_restart() {
    let mut hub = talkative().device("d1");
    let mut changes = Vec::new();
    let mut numbers = Vec::new();
    let mut turn = |hub: &mut Fixture, changes: &mut Vec<Change>| {
        let session = hub.connect("d1");
        for outcome in [
            hub.subscribe(session, &[Feature::Methods]),
            hub.disconnect(session, End::Goodbye),
        ] {
            let number = body(&only(&outcome))["sequenceNumber"].clone();
            numbers.push(number.as_str().unwrap().to_owned());
            changes.extend(outcome.changes);
        }
    };
    hub.wait(100);
    turn(&mut hub, &mut changes);
    turn(&mut hub, &mut changes);

    let mut restarted = talkative().device("d1");
    for change in changes.clone() {
        restarted.hub.restore(change);
    }
    turn(&mut restarted, &mut changes);

    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:#?}");
}

/// Documented events of a thermostat (Microsoft's `concepts-digital-twin`).
#[test]
fn a_digital_twin_tells_its_model_and_its_changes_as_a_json_patch() {
    let mut hub = fixture().device("d1").device("plain");
    let source = "DigitalTwinChangeEvents";
    let route = json!({"name": "a", "source": source, "endpointNames": ["events"]});
    crate::routing::set(&mut hub, &json!({"routes": [route]}));
    let model = "dtmi:com:example:TemperatureController;1";

    let (connected, outcome) = hub.connect_with("d1", |it| it.model_id = Some(model.into()));
    let event = only(&outcome);
    assert_eq!(event.source.name(), "digitalTwinChangeEvents");
    let content_type = event.message.properties.system(SystemProperty::ContentType);
    assert_eq!(content_type.unwrap(), "application/json-patch+json");
    assert_eq!(
        body(&event),
        json!([{"op": "replace", "path": "/$metadata/$model", "value": model}])
    );

    let component = json!({"thermostat1": {"__t": "c", "targetTemperature": 21.8}});
    let patch = json!({"properties": {"desired": component}});
    let changes = body(&only(&hub.patch("d1", &patch).1));
    let text = changes.to_string();
    assert!(text.contains("targetTemperature"), "{text}");
    assert!(text.contains(r#""desiredValue":21.8"#), "{text}");
    assert!(text.contains(r#""desiredVersion":2"#), "{text}");

    let session = connected.unwrap().session;
    let ack = json!({"value": 21.8, "ac": 200, "av": 2, "ad": "done"});
    let patch = object(json!({"thermostat1": {"__t": "c", "targetTemperature": ack}}));
    let outcome = hub
        .run(|hub, cx| hub.patch_reported(cx, session, &patch, None))
        .1;
    let changes = body(&only(&outcome));
    let ack_code = json!({
        "op": "add",
        "path": "/thermostat1/$metadata/targetTemperature/ackCode",
        "value": 200,
    });
    assert!(changes.as_array().unwrap().contains(&ack_code), "{changes}");

    let tags = hub.patch("d1", &json!({"tags": {"a": 1}})).1;
    assert_eq!(told(&tags), [], "tags are no part of a digital twin");
    let plain = hub.patch("plain", &json!({"properties": {"desired": {"a": 1}}}));
    assert_eq!(told(&plain.1), [], "who has no model has no digital twin");
}

#[test]
fn what_a_job_does_to_a_device_is_told() {
    let mut hub = talkative().device("d1");
    let job = json!({
        "type": "scheduleUpdateTwin",
        "queryCondition": "deviceId = 'd1'",
        "updateTwin": {"etag": "*", "tags": {"k": "v"}},
    });
    let operator = hub.operator.clone();
    let (request, sent) = JobRequest::parse("j1", job.to_string().as_bytes()).unwrap();
    hub.run(|hub, cx| hub.put_job(cx, &operator, request, &sent))
        .0
        .unwrap();

    let mut events = Vec::new();
    while hub.hub.next_deadline().is_some_and(|next| next <= hub.now) {
        events.extend(appended(&hub.fire_due()));
    }

    let of_job = |event: &&Event| event.source.name() == "deviceJobLifecycleEvents";
    let told: Vec<_> = events.iter().filter(of_job).collect();
    let statuses: Vec<_> = told
        .iter()
        .map(|event| body(event)["status"].clone())
        .collect();
    assert_eq!(statuses.first(), Some(&json!("pending")), "{statuses:?}");
    assert_eq!(statuses.last(), Some(&json!("completed")), "{statuses:?}");
    assert_eq!(application(told[0], "opType"), "updateDeviceJob");
    assert_eq!(body(told[0])["jobId"], "j1");
    assert_eq!(told[0].origin.client, client("d1"));
}

#[test]
fn a_hub_with_every_event_is_as_deterministic_as_one_without() {
    let run = || {
        let mut hub = talkative().device("d1");
        let session = hub.connect("d1");
        let event = send(&mut hub, session, "x");
        (event, format!("{:?}", hub.delete("d1").1))
    };

    assert_eq!(run(), run());
}
