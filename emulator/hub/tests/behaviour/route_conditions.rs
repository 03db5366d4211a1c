//! Conditions of message routes (`spec/service.md` 5.6).

use std::sync::Arc;

use iothub_hub::{
    AuthMethod, AuthScope, AuthType, Event, EventSource, Origin, PackedTwin, RouteCondition,
    RouteSubject, Twin,
};
use iothub_protocol::property_bag::{PropertyBag, SystemProperty};
use iothub_protocol::twin::Section;
use iothub_protocol::{ErrorCode, Message, Timestamp};
use serde_json::{Value, json};

use crate::fixture::{T0, client, object};

const WEATHER: &str = r#"{"Weather":{"Temperature":50,"Location":{"State":"WA"},
    "Days":[{"Wind":3},{"Wind":7}],"Calm":null,"Raining":true},"none":null}"#;

/// A message of `d1`'s with JSON, and the twin of `d1`.
struct Case {
    event: Event,
    twin: Option<Twin>,
}

impl Case {
    fn new() -> Self {
        let mut properties = PropertyBag::new();
        for (property, value) in [
            (SystemProperty::ContentType, "application/json"),
            (SystemProperty::ContentEncoding, "utf-8"),
            (SystemProperty::MessageId, "m-1"),
            (SystemProperty::CorrelationId, "c-1"),
            (SystemProperty::UserId, "u-1"),
            (SystemProperty::Component, "thermostat1"),
            (SystemProperty::InterfaceId, "urn:x"),
        ] {
            properties.push_system(property, value);
        }
        for (name, value) in [
            ("processingPath", "hot"),
            ("level", "storage"),
            ("severity", "2"),
            ("Name", "high"),
            ("a.b", "dotted"),
            ("group", "g1"),
            ("twice", "1"),
            ("twice", "2"),
            ("contentLanguage", "en"),
            ("$own", "signed"),
        ] {
            properties.push(name, value);
        }
        let origin = Origin {
            client: client("d1"),
            generation: "637618061680407492".into(),
            auth_method: AuthMethod {
                scope: AuthScope::Device,
                kind: AuthType::Sas,
            },
            model_id: Some("dtmi:com:example:Thermostat;1".into()),
        };
        let mut twin = Twin {
            client: client("d1"),
            tags: object(json!({"deploymentLocation": {"floor": 1, "building": "43"}})),
            desired: Section::new(T0),
            reported: Section::new(T0),
            version: 2,
            etag: 1,
            model_id: String::new(),
        };
        twin.desired.patch(&object(json!({"rate": 5})), T0);
        twin.reported.patch(&object(json!({"fw": "1.0"})), T0);
        Self {
            event: Event {
                partition: 0,
                sequence: 0,
                offset: 0,
                enqueued: Timestamp::parse_iso("2026-01-02T03:04:05Z").unwrap(),
                source: EventSource::Telemetry,
                origin: Arc::new(origin),
                message: Message {
                    properties,
                    body: WEATHER.into(),
                },
            },
            twin: Some(twin),
        }
    }

    /// The same message with another body, and what it says of it.
    fn body(content_type: Option<&str>, encoding: Option<&str>, body: Vec<u8>) -> Self {
        let mut case = Self::new();
        let mut properties = PropertyBag::new();
        for (property, value) in [
            (SystemProperty::ContentType, content_type),
            (SystemProperty::ContentEncoding, encoding),
        ] {
            if let Some(value) = value {
                properties.push_system(property, value);
            }
        }
        case.event.message = Message {
            properties,
            body: body.into(),
        };
        case
    }

    fn of_module(mut self) -> Self {
        let origin = Arc::make_mut(&mut self.event.origin);
        origin.client = client("d1/m1");
        self
    }

    #[track_caller]
    fn takes(&self, condition: &str) -> bool {
        let condition = RouteCondition::parse(condition)
            .unwrap_or_else(|error| panic!("{condition}: {}", error.detail));
        let twin = self.twin.as_ref().map(PackedTwin::pack);
        let subject = RouteSubject {
            event: &self.event,
            twin: twin.as_ref(),
        };
        condition.matches(&subject)
    }
}

#[track_caller]
fn all(case: &Case, conditions: &[&str]) {
    for condition in conditions {
        assert!(case.takes(condition), "{condition}");
    }
}

