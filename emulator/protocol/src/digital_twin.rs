//! Digital twins as JSON: the Plug and Play view of a twin, and the JSON Patch that changes it
//! (`spec/service.md` 9).
//!
//! What is known of a model is what the twin itself says: a component is an object with the marker
//! `"__t": "c"`, an acknowledged property is an object with `value`, `ac` and `av`.

mod patch;

use serde_json::{Map, Value};

use crate::DeviceId;
use crate::twin::{Metadata, Section};

pub use patch::DigitalTwinPatch;

/// Marks an object of a section as a component.
const MARKER: &str = "__t";
const METADATA: &str = "$metadata";

/// The digital twin of a device: `$dtId`, then what it reports or is asked for, then `$metadata`.
pub fn document(device: &DeviceId, model_id: &str, desired: &Section, reported: &Section) -> Value {
    let mut view = View::default();
    view.members.insert("$dtId".into(), device.as_str().into());
    if !model_id.is_empty() {
        view.metadata.insert("$model".into(), model_id.into());
    }
    let desired = Some(Side::of_section(desired));
    let reported = Some(Side::of_section(reported));
    for name in names(desired, reported) {
        let asked = desired.and_then(|side| side.child(name));
        let said = reported.and_then(|side| side.child(name));
        if asked.is_some_and(Node::is_component) || said.is_some_and(Node::is_component) {
            let component = component(asked.and_then(Node::members), said.and_then(Node::members));
            view.members.insert(name.clone(), component);
        } else {
            view.put(name, asked, said);
        }
    }
    view.into_json()
}

/// Whether a value of a section is a component.
fn is_component(value: &Value) -> bool {
    value.get(MARKER).and_then(Value::as_str) == Some("c")
}

fn component(desired: Option<Side<'_>>, reported: Option<Side<'_>>) -> Value {
    let mut view = View::default();
    for name in names(desired, reported)
        .into_iter()
        .filter(|name| *name != MARKER)
    {
        let asked = desired.and_then(|side| side.child(name));
        let said = reported.and_then(|side| side.child(name));
        view.put(name, asked, said);
    }
    view.into_json()
}

/// What is reported in its order, then what is only desired.
fn names<'a>(desired: Option<Side<'a>>, reported: Option<Side<'a>>) -> Vec<&'a String> {
    let said = reported.into_iter().flat_map(|side| side.value.keys());
    let only_asked = desired
        .into_iter()
        .flat_map(|side| side.value.keys())
        .filter(|name| reported.is_none_or(|side| !side.value.contains_key(*name)));
    said.chain(only_asked).collect()
}

/// An object of a section, with what is known of its members.
#[derive(Clone, Copy)]
struct Side<'a> {
    value: &'a Map<String, Value>,
    metadata: &'a Metadata,
}

/// A member of a section.
#[derive(Clone, Copy)]
struct Node<'a> {
    value: &'a Value,
    metadata: &'a Metadata,
}

impl<'a> Side<'a> {
    fn of_section(section: &'a Section) -> Self {
        Self {
            value: &section.value,
            metadata: &section.metadata,
        }
    }

    fn child(self, name: &str) -> Option<Node<'a>> {
        Some(Node {
            value: self.value.get(name)?,
            metadata: self.metadata.child(name)?,
        })
    }
}

impl<'a> Node<'a> {
    fn is_component(self) -> bool {
        is_component(self.value)
    }

    fn members(self) -> Option<Side<'a>> {
        Some(Side {
            value: self.value.as_object()?,
            metadata: self.metadata,
        })
    }

    /// The members of an acknowledgement, when it is one.
    fn acknowledgement(self) -> Option<&'a Map<String, Value>> {
        let members = self.value.as_object()?;
        let is_one = ["value", "ac", "av"]
            .iter()
            .all(|name| members.contains_key(*name));
        is_one.then_some(members)
    }
}

/// An object of a digital twin in the making.
#[derive(Default)]
struct View {
    members: Map<String, Value>,
    metadata: Map<String, Value>,
}

