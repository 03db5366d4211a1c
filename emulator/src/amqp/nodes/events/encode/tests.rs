use iothub_hub::{AuthMethod, AuthScope, AuthType};
use iothub_protocol::amqp::mapping::to_amqp;
use iothub_protocol::amqp::message::{AmqpMessage, Body};
use iothub_protocol::amqp::value::lookup;
use iothub_protocol::amqp::{Map, Symbol, Value};
use iothub_protocol::{ClientId, Message};
use proptest::prelude::*;

use super::*;

const AUTH_METHOD: &str =
    r#"{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#;

fn origin(client: &str, model: Option<&str>) -> Arc<Origin> {
    Arc::new(Origin {
        client: ClientId::parse(client).unwrap(),
        generation: "637618061680407492".into(),
        auth_method: AuthMethod {
            scope: AuthScope::Device,
            kind: AuthType::Sas,
        },
        model_id: model.map(Into::into),
    })
}

fn event(origin: &Arc<Origin>, source: EventSource, bag: &str, body: &[u8]) -> Event {
    Event {
        partition: 1,
        sequence: 300,
        offset: 70_100,
        enqueued: Timestamp::from_unix_millis(1_767_225_600_123),
        source,
        origin: origin.clone(),
        message: Message {
            properties: PropertyBag::from_encoded(bag.to_owned()).unwrap(),
            body: body.to_vec().into(),
        },
    }
}

fn encoded(event: &Event, metric: Option<&RuntimeMetric>) -> BytesMut {
    let mut out = BytesMut::new();
    Encoder::default().encode(event, metric, &mut out);
    out
}

fn decoded(event: &Event, metric: Option<&RuntimeMetric>) -> AmqpMessage {
    AmqpMessage::decode(encoded(event, metric).freeze()).unwrap()
}

