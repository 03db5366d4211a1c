//! `--set` and `--remove`, which change one place of a document, as everywhere in `az`.

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Map, Value};

/// Changes of single places.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Assignments {
    /// Set a member: `path.to.member=VALUE`; the value is JSON, or else text. Several are possible.
    #[arg(long, value_name = "PATH=VALUE", num_args = 1..)]
    set: Vec<String>,
    /// Remove a member. Several are possible.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    remove: Vec<String>,
}

impl Assignments {
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    /// Carries the changes out, in the order of the kinds: set, remove.
    pub(super) fn apply(&self, document: &mut Value) -> anyhow::Result<()> {
        for (path, value) in self.set()? {
            *place(document, &path)? = value;
        }
        for path in &self.remove {
            remove(document, &Path::parse(path)?)?;
        }
        Ok(())
    }

    /// The changes as a patch, on top of `patch`: what is removed is null there.
    pub(super) fn patch(&self, mut patch: Value) -> anyhow::Result<Value> {
        for (path, value) in self.set()? {
            *place(&mut patch, &path)? = value;
        }
        for path in &self.remove {
            *place(&mut patch, &Path::parse(path)?)? = Value::Null;
        }
        Ok(patch)
    }

    fn set(&self) -> anyhow::Result<Vec<(Path, Value)>> {
        self.set
            .iter()
            .map(|assignment| {
                let (path, value) = assignment
                    .split_once('=')
                    .with_context(|| format!("--set: {assignment:?} is not PATH=VALUE"))?;
                // What is not JSON is text: nobody quotes `--set tags.site=A` twice.
                let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
                Ok((Path::parse(path)?, value))
            })
            .collect()
    }
}

/// Steps into a document, at least one.
struct Path(Vec<Step>);

enum Step {
    Member(String),
    Item(usize),
}

impl Path {
    /// `a.b[0].c`.
    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut steps = Vec::new();
        for part in text.trim().split('.') {
            let (name, indices) = match part.split_once('[') {
                Some((name, indices)) => (name, Some(indices)),
                None => (part, None),
            };
            if name.is_empty() {
                bail!("{text:?} is not a path such as tags.site");
            }
            steps.push(Step::Member(name.to_owned()));
            for index in indices.into_iter().flat_map(|indices| indices.split('[')) {
                let index = index.strip_suffix(']').and_then(|index| index.parse().ok());
                let index = index.with_context(|| format!("{text:?} has no number in brackets"))?;
                steps.push(Step::Item(index));
            }
        }
        Ok(Self(steps))
    }
}

/// The place that the path names, made as far as it is missing.
fn place<'a>(document: &'a mut Value, path: &Path) -> anyhow::Result<&'a mut Value> {
    let mut place = document;
    for step in &path.0 {
        place = match step {
            Step::Member(name) => {
                if !place.is_object() {
                    *place = Value::Object(Map::new());
                }
                &mut place[name.as_str()]
            }
            Step::Item(index) => place
                .get_mut(index)
                .with_context(|| format!("there is no item {index} to set"))?,
        };
    }
    Ok(place)
}

fn remove(document: &mut Value, path: &Path) -> anyhow::Result<()> {
    let Some((last, way)) = path.0.split_last() else {
        return Ok(());
    };
    let mut place = document;
    for step in way {
        place = match step {
            Step::Member(name) => place.get_mut(name),
            Step::Item(index) => place.get_mut(index),
        }
        .context("there is nothing to remove")?;
    }
    let removed = match (place, last) {
        (Value::Object(members), Step::Member(name)) => members.shift_remove(name).is_some(),
        (Value::Array(items), Step::Item(index)) if *index < items.len() => {
            items.remove(*index);
            true
        }
        _ => false,
    };
    match removed {
        true => Ok(()),
        false => bail!("there is nothing to remove"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn assignments(set: &[&str], remove: &[&str]) -> Assignments {
        let owned = |all: &[&str]| all.iter().map(|&text| text.to_owned()).collect();
        Assignments {
            set: owned(set),
            remove: owned(remove),
        }
    }

    #[test]
    fn places_are_set_made_and_removed() {
        let mut document = json!({"a": {"b": 1, "c": [1, {"d": 2}]}, "e": "text"});

        assignments(&["a.c[1].d=3", "e.f=x y", "g={\"h\":null}"], &["a.b"])
            .apply(&mut document)
            .unwrap();

        let expected = json!({"a": {"c": [1, {"d": 3}]}, "e": {"f": "x y"}, "g": {"h": null}});
        assert_eq!(document, expected);
    }

    #[test]
    fn patch_has_null_where_something_goes() {
        let patch = assignments(&["tags.site=A", "tags.floor=1"], &["properties.desired.x"])
            .patch(json!({"tags": {"old": true, "floor": 7}}))
            .unwrap();

        let expected = json!({
            "tags": {"old": true, "floor": 1, "site": "A"},
            "properties": {"desired": {"x": null}},
        });
        assert_eq!(patch, expected);
    }

    #[test]
    fn what_is_no_assignment_is_refused() {
        for (set, remove) in [
            (&["a"][..], &[][..]),
            (&["=1"], &[]),
            (&["a..b=1"], &[]),
            (&["a[x]=1"], &[]),
            (&["a[7]=1"], &[]),
            (&[], &["missing"]),
            (&[], &["missing.too"]),
        ] {
            let result = assignments(set, remove).apply(&mut json!({"a": []}));

            assert!(result.is_err(), "{set:?} {remove:?}");
        }
    }
}
