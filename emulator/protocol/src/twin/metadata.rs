//! When each node of a section was last written.

use std::num::NonZeroU64;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::Timestamp;

/// When a node of a section was last written; mirrors the tree of values. Arrays are leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// The time of that write.
    pub last_updated: Timestamp,
    /// The section's version at that write; `None` in a section that never was written.
    pub last_updated_version: Option<NonZeroU64>,
    /// The configuration that wrote it, when that was the last write (`spec/service.md` 3.1).
    pub last_updated_by: Option<Arc<Author>>,
    /// Of an object, its members, sorted by name. A plain vector, since a million twins have a few
    /// members each.
    pub children: Vec<(Box<str>, Self)>,
}

/// A configuration as the writer of a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// Its id.
    pub configuration: Box<str>,
    /// Which state of it, as decimal digits.
    pub digest: Box<str>,
}

impl Metadata {
    /// Of a node without members that never was written.
    pub fn new(last_updated: Timestamp) -> Self {
        Self {
            last_updated,
            last_updated_version: None,
            last_updated_by: None,
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
        if let Some(author) = &self.last_updated_by {
            printed.insert("$lastUpdatedBy".into(), (*author.configuration).into());
            printed.insert("$lastUpdatedByDigest".into(), (*author.digest).into());
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

    /// Notes who wrote the node at `path`, if there is one.
    pub fn sign(&mut self, path: &[&str], author: &Arc<Author>) {
        match path.split_first() {
            None => self.last_updated_by = Some(author.clone()),
            Some((name, rest)) => {
                if let Ok(at) = self.position(name) {
                    self.children[at].1.sign(rest, author);
                }
            }
        }
    }

    /// Whether the last write of any node was a configuration's.
    pub fn is_signed(&self) -> bool {
        self.last_updated_by.is_some() || self.children.iter().any(|(_, child)| child.is_signed())
    }

    /// The path of each node that a configuration wrote, and which one it was.
    pub fn signatures(&self) -> Vec<(Vec<&str>, &Arc<Author>)> {
        let mut found = Vec::new();
        self.collect_signatures(&mut Vec::new(), &mut found);
        found
    }

    fn collect_signatures<'a>(
        &'a self,
        path: &mut Vec<&'a str>,
        found: &mut Vec<(Vec<&'a str>, &'a Arc<Author>)>,
    ) {
        if let Some(author) = &self.last_updated_by {
            found.push((path.clone(), author));
        }
        for (name, child) in &self.children {
            path.push(name);
            child.collect_signatures(path, found);
            path.pop();
        }
    }

    /// Where the member is, or where it belongs.
    pub(super) fn position(&self, name: &str) -> Result<usize, usize> {
        self.children
            .binary_search_by(|(known, _)| (**known).cmp(name))
    }
}
