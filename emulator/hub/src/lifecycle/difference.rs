//! What has changed between two JSON objects, as a JSON patch (RFC 6902).

use serde_json::{Map, Value, json};

/// The operations that make `after` of `before`, in the order of the names. Arrays are replaced
/// as wholes.
pub(super) fn difference(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<Value> {
    let mut patch = Vec::new();
    compare("", before, after, &mut patch);
    patch
}

fn compare(
    path: &str,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    patch: &mut Vec<Value>,
) {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let path = format!("{path}/{}", escaped(name));
        match (before.get(name), after.get(name)) {
            (Some(Value::Object(before)), Some(Value::Object(after))) => {
                compare(&path, before, after, patch);
            }
            (Some(before), Some(after)) if before == after => {}
            (Some(_), Some(after)) => {
                patch.push(json!({"op": "replace", "path": path, "value": after}));
            }
            (None, Some(after)) => patch.push(json!({"op": "add", "path": path, "value": after})),
            (Some(_), None) => patch.push(json!({"op": "remove", "path": path})),
            (None, None) => {}
        }
    }
}

/// A name within a JSON pointer (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(before: &Value, after: &Value) -> Value {
        difference(before.as_object().unwrap(), after.as_object().unwrap()).into()
    }

    #[test]
    fn members_are_added_replaced_and_removed_where_they_are() {
        let before = json!({"same": [1], "a": {"x": 1, "y": 2}, "gone": 1, "list": [1]});
        let after = json!({"same": [1], "a": {"x": 3, "y": 2, "z": {}}, "list": [2], "a/b~": 1});

        assert_eq!(
            between(&before, &after),
            json!([
                {"op": "replace", "path": "/a/x", "value": 3},
                {"op": "add", "path": "/a/z", "value": {}},
                {"op": "add", "path": "/a~1b~0", "value": 1},
                {"op": "remove", "path": "/gone"},
                {"op": "replace", "path": "/list", "value": [2]},
            ])
        );
    }

    #[test]
    fn nothing_changed_is_no_operation() {
        let value = json!({"a": {"b": 1}});

        assert_eq!(between(&value, &value), json!([]));
    }
}
