//! Twin documents as pure JSON algebra: sections, merge, metadata, limits (`spec/service.md` 3,
//! `spec/device.md` 7.6 and 7.7).
//!
//! This module does not know who owns a twin, its etag or its tags' home; it knows what a patch
//! does to a section and which patches are legal. [`merge`] and [`Section::patch`] are one walk.

mod limits;
mod merge;
mod metadata;

use serde_json::{Map, Value};

use crate::{Error, Timestamp, json};

pub use limits::{check_growth, size, size_limit, validate};
pub use merge::merge;
pub use metadata::{Author, Metadata};

use merge::{Stamp, merge_stamped};

/// One versioned section of a twin: `desired` or `reported`. A new one allocates nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// The properties, without `$metadata` and `$version`. Key order is insertion order.
    pub value: Map<String, Value>,
    /// Mirrors `value`.
    pub metadata: Metadata,
    /// Starts at 1.
    pub version: u64,
}

/// Which section a rule applies to; they differ in size limit and printed metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// What only the service sees.
    Tags,
    /// What the service asks of the device.
    Desired,
    /// What the device says of itself.
    Reported,
}

/// What the body of a twin PATCH or PUT asks for; other members are ignored.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct TwinPatch {
    /// `None`: absent, leaves the section alone. `Some(None)`: `null`, clears it.
    pub tags: Option<Option<Map<String, Value>>>,
    /// As `tags`, for the desired properties.
    pub desired: Option<Option<Map<String, Value>>>,
}

impl Section {
    /// A new section: empty, version 1, last updated at `last_updated`.
    pub fn new(last_updated: Timestamp) -> Self {
        Self {
            value: Map::new(),
            metadata: Metadata::new(last_updated),
            version: 1,
        }
    }

    /// Merges as a JSON merge patch and bumps version and metadata, even when no value changes.
    /// [`validate`] first.
    pub fn patch(&mut self, patch: &Map<String, Value>, now: Timestamp) {
        self.version += 1;
        merge_stamped(
            &mut self.value,
            &mut self.metadata,
            patch,
            Stamp::new(now, self.version),
        );
    }

    /// Replaces everything; members that are `null` are left out. [`validate`] first.
    pub fn replace(&mut self, value: &Map<String, Value>, now: Timestamp) {
        self.value = Map::new();
        self.metadata = Metadata::new(now);
        self.patch(value, now);
    }

    /// With `$metadata` and `$version`, as the service sees it. `$lastUpdatedVersion` is printed
    /// for `desired` only (`spec/service.md` 3.1).
    pub fn to_service_json(&self, kind: SectionKind) -> Value {
        self.with_metadata(self.value.clone(), kind)
    }

    /// As [`Self::to_service_json`], of a section that is not needed any more.
    pub fn into_service_json(mut self, kind: SectionKind) -> Value {
        let value = std::mem::take(&mut self.value);
        self.with_metadata(value, kind)
    }

    fn with_metadata(&self, mut value: Map<String, Value>, kind: SectionKind) -> Value {
        let with_version = kind == SectionKind::Desired;
        let metadata = self.metadata.to_json(&value, with_version);
        value.insert("$metadata".into(), metadata);
        value.insert("$version".into(), self.version.into());
        Value::Object(value)
    }

    /// With `$version` only, as the device sees it (`spec/device.md` 7.3).
    pub fn to_device_json(&self) -> Value {
        let mut printed = self.value.clone();
        printed.insert("$version".into(), self.version.into());
        Value::Object(printed)
    }
}

impl TwinPatch {
    /// Parses the body of PATCH or PUT `/twins/…`: reads `tags` and `properties.desired` (names
    /// ignoring case), drops `$version` and `$metadata` at the root of a section and ignores
    /// everything else, so that a whole twin can be sent back (`spec/service.md` 3.2). 400006 when
    /// the body is not JSON, 400004 when a section is no object.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        Self::from_members(&json::parse_object(body)?)
    }

    /// As [`Self::parse`], of a value that was parsed already.
    pub fn from_value(value: &Value) -> Result<Self, Error> {
        match value {
            Value::Object(members) => Self::from_members(members),
            _ => Err(Error::argument_invalid("a twin must be an object")),
        }
    }

    /// Whether it names no section at all.
    pub fn is_empty(&self) -> bool {
        self.tags.is_none() && self.desired.is_none()
    }

    fn from_members(members: &Map<String, Value>) -> Result<Self, Error> {
        let desired = match json::object(members, "properties")? {
            None => None,
            Some(properties) => section(properties, "desired")?,
        };
        Ok(Self {
            tags: section(members, "tags")?,
            desired,
        })
    }
}

type SectionPatch = Option<Option<Map<String, Value>>>;

