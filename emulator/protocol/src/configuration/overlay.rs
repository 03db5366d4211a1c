//! Which configuration wins which path of a twin, and the patch that makes it so
//! (`spec/service.md` 7, the evaluation model).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::twin::{Author, Metadata, Section};

/// Values and where they belong: the leaves of content. An empty object is a leaf, and so is `null`,
/// which removes what is there.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {
    leaves: Vec<(Vec<String>, Value)>,
}

/// What several configurations together want of a twin. The first to want a path gets it.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    root: Branch,
    authors: Vec<Arc<Author>>,
}

type Branch = BTreeMap<String, Node>;

#[derive(Clone, Debug)]
enum Node {
    /// What the author of this number wants.
    Leaf(Value, usize),
    Object(Branch),
}

/// A patch of desired properties, and who is to be noted as the writer of its leaves.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Plan {
    /// To be merged.
    pub patch: Map<String, Value>,
    /// Each path that an author has a value at.
    pub signatures: Vec<(Vec<String>, Arc<Author>)>,
}

impl Settings {
    /// Nothing is set.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// As a patch of desired properties.
    pub fn to_patch(&self) -> Map<String, Value> {
        let mut patch = Map::new();
        for (path, value) in &self.leaves {
            put(&mut patch, path, value);
        }
        patch
    }

    /// Adds the leaves of `values`.
    pub(super) fn add(&mut self, values: &Map<String, Value>) {
        self.add_below(&mut Vec::new(), values);
    }

    /// Whether two leaves are at one path, or one below the other.
    pub(super) fn contradict(&self) -> bool {
        let mut root = Branch::new();
        self.leaves
            .iter()
            .any(|(path, value)| !insert(&mut root, path, value, 0))
    }

    fn add_below(&mut self, path: &mut Vec<String>, values: &Map<String, Value>) {
        for (name, value) in values {
            path.push(name.clone());
            match value {
                Value::Object(members) if !members.is_empty() => self.add_below(path, members),
                leaf => self.leaves.push((path.clone(), leaf.clone())),
            }
            path.pop();
        }
    }
}

impl Overlay {
    /// Adds what `author` wants and nobody before; whether that is anything, or there was nothing
    /// to want.
    pub fn add(&mut self, settings: &Settings, author: &Arc<Author>) -> bool {
        let number = self.authors.len();
        self.authors.push(author.clone());
        let mut won = settings.is_empty();
        for (path, value) in &settings.leaves {
            won |= insert(&mut self.root, path, value, number);
        }
        won
    }

    /// What has to be written into `desired` so that it has what is wanted, and nothing that a
    /// configuration once wrote and none wants any more. When `whole`, nothing else at all.
    pub fn plan(&self, desired: &Section, whole: bool) -> Plan {
        let mut walk = Walk {
            authors: &self.authors,
            whole,
            path: Vec::new(),
            signatures: Vec::new(),
        };
        let patch = walk.object(&desired.value, Some(&desired.metadata), &self.root);
        Plan {
            patch,
            signatures: walk.signatures,
        }
    }
}

impl Plan {
    /// There is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.patch.is_empty()
    }

    /// Notes the writers in what the patch was merged into.
    pub fn sign(&self, metadata: &mut Metadata) {
        for (path, author) in &self.signatures {
            let path: Vec<_> = path.iter().map(String::as_str).collect();
            metadata.sign(&path, author);
        }
    }
}

