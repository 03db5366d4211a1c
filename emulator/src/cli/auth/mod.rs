//! `auth`: why a credential is refused, and how to mend it.

mod report;

use std::io::{IsTerminal, Read, Write};
use std::path::Path;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use iothub_protocol::{ClientId, Clock};
use serde_json::{Value, json};

use super::context::CliContext;
use super::output::{self, OutputFormat, print};
use crate::clock::HubClock;
use crate::doctor::{Offline, Question};

/// Why a credential is refused, and how to mend it.
#[derive(Debug, Args)]
pub(crate) struct AuthCommand {
    #[command(flatten)]
    context: CliContext,
    #[command(subcommand)]
    command: AuthSubcommand,
}

#[derive(Debug, Subcommand)]
enum AuthSubcommand {
    /// Explain a token, a connection string, a certificate, a user name or a key: what it says, what
    /// the running emulator says to it, and why. Exits with 0 only if it is accepted.
    Explain(ExplainArgs),
    /// Make a right token, by the running emulator's clock.
    Sign(SignArgs),
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// The credential, a file that holds it, or `-` for standard input.
    credential: String,
    #[command(flatten)]
    client: ClientArgs,
    /// The host that the client connects to, as it stands in its user name.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Ask no emulator: judge by this key (base64, or a connection string that holds it), by the
    /// world's clock, and take on trust that there is such an identity.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct SignArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The policy whose key signs [default: the device's own key].
    #[arg(long, visible_alias = "pn")]
    policy_name: Option<String>,
    /// Which of the two keys signs.
    #[arg(long, visible_alias = "kt", value_enum, default_value_t)]
    key_type: KeyArg,
    /// How long it is good, in seconds; negative: it has expired.
    #[arg(
        long,
        visible_alias = "du",
        default_value_t = 3600,
        allow_negative_numbers = true
    )]
    duration: i64,
    /// The host that it is for [default: the emulator's own name].
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
}

#[derive(Debug, Args)]
struct ClientArgs {
    /// The device that the credential is for [default: the one that it names].
    #[arg(long, short = 'd', visible_alias = "device")]
    device_id: Option<String>,
    /// The device's module.
    #[arg(long, short = 'm', visible_alias = "module", requires = "device_id")]
    module_id: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum KeyArg {
    #[default]
    Primary,
    Secondary,
}

impl AuthCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        match self.command {
            AuthSubcommand::Explain(arguments) => arguments.run(&self.context).await,
            AuthSubcommand::Sign(arguments) => {
                let request = arguments.request()?;
                let signed = self.context.auth_doctor()?.sign(&request).await?;
                print(&signed, self.context.output)
            }
        }
    }
}

impl ExplainArgs {
    async fn run(self, context: &CliContext) -> anyhow::Result<()> {
        let text = credential(&self.credential)?;
        let client = self.client.client()?;
        let report = match &self.key {
            Some(key) => {
                let offline = Offline::parse(key).map_err(|reason| {
                    anyhow::anyhow!("--key is no key and no connection string: {reason}")
                })?;
                let question = Question {
                    text,
                    client,
                    host: self.host.clone(),
                };
                let report = offline.explain(&question, HubClock::system().now())?;
                output::progress(format_args!(
                    "No emulator was asked: that the identity is registered and enabled is taken \
                     on trust."
                ));
                report.to_json()
            }
            None => {
                let client = client.map(|client| client.to_string());
                let question = json!({"text": text, "client": client, "host": self.host});
                let doctor = context.auth_doctor()?;
                doctor
                    .explain(&question)
                    .await
                    .context("ask the emulator; without one, --key KEY judges by that key alone")?
            }
        };
        if self.json {
            print(&report, OutputFormat::Json)?;
        } else {
            let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            written(&report::text(&report, colours))?;
        }
        match report["verdict"].as_str() {
            Some("accepted") => Ok(()),
            Some("refused") => bail!("it is refused"),
            _ => bail!("it is not decided whether it is accepted"),
        }
    }
}

impl SignArgs {
    fn request(&self) -> anyhow::Result<Value> {
        let client = self.client.client()?.map(|client| client.to_string());
        if client.is_none() && self.policy_name.is_none() {
            bail!("say who signs: --device-id or --policy-name");
        }
        let key = match self.key_type {
            KeyArg::Primary => "primary",
            KeyArg::Secondary => "secondary",
        };
        Ok(json!({
            "client": client,
            "policy": self.policy_name,
            "key": key,
            "seconds": self.duration,
            "host": self.host,
        }))
    }
}

impl ClientArgs {
    fn client(&self) -> anyhow::Result<Option<ClientId>> {
        let name = match (&self.device_id, &self.module_id) {
            (None, _) => return Ok(None),
            (Some(device), None) => device.clone(),
            (Some(device), Some(module)) => format!("{device}/{module}"),
        };
        Ok(Some(ClientId::parse(&name)?))
    }
}

/// What is to be explained: the argument itself, standard input, or what is in the file.
fn credential(argument: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    if argument == "-" {
        let input = std::io::stdin().lock();
        input.take(LARGEST).read_to_string(&mut text)?;
    } else if argument.len() < LONGEST_PATH && Path::new(argument).is_file() {
        let file = std::fs::File::open(argument).with_context(|| format!("open {argument}"))?;
        let read = file.take(LARGEST).read_to_string(&mut text);
        read.with_context(|| format!("read {argument} as text"))?;
    } else {
        argument.clone_into(&mut text);
    }
    if text.trim().is_empty() {
        bail!("there is nothing to explain: the text is empty");
    }
    Ok(text)
}

/// Prints a text. A reader that has gone away is no error.
fn written(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Bytes that are read: more than any chain of certificates has.
const LARGEST: u64 = 48 * 1024;
/// Longer than any path of a file.
const LONGEST_PATH: usize = 4096;
