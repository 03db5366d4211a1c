//! A whole twin in a block: first what queries look at.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use iothub_protocol::ClientId;
use iothub_protocol::twin::{Section, SectionKind};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::bytes::{Reader, put_bytes, put_nested, put_number};
use super::json::{Object, put_members};
use super::metadata::{metadata, put_metadata};
use crate::twins::Twin;

/// A twin as it is kept, without the name of its client: one block of memory, which copies share.
#[derive(Clone, PartialEq, Eq)]
pub struct PackedTwin(Arc<[u8]>);

/// `desired` or `reported` in a block.
#[derive(Clone, Copy)]
pub(crate) struct PackedSection<'a> {
    pub(crate) value: Object<'a>,
    pub(crate) version: u64,
}

/// With `$version`, as the device sees it (`spec/device.md` 7.3).
impl Serialize for PackedSection<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.value.len() + 1))?;
        for (name, value) in self.value.members() {
            map.serialize_entry(name, &value)?;
        }
        map.serialize_entry("$version", &self.version)?;
        map.end()
    }
}

/// What stands in front of the metadata.
struct Front<'a> {
    tags: Object<'a>,
    desired: PackedSection<'a>,
    reported: PackedSection<'a>,
    version: u64,
    etag: u64,
    model_id: &'a str,
}

impl PackedTwin {
    /// The block of a twin.
    pub fn pack(twin: &Twin) -> Self {
        let mut out = Vec::with_capacity(256);
        for members in [&twin.tags, &twin.desired.value, &twin.reported.value] {
            put_nested(&mut out, |out| put_members(out, members));
        }
        for number in [
            twin.desired.version,
            twin.reported.version,
            twin.version,
            twin.etag,
        ] {
            put_number(&mut out, number);
        }
        put_bytes(&mut out, twin.model_id.as_bytes());
        put_metadata(&mut out, &twin.desired.metadata);
        put_metadata(&mut out, &twin.reported.metadata);
        Self(out.into())
    }

    /// The twin, which is that of `client`.
    pub fn unpack(&self, client: ClientId) -> Twin {
        let (front, mut rest) = self.front();
        Twin {
            client,
            tags: front.tags.to_map(),
            desired: section(front.desired, &mut rest),
            reported: section(front.reported, &mut rest),
            version: front.version,
            etag: front.etag,
            model_id: front.model_id.to_owned(),
        }
    }

    /// One of the two sections with its metadata: `Reported`, or `Desired`.
    pub(crate) fn section(&self, kind: SectionKind) -> Section {
        let (front, mut rest) = self.front();
        let desired = section(front.desired, &mut rest);
        if kind == SectionKind::Reported {
            section(front.reported, &mut rest)
        } else {
            desired
        }
    }

    /// The byte that the block begins with, once it has been loaded.
    pub(crate) fn first(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// Bytes of the block.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn tags(&self) -> Object<'_> {
        Object::new(Reader(&self.0).bytes())
    }

    pub(crate) fn desired(&self) -> PackedSection<'_> {
        self.front().0.desired
    }

    pub(crate) fn reported(&self) -> PackedSection<'_> {
        self.front().0.reported
    }

    /// The properties of a section, or the tags: what costs the least to look at.
    pub(crate) fn members(&self, kind: SectionKind) -> Object<'_> {
        let mut input = Reader(&self.0);
        let before = match kind {
            SectionKind::Tags => 0,
            SectionKind::Desired => 1,
            SectionKind::Reported => 2,
        };
        for _ in 0..before {
            input.bytes();
        }
        Object::new(input.bytes())
    }

    /// JSON text of both sections, as the device sees them.
    pub(crate) fn device_text(&self) -> String {
        let (front, _) = self.front();
        let document = [("desired", front.desired), ("reported", front.reported)];
        let document = document.into_iter().collect::<BTreeMap<_, _>>();
        serde_json::to_string(&document).expect("names are texts and numbers are finite")
    }

    pub(crate) fn version(&self) -> u64 {
        self.front().0.version
    }

    pub(crate) fn etag(&self) -> u64 {
        self.front().0.etag
    }

    pub(crate) fn model_id(&self) -> &str {
        self.front().0.model_id
    }

    fn front(&self) -> (Front<'_>, Reader<'_>) {
        let mut input = Reader(&self.0);
        let [tags, desired, reported] = [input.bytes(), input.bytes(), input.bytes()];
        let section = |value, version| PackedSection {
            value: Object::new(value),
            version,
        };
        let front = Front {
            tags: Object::new(tags),
            desired: section(desired, input.number()),
            reported: section(reported, input.number()),
            version: input.number(),
            etag: input.number(),
            model_id: input.text(),
        };
        (front, input)
    }
}