fn put(patch: &mut Map<String, Value>, path: &[String], value: &Value) {
    let Some((name, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        patch.insert(name.clone(), value.clone());
        return;
    }
    let members = patch
        .entry(name)
        .or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(members) = members {
        put(members, rest, value);
    }
}

/// Whether there was room: nothing at the path, above or below it. Below an empty object there is.
fn insert(branch: &mut Branch, path: &[String], value: &Value, author: usize) -> bool {
    let Some((name, rest)) = path.split_first() else {
        return false;
    };
    let vacant = match branch.get_mut(name) {
        None => true,
        Some(Node::Object(members)) => return insert(members, rest, value, author),
        Some(Node::Leaf(there, _)) => !rest.is_empty() && is_empty_object(there),
    };
    if vacant {
        let node = if rest.is_empty() {
            Node::Leaf(value.clone(), author)
        } else {
            let mut members = Branch::new();
            insert(&mut members, rest, value, author);
            Node::Object(members)
        };
        branch.insert(name.clone(), node);
    }
    vacant
}

fn is_empty_object(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

/// Compares what is there with what is wanted, object by object.
struct Walk<'a> {
    authors: &'a [Arc<Author>],
    whole: bool,
    path: Vec<String>,
    signatures: Vec<(Vec<String>, Arc<Author>)>,
}

impl Walk<'_> {
    fn object(
        &mut self,
        there: &Map<String, Value>,
        metadata: Option<&Metadata>,
        wanted: &Branch,
    ) -> Map<String, Value> {
        let mut patch = Map::new();
        for (name, value) in there {
            if !wanted.contains_key(name)
                && let Some(change) = self.unwanted(value, metadata.and_then(|it| it.child(name)))
            {
                patch.insert(name.clone(), change);
            }
        }
        for (name, node) in wanted {
            self.path.push(name.clone());
            let metadata = metadata.and_then(|it| it.child(name));
            if let Some(change) = self.wanted(there.get(name), metadata, node) {
                patch.insert(name.clone(), change);
            }
            self.path.pop();
        }
        patch
    }

    /// What becomes of a value that nobody wants: it stays, unless a configuration wrote it or
    /// there is to be nothing else.
    fn unwanted(&mut self, value: &Value, metadata: Option<&Metadata>) -> Option<Value> {
        let written = metadata.is_some_and(|it| it.last_updated_by.is_some());
        if self.whole || written {
            return Some(Value::Null);
        }
        self.diminished(value.as_object()?, metadata, &Branch::new())
    }

    fn wanted(
        &mut self,
        there: Option<&Value>,
        metadata: Option<&Metadata>,
        node: &Node,
    ) -> Option<Value> {
        let (value, author) = match node {
            Node::Object(wanted) => return self.wanted_object(there, metadata, wanted),
            Node::Leaf(value, author) => (value, &self.authors[*author]),
        };
        match (value, there) {
            (Value::Null, there) => return there.map(|_| Value::Null),
            (Value::Object(_), Some(Value::Object(members))) => {
                let patch = self.object(members, metadata, &Branch::new());
                if patch.is_empty() {
                    return None;
                }
                if empties(&patch, members) {
                    self.signatures.push((self.path.clone(), author.clone()));
                }
                return Some(Value::Object(patch));
            }
            (value, Some(there)) if value == there => {
                let by = metadata.and_then(|it| it.last_updated_by.as_ref());
                if by.is_some_and(|by| by.configuration == author.configuration) {
                    return None;
                }
            }
            (_, _) => {}
        }
        self.signatures.push((self.path.clone(), author.clone()));
        Some(value.clone())
    }

    fn wanted_object(
        &mut self,
        there: Option<&Value>,
        metadata: Option<&Metadata>,
        wanted: &Branch,
    ) -> Option<Value> {
        let nothing = Map::new();
        let written = metadata.is_some_and(|it| it.last_updated_by.is_some());
        match there {
            // Who only removes something does not want the object that it is in.
            Some(there) if only_removes(wanted) => match there {
                Value::Object(members) if !self.whole && !written => {
                    self.diminished(members, metadata, wanted)
                }
                there => self.unwanted(there, metadata),
            },
            there => {
                let members = there.and_then(Value::as_object).unwrap_or(&nothing);
                let patch = self.object(members, metadata, wanted);
                (!patch.is_empty()).then_some(Value::Object(patch))
            }
        }
    }

    /// What becomes of an object from which something may go: with its last member it goes itself.
    fn diminished(
        &mut self,
        members: &Map<String, Value>,
        metadata: Option<&Metadata>,
        wanted: &Branch,
    ) -> Option<Value> {
        let patch = self.object(members, metadata, wanted);
        if patch.is_empty() {
            return None;
        }
        Some(if empties(&patch, members) {
            Value::Null
        } else {
            Value::Object(patch)
        })
    }
}

/// Whether nothing is left of the members.
fn empties(patch: &Map<String, Value>, members: &Map<String, Value>) -> bool {
    let goes = |name| patch.get(name).is_some_and(Value::is_null);
    members.keys().all(goes) && patch.values().all(Value::is_null)
}

