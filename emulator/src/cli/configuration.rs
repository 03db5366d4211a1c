//! `configuration` and `edge deployment`: automatic configurations, with the words of
//! `az iot hub configuration` and `az iot edge deployment`.

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use iothub_backend::{Backend, Configuration};
use serde_json::{Map, Value, json};

use super::arguments::{EtagArg, json_argument, limit};
use super::assign::Assignments;
use super::context::CliContext;
use super::output::print;
use super::query::rows;

mod content;

pub(super) use content::Kind;
use content::metric_queries;

/// Automatic device and module configurations.
#[derive(Debug, Args)]
pub(crate) struct ConfigurationCommand {
    #[command(flatten)]
    context: CliContext,
    #[command(subcommand)]
    command: ConfigurationSubcommand<ConfigArg>,
}

/// Says which configuration it is about, by the option of its kind.
pub(super) trait Identified: Args {
    const KIND: Kind;

    fn id(&self) -> String;
}

#[derive(Debug, Args)]
pub(super) struct ConfigArg {
    /// The configuration.
    #[arg(long, short = 'c')]
    config_id: String,
}

#[derive(Debug, Args)]
pub(super) struct DeploymentArg {
    /// The deployment.
    #[arg(long, short = 'd')]
    deployment_id: String,
}

impl Identified for ConfigArg {
    const KIND: Kind = Kind::Configuration;

    fn id(&self) -> String {
        self.config_id.clone()
    }
}

impl Identified for DeploymentArg {
    const KIND: Kind = Kind::EdgeDeployment;

    fn id(&self) -> String {
        self.deployment_id.clone()
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigurationSubcommand<I: Identified> {
    /// Make one, which the hub applies from then on.
    Create {
        #[command(flatten)]
        id: I,
        #[command(flatten)]
        create: Box<CreateArgs>,
    },
    /// Show one.
    Show {
        #[command(flatten)]
        id: I,
    },
    /// List them.
    List {
        /// How many at most; -1: all.
        #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
        top: i64,
    },
    /// Change condition, priority, labels or metrics; what is not given stays as it is.
    Update {
        #[command(flatten)]
        id: I,
        #[command(flatten)]
        assignments: Assignments,
        #[command(flatten)]
        etag: EtagArg,
    },
    /// Delete one, and with it what it has set.
    Delete {
        #[command(flatten)]
        id: I,
        #[command(flatten)]
        etag: EtagArg,
    },
    /// Show the rows behind a metric.
    ShowMetric {
        #[command(flatten)]
        id: I,
        /// The metric.
        #[arg(long, short = 'm')]
        metric_id: String,
        /// Whose metric it is.
        #[arg(long, visible_alias = "mt", value_enum, default_value_t)]
        metric_type: MetricType,
    },
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// What to set, as JSON or a file of it.
    #[arg(long, short = 'k', value_name = "JSON")]
    content: String,
    /// For whom: the body of a WHERE, `*` for everybody, empty for nobody.
    #[arg(long, visible_alias = "tc", short = 't', default_value = "")]
    target_condition: String,
    /// Which of two wins: the higher.
    #[arg(
        long,
        visible_alias = "pri",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    priority: i64,
    /// Labels, as a JSON object or a file of it.
    #[arg(long, visible_alias = "lab", value_name = "JSON")]
    labels: Option<String>,
    /// Metrics, as JSON or a file of it: `{"queries": {"name": "select .."}}`.
    #[arg(long, short = 'm', value_name = "JSON")]
    metrics: Option<String>,
    /// That the deployment goes on top of others; its content says so by itself.
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    layered: Option<bool>,
    /// Taken for the sake of scripts written for `az`: the hub checks contents.
    #[arg(long, visible_alias = "nv", num_args = 0..=1, default_missing_value = "true", hide = true)]
    no_validation: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum MetricType {
    /// The hub's own.
    System,
    /// One that the configuration came with.
    #[default]
    User,
}

impl ConfigurationCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        self.command.run(&self.context).await
    }
}

impl<I: Identified> ConfigurationSubcommand<I> {
    pub(super) async fn run(self, context: &CliContext) -> anyhow::Result<()> {
        let backend = context.backend().await?;
        let configurations = backend.configurations();
        let answer = match self {
            Self::Create { id, create } => {
                let configuration = create.configuration(&id.id(), I::KIND)?;
                configurations.create(&configuration).await?.into_json()
            }
            Self::Show { id } => configurations.get(&id.id()).await?.into_json(),
            Self::List { top } => {
                // Limited here: the hub does not tell the two kinds apart.
                let all = configurations.list(None).await?;
                let of_kind = all.into_iter().filter(|it| I::KIND.includes(it));
                of_kind
                    .take(limit(top)?)
                    .map(Configuration::into_json)
                    .collect()
            }
            Self::Update {
                id,
                assignments,
                etag,
            } => {
                if assignments.is_empty() {
                    bail!("nothing to update: give --set or --remove");
                }
                let current = configurations.get(&id.id()).await?;
                let if_match = etag.or(current.etag());
                let mut document = current.into_json();
                assignments.apply(&mut document)?;
                let members = match document {
                    Value::Object(members) => members,
                    _ => Map::new(),
                };
                let changed = Configuration::from_json(members);
                configurations
                    .update(&changed, &if_match)
                    .await?
                    .into_json()
            }
            Self::Delete { id, etag } => {
                configurations.delete(&id.id(), &etag.or_any()).await?;
                return Ok(());
            }
            Self::ShowMetric {
                id,
                metric_id,
                metric_type,
            } => show_metric(&backend, &id.id(), &metric_id, metric_type).await?,
        };
        print(&answer, context.output)
    }
}

impl CreateArgs {
    fn configuration(self, id: &str, kind: Kind) -> anyhow::Result<Configuration> {
        let content = kind.content(json_argument("--content", &self.content)?)?;
        let labels = match &self.labels {
            Some(labels) => json_argument("--labels", labels)?,
            None => json!({}),
        };
        let queries = match &self.metrics {
            Some(metrics) => metric_queries(&json_argument("--metrics", metrics)?)?,
            None => json!({}),
        };
        let document = json!({
            // Ids are compared in lower case (`spec/service.md` 7).
            "id": id.to_lowercase(),
            "schemaVersion": "2.0",
            "labels": labels,
            "content": content,
            "targetCondition": self.target_condition,
            "priority": self.priority,
            "metrics": {"queries": queries},
        });
        match document {
            Value::Object(members) => Ok(Configuration::from_json(members)),
            _ => bail!("a configuration is an object"),
        }
    }
}

async fn show_metric(
    backend: &Backend,
    id: &str,
    metric: &str,
    metric_type: MetricType,
) -> anyhow::Result<Value> {
    let configuration = backend.configurations().get(id).await?;
    let query = match metric_type {
        MetricType::System => configuration.system_metric_query(metric),
        MetricType::User => configuration.metric_query(metric),
    };
    let query = query.with_context(|| format!("{id} has no metric {metric}"))?;
    let result = match query {
        // Nobody is targeted, so that there is nothing to ask.
        "" => json!([]),
        query => rows(backend.query(query), usize::MAX).await?,
    };
    Ok(json!({"metric": metric, "query": query, "result": result}))
}
