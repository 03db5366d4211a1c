//! Which content goes with which command, and the forms that `az` takes it in.

use anyhow::{Context, bail};
use iothub_backend::Configuration;
use serde_json::{Map, Value, json};

/// The two commands that share configurations among themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Kind {
    /// Of devices or modules.
    Configuration,
    /// Of the modules of edge devices.
    EdgeDeployment,
}

impl Kind {
    /// Whether a configuration is of this kind.
    pub(super) fn includes(self, configuration: &Configuration) -> bool {
        configuration.is_edge_deployment() == (self == Self::EdgeDeployment)
    }

    /// The one member of content out of what was given, with or without `content` around it.
    pub(in crate::cli) fn content(self, given: Value) -> anyhow::Result<Value> {
        let Value::Object(mut members) = given else {
            bail!("--content is no object")
        };
        if let Some(Value::Object(inner)) = members.remove("content") {
            members = inner;
        }
        let names: &[&str] = match self {
            Self::Configuration => &["deviceContent", "moduleContent"],
            // Deployments of the first schema have the second name.
            Self::EdgeDeployment => &["modulesContent", "moduleContent"],
        };
        let found = names
            .iter()
            .find_map(|name| Some((*name, members.remove(*name)?)));
        let (name, content) =
            found.with_context(|| format!("--content has no {}", names.join(" and no ")))?;
        let name = match self {
            Self::Configuration => name,
            Self::EdgeDeployment => "modulesContent",
        };
        let mut content_of_kind = Map::new();
        content_of_kind.insert(name.into(), content);
        Ok(Value::Object(content_of_kind))
    }
}

/// The queries out of `{"queries": {..}}`, with or without `metrics` around it.
pub(super) fn metric_queries(given: &Value) -> anyhow::Result<Value> {
    let metrics = match given.get("metrics") {
        Some(metrics) => metrics,
        None => given,
    };
    match metrics.get("queries") {
        Some(queries @ Value::Object(_)) => Ok(queries.clone()),
        _ => bail!(
            "--metrics has no queries, as in {}",
            json!({"queries": {"name": "select .."}})
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_taken_with_and_without_its_wrapping() {
        let device = json!({"deviceContent": {"properties.desired.a": 1}});
        let edge = json!({"modulesContent": {"$edgeAgent": {}}});

        for (kind, given, expected) in [
            (Kind::Configuration, device.clone(), device.clone()),
            (
                Kind::Configuration,
                json!({"content": device, "id": "x"}),
                device.clone(),
            ),
            (Kind::EdgeDeployment, edge.clone(), edge.clone()),
            (Kind::EdgeDeployment, json!({"content": edge}), edge.clone()),
            (
                Kind::EdgeDeployment,
                json!({"moduleContent": {"$edgeAgent": {}}}),
                edge.clone(),
            ),
        ] {
            assert_eq!(kind.content(given).unwrap(), expected);
        }
        assert!(Kind::Configuration.content(edge).is_err());
        assert!(Kind::EdgeDeployment.content(device).is_err());
        assert!(Kind::Configuration.content(json!([])).is_err());
    }

    #[test]
    fn metrics_are_taken_with_and_without_their_wrapping() {
        let queries = json!({"a": "select *"});

        for given in [
            json!({"queries": queries}),
            json!({"metrics": {"queries": queries}}),
        ] {
            assert_eq!(metric_queries(&given).unwrap(), queries);
        }
        assert!(metric_queries(&json!({"a": "select *"})).is_err());
    }
}