fn only_removes(wanted: &Branch) -> bool {
    wanted.values().all(|node| match node {
        Node::Leaf(value, _) => value.is_null(),
        Node::Object(members) => only_removes(members),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::Timestamp;

    fn author(id: &str) -> Arc<Author> {
        Arc::new(Author {
            configuration: id.into(),
            digest: "1".into(),
        })
    }

    fn settings(values: &Value) -> Settings {
        let mut settings = Settings::default();
        settings.add(values.as_object().unwrap());
        settings
    }

    fn overlay(configurations: &[(&str, Value)]) -> (Overlay, Vec<bool>) {
        let mut overlay = Overlay::default();
        let won = configurations
            .iter()
            .map(|(id, values)| overlay.add(&settings(values), &author(id)))
            .collect();
        (overlay, won)
    }

    fn section(value: &Value) -> Section {
        let mut section = Section::new(Timestamp::NEVER);
        section.patch(value.as_object().unwrap(), Timestamp::UNIX_EPOCH);
        section
    }

    fn apply(section: &mut Section, overlay: &Overlay, whole: bool) -> Value {
        let plan = overlay.plan(section, whole);
        if !plan.is_empty() {
            section.patch(&plan.patch, Timestamp::UNIX_EPOCH);
            plan.sign(&mut section.metadata);
        }
        assert_eq!(overlay.plan(section, whole), Plan::default(), "{section:?}");
        Value::Object(section.value.clone())
    }

    #[test]
    fn the_first_wins_path_by_path() {
        let (overlay, won) = overlay(&[
            ("high", json!({"a": {"x": 1}, "b": null})),
            ("low", json!({"a": {"x": 2, "y": 2}, "b": {"z": 2}})),
            ("lowest", json!({"a": {"y": 3}, "b": 3})),
        ]);

        assert_eq!(won, [true, true, false]);
        let mut section = section(&json!({"b": 0, "c": 0}));
        assert_eq!(
            apply(&mut section, &overlay, false),
            json!({"a": {"x": 1, "y": 2}, "c": 0})
        );
        let by = |path: &str| {
            let node = section.metadata.child("a").unwrap().child(path).unwrap();
            node.last_updated_by.as_ref().unwrap().configuration.clone()
        };
        assert_eq!((&*by("x"), &*by("y")), ("high", "low"));
    }

    #[test]
    fn what_is_wanted_no_more_is_removed_and_the_rest_stays() {
        let (both, _) = overlay(&[("c", json!({"a": {"x": 1}, "b": {"y": {"z": 1}}, "e": {}}))]);
        let mut section = section(&json!({"a": {"mine": 1}, "e": {"mine": {}}}));
        apply(&mut section, &both, false);

        let left = apply(&mut section, &Overlay::default(), false);

        assert_eq!(left, json!({"a": {"mine": 1}, "e": {"mine": {}}}));
    }

    #[test]
    fn what_somebody_else_wrote_in_the_meantime_is_theirs() {
        let (overlay, _) = overlay(&[("c", json!({"a": 1, "b": 1}))]);
        let mut section = section(&json!({}));
        apply(&mut section, &overlay, false);
        section.patch(json!({"a": 2}).as_object().unwrap(), Timestamp::UNIX_EPOCH);

        assert_eq!(
            apply(&mut section.clone(), &overlay, false),
            json!({"a": 1, "b": 1})
        );
        assert_eq!(
            apply(&mut section, &Overlay::default(), false),
            json!({"a": 2})
        );
    }

    #[test]
    fn a_whole_leaves_nothing_else() {
        let (overlay, _) = overlay(&[("c", json!({"a": {"x": 1}, "e": {}}))]);
        let mut section = section(&json!({"a": {"x": 1, "y": 2}, "b": {"z": 1}, "e": {"f": 1}}));

        assert_eq!(
            apply(&mut section, &overlay, true),
            json!({"a": {"x": 1}, "e": {}})
        );
    }

    #[test]
    fn printed_metadata_names_the_writer() {
        let (overlay, _) = overlay(&[("c", json!({"a": 1}))]);
        let mut section = section(&json!({}));
        apply(&mut section, &overlay, false);

        let printed = section.to_service_json(crate::twin::SectionKind::Desired);

        assert_eq!(
            printed["$metadata"]["a"].to_string(),
            concat!(
                r#"{"$lastUpdated":"1970-01-01T00:00:00.0000000Z","$lastUpdatedVersion":3,"#,
                r#""$lastUpdatedBy":"c","$lastUpdatedByDigest":"1"}"#
            )
        );
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            (0..4).prop_map(Value::from),
            Just(Value::Null),
            Just(json!([1])),
        ];
        let inner = leaf.prop_recursive(2, 8, 3, |inner| {
            proptest::collection::btree_map("[a-c]", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect()))
        });
        proptest::collection::btree_map("[a-c]", inner, 0..4)
            .prop_map(|members| Value::Object(members.into_iter().collect()))
    }

    proptest! {
        /// Whatever stood there before: what is wanted now is there, what was wanted once and is
        /// not any more is gone, and what is nobody's stays.
        #[test]
        fn plans_are_steps_to_what_is_wanted(
            rounds in proptest::collection::vec(proptest::collection::vec(values(), 0..3), 1..5)
        ) {
            let mut section = section(&json!({"mine": {"x": 1}}));
            for round in rounds {
                let ids = ["c0", "c1", "c2"];
                let configurations: Vec<_> = ids.iter().copied().zip(round).collect();
                let (overlay, _) = overlay(&configurations);
                let now = apply(&mut section, &overlay, false);

                let mut fresh = Section::new(Timestamp::NEVER);
                let mut expected = apply(&mut fresh, &overlay, false);
                expected["mine"] = json!({"x": 1});
                prop_assert_eq!(&now, &expected);
            }
        }
    }
}
