//! Which documents are legal in a twin, and how large they may be (`spec/service.md` 3.3,
//! `spec/device.md` 7.6).

use serde_json::{Map, Number, Value};

use super::SectionKind;
use crate::Error;

const MAX_KEY_SIZE: usize = 1024;
const MAX_STRING_SIZE: usize = 4096;
const MAX_DEPTH: usize = 10;
const MIN_INTEGER: i64 = -4_503_599_627_370_496;
const MAX_INTEGER: i64 = 4_503_599_627_370_495;

/// Checks the keys, strings, integers, depth and arrays of a patch or document; 400004 names the
/// rule that it breaks. `$version` and `$metadata` are keys like others here, and so refused:
/// [`super::TwinPatch`] removes them from what the service sends, a device must not send them.
pub fn validate(kind: SectionKind, value: &Map<String, Value>) -> Result<(), Error> {
    check_members(value, 0).map_err(|reason| {
        Error::argument_invalid(format!(
            "Provided json is not a valid '{}' object: {reason}",
            match kind {
                SectionKind::Tags => "tags",
                SectionKind::Desired | SectionKind::Reported => "properties",
            }
        ))
    })
}

/// The size of a section as the limits count it: keys and values, where a string has its UTF-8
/// length without control characters, a number 8, a boolean 4 and `null` 0.
pub fn size(value: &Map<String, Value>) -> usize {
    value
        .iter()
        .map(|(key, value)| text_size(key) + value_size(value))
        .sum()
}

/// The largest size of a section: 8 KiB of tags, 32 KiB of properties.
pub const fn size_limit(kind: SectionKind) -> usize {
    match kind {
        SectionKind::Tags => 8 * 1024,
        SectionKind::Desired | SectionKind::Reported => 32 * 1024,
    }
}

/// Refuses (400004) when `after` is over the limit and larger than `before`: a section that is too
/// large may still shrink.
pub fn check_growth(kind: SectionKind, before: usize, after: usize) -> Result<(), Error> {
    let limit = size_limit(kind);
    if after <= limit || after <= before {
        return Ok(());
    }
    let name = match kind {
        SectionKind::Tags => "tags",
        SectionKind::Desired => "desired properties",
        SectionKind::Reported => "reported properties",
    };
    Err(Error::argument_invalid(format!(
        "the {name} would have {after} bytes, more than {limit}"
    )))
}

/// `depth` is that of the object whose members these are; that of a section is 0.
fn check_members(members: &Map<String, Value>, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("objects are nested more than {MAX_DEPTH} deep"));
    }
    for (key, value) in members {
        check_key(key)?;
        check_value(key, value, depth, Place::Member)?;
    }
    Ok(())
}

/// Where a value stands: `null` means removal in an object, and nothing in an array.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Member,
    InArray,
}

fn check_value(key: &str, value: &Value, depth: usize, place: Place) -> Result<(), String> {
    match value {
        Value::Null if place == Place::InArray => {
            Err(format!("the array '{}' contains null", excerpt(key)))
        }
        Value::Null | Value::Bool(_) => Ok(()),
        Value::Number(number) => check_number(key, number),
        Value::String(text) if text.len() > MAX_STRING_SIZE => {
            let (size, key) = (text.len(), excerpt(key));
            Err(format!(
                "the string '{key}' has {size} bytes, more than {MAX_STRING_SIZE}"
            ))
        }
        Value::String(_) => Ok(()),
        // Arrays do not count as a level (`spec/device.md` 18, Q10). The parser's own limit of 128
        // levels bounds this recursion.
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| check_value(key, item, depth, Place::InArray)),
        Value::Object(members) => {
            if place == Place::InArray && members.values().any(Value::is_null) {
                return Err(format!("the array '{}' contains null", excerpt(key)));
            }
            check_members(members, depth + 1)
        }
    }
}

fn check_key(key: &str) -> Result<(), String> {
    if key.is_empty() {
        return Err("a key is empty".into());
    }
    if key.len() > MAX_KEY_SIZE {
        let (size, key) = (key.len(), excerpt(key));
        return Err(format!(
            "the key '{key}' has {size} bytes, more than {MAX_KEY_SIZE}"
        ));
    }
    match key
        .chars()
        .find(|&c| c.is_control() || matches!(c, '.' | '$' | '#' | ' '))
    {
        None => Ok(()),
        Some(c) => Err(format!("the key '{}' contains {c:?}", excerpt(key))),
    }
}

