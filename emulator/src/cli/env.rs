//! `env`: the shell lines that point SDKs to a running emulator (`spec/sdk-connectivity.md`).

use std::io::Write;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::context::CliContext;

/// Prints shell lines: trust in the emulator's authority, and connection strings under the names
/// that samples read.
#[derive(Debug, Args)]
pub(crate) struct EnvCommand {
    #[command(flatten)]
    context: CliContext,
    /// Only the lines for this kind of client.
    #[arg(long, value_enum)]
    sdk: Option<Sdk>,
    /// The shell to write for.
    #[arg(long, value_enum, default_value_t)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sdk {
    Python,
    Node,
    Dotnet,
    Java,
    Cli,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Shell {
    #[default]
    Sh,
    Powershell,
}

impl EnvCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let info = self.context.info().await?;
        let text = self.lines(&info)?;
        std::io::stdout()
            .write_all(text.as_bytes())
            .context("write to standard output")
    }

    fn lines(&self, info: &Value) -> anyhow::Result<String> {
        let ca = info["ca_file"]
            .as_str()
            .context("the emulator keeps its CA in memory only")?;
        let service = info["connection_strings"]["iothubowner"]
            .as_str()
            .context("the emulator has no policy iothubowner")?;
        let mut lines = Vec::new();
        let wants = |sdk| self.sdk.is_none_or(|only| only == sdk);
        if wants(Sdk::Python) || wants(Sdk::Dotnet) || wants(Sdk::Cli) {
            lines.push(self.variable("SSL_CERT_FILE", ca));
        }
        if wants(Sdk::Python) || wants(Sdk::Cli) {
            lines.push(self.variable("REQUESTS_CA_BUNDLE", ca));
        }
        if wants(Sdk::Node) {
            lines.push(self.variable("NODE_EXTRA_CA_CERTS", ca));
        }
        if wants(Sdk::Java) {
            lines.push(format!(
                "# Java: keytool -importcert -noprompt -alias iothub-emulator -file '{ca}' \
                 -keystore truststore.p12 -storetype PKCS12 -storepass changeit"
            ));
            lines.push(
                "#   and run with -Djavax.net.ssl.trustStore=truststore.p12 \
                 -Djavax.net.ssl.trustStorePassword=changeit; devices need a host name with a dot, \
                 such as HostName=127.0.0.1"
                    .into(),
            );
        }
        lines.push(self.variable("IOTHUB_CONNECTION_STRING", service));
        // In the clear: clients take a port and no further trust from it.
        if let Some(events) = info["connection_strings"]["events_plain"].as_str() {
            lines.push(self.variable("EVENTHUB_CONNECTION_STRING", events));
        }
        if let Some(port) = info["ports"]["http"].as_u64() {
            lines.push(self.variable("IOTHUB_EMULATOR_URL", &format!("http://127.0.0.1:{port}")));
        }
        lines.push(String::new());
        Ok(lines.join("\n"))
    }

    fn variable(&self, name: &str, value: &str) -> String {
        match self.shell {
            Shell::Sh => format!("export {name}='{}'", value.replace('\'', "'\\''")),
            Shell::Powershell => format!("$env:{name} = '{}'", value.replace('\'', "''")),
        }
    }
}
