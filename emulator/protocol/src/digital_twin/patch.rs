//! What a JSON Patch of a digital twin asks of the desired properties.

use serde_json::{Map, Value};

use super::{MARKER, METADATA, is_component};
use crate::{Error, ErrorCode, json};

/// Levels of objects in a value (`spec/service.md` 9).
const MAX_DEPTH: usize = 5;
/// Operations of one patch. Nothing says how many there may be; a twin has not room for more.
const MAX_OPERATIONS: usize = 1000;

/// A JSON Patch of a digital twin: `add`, `replace` and `remove` of properties and components.
#[derive(Clone, Debug, PartialEq)]
pub struct DigitalTwinPatch {
    operations: Vec<Operation>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operation {
    SetProperty {
        component: Option<String>,
        name: String,
        value: Value,
    },
    SetComponent {
        name: String,
        members: Map<String, Value>,
    },
    Remove {
        component: Option<String>,
        name: String,
    },
}

impl DigitalTwinPatch {
    /// Parses the body of `PATCH /digitaltwins/{id}`: 400006 when it is not JSON, 400505 when it
    /// breaks a rule of `spec/service.md` 9.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let Value::Array(items) = json::parse(body)? else {
            return refused("the patch must be an array of operations");
        };
        if items.len() > MAX_OPERATIONS {
            return refused(format!(
                "the patch has more than {MAX_OPERATIONS} operations"
            ));
        }
        let operations: Result<Vec<_>, _> = items.into_iter().map(Operation::parse).collect();
        Ok(Self {
            operations: operations?,
        })
    }

    /// The patch of desired properties that does what this patch asks for. What is set is named in
    /// it even if it has that value already.
    ///
    /// Refuses (400004) what would go into something that is no component, and with 400505 a
    /// component in place of a property.
    pub fn to_desired(
        &self,
        desired: &Map<String, Value>,
        reported: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Error> {
        let mut after = desired.clone();
        for operation in &self.operations {
            operation.apply(&mut after, desired, reported)?;
        }
        let mut patch = difference(desired, &after);
        for operation in &self.operations {
            operation.name_in(&mut patch, &after);
        }
        Ok(patch)
    }
}

impl Operation {
    fn parse(item: Value) -> Result<Self, Error> {
        let Value::Object(mut item) = item else {
            return refused("an operation must be an object");
        };
        let (Some(op), Some(path)) = (text(&item, "op"), text(&item, "path")) else {
            return refused("an operation has the members op and path, which are strings");
        };
        let (component, name) = parse_path(path)?;
        match op {
            "remove" => Ok(Self::Remove { component, name }),
            "add" | "replace" => {
                let path = path.to_owned();
                let Some(value) = item.swap_remove("value") else {
                    return refused(format!("there is no value for {path}"));
                };
                Self::set(component, name, value, &path)
            }
            op => refused(format!("op is add, replace or remove, not {op:?}")),
        }
    }

    fn set(
        component: Option<String>,
        name: String,
        value: Value,
        path: &str,
    ) -> Result<Self, Error> {
        match value {
            Value::Null => Ok(Self::Remove { component, name }),
            Value::Object(mut members) if component.is_none() && members.contains_key(METADATA) => {
                match members.shift_remove(METADATA) {
                    Some(Value::Object(metadata)) if metadata.is_empty() => {}
                    _ => return refused(format!("$metadata of {path} must be an empty object")),
                }
                members
                    .iter()
                    .try_for_each(|(name, value)| {
                        check_name(name)?;
                        check_value(value, 0)
                    })
                    .or_else(|why| refused(format!("{path}: {why}")))?;
                Ok(Self::SetComponent { name, members })
            }
            value => {
                check_value(&value, 0).or_else(|why| refused(format!("{path}: {why}")))?;
                Ok(Self::SetProperty {
                    component,
                    name,
                    value,
                })
            }
        }
    }

