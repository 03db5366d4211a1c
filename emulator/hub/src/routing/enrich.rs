//! Properties that the hub adds to messages on their way to an endpoint.

use iothub_protocol::Error;
use iothub_protocol::message::MAX_TELEMETRY_SIZE;
use iothub_protocol::twin::SectionKind;
use serde_json::{Value, json};

use super::spec::RoutingSpec;
use crate::packed::{Node, PackedTwin};
use crate::telemetry::{Event, EventSource};

/// Characters of a key or a value.
const LONGEST: usize = 256;

/// A property to add.
pub(super) struct Enrichment {
    key: String,
    text: String,
    source: Source,
    endpoints: Vec<usize>,
}

/// Where the property's value comes from.
enum Source {
    /// The text itself.
    Static,
    /// The hub's name.
    HubName,
    /// What stands at this path of the sender's twin.
    Twin(Vec<String>),
}

impl Enrichment {
    /// Refuses a key with other characters than letters, digits, `-`, `_` and `.`.
    pub(super) fn new(key: &str, value: &str, endpoints: Vec<usize>) -> Result<Self, Error> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if key.is_empty() || key.len() > LONGEST || !key.chars().all(plain) {
            return Err(Error::argument_invalid(
                "key must be letters, digits, '-', '_' and '.'",
            ));
        }
        if value.is_empty() || value.len() > LONGEST {
            return Err(Error::argument_invalid(format!(
                "value must have 1 to {LONGEST} characters"
            )));
        }
        Ok(Self {
            key: key.to_owned(),
            text: value.to_owned(),
            source: Source::of(value),
            endpoints,
        })
    }

    pub(super) fn needs_twin(&self) -> bool {
        matches!(self.source, Source::Twin(_))
    }

    pub(super) fn to_json(&self, spec: &RoutingSpec) -> Value {
        let names = self.endpoints.iter().map(|&at| &*spec.endpoints()[at].name);
        json!({
            "key": self.key,
            "value": self.text,
            "endpointNames": names.collect::<Vec<_>>(),
        })
    }

    fn value(&self, twin: Option<&PackedTwin>, hub_name: &str) -> String {
        match &self.source {
            Source::Static => self.text.clone(),
            Source::HubName => hub_name.to_owned(),
            // A path that leads nowhere is stamped as it is written, as the real hub does.
            Source::Twin(path) => twin
                .and_then(|twin| look_up(twin, path))
                .map_or_else(|| self.text.clone(), |value| as_text(&value)),
        }
    }
}

impl Source {
    fn of(value: &str) -> Self {
        if value.eq_ignore_ascii_case("$iothubname") {
            return Self::HubName;
        }
        let mut segments = value.split('.');
        let is_twin = segments
            .next()
            .is_some_and(|first| first.eq_ignore_ascii_case("$twin"));
        let path: Vec<String> = segments.map(str::to_owned).collect();
        if is_twin && !path.is_empty() {
            Self::Twin(path)
        } else {
            // Other variables are none: they are text like any other.
            Self::Static
        }
    }
}

impl RoutingSpec {
    /// The event as this endpoint gets it; `None` when what is added makes it too large, in which
    /// case the real hub drops it.
    pub(super) fn enriched(
        &self,
        endpoint: usize,
        event: &Event,
        twin: Option<&PackedTwin>,
        hub_name: &str,
    ) -> Option<Event> {
        let mut copy = event.clone();
        // The real hub leaves events of digital twins as they are.
        if event.source == EventSource::DigitalTwinChange {
            return Some(copy);
        }
        let mut changed = false;
        for enrichment in &self.enrichments {
            if enrichment.endpoints.contains(&endpoint) {
                let value = enrichment.value(twin, hub_name);
                copy.message.properties.push(&enrichment.key, &value);
                changed = true;
            }
        }
        (!changed || !copy.message.is_larger_than(MAX_TELEMETRY_SIZE)).then_some(copy)
    }
}

fn look_up<'a>(twin: &'a PackedTwin, path: &[String]) -> Option<Node<'a>> {
    let (kind, path) = match path {
        [tags, rest @ ..] if tags == "tags" => (SectionKind::Tags, rest),
        [properties, desired, rest @ ..] if properties == "properties" && desired == "desired" => {
            (SectionKind::Desired, rest)
        }
        [properties, reported, rest @ ..]
            if properties == "properties" && reported == "reported" =>
        {
            (SectionKind::Reported, rest)
        }
        _ => return None,
    };
    let (first, rest) = path.split_first()?;
    let mut found = twin.members(kind).get(first)?;
    for segment in rest {
        found = match found {
            Node::Object(members) => members.get(segment)?,
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::Array(_) => {
                return None;
            }
        };
    }
    Some(found)
}

fn as_text(value: &Node<'_>) -> String {
    match value {
        Node::Text(text) => (*text).to_owned(),
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Array(_) | Node::Object(_) => {
            value.to_json().to_string()
        }
    }
}