#[track_caller]
fn none(case: &Case, conditions: &[&str]) {
    for condition in conditions {
        assert!(!case.takes(condition), "{condition}");
    }
}

#[test]
fn the_examples_of_the_documentation() {
    all(
        &Case::new(),
        &[
            "true",
            "$body.Weather.Temperature = 50 AND processingPath = 'hot'",
            "length($body.Weather.Location.State) = 2",
            "$twin.tags.deploymentLocation.floor = 1",
            "level=\"storage\"",
            "NOT is_defined(alert)",
            "$connectionDeviceId = 'd1'",
            "STARTS_WITH($connectionDeviceId, \"d\")",
        ],
    );
    none(
        &Case::new(),
        &[
            "false",
            "null",
            "undefined",
            "level",
            "alert = 'x'",
            "alert != 'x'",
            "NOT alert",
        ],
    );
}

#[test]
fn names_are_properties_whatever_their_case() {
    all(
        &Case::new(),
        &[
            "PROCESSINGPATH = 'hot'",
            "processingpath = 'hot'",
            "name = 'high'",
            "a.b = 'dotted'",
            "A.B = 'dotted'",
            "[[group]] = 'g1'",
            "twice = '2'",
            "is_defined(Level)",
        ],
    );
    none(
        &Case::new(),
        &[
            // Their values are not.
            "level = 'Storage'",
            // The bare name of a system property is an application property.
            "contentType = 'application/json'",
            "is_defined(messageId)",
            "is_defined(body)",
        ],
    );
}

#[test]
fn system_properties_have_a_sign_in_front() {
    all(
        &Case::new(),
        &[
            "$contentType = 'application/json'",
            "$CONTENTTYPE = 'application/json'",
            "$contentEncoding = 'utf-8'",
            "$connectionDeviceId = 'd1'",
            "iothub-connection-device-id = 'd1'",
            "$iothub-connection-device-id = 'd1'",
            "NOT is_defined($connectionModuleId)",
            "$enqueuedTime = '2026-01-02T03:04:05Z' OR starts_with($enqueuedTime, '2026-01-02T03:04:05')",
            "starts_with(enqueuedTime, '2026-01-02')",
            "enqueuedTime > '2026-01-01' AND enqueuedTime < '2026-01-03'",
            "$iothub-message-source = 'Telemetry'",
            "$dt-dataschema = 'dtmi:com:example:Thermostat;1'",
            "$dt-subject = 'thermostat1'",
            "$messageId = 'm-1'",
            "$correlationId = 'c-1'",
            "$userId = 'u-1'",
            // No such system property: the application's own.
            "$processingPath = 'hot'",
            "$contentLanguage = 'en'",
            "$own = 'signed'",
        ],
    );
    none(
        &Case::new(),
        &["is_defined($nothing)", "is_defined($connectionModuleId)"],
    );
    all(
        &Case::new().of_module(),
        &[
            "$connectionDeviceId = 'd1' AND $connectionModuleId = 'm1'",
            "iothub-connection-module-id = 'm1'",
        ],
    );
}

#[test]
fn a_property_is_a_text_until_it_is_made_a_number() {
    all(
        &Case::new(),
        &[
            "as_number(severity) = 2",
            "AS_NUMBER(severity) <= 2",
            "AS_NUMBER(severity) * 2 + 1 = 5",
            "severity = '2'",
            "is_string(severity)",
            // Other types than a number that only looks so are different.
            "name != 2",
            "$body.Weather.Temperature != 'x'",
            "as_number($body.Weather.Temperature) = 50",
        ],
    );
    none(
        &Case::new(),
        &[
            "severity <= 2",
            "severity = 2",
            "severity != 2",
            "2 = severity",
            "NOT (severity = 2)",
            "as_number(name) = 0",
            "is_defined(alert) AND true",
            "as_number(alert) = 0",
            "as_number($body.Weather.Raining) = 1",
        ],
    );
}

