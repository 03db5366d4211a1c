//! Keys of devices and modules: new ones, and the connection strings that hold them.

use anyhow::bail;
use clap::{Args, ValueEnum};
use iothub_backend::{Authentication, ClientId, KeyKind, Registry};
use iothub_protocol::connection_string::ConnectionString;
use iothub_protocol::sas::SymmetricKey;

use super::arguments::{KeyType, names};

/// What `renew-key` takes.
#[derive(Debug, Args)]
pub(super) struct RenewKeyArgs {
    /// The device; several with spaces or commas.
    #[arg(long, short = 'd', num_args = 1.., required = true)]
    device_id: Vec<String>,
    /// Which key to make anew; swap exchanges the two.
    #[arg(long, visible_alias = "kt", value_enum)]
    key_type: RenewKeyType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum RenewKeyType {
    Primary,
    Secondary,
    Both,
    Swap,
}

impl RenewKeyArgs {
    pub(super) fn devices(&self) -> Vec<&str> {
        names(&self.device_id)
    }

    pub(super) async fn renew(
        &self,
        registry: Registry<'_>,
        clients: &[&str],
    ) -> anyhow::Result<()> {
        renew(registry, self.key_type, clients).await
    }
}

/// Makes new keys for devices and modules; fails if one of them gets none.
pub(super) async fn renew(
    registry: Registry<'_>,
    key_type: RenewKeyType,
    clients: &[&str],
) -> anyhow::Result<()> {
    let kind = match key_type {
        RenewKeyType::Primary => KeyKind::Primary,
        RenewKeyType::Secondary => KeyKind::Secondary,
        RenewKeyType::Both => KeyKind::Both,
        RenewKeyType::Swap => {
            for client in clients {
                match client.contains('/') {
                    true => registry.swap_module_keys(client).await.map(drop)?,
                    false => registry.swap_device_keys(client).await.map(drop)?,
                }
            }
            return Ok(());
        }
    };
    for some in clients.chunks(BATCH) {
        let rotation = registry.regenerate_keys(kind, some).await?;
        if let Some(failure) = rotation.failures.first() {
            let code = failure.code.map_or("", |code| code.name());
            let module = failure.module_id.as_deref().map(|id| format!("/{id}"));
            let who = format!("{}{}", failure.device_id, module.unwrap_or_default());
            bail!("{who} has no new key: {code} {}", failure.message);
        }
    }
    Ok(())
}

/// The connection string that a device or module uses.
pub(super) fn connection_string(
    host: &str,
    client: ClientId,
    authentication: Authentication,
    key_type: KeyType,
) -> anyhow::Result<String> {
    let names = match &client.module {
        Some(module) => format!("DeviceId={};ModuleId={module}", client.device),
        None => format!("DeviceId={}", client.device),
    };
    Ok(match authentication {
        Authentication::Sas { primary, secondary } => {
            let key = match key_type {
                KeyType::Primary => primary,
                KeyType::Secondary => secondary,
            };
            ConnectionString::for_client(host, client, key).to_string()
        }
        Authentication::SelfSigned { .. } | Authentication::CertificateAuthority => {
            format!("HostName={host};{names};x509=true")
        }
        Authentication::None => bail!("{client} has no way to authenticate"),
    })
}

/// One of the keys of a device or module.
pub(super) async fn client_key(
    registry: Registry<'_>,
    client: &ClientId,
    key_type: KeyType,
) -> anyhow::Result<SymmetricKey> {
    let authentication = match &client.module {
        None => registry.device(client).await?.authentication,
        Some(_) => registry.module(client).await?.authentication,
    };
    match (authentication, key_type) {
        (Authentication::Sas { primary, .. }, KeyType::Primary) => Ok(primary),
        (Authentication::Sas { secondary, .. }, KeyType::Secondary) => Ok(secondary),
        (other, _) => bail!(
            "{client} authenticates by {}, not by key",
            other.type_name()
        ),
    }
}

/// How many identities one request may name (`spec/service.md` 2.4).
const BATCH: usize = 100;
