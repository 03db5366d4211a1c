//! `certificate`: authorities that devices' certificates may come from, with the words of
//! `az iot hub certificate`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use iothub_backend::{EmulatorAddress, EmulatorCertificates};
use iothub_protocol::registry::IfMatch;
use serde_json::{Value, json};

use super::context::DEFAULT_URL;
use super::output::{OutputFormat, print};

/// Certificate authorities for devices.
#[derive(Debug, Args)]
pub(crate) struct CertificateCommand {
    /// Address of the running emulator's HTTP or HTTPS listener.
    #[arg(
        long,
        env = "IOTHUB_EMULATOR_URL",
        default_value = DEFAULT_URL,
        value_name = "URL",
        global = true
    )]
    emulator: String,
    /// The admin token that the running emulator was started with.
    #[arg(
        long,
        env = "IOTHUB_EMULATOR_ADMIN_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        global = true
    )]
    admin_token: Option<String>,
    /// Name of the hub; taken for the sake of scripts written for `az`, there is only one.
    #[arg(long, value_name = "NAME", global = true)]
    hub_name: Option<String>,
    /// How to print.
    #[arg(long, short = 'o', value_enum, default_value_t, global = true)]
    output: OutputFormat,
    #[command(subcommand)]
    command: CertificateSubcommand,
}

#[derive(Debug, Subcommand)]
enum CertificateSubcommand {
    /// Register an authority by its certificate.
    Create {
        #[command(flatten)]
        name: NameArg,
        #[command(flatten)]
        path: PathArg,
        #[command(flatten)]
        verified: VerifiedArg,
    },
    /// Give an authority another certificate.
    Update {
        #[command(flatten)]
        name: NameArg,
        #[command(flatten)]
        path: PathArg,
        #[command(flatten)]
        etag: EtagArg,
        #[command(flatten)]
        verified: VerifiedArg,
    },
    /// List the authorities.
    List,
    /// Show an authority.
    Show {
        #[command(flatten)]
        name: NameArg,
    },
    /// Delete an authority.
    Delete {
        #[command(flatten)]
        name: NameArg,
        #[command(flatten)]
        etag: EtagArg,
    },
    /// Make up a code; a certificate for it proves possession of the authority's key.
    GenerateVerificationCode {
        #[command(flatten)]
        name: NameArg,
        #[command(flatten)]
        etag: EtagArg,
    },
    /// Prove possession of the authority's key by a certificate for the verification code.
    Verify {
        #[command(flatten)]
        name: NameArg,
        #[command(flatten)]
        path: PathArg,
        #[command(flatten)]
        etag: EtagArg,
    },
}

#[derive(Debug, Args)]
struct NameArg {
    /// A friendly name for the certificate.
    #[arg(long, short = 'n')]
    name: String,
}

#[derive(Debug, Args)]
struct PathArg {
    /// The file of the certificate: PEM or DER.
    #[arg(long, short = 'p', value_name = "FILE")]
    path: PathBuf,
}

#[derive(Debug, Args)]
struct EtagArg {
    /// Only if the certificate still has this etag.
    #[arg(long, short = 'e')]
    etag: Option<String>,
}

#[derive(Debug, Args)]
struct VerifiedArg {
    /// Take on trust that you hold the authority's key.
    #[arg(long, short = 'v', num_args = 0..=1, default_missing_value = "true")]
    verified: Option<bool>,
}

impl CertificateCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let address = EmulatorAddress::new(self.emulator).admin_token(self.admin_token);
        let certificates = EmulatorCertificates::at(address)?;
        let answer = match self.command {
            CertificateSubcommand::Create {
                name,
                path,
                verified,
            } => {
                let certificate = path.read()?;
                let verified = verified.verified;
                certificates
                    .put(&name.name, &certificate, verified, &IfMatch::Absent)
                    .await?
            }
            CertificateSubcommand::Update {
                name,
                path,
                etag,
                verified,
            } => {
                let certificate = path.read()?;
                let verified = verified.verified;
                certificates
                    .put(&name.name, &certificate, verified, &etag.condition())
                    .await?
            }
            CertificateSubcommand::List => {
                let all = certificates.list().await?;
                match self.output {
                    OutputFormat::Json => all,
                    OutputFormat::Table => rows(&all),
                }
            }
            CertificateSubcommand::Show { name } => certificates.show(&name.name).await?,
            CertificateSubcommand::Delete { name, etag } => {
                certificates.delete(&name.name, &etag.condition()).await?;
                return Ok(());
            }
            CertificateSubcommand::GenerateVerificationCode { name, etag } => {
                certificates
                    .generate_verification_code(&name.name, &etag.condition())
                    .await?
            }
            CertificateSubcommand::Verify { name, path, etag } => {
                let proof = path.read()?;
                certificates
                    .verify(&name.name, &proof, &etag.condition())
                    .await?
            }
        };
        print(&answer, self.output)
    }
}

impl PathArg {
    /// Text goes as it is, as `az` sends it; bytes as base64.
    fn read(&self) -> anyhow::Result<String> {
        let path: &Path = &self.path;
        let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        Ok(String::from_utf8(bytes).unwrap_or_else(|not| STANDARD.encode(not.as_bytes())))
    }
}

impl EtagArg {
    fn condition(self) -> IfMatch {
        self.etag.map_or(IfMatch::Any, IfMatch::ETag)
    }
}

/// What fits into columns.
fn rows(list: &Value) -> Value {
    let rows = list["value"].as_array().into_iter().flatten().map(|one| {
        let properties = &one["properties"];
        json!({
            "name": one["name"],
            "subject": properties["subject"],
            "thumbprint": properties["thumbprint"],
            "isVerified": properties["isVerified"],
            "expiry": properties["expiry"],
        })
    });
    rows.collect()
}