#[test]
fn the_body_is_walked_by_its_own_names() {
    all(
        &Case::new(),
        &[
            "$body.Weather.Days[1].Wind = 7",
            "$body.Weather.Days[0].Wind + $body.Weather.Days[1].Wind = 10",
            "$BODY.Weather.Raining = true",
            "$body.Weather['Temperature'] = 50",
            "$body.[[Weather]].Temperature = 50",
            "$body.Weather.Raining",
            "is_null($body.Weather.Calm) AND is_null($body.none)",
            "is_defined($body.none)",
            "is_object($body.Weather) AND is_array($body.Weather.Days)",
            "is_object($body)",
            "$body.Weather.Calm = null",
            "$body.Weather.Temperature % 7 = 1",
        ],
    );
    none(
        &Case::new(),
        &[
            "$body.weather.Temperature = 50",
            "is_defined($body.Weather.Days[2])",
            "is_defined($body[0])",
            "is_defined($body.Weather[0])",
            "is_defined($body.Weather.Temperature.x)",
            "$body.Weather = $body.Weather",
            "$body.Weather.Temperature / 0 > 1",
            "$body.Weather.Location.State = 98",
        ],
    );
    let array = Case::body(
        Some("application/json"),
        Some("utf-8"),
        br#"[{"a":1}]"#.to_vec(),
    );
    none(&array, &["is_defined($body[0])", "$body[0].a = 1"]);
    assert!(array.takes("is_array($body)"));
}

#[test]
fn the_body_is_json_when_the_message_says_so_and_how() {
    let text = r#"{"a":"é😀"}"#;
    let utf_8 = text.as_bytes().to_vec();
    let utf_16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf_16_big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let characters = || text.chars().map(u32::from);
    let utf_32: Vec<u8> = characters().flat_map(u32::to_le_bytes).collect();
    let utf_32_big: Vec<u8> = characters().flat_map(u32::to_be_bytes).collect();
    let marked = |mark: &[u8], text: &[u8]| [mark, text].concat();
    let json = Some("application/json");

    for (content_type, encoding, body, expected) in [
        (json, Some("utf-8"), utf_8.clone(), true),
        (json, Some("UTF-8"), utf_8.clone(), true),
        (json, Some("utf-8"), marked(b"\xef\xbb\xbf", &utf_8), true),
        (Some("Application/JSON"), Some("utf-8"), utf_8.clone(), true),
        (
            Some("application/json; charset=utf-8"),
            Some("utf-8"),
            utf_8.clone(),
            true,
        ),
        (json, Some("utf-16"), utf_16.clone(), true),
        (json, Some("UTF-16"), marked(b"\xff\xfe", &utf_16), true),
        (json, Some("utf-16"), marked(b"\xfe\xff", &utf_16_big), true),
        (json, Some("utf-32"), utf_32.clone(), true),
        (json, Some("UTF-32"), marked(b"\xff\xfe\0\0", &utf_32), true),
        (
            json,
            Some("utf-32"),
            marked(b"\0\0\xfe\xff", &utf_32_big),
            true,
        ),
        // What does not say so, or does not keep its word.
        (None, Some("utf-8"), utf_8.clone(), false),
        (json, None, utf_8.clone(), false),
        (Some("text/plain"), Some("utf-8"), utf_8.clone(), false),
        (json, Some("gzip"), utf_8.clone(), false),
        (json, Some("utf-8"), utf_16.clone(), false),
        (json, Some("utf-16"), utf_8.clone(), false),
        (json, Some("utf-16"), utf_16[1..].to_vec(), false),
        (json, Some("utf-32"), utf_32[..5].to_vec(), false),
        (json, Some("utf-32"), vec![0, 0, 0xd8, 0], false),
        (json, Some("utf-16"), vec![0, 0xd8], false),
        (json, Some("utf-8"), b"{\"a\":".to_vec(), false),
        (json, Some("utf-8"), Vec::new(), false),
        (json, Some("utf-8"), b"\xff\xfe".to_vec(), false),
    ] {
        let case = Case::body(content_type, encoding, body);
        assert_eq!(
            case.takes("$body.a = 'é😀'"),
            expected,
            "{content_type:?} {encoding:?}"
        );
        assert_eq!(case.takes("is_defined($body)"), expected);
    }
}

#[test]
fn a_body_that_is_nested_without_end_is_no_json() {
    let body = "[".repeat(200_000).into_bytes();
    let case = Case::body(Some("application/json"), Some("utf-8"), body);

    assert!(!case.takes("is_defined($body)"));
}

