//! The options that say what an identity shall be.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use iothub_backend::{AuthenticationSpec, IdentitySpec, Status};
use iothub_protocol::sas::SymmetricKey;

use super::self_signed;

/// How an identity authenticates, and whether it is an edge device.
#[derive(Debug, Args)]
pub(super) struct Settings {
    /// How it authenticates.
    #[arg(long, visible_alias = "am", value_enum)]
    auth_method: Option<AuthMethodArg>,
    /// Primary key (base64).
    #[arg(long, visible_alias = "pk")]
    primary_key: Option<String>,
    /// Secondary key (base64).
    #[arg(long, visible_alias = "sk")]
    secondary_key: Option<String>,
    /// Primary thumbprint of its certificate. Without one, `x509_thumbprint` makes a certificate.
    #[arg(long, visible_alias = "ptp")]
    primary_thumbprint: Option<String>,
    /// Secondary thumbprint.
    #[arg(long, visible_alias = "stp")]
    secondary_thumbprint: Option<String>,
    /// For how many days the certificate that is made is good [default: 365].
    #[arg(long, visible_alias = "vd", value_name = "DAYS")]
    valid_days: Option<u32>,
    /// Directory for the certificate that is made and its key [default: the current one].
    #[arg(long, visible_alias = "od", value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Whether it is an edge gateway.
    #[arg(long, visible_alias = "ee", num_args = 0..=1, default_missing_value = "true")]
    edge_enabled: Option<bool>,
}

/// Whether a device may connect.
#[derive(Debug, Args)]
pub(super) struct StatusSettings {
    /// Whether the device may connect.
    #[arg(long, visible_alias = "sta", value_enum)]
    status: Option<StatusArg>,
    /// Why.
    #[arg(long, visible_alias = "star")]
    status_reason: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StatusArg {
    Enabled,
    Disabled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AuthMethodArg {
    #[value(name = "shared_private_key")]
    SharedPrivateKey,
    #[value(name = "x509_thumbprint")]
    X509Thumbprint,
    #[value(name = "x509_ca")]
    X509Ca,
}

impl StatusSettings {
    pub(super) fn apply(self, mut spec: IdentitySpec) -> IdentitySpec {
        match self.status {
            None => {}
            Some(StatusArg::Enabled) => spec.status = Status::Enabled,
            Some(StatusArg::Disabled) => spec.status = Status::Disabled,
        }
        if self.status_reason.is_some() {
            spec.status_reason = self.status_reason;
        }
        spec
    }
}

impl Settings {
    /// `spec` with what was given. A certificate that has to be made is made for `name`.
    pub(super) fn apply(self, name: &str, mut spec: IdentitySpec) -> anyhow::Result<IdentitySpec> {
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
            (Some(AuthMethodArg::X509Thumbprint), None) => {
                let dir = self.output_dir.unwrap_or_else(|| PathBuf::from("."));
                let days = self.valid_days.unwrap_or(365);
                spec.authentication = AuthenticationSpec::SelfSigned {
                    primary: self_signed::create(name, days, &dir)?,
                    secondary: self.secondary_thumbprint,
                };
            }
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
