//! Documents without room to grow: a registry may hold a million of them.

use serde_json::{Map, Value};

/// Gives back the room that members and elements have in reserve, at every depth. What is said and
/// its order stay.
pub fn compact(members: &mut Map<String, Value>) {
    if members.is_empty() {
        *members = Map::new();
        return;
    }
    // A map cannot be shrunk in place, but made for a number of members.
    let mut exact = Map::with_capacity(members.len());
    for (mut name, mut value) in std::mem::take(members) {
        name.shrink_to_fit();
        compact_value(&mut value);
        exact.insert(name, value);
    }
    *members = exact;
}

fn compact_value(value: &mut Value) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => text.shrink_to_fit(),
        Value::Array(elements) => {
            elements.iter_mut().for_each(compact_value);
            elements.shrink_to_fit();
        }
        Value::Object(members) => compact(members),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_that_is_said_changes() {
        let document = json!({"z": {"b": [1, {"c": "x"}], "a": null}, "e": {}, "y": 0.5});
        let mut members = document.as_object().unwrap().clone();

        compact(&mut members);

        assert_eq!(Value::Object(members.clone()), document);
        assert!(members.keys().eq(["z", "e", "y"]), "the order stays");
    }
}
