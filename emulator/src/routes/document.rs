//! An event as JSON: in the shape that a reader of an Event Hubs-compatible endpoint gets
//! (`spec/device.md` 4.5), and in that of the real hub's records in storage.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iothub_hub::{Event, EventSource};
use iothub_protocol::property_bag::{EventPlace, SystemProperty};
use serde_json::{Map, Value, json};

/// The parts of an event that do not depend on where it is kept.
pub(crate) struct EventDocument {
    pub(crate) enqueued: String,
    pub(crate) annotations: Map<String, Value>,
    pub(crate) properties: Map<String, Value>,
    pub(crate) application: Map<String, Value>,
    pub(crate) body: String,
    /// `utf-8` when `body` is the body, `base64` when it stands for it.
    pub(crate) body_encoding: &'static str,
}

impl EventDocument {
    pub(crate) fn of(event: &Event) -> Self {
        let enqueued = event.enqueued.to_iso();
        let origin = &event.origin;
        let mut annotations = Map::new();
        let mut annotate = |name: &str, value: &str| annotations.insert(name.into(), value.into());
        annotate("iothub-connection-device-id", origin.client.device.as_str());
        if let Some(module) = &origin.client.module {
            annotate("iothub-connection-module-id", module.as_str());
        }
        // What the hub says itself has nobody's credential behind it (`spec/device.md` 16.3).
        if event.source == EventSource::Telemetry {
            annotate(
                "iothub-connection-auth-method",
                origin.auth_method.to_json(),
            );
            annotate("iothub-connection-auth-generation-id", &origin.generation);
        }
        annotate("iothub-enqueuedtime", &enqueued);
        annotate("iothub-message-source", event.source.name());
        if let Some(model) = &origin.model_id {
            annotate("dt-dataschema", model);
        }

        let bag = &event.message.properties;
        let mut properties = Map::new();
        let mut application: Map<String, Value> = bag
            .application()
            .into_iter()
            .map(|(name, value)| (name.into_owned(), value.into()))
            .collect();
        for &property in SystemProperty::ALL {
            let (place, name) = match property.event_place() {
                EventPlace::Property(name) => (&mut properties, name),
                EventPlace::Annotation(name) => (&mut annotations, name),
                EventPlace::ApplicationProperty(name) => (&mut application, name),
                EventPlace::Internal => continue,
            };
            if let Some(value) = bag.system(property) {
                place.insert(name.into(), value.into());
            }
        }

        let body = &event.message.body;
        let (body, body_encoding) = match std::str::from_utf8(body) {
            Ok(text) => (text.to_owned(), "utf-8"),
            Err(_) => (STANDARD.encode(body), "base64"),
        };
        Self {
            enqueued,
            annotations,
            properties,
            application,
            body,
            body_encoding,
        }
    }
}

/// One line of an endpoint of JSON lines.
pub(super) fn line(event: &Event) -> Value {
    let document = EventDocument::of(event);
    json!({
        "enqueuedTime": document.enqueued,
        "annotations": document.annotations,
        "properties": document.properties,
        "applicationProperties": document.application,
        "body": document.body,
        "bodyEncoding": document.body_encoding,
    })
}

/// One record of a blob. The body stands as JSON when its content type and encoding say that it
/// is and it is so, in base64 otherwise (`spec/device.md` 4.7).
pub(super) fn record(event: &Event) -> Value {
    let enqueued = event.enqueued.to_iso();
    let origin = &event.origin;
    let bag = &event.message.properties;
    let system = |property| bag.system(property).map(String::from);
    let content_type = system(SystemProperty::ContentType);
    let encoding = system(SystemProperty::ContentEncoding);

    let mut members = Map::new();
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            members.insert(name.into(), value.into());
        }
    };
    put("messageId", system(SystemProperty::MessageId));
    put("correlationId", system(SystemProperty::CorrelationId));
    put("userId", system(SystemProperty::UserId));
    let module = origin.client.module.as_ref();
    put("connectionDeviceId", Some(origin.client.device.to_string()));
    put("connectionModuleId", module.map(ToString::to_string));
    if event.source == EventSource::Telemetry {
        let method = origin.auth_method.to_json();
        put("connectionAuthMethod", Some(method.to_owned()));
        let generation = origin.generation.to_string();
        put("connectionDeviceGenerationId", Some(generation));
    } else {
        let source = event.source.name().to_owned();
        put("iothub-message-source", Some(source));
    }
    put("dt-dataschema", origin.model_id.clone());
    put("dt-subject", system(SystemProperty::Component));
    put("contentType", content_type);
    put("contentEncoding", encoding);
    put("enqueuedTime", Some(enqueued.clone()));

    let application: Map<String, Value> = bag
        .application()
        .into_iter()
        .map(|(name, value)| (name.into_owned(), value.into()))
        .collect();
    let body = &event.message.body;
    json!({
        "EnqueuedTimeUtc": enqueued,
        "Properties": application,
        "SystemProperties": members,
        "Body": event
            .json_body()
            .unwrap_or_else(|| Value::String(STANDARD.encode(body))),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use iothub_hub::{AuthMethod, AuthScope, AuthType, Origin};
    use iothub_protocol::property_bag::PropertyBag;
    use iothub_protocol::{ClientId, Message, Timestamp};

    use super::*;

    fn event(bag: &str, body: &str) -> Event {
        Event {
            partition: 0,
            sequence: 0,
            offset: 0,
            enqueued: Timestamp::from_unix_seconds(0),
            source: EventSource::Telemetry,
            origin: Arc::new(Origin {
                client: ClientId::parse("d1").unwrap(),
                generation: "637".into(),
                auth_method: AuthMethod {
                    scope: AuthScope::Device,
                    kind: AuthType::Sas,
                },
                model_id: None,
            }),
            message: Message {
                properties: PropertyBag::from_encoded(bag.to_owned()).unwrap(),
                body: body.to_owned().into(),
            },
        }
    }

    #[test]
    fn a_record_in_storage_has_the_real_hubs_members() {
        let bag = "%24.ct=application%2Fjson%3Bcharset%3Dutf-8&%24.ce=UTF-8&level=storage";

        let record = record(&event(bag, r#"{"temperature":1}"#));

        let time = "1970-01-01T00:00:00.0000000Z";
        assert_eq!(
            record,
            json!({
                "EnqueuedTimeUtc": time,
                "Properties": {"level": "storage"},
                "SystemProperties": {
                    "connectionDeviceId": "d1",
                    "connectionAuthMethod":
                        r#"{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#,
                    "connectionDeviceGenerationId": "637",
                    "contentType": "application/json;charset=utf-8",
                    "contentEncoding": "UTF-8",
                    "enqueuedTime": time,
                },
                "Body": {"temperature": 1},
            })
        );
    }

    #[test]
    fn a_body_that_is_not_said_to_be_json_or_is_not_stands_in_base64() {
        for (bag, body) in [
            ("", "{}"),
            ("%24.ct=application%2Fjson", "{}"),
            ("%24.ct=text%2Fplain&%24.ce=utf-8", "{}"),
            ("%24.ct=application%2Fjson&%24.ce=utf-8", "{"),
        ] {
            let record = record(&event(bag, body));

            assert_eq!(record["Body"], STANDARD.encode(body), "{bag} {body}");
        }
    }
}