impl View {
    fn put(&mut self, name: &str, desired: Option<Node<'_>>, reported: Option<Node<'_>>) {
        let mut about = Map::new();
        if let Some(node) = desired {
            about.insert("desiredValue".into(), node.value.clone());
            if let Some(version) = node.metadata.last_updated_version {
                about.insert("desiredVersion".into(), version.get().into());
            }
        }
        if let Some(node) = reported {
            let value = match node.acknowledgement() {
                None => node.value,
                Some(members) => {
                    for (short, long) in [
                        ("av", "ackVersion"),
                        ("ac", "ackCode"),
                        ("ad", "ackDescription"),
                    ] {
                        if let Some(value) = members.get(short) {
                            about.insert(long.into(), value.clone());
                        }
                    }
                    &members["value"]
                }
            };
            self.members.insert(name.to_owned(), value.clone());
            let time = node.metadata.last_updated.to_iso();
            about.insert("lastUpdateTime".into(), time.into());
        }
        self.metadata.insert(name.to_owned(), Value::Object(about));
    }

    fn into_json(mut self) -> Value {
        self.members
            .insert(METADATA.into(), Value::Object(self.metadata));
        Value::Object(self.members)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Timestamp;

    fn section(values: &[Value]) -> Section {
        let mut section = Section::new(Timestamp::NEVER);
        for value in values {
            section.patch(value.as_object().unwrap(), Timestamp::UNIX_EPOCH);
        }
        section
    }

    fn view(model: &str, desired: &[Value], reported: &[Value]) -> String {
        let device = DeviceId::parse("d1").unwrap();
        document(&device, model, &section(desired), &section(reported)).to_string()
    }

    #[test]
    fn an_empty_twin_has_its_name_and_no_model() {
        assert_eq!(view("", &[], &[]), r#"{"$dtId":"d1","$metadata":{}}"#);
        assert_eq!(
            view("dtmi:com:example;1", &[], &[]),
            r#"{"$dtId":"d1","$metadata":{"$model":"dtmi:com:example;1"}}"#
        );
    }

    #[test]
    fn the_sample_of_the_documentation() {
        let reported = json!({
            "serialNumber": "alwinexlepaho8329",
            "thermostat1": {
                "__t": "c",
                "maxTempSinceLastReboot": 25.3,
                "targetTemperature":
                    {"value": 20.4, "ac": 200, "av": 2, "ad": "Successfully executed patch"},
            },
        });
        let desired = json!({"thermostat1": {"__t": "c", "targetTemperature": 20.4}});

        assert_eq!(
            view(
                "dtmi:com:example:TemperatureController;1",
                &[desired],
                &[reported]
            ),
            concat!(
                r#"{"$dtId":"d1","serialNumber":"alwinexlepaho8329","#,
                r#""thermostat1":{"maxTempSinceLastReboot":25.3,"targetTemperature":20.4,"#,
                r#""$metadata":{"maxTempSinceLastReboot":"#,
                r#"{"lastUpdateTime":"1970-01-01T00:00:00.0000000Z"},"#,
                r#""targetTemperature":{"desiredValue":20.4,"desiredVersion":2,"ackVersion":2,"#,
                r#""ackCode":200,"ackDescription":"Successfully executed patch","#,
                r#""lastUpdateTime":"1970-01-01T00:00:00.0000000Z"}}},"#,
                r#""$metadata":{"$model":"dtmi:com:example:TemperatureController;1","#,
                r#""serialNumber":{"lastUpdateTime":"1970-01-01T00:00:00.0000000Z"}}}"#,
            )
        );
    }

    #[test]
    fn what_nobody_reported_has_no_value() {
        let desired = [json!({"a": 1}), json!({"c": {"__t": "c", "b": 2}})];

        assert_eq!(
            view("", &desired, &[]),
            concat!(
                r#"{"$dtId":"d1","c":{"$metadata":{"b":{"desiredValue":2,"desiredVersion":3}}},"#,
                r#""$metadata":{"a":{"desiredValue":1,"desiredVersion":2}}}"#,
            )
        );
    }
}
