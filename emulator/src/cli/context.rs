//! What every client command needs: whom to ask, and as whom.

use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use iothub_backend::{
    Backend, EmulatorAddress, EmulatorAuthDoctor, EmulatorRouting, EmulatorTimeline, ErrorKind,
    emulator_info, emulator_time,
};
use iothub_protocol::Timestamp;
use iothub_protocol::connection_string::ConnectionString;
use serde_json::Value;

use super::output::OutputFormat;
use super::progress::Progress;
use crate::clock::HubClock;

/// What every client command takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct CliContext {
    /// Address of the running emulator's HTTP or HTTPS listener [default: the host of --login, or
    /// http://127.0.0.1:8080].
    #[arg(long, env = "IOTHUB_EMULATOR_URL", value_name = "URL", global = true, help_heading = HEADING)]
    emulator: Option<String>,
    /// The admin token that the running emulator was started with.
    #[arg(
        long,
        env = "IOTHUB_EMULATOR_ADMIN_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        global = true,
        help_heading = HEADING
    )]
    admin_token: Option<String>,
    /// Service connection string [default: the running emulator's iothubowner].
    #[arg(
        long,
        short = 'l',
        env = "IOTHUB_CONNECTION_STRING",
        hide_env_values = true,
        value_name = "CONNECTION_STRING",
        global = true,
        help_heading = HEADING
    )]
    login: Option<String>,
    /// Name of the hub; taken for the sake of scripts written for `az`, there is only one.
    #[arg(long, short = 'n', value_name = "NAME", global = true, help_heading = HEADING)]
    hub_name: Option<String>,
    /// Taken for the sake of scripts written for `az`; of no meaning here.
    #[arg(long, short = 'g', value_name = "NAME", global = true, hide = true)]
    resource_group: Option<String>,
    /// How to print.
    #[arg(long, short = 'o', value_enum, default_value_t, global = true, help_heading = HEADING)]
    pub(super) output: OutputFormat,
    /// Do not show how far long work has come.
    #[arg(long, global = true, help_heading = HEADING)]
    quiet: bool,
}

/// What every command takes stands apart from what is its own.
const HEADING: &str = "Options of every client command";
pub(super) const DEFAULT_URL: &str = "http://127.0.0.1:8080";

impl CliContext {
    /// What the emulator says about itself.
    pub(super) async fn info(&self) -> anyhow::Result<Value> {
        emulator_info(self.address())
            .await
            .map_err(|error| self.unanswered(error))
    }

    /// What to tell a person when the control API does not answer as it should.
    pub(super) fn unanswered(&self, error: iothub_backend::Error) -> anyhow::Error {
        let url = self.address().url().to_owned();
        let what = match error.kind() {
            ErrorKind::Refused(_) => format!("the emulator at {url} does not tell about itself"),
            _ => format!(
                "no emulator answers at {url}; start one with `iothub-emulator serve`, or say \
                 where it is with --emulator"
            ),
        };
        anyhow::Error::new(error).context(what)
    }

    /// The running emulator's time.
    pub(super) async fn emulator_time(&self) -> anyhow::Result<Timestamp> {
        emulator_time(self.address())
            .await
            .map_err(|error| self.unanswered(error))
    }

    /// What happens in the running emulator.
    pub(super) fn timeline(&self) -> anyhow::Result<EmulatorTimeline> {
        Ok(EmulatorTimeline::at(self.address())?)
    }

    /// The running emulator's control API.
    pub(super) fn address(&self) -> EmulatorAddress {
        let url = self.emulator.as_deref().unwrap_or(DEFAULT_URL);
        EmulatorAddress::new(url).admin_token(self.admin_token.clone())
    }

    /// The message routes of the running emulator.
    pub(super) fn routing(&self) -> anyhow::Result<EmulatorRouting> {
        Ok(EmulatorRouting::at(self.address())?)
    }

    /// The auth doctor of the running emulator.
    pub(super) fn auth_doctor(&self) -> anyhow::Result<EmulatorAuthDoctor> {
        Ok(EmulatorAuthDoctor::at(self.address())?)
    }

    /// The service connection string to use.
    pub(super) async fn service_connection_string(&self) -> anyhow::Result<String> {
        match &self.login {
            Some(login) => Ok(login.clone()),
            None => policy_string(&self.info().await?, "iothubowner"),
        }
    }

    /// A client of the hub.
    pub(super) async fn backend(&self) -> anyhow::Result<Backend> {
        let builder = Backend::builder(&self.service_connection_string().await?);
        let builder = match self.url() {
            Some(url) => builder.url(url).clock(self.clock().await?),
            None => builder,
        };
        Ok(builder.build()?)
    }

    /// The name of the hub, as its connection strings have it.
    pub(super) async fn host_name(&self) -> anyhow::Result<String> {
        let service = self.service_connection_string().await?;
        Ok(ConnectionString::parse(&service)?.host_name)
    }

    /// The clock to make tokens by: the emulator's, whose time may be another than the world's.
    pub(super) async fn clock(&self) -> anyhow::Result<Arc<HubClock>> {
        let clock = match self.url() {
            Some(_) => HubClock::frozen(emulator_time(self.address()).await?),
            None => HubClock::system(),
        };
        // From there on it runs, also where the emulator's stands still: commands wait by it.
        clock.resume();
        Ok(Arc::new(clock))
    }

    /// How to show how far long work has come.
    pub(super) fn progress(&self) -> Progress {
        Progress::new(self.quiet)
    }

    /// Where the emulator is; `None`: where the connection string says.
    fn url(&self) -> Option<&str> {
        match (&self.emulator, &self.login) {
            (Some(url), _) => Some(url),
            (None, None) => Some(DEFAULT_URL),
            (None, Some(_)) => None,
        }
    }
}

/// The connection string of a policy.
pub(super) fn policy_string(info: &Value, policy: &str) -> anyhow::Result<String> {
    let strings = &info["connection_strings"];
    let string = strings[policy].as_str().with_context(|| {
        let names = strings
            .as_object()
            .map(|all| all.keys().cloned().collect::<Vec<_>>());
        format!(
            "there is no policy {policy}; there are {}",
            names.unwrap_or_default().join(", ")
        )
    })?;
    Ok(string.to_owned())
}
