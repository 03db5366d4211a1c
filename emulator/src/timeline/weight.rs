//! How much memory an entry keeps, roughly: what bounds a lane.

use iothub_hub::Twin;
use iothub_protocol::Error;
use serde_json::{Map, Value};

use super::entry::{Entry, Excerpt, What};

/// What an entry weighs by itself: its own fields, its place in the lane, and short strings.
const BASE: usize = size_of::<Entry>() + 96;
/// What a member of a JSON object weighs besides its text: key, value, hash, and its metadata.
const MEMBER: usize = 160;

impl What {
    /// Bytes that are kept for it.
    pub(super) fn weight(&self) -> usize {
        BASE + match self {
            Self::Connected { .. } | Self::Disconnected { .. } | Self::FaultFired { .. } => 0,
            Self::MethodInvoked { payload, .. } => of_excerpt(payload),
            Self::MethodEnded { result, .. } => match result {
                Ok((_, payload)) => of_excerpt(payload),
                Err(error) => of_error(error),
            },
            Self::TwinChanged { twin, .. } => of_twin(twin),
            // The registry shares it, unless it has been deleted or written again.
            Self::IdentityChanged { .. } => 512,
            Self::C2d { body, .. } => of_excerpt(body),
            Self::Stored { last, .. } => of_excerpt(last),
            Self::Operation { refusal, .. } => refusal.as_ref().map_or(0, of_error),
            Self::Exchange(exchange) => exchange.bytes.len(),
        }
    }
}

fn of_excerpt(excerpt: &Excerpt) -> usize {
    excerpt.bytes.len()
}

fn of_error(error: &Error) -> usize {
    error.detail.len()
}

fn of_twin(twin: &Twin) -> usize {
    size_of::<Twin>()
        + of_object(&twin.tags)
        + of_object(&twin.desired.value)
        + of_object(&twin.reported.value)
}

fn of_object(object: &Map<String, Value>) -> usize {
    object
        .iter()
        .map(|(name, value)| MEMBER + name.len() + of_value(value))
        .sum()
}

fn of_value(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items
            .iter()
            .map(|item| size_of::<Value>() + of_value(item))
            .sum(),
        Value::Object(members) => of_object(members),
    }
}
