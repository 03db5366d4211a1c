//! `device-identity`: the registry, with the words of `az iot hub device-identity`.

use clap::{Args, Subcommand, ValueEnum};
use iothub_protocol::connection_string::ConnectionString;
use iothub_protocol::registry::{
    Authentication, AuthenticationSpec, DeviceIdentity, IdentitySpec, IfMatch, Status,
};
use iothub_protocol::sas::SymmetricKey;
use iothub_protocol::{ClientId, DeviceId};
use serde_json::{Value, json};

use super::context::CliContext;
use super::output::print;
use anyhow::{Context, bail};

/// Device identities.
#[derive(Debug, Args)]
pub(crate) struct DeviceIdentityCommand {
    #[command(flatten)]
    context: CliContext,
    #[command(subcommand)]
    command: DeviceIdentitySubcommand,
}

#[derive(Debug, Subcommand)]
enum DeviceIdentitySubcommand {
    /// Register a device.
    Create {
        #[command(flatten)]
        device: DeviceArg,
        #[command(flatten)]
        settings: Settings,
    },
    /// List devices.
    List {
        /// How many at most.
        #[arg(long, default_value_t = 1000)]
        top: usize,
    },
    /// Show a device.
    Show {
        #[command(flatten)]
        device: DeviceArg,
    },
    /// Change a device; what is not given stays as it is.
    Update {
        #[command(flatten)]
        device: DeviceArg,
        #[command(flatten)]
        settings: Settings,
        /// Only if the identity still has this etag.
        #[arg(long, short = 'e')]
        etag: Option<String>,
    },
    /// Delete a device.
    Delete {
        #[command(flatten)]
        device: DeviceArg,
        /// Only if the identity still has this etag.
        #[arg(long, short = 'e')]
        etag: Option<String>,
    },
    /// A device's connection string.
    ConnectionString {
        #[command(subcommand)]
        command: ConnectionStringSubcommand,
    },
}

#[derive(Debug, Subcommand)]
enum ConnectionStringSubcommand {
    /// Show it.
    Show {
        #[command(flatten)]
        device: DeviceArg,
        /// Which of the two keys.
        #[arg(long, visible_alias = "kt", value_enum, default_value_t)]
        key_type: KeyType,
    },
}

