//! What is there: containers, their blobs, and the blocks that are not part of a blob yet.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use iothub_protocol::Timestamp;
use iothub_protocol::storage::ContainerName;
use serde::{Deserialize, Serialize};

use super::content::Content;

/// A block blob.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Its name within the container.
    pub name: String,
    /// Changes with every write; unquoted.
    pub etag: String,
    /// When it was first written.
    pub created: Timestamp,
    /// When it was last written.
    pub last_modified: Timestamp,
    /// What its writer said about it.
    pub headers: BlobHeaders,
    /// The blocks that it was made of, with their lengths, in order; none after a single write.
    pub blocks: Vec<(String, u64)>,
    /// Its bytes.
    pub content: Content,
}

/// What a blob's writer says about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BlobHeaders {
    /// `Content-Type`
    pub content_type: Option<String>,
    /// `Content-Encoding`
    pub content_encoding: Option<String>,
    /// `Content-Language`
    pub content_language: Option<String>,
    /// `Content-Disposition`
    pub content_disposition: Option<String>,
    /// `Cache-Control`
    pub cache_control: Option<String>,
    /// `Content-MD5`: of a single write, or what the writer of blocks said.
    pub content_md5: Option<String>,
    /// `x-ms-meta-*`
    pub metadata: BTreeMap<String, String>,
}

/// A page of a container's list.
#[derive(Debug, Default)]
pub struct Listing {
    /// The blobs, by name.
    pub blobs: Vec<Arc<Blob>>,
    /// What names have in common up to the delimiter, when one was given.
    pub prefixes: Vec<String>,
    /// Where the next page begins.
    pub next: Option<String>,
}

#[derive(Default)]
pub(super) struct Index {
    pub(super) containers: BTreeMap<ContainerName, Container>,
    pub(super) last_etag: i64,
}

#[derive(Default)]
pub(super) struct Container {
    pub(super) blobs: BTreeMap<String, Arc<Blob>>,
    /// Blocks that wait to become part of a blob, by the blob's name.
    pub(super) waiting: HashMap<String, Waiting>,
}

/// Blocks in the order in which they came, each id once.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    pub(super) blocks: Vec<(String, Content)>,
    places: HashMap<String, usize>,
}

impl Index {
    /// An etag as the real service makes them, of the time; never the same twice.
    pub(super) fn next_etag(&mut self, now: Timestamp) -> String {
        self.last_etag = now.dotnet_ticks().max(self.last_etag + 1);
        format!("0x{:X}", self.last_etag)
    }

    /// Takes note of an etag that was given out before a restart.
    pub(super) fn note_etag(&mut self, etag: &str) {
        let number = etag
            .strip_prefix("0x")
            .and_then(|hex| i64::from_str_radix(hex, 16).ok());
        self.last_etag = self.last_etag.max(number.unwrap_or_default());
    }
}

impl Container {
    /// Blobs whose names begin with `prefix`, from `from` on; names that go on after `delimiter`
    /// count once, together.
    pub(super) fn list(
        &self,
        prefix: &str,
        delimiter: Option<&str>,
        from: &str,
        most: usize,
    ) -> Listing {
        let start = from.max(prefix);
        let range = (Bound::Included(start), Bound::Unbounded);
        let mut listing = Listing::default();
        for (name, blob) in self.blobs.range::<str, _>(range) {
            let Some(rest) = name.strip_prefix(prefix) else {
                break;
            };
            let group = delimiter
                .filter(|delimiter| !delimiter.is_empty())
                .and_then(|delimiter| {
                    let end = rest.find(delimiter)? + delimiter.len();
                    Some(&name[..prefix.len() + end])
                });
            if group.is_some() && listing.prefixes.last().map(String::as_str) == group {
                continue;
            }
            if listing.blobs.len() + listing.prefixes.len() == most {
                listing.next = Some(name.clone());
                break;
            }
            match group {
                Some(group) => listing.prefixes.push(group.to_owned()),
                None => listing.blobs.push(blob.clone()),
            }
        }
        listing
    }
}

impl Waiting {
    pub(super) fn put(&mut self, id: String, content: Content) {
        match self.places.get(&id) {
            Some(&place) => self.blocks[place].1 = content,
            None => {
                self.places.insert(id.clone(), self.blocks.len());
                self.blocks.push((id, content));
            }
        }
    }

    pub(super) fn find(&self, id: &str) -> Option<&Content> {
        self.places.get(id).map(|&place| &self.blocks[place].1)
    }
}

impl Blob {
    /// Where a block of it lies.
    pub(super) fn block(&self, id: &str) -> Option<std::ops::Range<u64>> {
        let mut start = 0;
        for (block, length) in &self.blocks {
            let end = start + length;
            if block == id {
                return Some(start..end);
            }
            start = end;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_page_by_page_and_groups_what_lies_below_a_delimiter() {
        let mut container = Container::default();
        for name in ["a/1", "a/2", "b", "c/1", "c/x/2"] {
            let blob = Blob {
                name: name.into(),
                etag: String::new(),
                created: Timestamp::UNIX_EPOCH,
                last_modified: Timestamp::UNIX_EPOCH,
                headers: BlobHeaders::default(),
                blocks: Vec::new(),
                content: Content::memory(Vec::new()),
            };
            container.blobs.insert(name.into(), Arc::new(blob));
        }
        let names = |listing: &Listing| -> Vec<String> {
            let blobs = listing.blobs.iter().map(|blob| blob.name.clone());
            listing.prefixes.iter().cloned().chain(blobs).collect()
        };

        let first = container.list("", None, "", 2);
        assert_eq!(names(&first), ["a/1", "a/2"]);
        let second = container.list("", None, first.next.as_deref().unwrap(), 9);
        assert_eq!(names(&second), ["b", "c/1", "c/x/2"]);
        assert_eq!(second.next, None);
        assert_eq!(
            names(&container.list("", Some("/"), "", 9)),
            ["a/", "c/", "b"]
        );
        assert_eq!(
            names(&container.list("c/", Some("/"), "", 9)),
            ["c/x/", "c/1"]
        );
        assert_eq!(names(&container.list("zzz", None, "", 9)), [""; 0]);
    }
}
