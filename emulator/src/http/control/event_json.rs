//! An event as one line of JSON: what a reader of the built-in endpoint gets
//! (`spec/device.md` 4.5).

use iothub_hub::Event;
use serde_json::{Value, json};

use crate::routes::EventDocument;

/// The document of `event`; a reader that goes on at `cursor` has seen it.
pub(super) fn event_json(event: &Event, cursor: &str) -> Value {
    let document = EventDocument::of(event);
    json!({
        "partition": event.partition,
        "sequenceNumber": event.sequence,
        "offset": event.offset.to_string(),
        "enqueuedTime": document.enqueued,
        "cursor": cursor,
        "annotations": document.annotations,
        "properties": document.properties,
        "applicationProperties": document.application,
        "body": document.body,
        "bodyEncoding": document.body_encoding,
    })
}