fn check_number(key: &str, number: &Number) -> Result<(), String> {
    let is_legal = match (number.as_i64(), number.as_u64()) {
        (Some(integer), _) => (MIN_INTEGER..=MAX_INTEGER).contains(&integer),
        (None, Some(_)) => false,
        (None, None) => true,
    };
    if is_legal {
        return Ok(());
    }
    let key = excerpt(key);
    Err(format!(
        "the integer '{key}' is not within {MIN_INTEGER} and {MAX_INTEGER}"
    ))
}

fn excerpt(key: &str) -> String {
    key.chars().take(64).flat_map(char::escape_debug).collect()
}

fn value_size(value: &Value) -> usize {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text_size(text),
        Value::Array(items) => items.iter().map(value_size).sum(),
        Value::Object(members) => size(members),
    }
}

/// Without control characters, C0 and C1.
fn text_size(text: &str) -> usize {
    text.chars()
        .filter(|c| !c.is_control())
        .map(char::len_utf8)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;
    use proptest::prelude::*;
    use serde_json::json;

    fn check(value: &Value) -> Result<(), Error> {
        validate(SectionKind::Reported, value.as_object().unwrap())
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!({}), |inner, _| json!({"a": inner}))
    }

    #[test]
    fn legal_documents_pass() {
        for value in [
            json!({}),
            json!({"ä-_@:+": "", "b": null, "c": [1, "x", {"y": [true]}], "d": 1.5, "e": 1e300}),
            json!({"a": MAX_INTEGER, "b": MIN_INTEGER}),
            json!({"k".repeat(1024): "s".repeat(4096)}),
            nested(10),
            json!({"a": [[[[[[[[[[[[1]]]]]]]]]]]]}),
        ] {
            assert_eq!(check(&value), Ok(()), "{value}");
        }
    }

    #[test]
    fn each_broken_rule_is_refused() {
        for (value, reason) in [
            (json!({"$version": 1}), "the key '$version' contains '$'"),
            (json!({"a": {"b.c": 1}}), "the key 'b.c' contains '.'"),
            (json!({"a b": 1}), "the key 'a b' contains ' '"),
            (json!({"a#": 1}), "the key 'a#' contains '#'"),
            (json!({"a\u{1}": 1}), "contains '\\u{1}'"),
            (json!({"a\u{85}": 1}), "contains '\\u{85}'"),
            (json!({"": 1}), "a key is empty"),
            (json!({"k".repeat(1025): 1}), "has 1025 bytes"),
            (
                json!({"a": "s".repeat(4097)}),
                "the string 'a' has 4097 bytes",
            ),
            (json!({"a": MAX_INTEGER + 1}), "the integer 'a'"),
            (json!({"a": MIN_INTEGER - 1}), "the integer 'a'"),
            (json!({"a": u64::MAX}), "the integer 'a'"),
            (json!({"a": [1, null]}), "the array 'a' contains null"),
            (json!({"a": [{"b": null}]}), "the array 'a' contains null"),
            (json!({"a": [{"b$": 1}]}), "the key 'b$'"),
            (nested(11), "nested more than 10 deep"),
        ] {
            let error = check(&value).unwrap_err();
            assert_eq!(error.code, ErrorCode::ArgumentInvalid);
            assert!(error.detail.contains(reason), "{}: {reason}", error.detail);
        }
    }

    #[test]
    fn size_counts_keys_and_values() {
        let value =
            json!({"ab": "c\n\u{85}ä", "n": 1.5, "b": true, "x": null, "o": {"k": [1, "zz"]}});

        assert_eq!(
            size(value.as_object().unwrap()),
            2 + 3 + 1 + 8 + 1 + 4 + 1 + 1 + 1 + 8 + 2
        );
    }

    #[test]
    fn only_growth_beyond_the_limit_is_refused() {
        let limit = size_limit(SectionKind::Tags);

        assert!(check_growth(SectionKind::Tags, 0, limit).is_ok());
        assert!(check_growth(SectionKind::Tags, limit, limit + 1).is_err());
        assert!(check_growth(SectionKind::Tags, limit + 2, limit + 1).is_ok());
        assert!(check_growth(SectionKind::Desired, limit, limit + 1).is_ok());
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(key in ".{0,40}", text in ".{0,40}") {
            let _ = check(&json!({key: [text, {"a": 1}]}));
        }
    }
}
