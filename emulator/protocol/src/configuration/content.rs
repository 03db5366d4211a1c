//! What a configuration sets: for a device, for a module, or for the modules of an edge.

use serde_json::{Map, Value, json};

use super::{Settings, check_settings, invalid_content};
use crate::{Error, ModuleId, json as members};

const DEVICE: &str = "deviceContent";
const MODULE: &str = "moduleContent";
const MODULES: &str = "modulesContent";
const DESIRED: &str = "properties.desired";
/// More names than a path in a twin can have.
const MAX_NAMES: usize = 32;

/// The content of a configuration. Printing gives back what was written, and nothing else
/// (`spec/service.md` 16, trap 22).
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Content {
    /// Nothing: such a configuration only measures.
    #[default]
    None,
    /// `deviceContent`: for the twins of devices.
    Device(ModuleContent),
    /// `moduleContent`: for the twins of modules.
    Module(ModuleContent),
    /// `modulesContent`: for the modules of an edge, by name.
    Edge(Vec<(ModuleId, ModuleContent)>),
}

/// What is set in one twin: values at dotted paths that begin with `properties.desired`.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ModuleContent {
    written: Map<String, Value>,
    settings: Settings,
    is_whole: bool,
}

impl Content {
    /// Refuses (400402) what is none of the three, more than one of them, a path that does not
    /// begin with `properties.desired`, and what a twin could not hold.
    pub fn from_value(value: &Value) -> Result<Self, Error> {
        let Value::Object(map) = value else {
            return Err(invalid_content("content must be an object"));
        };
        let given = |name: &'static str| members::non_null(map, name).map(|value| (name, value));
        let mut given = [DEVICE, MODULE, MODULES].into_iter().filter_map(given);
        let Some((name, value)) = given.next() else {
            return match map.iter().find(|(_, value)| !value.is_null()) {
                None => Ok(Self::None),
                Some((other, _)) => Err(invalid_content(format!(
                    "content is {DEVICE}, {MODULE} or {MODULES}, not {other:?}"
                ))),
            };
        };
        if let Some((other, _)) = given.next() {
            return Err(invalid_content(format!(
                "content is either {name} or {other}"
            )));
        }
        let Value::Object(value) = value else {
            return Err(invalid_content(format!("{name} must be an object")));
        };
        match name {
            DEVICE => Ok(Self::Device(ModuleContent::parse(value)?)),
            MODULE => Ok(Self::Module(ModuleContent::parse(value)?)),
            _ => {
                let modules = value.iter().map(|(module, content)| {
                    let id = ModuleId::parse(module).map_err(|e| invalid_content(e.to_string()))?;
                    match content {
                        Value::Object(content) => Ok((id, ModuleContent::parse(content)?)),
                        _ => Err(invalid_content(format!(
                            "the content of module {module} must be an object"
                        ))),
                    }
                });
                Ok(Self::Edge(modules.collect::<Result<_, _>>()?))
            }
        }
    }

    /// As it was written.
    pub fn to_json(&self) -> Value {
        match self {
            Self::None => json!({}),
            Self::Device(content) => json!({DEVICE: content.written}),
            Self::Module(content) => json!({MODULE: content.written}),
            Self::Edge(modules) => {
                let modules: Map<_, _> = modules
                    .iter()
                    .map(|(id, content)| (id.to_string(), Value::Object(content.written.clone())))
                    .collect();
                json!({MODULES: modules})
            }
        }
    }

    /// Whether it is a deployment that lies on top of others: it does not say everything that
    /// `$edgeAgent` is to do (`spec/service.md` 7).
    pub fn is_layered(&self) -> bool {
        match self {
            Self::Edge(modules) => !modules
                .iter()
                .any(|(id, content)| id.as_str() == "$edgeAgent" && content.is_whole),
            Self::None | Self::Device(_) | Self::Module(_) => false,
        }
    }
}