    fn apply(
        &self,
        after: &mut Map<String, Value>,
        desired: &Map<String, Value>,
        reported: &Map<String, Value>,
    ) -> Result<(), Error> {
        match self {
            Self::SetProperty {
                component: Some(component),
                name,
                value,
            } => {
                check_component(component, desired, reported)?;
                let members = after
                    .entry(component)
                    .or_insert_with(|| Value::Object(empty_component()));
                if let Value::Object(members) = members {
                    members.insert(name.clone(), value.clone());
                }
            }
            Self::SetProperty {
                component: None,
                name,
                value,
            } => {
                if [desired, reported]
                    .iter()
                    .any(|side| side.get(name).is_some_and(is_component))
                {
                    return refused(format!(
                        "/{name} is a component: its value carries an empty $metadata"
                    ));
                }
                after.insert(name.clone(), value.clone());
            }
            Self::SetComponent { name, members } => {
                check_component(name, desired, reported)?;
                let mut component = empty_component();
                component.extend(members.clone());
                after.insert(name.clone(), Value::Object(component));
            }
            Self::Remove {
                component: Some(component),
                name,
            } => {
                if let Some(Value::Object(members)) = after.get_mut(component) {
                    members.shift_remove(name);
                }
            }
            Self::Remove {
                component: None,
                name,
            } => {
                after.shift_remove(name);
            }
        }
        Ok(())
    }

    /// Sees to it that what was set stands in the patch, changed or not.
    fn name_in(&self, patch: &mut Map<String, Value>, after: &Map<String, Value>) {
        match self {
            Self::SetProperty {
                component: Some(component),
                name,
                ..
            } => {
                let Some(Value::Object(now)) = after.get(component) else {
                    return;
                };
                let entry = patch
                    .entry(component)
                    .or_insert_with(|| Value::Object(empty_component()));
                if let (Value::Object(entry), Some(value)) = (entry, now.get(name)) {
                    entry.entry(MARKER).or_insert("c".into());
                    entry.entry(name).or_insert_with(|| value.clone());
                }
            }
            Self::SetProperty {
                component: None,
                name,
                ..
            }
            | Self::SetComponent { name, .. } => {
                if let Some(value) = after.get(name) {
                    patch.entry(name).or_insert_with(|| value.clone());
                }
            }
            Self::Remove { .. } => {}
        }
    }
}

/// The merge patch that makes `after` of `before`.
fn difference(before: &Map<String, Value>, after: &Map<String, Value>) -> Map<String, Value> {
    let gone = before
        .keys()
        .filter(|name| !after.contains_key(*name))
        .map(|name| (name.clone(), Value::Null));
    let changed = after.iter().filter_map(|(name, value)| {
        let change = match (before.get(name), value) {
            (Some(old), new) if old == new => return None,
            (Some(Value::Object(old)), Value::Object(new)) => Value::Object(difference(old, new)),
            (_, new) => new.clone(),
        };
        Some((name.clone(), change))
    });
    gone.chain(changed).collect()
}

fn empty_component() -> Map<String, Value> {
    Map::from_iter([(MARKER.to_owned(), "c".into())])
}

/// What has the name of a component in the twin is one, or is not there.
fn check_component(
    name: &str,
    desired: &Map<String, Value>,
    reported: &Map<String, Value>,
) -> Result<(), Error> {
    let fits = |side: &Map<String, Value>| side.get(name).is_none_or(is_component);
    if fits(desired) && fits(reported) {
        return Ok(());
    }
    // Word for word what the service says (`spec/service.md` 0.6).
    Err(Error::argument_invalid(format!(
        "'{name}' exists within the device twin and is not digital twin conformant property. \
         Please refer to aka.ms/dtpatch to update this to be conformant."
    )))
}

/// `/property`, `/component` or `/component/property`.
fn parse_path(path: &str) -> Result<(Option<String>, String), Error> {
    let bad = || refused(format!("{path:?} is no path of a property or component"));
    let Some(rest) = path.strip_prefix('/') else {
        return bad();
    };
    let names: Vec<_> = rest
        .split('/')
        .map(|name| name.replace("~1", "/").replace("~0", "~"))
        .collect();
    if names.iter().any(|name| check_name(name).is_err()) {
        return bad();
    }
    let mut names = names.into_iter();
    match (names.next(), names.next(), names.next()) {
        (Some(name), None, None) => Ok((None, name)),
        (Some(component), Some(name), None) => Ok((Some(component), name)),
        _ => bad(),
    }
}

