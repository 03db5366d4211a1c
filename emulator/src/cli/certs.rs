//! `certs`: the authority that clients have to trust.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::serve::default_certificate_dir;

/// The certificate authority.
#[derive(Debug, Args)]
pub(crate) struct CertsCommand {
    #[command(subcommand)]
    command: CertsSubcommand,
}

#[derive(Debug, Subcommand)]
enum CertsSubcommand {
    /// Print the authority's certificate (PEM), or write it to a file that everyone may read.
    Export {
        /// Directory of the certificates [default: in the user's data folder].
        #[arg(long, env = "IOTHUB_EMULATOR_CERT_DIR", value_name = "DIR")]
        cert_dir: Option<PathBuf>,
        /// File to write instead of standard output.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

impl CertsCommand {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let CertsSubcommand::Export { cert_dir, out } = self.command;
        let dir = cert_dir
            .or_else(default_certificate_dir)
            .context("give --cert-dir, or set HOME")?;
        let path = dir.join("ca.pem");
        let pem = std::fs::read(&path).with_context(|| {
            format!(
                "read {}; it is made when the emulator first starts",
                path.display()
            )
        })?;
        match out {
            Some(file) => {
                std::fs::write(&file, pem).with_context(|| format!("write {}", file.display()))
            }
            None => std::io::stdout()
                .write_all(&pem)
                .context("write to standard output"),
        }
    }
}
