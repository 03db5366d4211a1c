//! The one merge walk: values, and metadata where there is some (`spec/device.md` 7.7).

use std::num::NonZeroU64;

use serde_json::map::Entry;
use serde_json::{Map, Value};

use super::Metadata;
use crate::Timestamp;

/// Merges `patch` into `target` as a JSON merge patch (RFC 7396): objects merge, `null` removes,
/// everything else replaces. For tags, which have no metadata.
pub fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    walk(target, patch, None);
}

/// When, and as which version of the section, a write happens.
#[derive(Clone, Copy)]
pub(super) struct Stamp {
    now: Timestamp,
    version: Option<NonZeroU64>,
}

impl Stamp {
    pub(super) fn new(now: Timestamp, version: u64) -> Self {
        Self {
            now,
            version: NonZeroU64::new(version),
        }
    }

    fn put(self, node: &mut Metadata) {
        node.last_updated = self.now;
        node.last_updated_version = self.version;
        node.last_updated_by = None;
    }

    fn on_new_node(self) -> Metadata {
        let mut node = Metadata::new(self.now);
        self.put(&mut node);
        node
    }
}

/// As [`merge`], stamping every node that the patch names and the objects above it.
pub(super) fn merge_stamped(
    target: &mut Map<String, Value>,
    metadata: &mut Metadata,
    patch: &Map<String, Value>,
    stamp: Stamp,
) {
    walk(
        target,
        patch,
        Some(Written {
            node: metadata,
            stamp,
        }),
    );
}

/// The metadata of the object that the walk is in.
struct Written<'a> {
    node: &'a mut Metadata,
    stamp: Stamp,
}

fn walk(
    target: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    mut written: Option<Written<'_>>,
) {
    if let Some(written) = &mut written {
        written.stamp.put(written.node);
    }
    let mut changes = ChildChanges::default();
    for (name, change) in patch {
        match change {
            Value::Null => {
                if target.shift_remove(name).is_some() {
                    changes.removed = true;
                }
            }
            Value::Object(members) => {
                let (value, is_new) = object_at(target, name);
                let child = written
                    .as_mut()
                    .map(|written| changes.child(written, name, is_new));
                walk(value, members, child);
            }
            leaf => {
                target.insert(name.clone(), leaf.clone());
                if let Some(written) = &mut written {
                    let child = changes.child(written, name, true);
                    child.stamp.put(child.node);
                }
            }
        }
    }
    if let Some(written) = written {
        changes.settle(written.node, target);
    }
}

/// The object called `name`, and whether it had to be made: anything else that stood there is gone.
fn object_at<'a>(
    target: &'a mut Map<String, Value>,
    name: &str,
) -> (&'a mut Map<String, Value>, bool) {
    let value = match target.entry(name) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(Value::Null),
    };
    let is_new = !value.is_object();
    if is_new {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(members) => (members, is_new),
        _ => unreachable!("it was made an object just above"),
    }
}

/// What one object's children need once the patch is through: new ones wait, unsorted, behind the
/// sorted ones, so that a patch of many members is not quadratic.
#[derive(Default)]
struct ChildChanges {
    added: Vec<(Box<str>, Metadata)>,
    removed: bool,
}