/// No arrays, not too deep, and names that a model can have.
fn check_value(value: &Value, depth: usize) -> Result<(), String> {
    match value {
        Value::Array(_) => Err("a property has no arrays".into()),
        Value::Object(_) if depth == MAX_DEPTH => {
            Err(format!("objects are nested more than {MAX_DEPTH} deep"))
        }
        Value::Object(members) => members.iter().try_for_each(|(name, value)| {
            check_name(name)?;
            check_value(value, depth + 1)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// A name of DTDL version 2: 1 to 64 letters, digits and underscores, a letter first and no
/// underscore last.
fn check_name(name: &str) -> Result<(), String> {
    let is_name = (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && !name.ends_with('_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if is_name {
        return Ok(());
    }
    let start: String = name.chars().take(64).collect();
    Err(format!("{start:?} is no name of a property"))
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members.get(name).and_then(Value::as_str)
}

fn refused<R>(detail: impl Into<String>) -> Result<R, Error> {
    Err(Error::new(ErrorCode::InvalidDigitalTwinJsonPatch, detail))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::twin::merge;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn patch(operations: &Value, desired: &Value, reported: &Value) -> Result<Value, Error> {
        DigitalTwinPatch::parse(operations.to_string().as_bytes())?
            .to_desired(&object(desired), &object(reported))
            .map(Value::Object)
    }

    #[test]
    fn properties_and_components_are_set_and_removed() {
        let component = json!({"c": {"__t": "c", "x": 1, "y": 2}});
        for (operations, desired, expected) in [
            (json!([]), json!({"a": 1}), json!({})),
            (
                json!([{"op": "add", "path": "/a", "value": 1}]),
                json!({}),
                json!({"a": 1}),
            ),
            (
                json!([{"op": "replace", "path": "/a", "value": 1}]),
                json!({"a": 1}),
                json!({"a": 1}),
            ),
            (
                json!([{"op": "replace", "path": "/a", "value": {"p": 1}}]),
                json!({"a": {"p": 0, "q": 2}}),
                json!({"a": {"q": null, "p": 1}}),
            ),
            (
                json!([{"op": "remove", "path": "/a"}]),
                json!({"a": 1}),
                json!({"a": null}),
            ),
            (
                json!([{"op": "remove", "path": "/a"}]),
                json!({}),
                json!({}),
            ),
            (
                json!([{"op": "add", "path": "/c/x", "value": 1}]),
                json!({}),
                json!({"c": {"__t": "c", "x": 1}}),
            ),
            (
                json!([{"op": "replace", "path": "/c/x", "value": 5}]),
                component.clone(),
                json!({"c": {"x": 5, "__t": "c"}}),
            ),
            (
                json!([{"op": "replace", "path": "/c", "value": {"x": 5, "$metadata": {}}}]),
                component.clone(),
                json!({"c": {"y": null, "x": 5}}),
            ),
            (
                json!([{"op": "remove", "path": "/c/x"}]),
                component.clone(),
                json!({"c": {"x": null}}),
            ),
            (
                json!([{"op": "remove", "path": "/c"},
                       {"op": "add", "path": "/c/x", "value": 1}]),
                component,
                json!({"c": {"y": null, "__t": "c", "x": 1}}),
            ),
        ] {
            assert_eq!(
                patch(&operations, &desired, &json!({})).unwrap(),
                expected,
                "{operations}"
            );
        }
    }

    #[test]
    fn what_breaks_a_rule_is_refused() {
        let deep = json!({"a": {"b": {"c": {"d": {"e": {}}}}}});
        for operations in [
            json!({}),
            json!([1]),
            json!([{"op": "add", "value": 1}]),
            json!([{"op": "add", "path": "/a"}]),
            json!([{"op": "move", "from": "/b", "path": "/a"}]),
            json!([{"op": "test", "path": "/a", "value": 1}]),
            json!([{"op": "add", "path": "a", "value": 1}]),
            json!([{"op": "add", "path": "", "value": 1}]),
            json!([{"op": "add", "path": "/", "value": 1}]),
            json!([{"op": "add", "path": "/a/b/c", "value": 1}]),
            json!([{"op": "add", "path": "/a~1b", "value": 1}]),
            json!([{"op": "add", "path": "/$metadata", "value": 1}]),
            json!([{"op": "add", "path": "/a", "value": [1]}]),
            json!([{"op": "add", "path": "/a", "value": {"b": [1]}}]),
            json!([{"op": "add", "path": "/a", "value": deep}]),
            json!([{"op": "add", "path": "/a", "value": {"$metadata": {"x": 1}}}]),
            json!([{"op": "add", "path": "/a/b", "value": {"$metadata": {}}}]),
        ] {
            let refusal = DigitalTwinPatch::parse(operations.to_string().as_bytes()).unwrap_err();
            assert_eq!(
                refusal.code,
                ErrorCode::InvalidDigitalTwinJsonPatch,
                "{operations}"
            );
        }
        let garbled = DigitalTwinPatch::parse(b"[").unwrap_err();
        assert_eq!(garbled.code, ErrorCode::IotHubFormatError);
    }

    #[test]
    fn a_name_that_is_no_component_in_the_twin_cannot_have_properties() {
        let add = json!([{"op": "add", "path": "/c/x", "value": 1}]);
        for (desired, reported) in [
            (json!({"c": 1}), json!({})),
            (json!({}), json!({"c": {"x": 1}})),
        ] {
            let refusal = patch(&add, &desired, &reported).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::ArgumentInvalid);
            assert!(
                refusal
                    .detail
                    .starts_with("'c' exists within the device twin")
            );
        }
        let whole = json!([{"op": "add", "path": "/c", "value": {"x": 1}}]);
        let refusal = patch(&whole, &json!({}), &json!({"c": {"__t": "c"}})).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::InvalidDigitalTwinJsonPatch);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<i8>().prop_map(Value::from), Just(json!("x"))];
        leaf.prop_recursive(2, 8, 3, |inner| {
            proptest::collection::btree_map("[a-c]", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect()))
        })
    }

    /// Operations on properties p and q and on components c and d, so that all of them fit.
    fn operations() -> impl Strategy<Value = Vec<Value>> {
        let property = ("[pq]", values()).prop_map(
            |(name, value)| json!({"op": "add", "path": format!("/{name}"), "value": value}),
        );
        let member = ("[cd]", "[a-c]", values()).prop_map(|(of, name, value)| {
            json!({"op": "replace", "path": format!("/{of}/{name}"), "value": value})
        });
        let remove = "/([pqcd]|[cd]/[a-c])".prop_map(|path| json!({"op": "remove", "path": path}));
        proptest::collection::vec(prop_oneof![property, member, remove], 0..8)
    }

    proptest! {
        #[test]
        fn the_desired_properties_end_as_the_operations_say(
            batches in proptest::collection::vec(operations(), 0..5)
        ) {
            let mut desired = Map::new();
            let mut expected = Map::new();
            for batch in batches {
                for operation in &batch {
                    let path: Vec<_> =
                        operation["path"].as_str().unwrap()[1..].split('/').collect();
                    match (operation.get("value"), path.as_slice()) {
                        (Some(value), [name]) => {
                            expected.insert((*name).to_owned(), value.clone());
                        }
                        (Some(value), [of, name]) => {
                            let entry = expected.entry(*of).or_insert(json!({"__t": "c"}));
                            entry[*name] = value.clone();
                        }
                        (None, [name]) => {
                            expected.shift_remove(*name);
                        }
                        (None, [of, name]) => {
                            if let Some(Value::Object(members)) = expected.get_mut(*of) {
                                members.shift_remove(*name);
                            }
                        }
                        _ => unreachable!(),
                    }
                }
                let patch = DigitalTwinPatch::parse(Value::from(batch).to_string().as_bytes())
                    .unwrap()
                    .to_desired(&desired, &Map::new())
                    .unwrap();
                merge(&mut desired, &patch);
                prop_assert_eq!(&desired, &expected);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = DigitalTwinPatch::parse(&body);
        }
    }
}