#[test]
fn the_twin_of_the_sender_is_as_it_is_now() {
    let mut case = Case::new();
    all(
        &case,
        &[
            "$twin.tags.deploymentLocation.building = '43'",
            "$twin.properties.desired.rate = 5",
            "$twin.properties.reported.fw = '1.0'",
            "$TWIN.Properties.Desired.rate = 5",
            "$twin.properties.desired.$version = 2",
        ],
    );
    none(
        &case,
        &[
            "is_defined($twin.tags.nothing)",
            "is_defined($twin.properties.nothing)",
            "is_defined($twin)",
            "$twin.tags.DeploymentLocation.floor = 1",
        ],
    );
    for (condition, expected) in [
        ("$twin.tags.a = 1", true),
        ("NOT is_defined($twin.tags.a)", true),
        ("$body.twin = 1", false),
    ] {
        let needs = RouteCondition::parse(condition).unwrap().needs_twin();
        assert_eq!(needs, expected, "{condition}");
    }

    case.twin = None;
    assert!(!case.takes("$twin.tags.deploymentLocation.floor = 1"));
    assert!(case.takes("NOT is_defined($twin.tags.deploymentLocation)"));
}

#[test]
fn the_functions_have_underscores() {
    all(
        &Case::new(),
        &[
            "STARTS_WITH(level, 'sto') AND ENDS_WITH(level, 'age')",
            "INDEX_OF(level, 'or') = 2 AND index_of(level, 'x') = -1",
            "CONTAINS(level, 'tor')",
            "CONCAT(level, '-', name) = 'storage-high'",
            "LOWER('AbC') = 'abc' AND UPPER('AbC') = 'ABC'",
            "SUBSTRING(level, 1, 3) = 'tor' AND SUBSTRING(level, 5) = 'ge'",
            "LENGTH(level) = 7",
            "ABS(-2) = 2 AND POWER(2, 3) = 8 AND SQUARE(3) = 9 AND SQRT(9) = 3",
            "CEILING(1.2) = 2 AND FLOOR(1.8) = 1 AND SIGN(-5) = -1 AND EXP(0) = 1",
            "IS_BOOL(true) AND IS_NUMBER(1) AND IS_PRIMITIVE('x') AND NOT IS_ARRAY('x')",
        ],
    );
    for refused in [
        "STARTSWITH(level, 'sto')",
        "ENDSWITH(level, 'age')",
        "ARRAY_CONTAINS($body.a, 1)",
        "level IN ['storage']",
        "level NIN ['storage']",
        "level NOT IN ['storage']",
        "SELECT * FROM devices",
        "FROM devices WHERE true",
        "",
        "level =",
        "level = 'open",
        "(level = 'a'",
        "level LIKE 'a%'",
        "level == 'a'",
        "true true",
        "level = 'a' && true",
    ] {
        let error = RouteCondition::parse(refused).unwrap_err();
        assert_eq!(error.code, ErrorCode::ArgumentInvalid, "{refused}");
        assert!(error.detail.contains("position"), "{}", error.detail);
    }
}

#[test]
fn some_characters_are_in_no_name() {
    for c in " ()<>@,;:\\\"/?={}\t".chars() {
        let error = RouteCondition::parse(&format!("true AND [[a{c}b]] = 'x'")).unwrap_err();
        assert_eq!(error.code, ErrorCode::ArgumentInvalid, "{c:?}");
        // A member of the body may be called so.
        RouteCondition::parse(&format!("$body.[[a{c}b]] = 1")).unwrap();
    }
    assert!(RouteCondition::parse("level[0] = 'a'").is_err());
}

#[test]
fn a_text_that_would_be_larger_than_a_message_is_nothing() {
    let body = json!({"a": "x".repeat(200_000)}).to_string().into_bytes();
    let case = Case::body(Some("application/json"), Some("utf-8"), body);

    assert!(case.takes("length(concat($body.a, 'y')) = 200001"));
    assert!(!case.takes("is_defined($nothing) OR is_string(concat($body.a, $body.a))"));
}

#[test]
fn values_that_are_no_messages_are_no_matter() {
    let case = Case::body(None, None, Value::Null.to_string().into_bytes());

    assert!(case.takes("NOT is_defined(level) AND NOT is_defined($messageId)"));
}
