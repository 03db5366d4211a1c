//! `certs`: the authority that clients have to trust, and certificates for devices, so that nobody
//! needs other tools.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use iothub_protocol::{ClientId, Clock, DeviceId, ModuleId, Timestamp};
use serde_json::{Value, json};

use super::output::{OutputFormat, print};
use super::serve::{KeyTypeArg, default_certificate_dir};
use crate::certificates::{DeviceAuthority, Issued, Validity, self_signed};
use crate::clock::HubClock;

/// Certificates.
#[derive(Debug, Args)]
pub(crate) struct CertsCommand {
    #[command(subcommand)]
    command: CertsSubcommand,
}

#[derive(Debug, Subcommand)]
enum CertsSubcommand {
    /// Print the authority's certificate (PEM), or write it to a file that everyone may read.
    Export {
        #[command(flatten)]
        cert_dir: CertDirArg,
        /// File to write instead of standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Make a certificate and key for a device or module: signed by a local test authority, which
    /// is made when there is none and is to be registered with `certificate create`, or
    /// self-signed, to be known by its thumbprint.
    Device {
        /// The device.
        #[arg(long, short = 'd')]
        device_id: String,
        /// The module, where the certificate is for one.
        #[arg(long, short = 'm')]
        module_id: Option<String>,
        /// Let nobody sign for it.
        #[arg(long)]
        self_signed: bool,
        #[command(flatten)]
        issue: IssueArgs,
    },
    /// Make the certificate that proves to hold the key of the local test authority, for
    /// `certificate verify`.
    Verification {
        /// The code that `certificate generate-verification-code` gave.
        #[arg(long)]
        code: String,
        #[command(flatten)]
        issue: IssueArgs,
    },
}

#[derive(Debug, Args)]
struct CertDirArg {
    /// Directory of the certificates [default: in the user's data folder].
    #[arg(long, env = "IOTHUB_EMULATOR_CERT_DIR", value_name = "DIR")]
    cert_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct IssueArgs {
    #[command(flatten)]
    cert_dir: CertDirArg,
    /// Directory for the certificate and its key.
    #[arg(long, default_value = ".", value_name = "DIR")]
    out: PathBuf,
    /// Days until it expires, from today.
    #[arg(long, default_value_t = 365, allow_negative_numbers = true)]
    days: i32,
    /// Kind of the key.
    #[arg(long, value_enum, default_value_t)]
    key_type: KeyTypeArg,
    /// How to print.
    #[arg(long, short = 'o', value_enum, default_value_t)]
    output: OutputFormat,
}

impl CertsCommand {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.command {
            CertsSubcommand::Export { cert_dir, out } => export(&cert_dir.path()?, out.as_deref()),
            CertsSubcommand::Device {
                device_id,
                module_id,
                self_signed: own,
                issue,
            } => {
                let name = client(&device_id, module_id.as_deref())?.to_string();
                if own {
                    let issued = self_signed(&name, issue.key_type.into(), issue.validity())?;
                    issue.save(&issued, &name, None)
                } else {
                    issue.signed(&name, &name)
                }
            }
            CertsSubcommand::Verification { code, issue } => issue.signed(&code, "verification"),
        }
    }
}

impl CertDirArg {
    fn path(&self) -> anyhow::Result<PathBuf> {
        self.cert_dir
            .clone()
            .or_else(default_certificate_dir)
            .context("give --cert-dir, or set HOME")
    }
}

impl IssueArgs {
    /// Issues by the local test authority and writes the files.
    fn signed(&self, name: &str, stem: &str) -> anyhow::Result<()> {
        let dir = self.cert_dir.path()?;
        let authority = DeviceAuthority::of_devices(&dir)?;
        let issued = authority.issue(name, self.key_type.into(), self.validity())?;
        self.save(&issued, stem, Some(&DeviceAuthority::file_in(&dir)))
    }

    fn save(&self, issued: &Issued, stem: &str, authority: Option<&Path>) -> anyhow::Result<()> {
        let (certificate, key) = issued.save(&self.out, stem)?;
        let thumbprints = issued.thumbprints();
        let answer: Value = json!({
            "certificate": certificate,
            "key": key,
            "thumbprint": thumbprints.sha1_hex,
            "thumbprintSha256": thumbprints.sha256_hex,
            "authority": authority,
        });
        print(&answer, self.output)
    }

    /// From 2020 on, so that an emulator whose clock was set back takes it, too.
    fn validity(&self) -> Validity {
        const YEAR_2020: Timestamp = Timestamp::from_unix_seconds(1_577_836_800);
        let now = HubClock::system().now().unix_seconds();
        let days = i64::from(self.days);
        Validity {
            not_before: YEAR_2020,
            not_after: Timestamp::from_unix_seconds(now + days * 86_400),
        }
    }
}

fn client(device: &str, module: Option<&str>) -> anyhow::Result<ClientId> {
    let device = DeviceId::parse(device).context("--device-id")?;
    Ok(match module {
        None => ClientId::device(device),
        Some(module) => ClientId::module(device, ModuleId::parse(module).context("--module-id")?),
    })
}

fn export(dir: &Path, out: Option<&Path>) -> anyhow::Result<()> {
    let path = dir.join("ca.pem");
    let pem = std::fs::read(&path).with_context(|| {
        format!(
            "read {}; it is made when the emulator first starts",
            path.display()
        )
    })?;
    match out {
        Some(file) => {
            std::fs::write(file, pem).with_context(|| format!("write {}", file.display()))
        }
        None => std::io::stdout()
            .write_all(&pem)
            .context("write to standard output"),
    }
}
