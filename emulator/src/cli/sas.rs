//! `generate-sas-token`, with the words of `az iot hub generate-sas-token`.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use iothub_protocol::connection_string::{ConnectionString, Credential, Identity};
use iothub_protocol::sas::sign;
use iothub_protocol::{Clock, DeviceId};
use serde_json::json;

use super::context::{CliContext, policy_string};
use super::device_identity::{KeyType, device_key};
use super::output::print;

/// Makes a SAS token: of a policy, or of a device.
#[derive(Debug, Args)]
pub(crate) struct GenerateSasTokenCommand {
    #[command(flatten)]
    context: CliContext,
    /// The device; without it, the token is for the hub.
    #[arg(long, short = 'd')]
    device_id: Option<String>,
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
        let expiry = self.context.clock().await?.now() + Duration::from_secs(self.duration);
        let service = self.context.service_connection_string().await?;
        let host = ConnectionString::parse(&service)?.host_name;
        let token = match &self.device_id {
            Some(device) => {
                let device = DeviceId::parse(device)?;
                let key = device_key(&self.context, &device, self.key_type).await?;
                sign(&format!("{host}/devices/{device}"), expiry, None, &key)
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
}

fn named_policy(connection_string: &str, policy: &str) -> bool {
    ConnectionString::parse(connection_string)
        .is_ok_and(|string| matches!(string.identity, Identity::Policy(name) if name == policy))
}
