//! `generate-sas-token`, with the words of `az iot hub generate-sas-token`.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use iothub_protocol::connection_string::{ConnectionString, Credential, Identity};
use iothub_protocol::sas::sign;
use iothub_protocol::{ClientId, Clock};
use serde_json::json;

use super::arguments::KeyType;
use super::context::{CliContext, policy_string};
use super::keys::client_key;
use super::output::print;
use crate::clock::HubClock;

/// Makes a SAS token: of a policy, or of a device.
#[derive(Debug, Args)]
pub(crate) struct GenerateSasTokenCommand {
    #[command(flatten)]
    context: CliContext,
    /// The device; without it, the token is for the hub.
    #[arg(long, short = 'd')]
    device_id: Option<String>,
    /// The device's module.
    #[arg(long, short = 'm', requires = "device_id")]
    module_id: Option<String>,
    /// Sign with the key of this connection string, whoever's it is.
    #[arg(long, visible_alias = "cs", conflicts_with = "device_id")]
    connection_string: Option<String>,
    /// The policy whose key signs, when there is no device.
    #[arg(long, visible_alias = "pn", default_value = "iothubowner")]
    policy_name: String,
    /// Which of a device's two keys signs.
    #[arg(long, visible_alias = "kt", value_enum, default_value_t)]
    key_type: KeyType,
    /// How long it is good, in seconds.
    #[arg(long, visible_alias = "du", default_value_t = 3600)]
    duration: u64,
}

impl GenerateSasTokenCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        if let Some(text) = &self.connection_string {
            return self.of_connection_string(text).await;
        }
        let expiry = self.context.clock().await?.now() + Duration::from_secs(self.duration);
        let service = self.context.service_connection_string().await?;
        let host = ConnectionString::parse(&service)?.host_name;
        let token = match &self.device_id {
            Some(device) => {
                let client = match &self.module_id {
                    Some(module) => ClientId::parse(&format!("{device}/{module}"))?,
                    None => ClientId::parse(device)?,
                };
                let backend = self.context.backend().await?;
                let key = client_key(backend.registry(), &client, self.key_type).await?;
                sign(&resource(&host, &client), expiry, None, &key)
            }
            None => {
                let string = match named_policy(&service, &self.policy_name) {
                    true => service,
                    false => policy_string(&self.context.info().await?, &self.policy_name)?,
                };
                let Credential::Key(key) = ConnectionString::parse(&string)?.credential else {
                    anyhow::bail!("the connection string has no key to sign with");
                };
                sign(&host, expiry, Some(&self.policy_name), &key)
            }
        };
        print(&json!({"sas": token}), self.context.output).context("print the token")
    }

    async fn of_connection_string(&self, text: &str) -> anyhow::Result<()> {
        let string = ConnectionString::parse(text)?;
        let Credential::Key(key) = &string.credential else {
            anyhow::bail!("the connection string has no key to sign with");
        };
        // By the world's time when there is no emulator: nothing of it is needed here.
        let clock = self.context.clock().await;
        let now = clock.map_or_else(|_| HubClock::system().now(), |clock| clock.now());
        let expiry = now + Duration::from_secs(self.duration);
        let host = &string.host_name;
        let token = match &string.identity {
            Identity::Policy(policy) => sign(host, expiry, Some(policy), key),
            Identity::Client(client) => sign(&resource(host, client), expiry, None, key),
        };
        print(&json!({"sas": token}), self.context.output)
    }
}

fn resource(host: &str, client: &ClientId) -> String {
    match &client.module {
        Some(module) => format!("{host}/devices/{}/modules/{module}", client.device),
        None => format!("{host}/devices/{}", client.device),
    }
}

fn named_policy(connection_string: &str, policy: &str) -> bool {
    ConnectionString::parse(connection_string)
        .is_ok_and(|string| matches!(string.identity, Identity::Policy(name) if name == policy))
}
