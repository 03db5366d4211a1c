//! Reading the file one device after the other: it may hold more than memory shall.

use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// What the file has beside devices.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rest {
    pub(super) configurations: Option<Value>,
    pub(super) arm: Option<Value>,
    pub(super) has_devices: bool,
    /// Members that no version of the file is known to have.
    pub(super) unknown: Vec<String>,
}

/// Reads the whole file; `each` gets every device with its identifier, and may end it with an
/// error. What is not JSON or has not the shape of a state is refused with line and column.
pub(super) fn read(
    path: &Path,
    each: impl FnMut(&str, Value) -> anyhow::Result<()>,
) -> anyhow::Result<Rest> {
    let file = File::open(path).with_context(|| format!("read {}", path.display()))?;
    read_from(BufReader::with_capacity(1 << 16, file), each)
        .with_context(|| format!("{} is no state of a hub", path.display()))
}

fn read_from(
    reader: impl std::io::Read,
    each: impl FnMut(&str, Value) -> anyhow::Result<()>,
) -> anyhow::Result<Rest> {
    let mut end = None;
    let state = State {
        each,
        end: &mut end,
    };
    let mut json = serde_json::Deserializer::from_reader(reader);
    let rest = state
        .deserialize(&mut json)
        .and_then(|rest| json.end().map(|()| rest));
    match end {
        // The reader's own error only says that it was stopped.
        Some(error) => Err(error),
        None => Ok(rest?),
    }
}

/// The file as a whole.
struct State<'a, F> {
    each: F,
    end: &'a mut Option<anyhow::Error>,
}

impl<'de, F: FnMut(&str, Value) -> anyhow::Result<()>> DeserializeSeed<'de> for State<'_, F> {
    type Value = Rest;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Rest, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(&str, Value) -> anyhow::Result<()>> Visitor<'de> for State<'_, F> {
    type Value = Rest;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("an object with configurations and devices")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Rest, A::Error> {
        let mut rest = Rest::default();
        while let Some(name) = members.next_key::<String>()? {
            match name.as_str() {
                "configurations" => rest.configurations = Some(members.next_value()?),
                "arm" => rest.arm = Some(members.next_value()?),
                "devices" => {
                    members.next_value_seed(Devices {
                        each: &mut self.each,
                        end: self.end,
                    })?;
                    rest.has_devices = true;
                }
                _ => {
                    members.next_value::<IgnoredAny>()?;
                    if rest.unknown.len() < MOST_NAMES {
                        rest.unknown.push(name);
                    }
                }
            }
        }
        Ok(rest)
    }
}

/// How many names of unknown members are kept.
const MOST_NAMES: usize = 20;

/// The member `devices`.
struct Devices<'a, F> {
    each: &'a mut F,
    end: &'a mut Option<anyhow::Error>,
}

impl<'de, F: FnMut(&str, Value) -> anyhow::Result<()>> DeserializeSeed<'de> for Devices<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(&str, Value) -> anyhow::Result<()>> Visitor<'de> for Devices<'_, F> {
    type Value = ();

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("devices as an object, by their identifiers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(id) = members.next_key::<String>()? {
            let entry = members.next_value()?;
            if let Err(error) = (self.each)(&id, entry) {
                *self.end = Some(error);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn ids(text: &str) -> anyhow::Result<(Vec<String>, Rest)> {
        let mut ids = Vec::new();
        let rest = read_from(text.as_bytes(), |id, _| {
            ids.push(id.to_owned());
            Ok(())
        })?;
        Ok((ids, rest))
    }

    #[test]
    fn devices_come_one_by_one_wherever_they_stand() {
        let (ids, rest) =
            ids(r#"{"devices": {"b": {}, "a": 1}, "arm": {"resources": []}, "other": [1]}"#)
                .unwrap();

        assert_eq!(ids, ["b", "a"]);
        assert_eq!(
            rest,
            Rest {
                configurations: None,
                arm: Some(json!({"resources": []})),
                has_devices: true,
                unknown: vec!["other".into()],
            }
        );
    }

    #[test]
    fn what_is_no_state_is_refused_with_its_place() {
        for (text, wanted) in [
            (
                "{\"devices\": {\n  \"a\": {},\n  \"b\": }\n}",
                "line 3 column 8",
            ),
            ("[]", "an object with configurations and devices"),
            (
                "{\"devices\": []}",
                "devices as an object, by their identifiers",
            ),
            ("{\"devices\": {}", "EOF"),
            ("{} {}", "trailing characters"),
            ("", "EOF"),
        ] {
            let error = format!("{:#}", ids(text).unwrap_err());
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn whoever_reads_can_end_it() {
        let error = read_from(br#"{"devices": {"a": {}}}"#.as_slice(), |id, _| {
            bail!("enough of {id}")
        });

        assert_eq!(error.unwrap_err().to_string(), "enough of a");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[{}\\[\\]\",:0-9a-c \\\\]{0,60}") {
            let _ = ids(&text);
        }
    }
}
