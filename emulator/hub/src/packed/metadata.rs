//! When each node of a section was last written, in a block. What a node has in common with the one
//! that it is in, which is mostly all, is a bit each.

use std::num::NonZeroU64;
use std::sync::Arc;

use iothub_protocol::Timestamp;
use iothub_protocol::twin::{Author, Metadata};

use super::bytes::{Reader, put_bytes, put_number};

const OTHER_TIME: u8 = 1;
const OTHER_VERSION: u8 = 2;
const CHILDREN: u8 = 4;
const AUTHOR: u8 = 8;
/// The author of the last node that has one.
const SAME_AUTHOR: u8 = 16;

pub(super) fn put_metadata(out: &mut Vec<u8>, metadata: &Metadata) {
    put_node(out, metadata, Above::default(), &mut None);
}

pub(super) fn metadata(input: &mut Reader<'_>) -> Metadata {
    node(input, Above::default(), &mut None)
}

/// What was written last of the node that a node is in.
#[derive(Clone, Copy)]
struct Above {
    time: Timestamp,
    version: Option<NonZeroU64>,
}

impl Default for Above {
    fn default() -> Self {
        Self {
            time: Timestamp::NEVER,
            version: None,
        }
    }
}

impl Above {
    fn of(node: &Metadata) -> Self {
        Self {
            time: node.last_updated,
            version: node.last_updated_version,
        }
    }
}

fn put_node<'a>(
    out: &mut Vec<u8>,
    node: &'a Metadata,
    above: Above,
    last: &mut Option<&'a Arc<Author>>,
) {
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    let author = node.last_updated_by.as_ref();
    let same_author = author.is_some() && author == *last;
    out.push(
        flag(node.last_updated != above.time, OTHER_TIME)
            | flag(node.last_updated_version != above.version, OTHER_VERSION)
            | flag(!node.children.is_empty(), CHILDREN)
            | flag(author.is_some() && !same_author, AUTHOR)
            | flag(same_author, SAME_AUTHOR),
    );
    if node.last_updated != above.time {
        out.extend_from_slice(&node.last_updated.ticks().to_le_bytes());
    }
    if node.last_updated_version != above.version {
        put_number(out, node.last_updated_version.map_or(0, NonZeroU64::get));
    }
    if let Some(author) = author.filter(|_| !same_author) {
        put_bytes(out, author.configuration.as_bytes());
        put_bytes(out, author.digest.as_bytes());
        *last = Some(author);
    }
    if !node.children.is_empty() {
        put_number(out, node.children.len() as u64);
        for (name, child) in &node.children {
            put_bytes(out, name.as_bytes());
            put_node(out, child, Above::of(node), last);
        }
    }
}

fn node(input: &mut Reader<'_>, above: Above, last: &mut Option<Arc<Author>>) -> Metadata {
    let flags = input.byte();
    let is = |flag| flags & flag != 0;
    let mut node = Metadata {
        last_updated: above.time,
        last_updated_version: above.version,
        last_updated_by: None,
        children: Vec::new(),
    };
    if is(OTHER_TIME) {
        node.last_updated = Timestamp::from_ticks(i64::from_le_bytes(input.eight()));
    }
    if is(OTHER_VERSION) {
        node.last_updated_version = NonZeroU64::new(input.number());
    }
    if is(AUTHOR) {
        *last = Some(Arc::new(Author {
            configuration: input.text().into(),
            digest: input.text().into(),
        }));
    }
    if is(AUTHOR) || is(SAME_AUTHOR) {
        node.last_updated_by.clone_from(last);
    }
    if is(CHILDREN) {
        let count = input.number() as usize;
        node.children.reserve_exact(count);
        for _ in 0..count {
            let name = input.text().into();
            let child = self::node(input, Above::of(&node), last);
            node.children.push((name, child));
        }
    }
    node
}