fn section(members: &Map<String, Value>, name: &str) -> Result<SectionPatch, Error> {
    match json::field(members, name) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::Object(section)) => {
            let mut section = section.clone();
            section.shift_remove("$version");
            section.shift_remove("$metadata");
            Ok(Some(Some(section)))
        }
        Some(_) => Err(Error::argument_invalid(format!(
            "Provided json is not a valid 'tags' or 'properties' object: '{name}' must be an object"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;
    use proptest::prelude::*;
    use serde_json::json;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix_seconds(second)
    }

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(members) => members,
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn a_new_section_is_empty_at_version_one() {
        let section = Section::new(Timestamp::NEVER);

        assert_eq!(
            section.to_service_json(SectionKind::Desired),
            json!({"$metadata": {"$lastUpdated": "0001-01-01T00:00:00Z"}, "$version": 1})
        );
        assert_eq!(section.to_device_json(), json!({"$version": 1}));
    }

    #[test]
    fn metadata_mirrors_the_tree_and_stamps_what_was_touched() {
        let mut section = Section::new(Timestamp::NEVER);
        section.patch(
            &object(json!({"a": {"b": 1, "c": [1, {"x": 2}]}, "d": 2})),
            at(0),
        );
        section.patch(&object(json!({"a": {"b": 5}, "d": null})), at(1));

        let first =
            json!({"$lastUpdated": "1970-01-01T00:00:00.0000000Z", "$lastUpdatedVersion": 2});
        let second =
            json!({"$lastUpdated": "1970-01-01T00:00:01.0000000Z", "$lastUpdatedVersion": 3});
        let mut a = second.clone();
        a["b"] = second.clone();
        a["c"] = first;
        let mut metadata = second;
        metadata["a"] = a;
        assert_eq!(
            section.to_service_json(SectionKind::Desired),
            json!({"a": {"b": 5, "c": [1, {"x": 2}]}, "$metadata": metadata, "$version": 3})
        );
    }

    #[test]
    fn reported_metadata_has_no_version() {
        let mut section = Section::new(Timestamp::NEVER);
        section.patch(&object(json!({"a": 1})), at(0));

        let metadata = &section.to_service_json(SectionKind::Reported)["$metadata"];

        let time = "1970-01-01T00:00:00.0000000Z";
        assert_eq!(
            *metadata,
            json!({"$lastUpdated": time, "a": {"$lastUpdated": time}})
        );
    }

    #[test]
    fn a_patch_that_changes_nothing_bumps_the_version() {
        let mut section = Section::new(Timestamp::NEVER);

        section.patch(&Map::new(), at(1));

        assert_eq!(section.version, 2);
        assert_eq!(section.metadata.last_updated, at(1));
    }

    #[test]
    fn replacing_forgets_what_was_there_and_leaves_nulls_out() {
        let mut section = Section::new(Timestamp::NEVER);
        section.patch(&object(json!({"a": {"b": 1}})), at(0));

        section.replace(&object(json!({"c": {"d": null, "e": 1}, "f": null})), at(1));

        assert_eq!(
            section.to_device_json(),
            json!({"c": {"e": 1}, "$version": 3})
        );
        assert_eq!(section.metadata.child("a"), None);
    }

    #[test]
    fn a_whole_twin_can_be_sent_back() {
        let body = br#"{"deviceId":"d","etag":"x","Tags":{"a":1},"properties":{
            "desired":{"b":1,"$metadata":{"b":{}},"$version":3},"reported":{"c":1}}}"#;

        let patch = TwinPatch::parse(body).unwrap();

        assert_eq!(patch.tags, Some(Some(object(json!({"a": 1})))));
        assert_eq!(patch.desired, Some(Some(object(json!({"b": 1})))));
    }

    #[test]
    fn null_clears_a_section_and_absence_leaves_it() {
        let patch = TwinPatch::parse(br#"{"tags":null,"properties":null}"#).unwrap();

        assert_eq!(
            patch,
            TwinPatch {
                tags: Some(None),
                desired: None
            }
        );
        assert!(TwinPatch::parse(b"{}").unwrap().is_empty());
    }

    #[test]
    fn sections_must_be_objects() {
        for (body, code) in [
            ("", ErrorCode::IotHubFormatError),
            ("7", ErrorCode::ArgumentInvalid),
            (r#"{"tags":[]}"#, ErrorCode::ArgumentInvalid),
            (r#"{"properties":1}"#, ErrorCode::ArgumentInvalid),
            (
                r#"{"properties":{"desired":"x"}}"#,
                ErrorCode::ArgumentInvalid,
            ),
        ] {
            assert_eq!(
                TwinPatch::parse(body.as_bytes()).unwrap_err().code,
                code,
                "{body}"
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = TwinPatch::parse(&body);
        }
    }
}