impl ModuleContent {
    /// The values, each at its place.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether it says everything: its only path is `properties.desired` itself.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    fn parse(written: &Map<String, Value>) -> Result<Self, Error> {
        let mut settings = Settings::default();
        for (path, value) in written {
            let names = names(path)?;
            let mut value = value.clone();
            for name in names.iter().rev() {
                value = Value::Object(Map::from_iter([((*name).to_owned(), value)]));
            }
            let Value::Object(value) = value else {
                return Err(invalid_content(format!("{path} must be an object")));
            };
            check_settings(&value)?;
            settings.add(&value);
        }
        if settings.contradict() {
            return Err(invalid_content("a path is set twice"));
        }
        Ok(Self {
            is_whole: written.contains_key(DESIRED),
            written: written.clone(),
            settings,
        })
    }
}

/// The names below `properties.desired`.
fn names(path: &str) -> Result<Vec<&str>, Error> {
    let rest = path.strip_prefix(DESIRED).and_then(|rest| {
        if rest.is_empty() {
            return Some(Vec::new());
        }
        let names: Vec<_> = rest
            .strip_prefix('.')?
            .split('.')
            .take(MAX_NAMES + 1)
            .collect();
        (names.len() <= MAX_NAMES).then_some(names)
    });
    rest.ok_or_else(|| {
        let start: String = path.chars().take(100).collect();
        invalid_content(format!("{start:?} is no path that begins with {DESIRED}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;

    #[test]
    fn content_is_printed_as_it_was_written() {
        for content in [
            json!({}),
            json!({"deviceContent": {"properties.desired.a.b": {"c": 1}}}),
            json!({"moduleContent": {"properties.desired": {"a": 1}}}),
            json!({"modulesContent": {
                "$edgeAgent": {"properties.desired.modules.m": {"status": "running"}},
                "m": {"properties.desired.x": null},
            }}),
        ] {
            assert_eq!(Content::from_value(&content).unwrap().to_json(), content);
        }
    }

    #[test]
    fn null_siblings_are_not_kept() {
        let content = json!({"deviceContent": {}, "moduleContent": null});

        let printed = Content::from_value(&content).unwrap().to_json();

        assert_eq!(printed, json!({"deviceContent": {}}));
    }

    #[test]
    fn a_deployment_without_the_whole_of_the_agent_is_layered() {
        let edge = |modules: Value| {
            Content::from_value(&json!({"modulesContent": modules}))
                .unwrap()
                .is_layered()
        };

        assert!(!edge(json!({"$edgeAgent": {"properties.desired": {}}})));
        assert!(edge(
            json!({"$edgeAgent": {"properties.desired.modules.m": {}}})
        ));
        assert!(edge(json!({"m": {"properties.desired": {"a": 1}}})));
    }

    #[test]
    fn content_that_cannot_be_set_is_refused() {
        let deep = (0..20).fold(json!(1), |inner, _| json!({"a": inner}));
        for content in [
            json!([]),
            json!({"other": {}}),
            json!({"deviceContent": 1}),
            json!({"deviceContent": {}, "moduleContent": {}}),
            json!({"deviceContent": {"tags.a": 1}}),
            json!({"deviceContent": {"properties.reported.a": 1}}),
            json!({"deviceContent": {"properties.desiredx": 1}}),
            json!({"deviceContent": {"properties.desired": 1}}),
            json!({"deviceContent": {"properties.desired.": 1}}),
            json!({"deviceContent": {"properties.desired.a..b": 1}}),
            json!({"deviceContent": {"properties.desired.a": {"b.c": 1}}}),
            json!({"deviceContent": {"properties.desired.a": [null]}}),
            json!({"deviceContent": {"properties.desired.a": deep}}),
            json!({"deviceContent": {"properties.desired.a": 1, "properties.desired.a.b": 1}}),
            json!({"modulesContent": {"a/b": {}}}),
            json!({"modulesContent": {"m": 1}}),
            json!({"modulesContent": {"m": {"a": 1}}}),
        ] {
            let refusal = Content::from_value(&content).unwrap_err();
            assert_eq!(
                refusal.code,
                ErrorCode::InvalidConfigurationContent,
                "{content}"
            );
        }
    }
}