fn symbols<const N: usize>(pairs: [(&'static str, Value); N]) -> Map {
    pairs
        .into_iter()
        .map(|(key, value)| (Symbol::of(key).into(), value))
        .collect()
}

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

#[test]
fn telemetry_has_its_annotations_properties_and_body() {
    let origin = origin("d1/m1", Some("dtmi:example:Thing;1"));
    let bag = "%24.mid=m-1&%24.cid=c&%24.ct=application%2Fjson&%24.ce=utf-8&%24.sub=thermo&%24.uid=u\
               &%24.exp=2026-01-02T00%3A00%3A00Z&%24.schema=s&k=v%20w";
    let message = decoded(&event(&origin, EventSource::Telemetry, bag, b"{}"), None);

    assert_eq!(message.delivery_annotations, Map::new());
    assert_eq!(
        message.message_annotations,
        symbols([
            ("x-opt-sequence-number", Value::Long(300)),
            ("x-opt-offset", text("70100")),
            ("x-opt-enqueued-time", Value::Timestamp(1_767_225_600_123)),
            ("iothub-enqueuedtime", Value::Timestamp(1_767_225_600_123)),
            ("iothub-connection-device-id", text("d1")),
            ("iothub-connection-module-id", text("m1")),
            ("iothub-connection-auth-method", text(AUTH_METHOD)),
            (
                "iothub-connection-auth-generation-id",
                text("637618061680407492")
            ),
            ("iothub-message-source", text("Telemetry")),
            ("dt-dataschema", text("dtmi:example:Thing;1")),
            ("dt-subject", text("thermo")),
        ])
    );
    let properties = &message.properties;
    assert_eq!(properties.message_id, Some(text("m-1")));
    assert_eq!(properties.correlation_id, Some(text("c")));
    assert_eq!(properties.user_id.as_deref(), Some(&b"u"[..]));
    assert_eq!(
        properties.to.as_deref(),
        Some("/devices/d1/modules/m1/messages/events")
    );
    assert_eq!(
        properties.content_type,
        Some(Symbol::of("application/json"))
    );
    assert_eq!(properties.content_encoding, Some(Symbol::of("utf-8")));
    assert_eq!(properties.absolute_expiry_time, Some(1_767_312_000_000));
    assert_eq!(
        message.application_properties,
        [
            (text("iothub-message-schema"), text("s")),
            (text("k"), text("v w")),
        ]
    );
    assert_eq!(message.body, Body::Data(vec![b"{}".to_vec().into()]));
}

#[test]
fn each_source_has_its_name_and_only_telemetry_has_a_credential() {
    let origin = origin("d1", None);
    for source in EventSource::ALL {
        let message = decoded(&event(&origin, source, "", b"x"), None);

        let annotation = |name| lookup(&message.message_annotations, name);
        let is_telemetry = source == EventSource::Telemetry;
        assert_eq!(
            annotation("iothub-message-source"),
            Some(&text(source.name()))
        );
        assert_eq!(annotation("iothub-connection-device-id"), Some(&text("d1")));
        assert_eq!(
            annotation("iothub-connection-auth-method").is_some(),
            is_telemetry
        );
        assert_eq!(message.properties.to.is_some(), is_telemetry);
        assert_eq!(message.application_properties, Map::new());
    }
}

#[test]
fn what_is_remembered_of_one_event_is_not_taken_for_another() {
    let (one, other) = (origin("d1", None), origin("d2", Some("dtmi:x;1")));
    let events = [
        event(&one, EventSource::Telemetry, "", b"1"),
        event(&other, EventSource::Telemetry, "a=b", b"2"),
        event(&other, EventSource::TwinChange, "", b"3"),
        event(&one, EventSource::Telemetry, "", b"4"),
    ];
    let mut encoder = Encoder::default();

    for event in &events {
        let mut out = BytesMut::new();
        encoder.encode(event, None, &mut out);

        assert_eq!(out, encoded(event, None));
    }
}

#[test]
fn the_runtime_metric_stands_before_everything_else() {
    let metric = RuntimeMetric {
        sequence: 4,
        offset: "99".into(),
        enqueued: Timestamp::from_unix_millis(5),
        retrieved: Timestamp::from_unix_millis(6),
    };
    let event = event(&origin("d1", None), EventSource::Telemetry, "", b"x");

    let message = decoded(&event, Some(&metric));

    assert_eq!(
        message.delivery_annotations,
        symbols([
            ("last_enqueued_sequence_number", Value::Long(4)),
            ("last_enqueued_offset", text("99")),
            ("last_enqueued_time_utc", Value::Timestamp(5)),
            ("runtime_info_retrieval_time_utc", Value::Timestamp(6)),
        ])
    );
    let with = encoded(&event, Some(&metric));
    let without = encoded(&event, None);
    assert!(with.ends_with(&without), "nothing else depends on it");
}

#[test]
fn sequence_numbers_and_times_have_eight_bytes_and_offsets_are_text() {
    let bytes = encoded(
        &event(&origin("d1", None), EventSource::Telemetry, "", b"x"),
        None,
    );
    let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);

    assert!(bytes.starts_with(b"\x00\x53\x72\xd1"));
    assert!(holds(
        b"\xa3\x15x-opt-sequence-number\x81\0\0\0\0\0\0\x01\x2c"
    ));
    assert!(holds(b"\xa3\x0cx-opt-offset\xa1\x0570100"));
    assert!(holds(b"\xa3\x13x-opt-enqueued-time\x83"));
    assert!(bytes.ends_with(b"\x00\x53\x75\xa0\x01x"));
}

proptest! {
    /// Properties stand where the hub's one mapping puts them.
    #[test]
    fn it_agrees_with_the_mapping(
        pairs in prop::collection::vec((any_name(), "[ -~é]{0,6}"), 0..60),
        body in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let mut bag = PropertyBag::new();
        for (name, value) in &pairs {
            bag.push(name, value);
        }
        let event = event(&origin("d1", None), EventSource::Telemetry, bag.as_encoded(), &body);
        let mut expected = to_amqp(&event.message);
        let to = expected.properties.to.get_or_insert_default();
        if event.message.properties.system(SystemProperty::To).is_none() {
            *to = "/devices/d1/messages/events".into();
        }

        let mut message = decoded(&event, None);

        let own = message.message_annotations.split_off(8);
        prop_assert_eq!(own, expected.message_annotations);
        message.message_annotations = Map::new();
        expected.message_annotations = Map::new();
        prop_assert_eq!(message, expected);
    }
}

fn any_name() -> impl Strategy<Value = String> {
    let system = prop::sample::select(SystemProperty::ALL)
        .prop_map(|property| property.wire_name().to_owned());
    let known = prop::sample::select(vec![
        "iothub-message-schema".to_owned(),
        "iothub-creation-time-utc".to_owned(),
        "$.other".to_owned(),
    ]);
    prop_oneof![3 => "[a-c ]{0,2}", 2 => system, 1 => known, 1 => "[a-z]{3}"]
}
