//! `message-route`: which messages go where, with the words of `az iot hub message-route`. Routes
//! are no part of the hub's own REST surface; they are in the emulator's control API.

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::arguments::{json_argument, properties};
use super::context::CliContext;
use super::output::print;

/// Message routes.
#[derive(Debug, Args)]
pub(crate) struct MessageRouteCommand {
    #[command(flatten)]
    context: CliContext,
    #[command(subcommand)]
    command: MessageRouteSubcommand,
}

#[derive(Debug, Subcommand)]
enum MessageRouteSubcommand {
    /// List routes.
    List {
        /// Only those of this source.
        #[arg(long, short = 't', visible_aliases = ["st", "type"], value_enum, ignore_case = true)]
        source_type: Option<Source>,
    },
    /// Show a route.
    Show {
        #[command(flatten)]
        route: RouteArg,
    },
    /// Make a route.
    Create {
        #[command(flatten)]
        route: RouteArg,
        /// The endpoint that messages go to.
        #[arg(long, visible_alias = "en")]
        endpoint_name: String,
        /// Which events it is for.
        #[arg(long, short = 't', visible_aliases = ["st", "type"], value_enum, ignore_case = true)]
        source_type: Source,
        /// For which of them.
        #[arg(long, short = 'c', default_value = "true")]
        condition: String,
        /// Whether it is in force.
        #[arg(long, short = 'e', num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
        enabled: bool,
    },
    /// Delete routes: one, those of a source, or all.
    Delete {
        /// The route.
        #[arg(long, visible_alias = "rn")]
        route_name: Option<String>,
        /// All of this source.
        #[arg(long, short = 't', visible_aliases = ["st", "type"], value_enum, ignore_case = true)]
        source_type: Option<Source>,
    },
    /// Show which routes a message would match; nothing is sent.
    Test(TestArgs),
}

#[derive(Debug, Args)]
struct RouteArg {
    /// The route.
    #[arg(long, visible_alias = "rn")]
    route_name: String,
}

#[derive(Debug, Args)]
struct TestArgs {
    /// Only try this route.
    #[arg(long, visible_alias = "rn")]
    route_name: Option<String>,
    /// What kind of event it is.
    #[arg(long, short = 't', visible_aliases = ["st", "type"], value_enum, ignore_case = true)]
    source_type: Option<Source>,
    /// The message's body.
    #[arg(long, short = 'b')]
    body: Option<String>,
    /// Application properties: `name=value;name=value`, or a JSON object.
    #[arg(long, visible_alias = "ap")]
    app_properties: Option<String>,
    /// System properties: `name=value;name=value`, or a JSON object.
    #[arg(long, visible_alias = "sp")]
    system_properties: Option<String>,
    /// The device that it comes from.
    #[arg(long, short = 'd')]
    device_id: Option<String>,
    /// The module that it comes from.
    #[arg(long, short = 'm')]
    module_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Source {
    #[value(name = "devicemessages")]
    DeviceMessages,
    #[value(name = "twinchangeevents")]
    TwinChangeEvents,
    #[value(name = "devicelifecycleevents")]
    DeviceLifecycleEvents,
    #[value(name = "devicejoblifecycleevents")]
    DeviceJobLifecycleEvents,
    #[value(name = "deviceconnectionstateevents")]
    DeviceConnectionStateEvents,
    #[value(name = "digitaltwinchangeevents")]
    DigitalTwinChangeEvents,
}

impl Source {
    /// As the control API spells it.
    fn name(self) -> &'static str {
        match self {
            Self::DeviceMessages => "DeviceMessages",
            Self::TwinChangeEvents => "TwinChangeEvents",
            Self::DeviceLifecycleEvents => "DeviceLifecycleEvents",
            Self::DeviceJobLifecycleEvents => "DeviceJobLifecycleEvents",
            Self::DeviceConnectionStateEvents => "DeviceConnectionStateEvents",
            Self::DigitalTwinChangeEvents => "DigitalTwinChangeEvents",
        }
    }

    fn has(self, route: &Value) -> bool {
        let source = route["source"].as_str().unwrap_or_default();
        source.eq_ignore_ascii_case(self.name())
    }
}

impl MessageRouteCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let api = self.context.routing()?;
        let answer = match self.command {
            MessageRouteSubcommand::List { source_type } => {
                let routing = api.get().await?;
                let all = routes(&routing).iter();
                let wanted = all.filter(|route| source_type.is_none_or(|it| it.has(route)));
                wanted.cloned().collect()
            }
            MessageRouteSubcommand::Show { route } => {
                let routing = api.get().await?;
                let name = &route.route_name;
                let found = routes(&routing).iter().find(|it| it["name"] == **name);
                let found = found.with_context(|| format!("there is no route {name}"))?;
                found.clone()
            }
            MessageRouteSubcommand::Create {
                route,
                endpoint_name,
                source_type,
                condition,
                enabled,
            } => {
                let mut routing = api.get().await?;
                let name = route.route_name;
                let new = json!({
                    "name": name,
                    "source": source_type.name(),
                    "condition": condition,
                    "endpointNames": [endpoint_name],
                    "isEnabled": enabled,
                });
                let mut all = routes(&routing).to_vec();
                all.retain(|it| it["name"] != *name);
                all.push(new);
                routing["routes"] = Value::Array(all);
                let set = api.replace(&routing).await?;
                routes(&set).to_vec().into()
            }
            MessageRouteSubcommand::Delete {
                route_name,
                source_type,
            } => {
                let mut routing = api.get().await?;
                let mut all = routes(&routing).to_vec();
                let before = all.len();
                all.retain(|it| {
                    route_name.as_ref().is_some_and(|name| it["name"] != **name)
                        || source_type.is_some_and(|source| !source.has(it))
                });
                if let Some(name) = &route_name
                    && all.len() == before
                {
                    bail!("there is no route {name}");
                }
                routing["routes"] = Value::Array(all);
                api.replace(&routing).await?;
                return Ok(());
            }
            MessageRouteSubcommand::Test(args) => api.test(&args.input()?).await?,
        };
        print(&answer, self.context.output)
    }
}

impl TestArgs {
    fn input(self) -> anyhow::Result<Value> {
        let mut message = Map::new();
        if let Some(body) = self.body {
            message.insert("body".into(), body.into());
        }
        for (name, option, given) in [
            ("appProperties", "--app-properties", self.app_properties),
            (
                "systemProperties",
                "--system-properties",
                self.system_properties,
            ),
        ] {
            let Some(given) = given else { continue };
            let value = match given.trim_start().starts_with('{') {
                true => json_argument(option, &given)?,
                false => properties(&given)?
                    .into_iter()
                    .map(|(name, value)| (name, Value::String(value)))
                    .collect::<Map<_, _>>()
                    .into(),
            };
            message.insert(name.into(), value);
        }
        let mut input = json!({"message": message});
        for (name, value) in [
            ("routeName", self.route_name),
            ("deviceId", self.device_id),
            ("moduleId", self.module_id),
            ("routingSource", self.source_type.map(|it| it.name().into())),
        ] {
            if let Some(value) = value {
                input[name] = value.into();
            }
        }
        Ok(input)
    }
}

fn routes(routing: &Value) -> &[Value] {
    routing["routes"].as_array().map_or(&[], Vec::as_slice)
}
