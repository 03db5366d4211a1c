//! An event as one line of JSON: what a reader of the built-in endpoint gets
//! (`spec/device.md` 4.5).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iothub_hub::Event;
use iothub_protocol::property_bag::{EventPlace, SystemProperty};
use serde_json::{Map, Value, json};

/// The document of `event`; a reader that goes on at `cursor` has seen it.
pub(super) fn event_json(event: &Event, cursor: &str) -> Value {
    let enqueued = event.enqueued.to_iso();
    let origin = &event.origin;
    let mut annotations = Map::new();
    let mut annotate = |name: &str, value: &str| annotations.insert(name.into(), value.into());
    annotate("iothub-connection-device-id", origin.client.device.as_str());
    if let Some(module) = &origin.client.module {
        annotate("iothub-connection-module-id", module.as_str());
    }
    annotate(
        "iothub-connection-auth-method",
        origin.auth_method.to_json(),
    );
    annotate("iothub-connection-auth-generation-id", &origin.generation);
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
    let (body, encoding) = match std::str::from_utf8(body) {
        Ok(text) => (text.to_owned(), "utf-8"),
        Err(_) => (STANDARD.encode(body), "base64"),
    };
    json!({
        "partition": event.partition,
        "sequenceNumber": event.sequence,
        "offset": event.offset.to_string(),
        "enqueuedTime": enqueued,
        "cursor": cursor,
        "annotations": annotations,
        "properties": properties,
        "applicationProperties": application,
        "body": body,
        "bodyEncoding": encoding,
    })
}