impl ChildChanges {
    /// The metadata of the member `name`; without children when `is_leaf_or_new`.
    fn child<'a>(
        &'a mut self,
        written: &'a mut Written<'_>,
        name: &str,
        is_leaf_or_new: bool,
    ) -> Written<'a> {
        let stamp = written.stamp;
        let node = match written.node.position(name) {
            Ok(at) => &mut written.node.children[at].1,
            // The members of a patch have different names, so it is not among the added ones.
            Err(_) => {
                self.added.push((name.into(), stamp.on_new_node()));
                &mut self.added.last_mut().expect("it was pushed just above").1
            }
        };
        if is_leaf_or_new {
            node.children = Vec::new();
        }
        Written { node, stamp }
    }

    fn settle(self, node: &mut Metadata, target: &Map<String, Value>) {
        if self.removed {
            node.children
                .retain(|(name, _)| target.contains_key(&**name));
        }
        if !self.added.is_empty() {
            node.children.reserve_exact(self.added.len());
            node.children.extend(self.added);
            node.children.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Section;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// RFC 7396, section 2, to the letter.
    fn model(target: &Value, patch: &Value) -> Value {
        let Value::Object(patch) = patch else {
            return patch.clone();
        };
        let mut merged = target.as_object().cloned().unwrap_or_default();
        for (name, change) in patch {
            if change.is_null() {
                merged.shift_remove(name);
            } else {
                let old = merged.get(name).cloned().unwrap_or(Value::Null);
                merged.insert(name.clone(), model(&old, change));
            }
        }
        Value::Object(merged)
    }

    fn mirrors(metadata: &Metadata, value: &Value) -> bool {
        let empty = Map::new();
        let members = value.as_object().unwrap_or(&empty);
        metadata.children.is_sorted_by(|(a, _), (b, _)| a < b)
            && metadata.children.len() == members.len()
            && members
                .iter()
                .all(|(name, value)| metadata.child(name).is_some_and(|m| mirrors(m, value)))
    }

    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z]{0,3}".prop_map(Value::from),
            Just(json!([1, {"a": 2}])),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            proptest::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect()))
        })
    }

    fn objects() -> impl Strategy<Value = Map<String, Value>> {
        proptest::collection::btree_map("[a-d]", documents(), 0..5)
            .prop_map(|members| members.into_iter().collect())
    }

    #[test]
    fn the_examples_of_the_rfc() {
        for (target, patch, merged) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": "b"}),
                json!({"b": "c"}),
                json!({"a": "b", "b": "c"}),
            ),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (
                json!({"a": "b", "b": "c"}),
                json!({"a": null}),
                json!({"b": "c"}),
            ),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": {"b": "c"}}),
                json!({"a": {"b": "d", "c": null}}),
                json!({"a": {"b": "d"}}),
            ),
            (
                json!({"e": null}),
                json!({"a": 1}),
                json!({"e": null, "a": 1}),
            ),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
        ] {
            let mut actual = target.as_object().unwrap().clone();
            merge(&mut actual, patch.as_object().unwrap());
            assert_eq!(Value::Object(actual), merged, "{target} {patch}");
        }
    }

    #[test]
    fn removing_keeps_the_order_of_the_rest() {
        let mut target = json!({"a": 1, "b": 2, "c": 3}).as_object().unwrap().clone();

        merge(&mut target, json!({"a": null}).as_object().unwrap());

        assert_eq!(Value::Object(target).to_string(), r#"{"b":2,"c":3}"#);
    }

    proptest! {
        #[test]
        fn any_sequence_of_patches_agrees_with_the_model(
            patches in proptest::collection::vec(objects(), 1..6)
        ) {
            let mut section = Section::new(Timestamp::NEVER);
            let mut tags = Map::new();
            let mut expected = Value::Object(Map::new());
            for (index, patch) in patches.iter().enumerate() {
                let now = Timestamp::from_unix_seconds(index as i64);
                expected = model(&expected, &Value::Object(patch.clone()));
                section.patch(patch, now);
                merge(&mut tags, patch);

                let value = Value::Object(section.value.clone());
                prop_assert_eq!(&value, &expected);
                prop_assert_eq!(&Value::Object(tags.clone()), &expected);
                prop_assert!(mirrors(&section.metadata, &value), "{:?} {}", section.metadata, value);
                prop_assert_eq!(section.version, index as u64 + 2);
                prop_assert_eq!(section.metadata.last_updated, now);
                for name in patch.keys() {
                    if let Some(child) = section.metadata.child(name) {
                        prop_assert_eq!(child.last_updated, now);
                    }
                }
            }
        }
    }
}