impl fmt::Debug for PackedTwin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (front, _) = self.front();
        f.debug_struct("PackedTwin")
            .field("tags", &front.tags.to_map())
            .field("desired", &front.desired.value.to_map())
            .field("reported", &front.reported.value.to_map())
            .field("version", &front.version)
            .finish_non_exhaustive()
    }
}

fn section(front: PackedSection<'_>, rest: &mut Reader<'_>) -> Section {
    Section {
        value: front.value.to_map(),
        metadata: metadata(rest),
        version: front.version,
    }
}

#[cfg(test)]
mod tests {
    use iothub_protocol::Timestamp;
    use iothub_protocol::twin::{Author, Metadata};
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-200i64..200).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,5}|[a-z]{120,140}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                maps(inner).prop_map(Value::Object),
            ]
        })
    }

    fn maps(values: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
        proptest::collection::vec(("[a-dä]{0,2}", values), 0..6)
            .prop_map(|members| members.into_iter().collect())
    }

    fn sections() -> impl Strategy<Value = Section> {
        let patch = (maps(values()), -5i64..5);
        let patches = proptest::collection::vec(patch, 0..4);
        let signed = proptest::collection::vec(("[a-d]", "[a-d]", 0..2usize), 0..4);
        (patches, signed).prop_map(|(patches, signed)| {
            let mut section = Section::new(Timestamp::NEVER);
            for (patch, at) in patches {
                section.patch(&patch, Timestamp::from_ticks(at));
            }
            let author = |name: &str| {
                Arc::new(Author {
                    configuration: name.into(),
                    digest: "7".into(),
                })
            };
            let authors = [author("one"), author("two")];
            for (first, second, by) in signed {
                for path in [&[&*first][..], &[&*first, &*second]] {
                    section.metadata.sign(path, &authors[by]);
                }
            }
            section
        })
    }

    proptest! {
        #[test]
        fn what_is_unpacked_is_what_was_packed(
            tags in maps(values()), desired in sections(), reported in sections(),
            version: u64, etag: u64, model_id in ".{0,8}",
        ) {
            let client = ClientId::parse("d1").unwrap();
            let twin = Twin { client: client.clone(), tags, desired, reported, version, etag, model_id };

            let packed = PackedTwin::pack(&twin);

            prop_assert_eq!(packed.unpack(client), twin.clone());
            prop_assert_eq!(PackedTwin::pack(&twin), packed.clone());
            prop_assert_eq!(packed.version(), version);
            prop_assert_eq!(packed.etag(), etag);
            prop_assert_eq!(packed.model_id(), &twin.model_id);
            prop_assert_eq!(packed.desired().version, twin.desired.version);
            let as_device = json!({
                "desired": twin.desired.to_device_json(),
                "reported": twin.reported.to_device_json(),
            });
            prop_assert_eq!(packed.device_text(), as_device.to_string());
            for (kind, members) in [
                (SectionKind::Tags, &twin.tags),
                (SectionKind::Desired, &twin.desired.value),
                (SectionKind::Reported, &twin.reported.value),
            ] {
                let packed = packed.members(kind);
                // Order counts, also where equality does not look at it.
                prop_assert!(packed.to_map().keys().eq(members.keys()));
                for (name, value) in members {
                    prop_assert_eq!(&packed.get(name).unwrap().to_json(), value);
                }
                prop_assert!(packed.get("no such name").is_none());
            }
        }
    }

    #[test]
    fn metadata_that_does_not_mirror_the_values_is_kept() {
        let leaf = Metadata::new(Timestamp::UNIX_EPOCH);
        let mut twin = Twin::new(ClientId::parse("d1/m1").unwrap());
        twin.desired.metadata.children = vec![("a".into(), leaf)];
        twin.tags = json!({"a": [1.5, -1, {"b": null}]})
            .as_object()
            .unwrap()
            .clone();

        assert_eq!(PackedTwin::pack(&twin).unpack(twin.client.clone()), twin);
    }

    #[test]
    fn a_small_twin_is_small() {
        let mut twin = Twin::new(ClientId::parse("d1").unwrap());
        twin.tags = json!({"site": "s77", "floor": 7})
            .as_object()
            .unwrap()
            .clone();
        let desired = json!({"interval": 7});
        let now = Timestamp::UNIX_EPOCH;
        twin.desired.patch(desired.as_object().unwrap(), now);

        assert!(PackedTwin::pack(&twin).size() <= 80);
    }
}
