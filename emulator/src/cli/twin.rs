//! `device-twin` and `module-twin`: twins, with the words of `az iot hub`.

use anyhow::bail;
use clap::{Args, Subcommand};
use iothub_backend::{Backend, Twin};
use serde_json::{Value, json};

use super::arguments::{DeviceArg, EtagArg, ModuleArg, Named, json_argument, limit};
use super::assign::Assignments;
use super::context::CliContext;
use super::output::print;

/// Device twins.
#[derive(Debug, Args)]
pub(crate) struct DeviceTwinCommand {
    #[command(flatten)]
    context: CliContext,
    #[command(subcommand)]
    command: DeviceTwinSubcommand,
}

/// Module twins.
#[derive(Debug, Args)]
pub(crate) struct ModuleTwinCommand {
    #[command(flatten)]
    context: CliContext,
    #[command(subcommand)]
    command: TwinSubcommand<ModuleArg>,
}

#[derive(Debug, Subcommand)]
enum DeviceTwinSubcommand {
    /// List the twins of devices.
    List {
        /// How many at most; -1: all.
        #[arg(long, default_value_t = 1000, allow_negative_numbers = true)]
        top: i64,
        /// Only edge devices.
        #[arg(long, visible_alias = "ee", num_args = 0..=1, default_missing_value = "true")]
        edge_enabled: Option<bool>,
    },
    #[command(flatten)]
    One(TwinSubcommand<DeviceArg>),
}

/// What can be done with one twin.
#[derive(Debug, Subcommand)]
enum TwinSubcommand<C: Args> {
    /// Show a twin.
    Show {
        #[command(flatten)]
        client: C,
    },
    /// Merge into tags and desired properties; null removes.
    Update {
        #[command(flatten)]
        client: C,
        /// Desired properties, as JSON or a file of it.
        #[arg(long)]
        desired: Option<String>,
        /// Tags, as JSON or a file of it.
        #[arg(long)]
        tags: Option<String>,
        #[command(flatten)]
        assignments: Assignments,
        #[command(flatten)]
        etag: EtagArg,
    },
    /// Replace all tags and all desired properties, as far as the JSON has them.
    Replace {
        #[command(flatten)]
        client: C,
        /// The twin, as JSON or a file of it.
        #[arg(long, short = 'j')]
        json: String,
        #[command(flatten)]
        etag: EtagArg,
    },
}

impl DeviceTwinCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let backend = self.context.backend().await?;
        let answer = match self.command {
            DeviceTwinSubcommand::List { top, edge_enabled } => {
                let text = match edge_enabled {
                    Some(edge) => {
                        format!("select * from devices where capabilities.iotEdge = {edge}")
                    }
                    None => "select * from devices".into(),
                };
                super::query::rows(backend.query(text), limit(top)?).await?
            }
            DeviceTwinSubcommand::One(command) => command.run(&backend).await?.into_json(),
        };
        print(&answer, self.context.output)
    }
}

impl ModuleTwinCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let backend = self.context.backend().await?;
        let twin = self.command.run(&backend).await?;
        print(&twin.into_json(), self.context.output)
    }
}

impl<C: Args + Named> TwinSubcommand<C> {
    async fn run(self, backend: &Backend) -> anyhow::Result<Twin> {
        let twins = backend.twins();
        Ok(match self {
            Self::Show { client } => twins.get(&client.client()).await?,
            Self::Update {
                client,
                desired,
                tags,
                assignments,
                etag,
            } => {
                if desired.is_none() && tags.is_none() && assignments.is_empty() {
                    bail!("nothing to update: give --desired, --tags, --set or --remove");
                }
                let mut patch = json!({});
                if let Some(tags) = tags {
                    patch["tags"] = json_argument("--tags", &tags)?;
                }
                if let Some(desired) = desired {
                    patch["properties"] = json!({"desired": json_argument("--desired", &desired)?});
                }
                let patch = assignments.patch(patch)?;
                check_writable(&patch)?;
                let if_match = etag.or_any();
                twins.patch(&client.client(), &patch, &if_match).await?
            }
            Self::Replace { client, json, etag } => {
                let twin = json_argument("--json", &json)?;
                twins
                    .replace(&client.client(), &twin, &etag.or_any())
                    .await?
            }
        })
    }
}

/// The hub skips what a back end may not write; who names it by a path has made a mistake.
fn check_writable(patch: &Value) -> anyhow::Result<()> {
    let members = patch.as_object().into_iter().flatten();
    for (name, value) in members {
        let only_desired = |sections: &Value| {
            let sections = sections.as_object();
            sections.is_some_and(|sections| sections.keys().all(|name| name == "desired"))
        };
        match name.as_str() {
            "tags" => {}
            "properties" if only_desired(value) => {}
            _ => bail!("only tags and properties.desired can be written, not {name}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tags_and_desired_properties_can_be_written() {
        for good in [
            json!({}),
            json!({"tags": null}),
            json!({"tags": {"a": 1}, "properties": {"desired": {"b": 2}}}),
        ] {
            assert!(check_writable(&good).is_ok(), "{good}");
        }
        for bad in [
            json!({"status": "disabled"}),
            json!({"properties": 1}),
            json!({"properties": {"reported": {}}}),
        ] {
            assert!(check_writable(&bad).is_err(), "{bad}");
        }
    }
}