#[derive(Debug, Args)]
pub(super) struct DeviceArg {
    /// The device.
    #[arg(long, short = 'd')]
    pub(super) device_id: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum KeyType {
    #[default]
    Primary,
    Secondary,
}

#[derive(Debug, Args)]
struct Settings {
    /// Whether the device may connect.
    #[arg(long, visible_alias = "sta", value_enum)]
    status: Option<StatusArg>,
    /// Why.
    #[arg(long, visible_alias = "star")]
    status_reason: Option<String>,
    /// How the device authenticates.
    #[arg(long, visible_alias = "am", value_enum)]
    auth_method: Option<AuthMethodArg>,
    /// Primary key (base64).
    #[arg(long, visible_alias = "pk")]
    primary_key: Option<String>,
    /// Secondary key (base64).
    #[arg(long, visible_alias = "sk")]
    secondary_key: Option<String>,
    /// Primary thumbprint of the device's certificate.
    #[arg(long, visible_alias = "ptp")]
    primary_thumbprint: Option<String>,
    /// Secondary thumbprint.
    #[arg(long, visible_alias = "stp")]
    secondary_thumbprint: Option<String>,
    /// Whether the device is an edge gateway.
    #[arg(long, visible_alias = "ee", num_args = 0..=1, default_missing_value = "true")]
    edge_enabled: Option<bool>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StatusArg {
    Enabled,
    Disabled,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AuthMethodArg {
    #[value(name = "shared_private_key")]
    SharedPrivateKey,
    #[value(name = "x509_thumbprint")]
    X509Thumbprint,
    #[value(name = "x509_ca")]
    X509Ca,
}

impl DeviceIdentityCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let backend = self.context.backend().await?;
        let registry = backend.registry();
        let answer = match self.command {
            DeviceIdentitySubcommand::Create { device, settings } => {
                let spec = settings.apply(IdentitySpec::default())?;
                registry
                    .create_device(&device.device_id, &spec)
                    .await?
                    .to_json()
            }
            DeviceIdentitySubcommand::List { top } => {
                let devices = registry.devices(top).await?;
                Value::Array(devices.iter().map(DeviceIdentity::to_json).collect())
            }
            DeviceIdentitySubcommand::Show { device } => {
                registry.device(&device.device_id).await?.to_json()
            }
            DeviceIdentitySubcommand::Update {
                device,
                settings,
                etag,
            } => {
                let current = registry.device(&device.device_id).await?;
                let if_match = IfMatch::ETag(etag.unwrap_or_else(|| current.etag.clone()));
                let spec = settings.apply(spec_of(current))?;
                registry
                    .update_device(&device.device_id, &spec, &if_match)
                    .await?
                    .to_json()
            }
            DeviceIdentitySubcommand::Delete { device, etag } => {
                let if_match = etag.map_or(IfMatch::Any, IfMatch::ETag);
                registry.delete_device(&device.device_id, &if_match).await?;
                return Ok(());
            }
            DeviceIdentitySubcommand::ConnectionString {
                command: ConnectionStringSubcommand::Show { device, key_type },
            } => {
                let identity = registry.device(&device.device_id).await?;
                let service = self.context.service_connection_string().await?;
                let host = ConnectionString::parse(&service)?.host_name;
                json!({"connectionString": connection_string(&host, identity, key_type)?})
            }
        };
        print(&answer, self.context.output)
    }
}

/// The connection string that a device uses.
fn connection_string(
    host: &str,
    identity: DeviceIdentity,
    key_type: KeyType,
) -> anyhow::Result<String> {
    let client = ClientId::device(identity.device_id);
    Ok(match identity.authentication {
        Authentication::Sas { primary, secondary } => {
            let key = match key_type {
                KeyType::Primary => primary,
                KeyType::Secondary => secondary,
            };
            ConnectionString::for_client(host, client, key).to_string()
        }
        Authentication::SelfSigned { .. } | Authentication::CertificateAuthority => {
            format!("HostName={host};DeviceId={};x509=true", client.device)
        }
        Authentication::None => bail!("{client} has no way to authenticate"),
    })
}

/// One of a device's keys.
pub(super) async fn device_key(
    context: &CliContext,
    device: &DeviceId,
    key_type: KeyType,
) -> anyhow::Result<SymmetricKey> {
    let identity = context.backend().await?.registry().device(device).await?;
    match (identity.authentication, key_type) {
        (Authentication::Sas { primary, .. }, KeyType::Primary) => Ok(primary),
        (Authentication::Sas { secondary, .. }, KeyType::Secondary) => Ok(secondary),
        (other, _) => bail!(
            "{device} authenticates by {}, not by key",
            other.type_name()
        ),
    }
}

/// What an update starts from.
fn spec_of(identity: DeviceIdentity) -> IdentitySpec {
    IdentitySpec {
        device_id: Some(identity.device_id.to_string()),
        status: identity.status,
        status_reason: identity.status_reason,
        authentication: match identity.authentication {
            Authentication::Sas { primary, secondary } => {
                AuthenticationSpec::Sas(Some((primary, secondary)))
            }
            Authentication::SelfSigned { primary, secondary } => {
                AuthenticationSpec::SelfSigned { primary, secondary }
            }
            Authentication::CertificateAuthority => AuthenticationSpec::CertificateAuthority,
            Authentication::None => AuthenticationSpec::None,
        },
        iot_edge: identity.iot_edge,
        device_scope: identity.device_scope,
        parent_scopes: Some(identity.parent_scopes),
        ..IdentitySpec::default()
    }
}

impl Settings {
    fn apply(self, mut spec: IdentitySpec) -> anyhow::Result<IdentitySpec> {
        match self.status {
            None => {}
            Some(StatusArg::Enabled) => spec.status = Status::Enabled,
            Some(StatusArg::Disabled) => spec.status = Status::Disabled,
        }
        if self.status_reason.is_some() {
            spec.status_reason = self.status_reason;
        }
        if let Some(edge) = self.edge_enabled {
            spec.iot_edge = edge;
        }
        let keys = match (self.primary_key, self.secondary_key) {
            (Some(primary), Some(secondary)) => Some((
                SymmetricKey::parse(&primary).context("--primary-key")?,
                SymmetricKey::parse(&secondary).context("--secondary-key")?,
            )),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                bail!("give both --primary-key and --secondary-key, or neither")
            }
        };
        match (self.auth_method, self.primary_thumbprint) {
            (Some(AuthMethodArg::X509Ca), _) => {
                spec.authentication = AuthenticationSpec::CertificateAuthority;
            }
            (Some(AuthMethodArg::X509Thumbprint) | None, Some(primary)) => {
                let secondary = self.secondary_thumbprint;
                spec.authentication = AuthenticationSpec::SelfSigned { primary, secondary };
            }
            (Some(AuthMethodArg::X509Thumbprint), None) => bail!("give --primary-thumbprint"),
            (Some(AuthMethodArg::SharedPrivateKey), _) => {
                spec.authentication = AuthenticationSpec::Sas(keys);
            }
            (None, None) => {
                if keys.is_some() {
                    spec.authentication = AuthenticationSpec::Sas(keys);
                }
            }
        }
        Ok(spec)
    }
}
