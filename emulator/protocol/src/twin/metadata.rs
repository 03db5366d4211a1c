//! When each node of a section was last written.

use std::num::NonZeroU64;

use serde_json::{Map, Value};

use crate::Timestamp;

/// When a node of a section was last written; mirrors the tree of values. Arrays are leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// The time of that write.
    pub last_updated: Timestamp,
    /// The section's version at that write; `None` in a section that never was written.
    pub last_updated_version: Option<NonZeroU64>,
    /// Of an object, its members, sorted by name. A plain vector, since a million twins have a few
    /// members each.
    pub children: Vec<(Box<str>, Self)>,
}

impl Metadata {
    /// Of a node without members that never was written.
    pub fn new(last_updated: Timestamp) -> Self {
        Self {
            last_updated,
            last_updated_version: None,
            children: Vec::new(),
        }
    }

    /// Of the member called `name`.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.position(name).ok().map(|at| &self.children[at].1)
    }

    /// The `$metadata` object of `value`, whose members are in the order of `value`.
    pub fn to_json(&self, value: &Map<String, Value>, with_version: bool) -> Value {
        let mut printed = Map::with_capacity(self.children.len() + 2);
        printed.insert("$lastUpdated".into(), self.last_updated.to_iso().into());
        if let Some(version) = self.last_updated_version.filter(|_| with_version) {
            printed.insert("$lastUpdatedVersion".into(), version.get().into());
        }
        let no_members = Map::new();
        for (name, value) in value {
            if let Some(child) = self.child(name) {
                let members = value.as_object().unwrap_or(&no_members);
                printed.insert(name.clone(), child.to_json(members, with_version));
            }
        }
        Value::Object(printed)
    }

    /// Where the member is, or where it belongs.
    pub(super) fn position(&self, name: &str) -> Result<usize, usize> {
        self.children
            .binary_search_by(|(known, _)| (**known).cmp(name))
    }
}
