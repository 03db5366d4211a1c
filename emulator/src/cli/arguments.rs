//! Arguments that many commands share, spelled as `az` spells them.

use std::path::Path;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use iothub_backend::IfMatch;
use serde_json::Value;

/// One device.
#[derive(Clone, Debug, Args)]
pub(super) struct DeviceArg {
    /// The device.
    #[arg(long, short = 'd')]
    pub(super) device_id: String,
}

/// One module of a device.
#[derive(Clone, Debug, Args)]
pub(super) struct ModuleArg {
    /// The device.
    #[arg(long, short = 'd')]
    pub(super) device_id: String,
    /// Its module.
    #[arg(long, short = 'm')]
    pub(super) module_id: String,
}

/// A condition on what is changed.
#[derive(Clone, Debug, Args)]
pub(super) struct EtagArg {
    /// Only if it still has this etag.
    #[arg(long, short = 'e')]
    pub(super) etag: Option<String>,
}

/// Which of an identity's two keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum KeyType {
    #[default]
    Primary,
    Secondary,
}

/// What commands about a device and commands about a module have in common.
pub(super) trait Named {
    /// `d1` or `d1/m1`.
    fn client(&self) -> String;
}

impl Named for DeviceArg {
    fn client(&self) -> String {
        self.device_id.clone()
    }
}

impl Named for ModuleArg {
    fn client(&self) -> String {
        format!("{}/{}", self.device_id, self.module_id)
    }
}

impl EtagArg {
    /// The condition; without an etag the change is forced.
    pub(super) fn or_any(self) -> IfMatch {
        self.etag.map_or(IfMatch::Any, IfMatch::ETag)
    }

    /// The condition; without an etag it is that of what was read before.
    pub(super) fn or(self, current: &str) -> IfMatch {
        IfMatch::ETag(self.etag.unwrap_or_else(|| current.to_owned()))
    }
}

/// An argument that is JSON, or the path of a file of JSON, also with `@` before it.
pub(super) fn json_argument(name: &str, text: &str) -> anyhow::Result<Value> {
    let text = text_argument(name, text)?;
    serde_json::from_str(&text).with_context(|| format!("{name} is not JSON: {text}"))
}

/// An argument that is text, or the path of a file of text, also with `@` before it.
fn text_argument(name: &str, text: &str) -> anyhow::Result<String> {
    let path = match text.strip_prefix('@') {
        Some(path) => Path::new(path),
        None if Path::new(text).is_file() => Path::new(text),
        None => return Ok(text.to_owned()),
    };
    std::fs::read_to_string(path).with_context(|| format!("{name}: read {}", path.display()))
}

/// Properties as `name=value;name=value`.
pub(super) fn properties(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let pairs = text
        .split(';')
        .map(str::trim)
        .filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                Ok((name.trim().to_owned(), value.trim().to_owned()))
            }
            _ => bail!("--properties: {pair:?} is not NAME=VALUE"),
        })
        .collect()
}

/// Names that are given several times, with commas, or both.
pub(super) fn names(given: &[String]) -> Vec<&str> {
    given
        .iter()
        .flat_map(|text| text.split([',', ' ']))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect()
}

/// `--top` as `az` has it: -1 is no limit.
pub(super) fn limit(top: i64) -> anyhow::Result<usize> {
    match top {
        -1 => Ok(usize::MAX),
        1.. => Ok(usize::try_from(top)?),
        _ => bail!("--top must be positive, or -1 for no limit"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_comes_from_the_argument_or_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("patch.json");
        std::fs::write(&path, r#"{"a": 1}"#).unwrap();
        let path = path.to_str().unwrap();

        for text in [r#"{"a":1}"#, path, &format!("@{path}")] {
            assert_eq!(json_argument("--json", text).unwrap(), json!({"a": 1}));
        }
        let missing = json_argument("--json", "@does/not/exist").unwrap_err();
        assert_eq!(missing.to_string(), "--json: read does/not/exist");
        let bad = json_argument("--json", "{").unwrap_err();
        assert_eq!(bad.to_string(), "--json is not JSON: {");
    }

    #[test]
    fn properties_are_split_at_semicolons() {
        let pairs = properties("a=1; b = x=y ;").unwrap();

        let expected = [("a", "1"), ("b", "x=y")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(pairs, expected);
        assert!(properties("a").is_err());
        assert!(properties("=1").is_err());
    }

    #[test]
    fn names_are_split_at_commas_and_spaces() {
        let given = ["d1, d2".to_owned(), "d3".to_owned()];

        assert_eq!(names(&given), ["d1", "d2", "d3"]);
    }

    #[test]
    fn minus_one_is_no_limit() {
        assert_eq!(limit(-1).unwrap(), usize::MAX);
        assert_eq!(limit(7).unwrap(), 7);
        assert!(limit(0).is_err());
    }
}
