//! What every client command needs: whom to ask, and as whom.

use anyhow::Context;
use clap::Args;
use iothub_backend::{Backend, emulator_info};
use serde_json::Value;

use super::output::OutputFormat;

/// What every client command takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct CliContext {
    /// Address of the running emulator's HTTP or HTTPS listener [default: the host of --login, or
    /// http://127.0.0.1:8080].
    #[arg(long, env = "IOTHUB_EMULATOR_URL", value_name = "URL", global = true)]
    emulator: Option<String>,
    /// Service connection string [default: the running emulator's iothubowner].
    #[arg(
        long,
        short = 'l',
        env = "IOTHUB_CONNECTION_STRING",
        hide_env_values = true,
        value_name = "CONNECTION_STRING",
        global = true
    )]
    login: Option<String>,
    /// Name of the hub; taken for the sake of scripts written for `az`, there is only one.
    #[arg(long, short = 'n', value_name = "NAME", global = true)]
    hub_name: Option<String>,
    /// How to print.
    #[arg(long, short = 'o', value_enum, default_value_t, global = true)]
    pub(super) output: OutputFormat,
}

const DEFAULT_URL: &str = "http://127.0.0.1:8080";

impl CliContext {
    /// What the emulator says about itself.
    pub(super) async fn info(&self) -> anyhow::Result<Value> {
        let url = self.emulator.as_deref().unwrap_or(DEFAULT_URL);
        emulator_info(url).await.with_context(|| {
            format!(
                "no emulator answers at {url}; start one with `iothub-emulator serve`, or say \
                 where it is with --emulator"
            )
        })
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
        let builder = match (&self.emulator, &self.login) {
            (Some(url), _) => builder.url(url),
            (None, None) => builder.url(DEFAULT_URL),
            (None, Some(_)) => builder,
        };
        Ok(builder.build()?)
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
