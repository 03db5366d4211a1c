//! `device upload-file`: a file, by way of the hub's storage.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::cli::arguments::DeviceArg;
use crate::cli::context::CliContext;
use crate::cli::output::progress;

#[derive(Debug, Args)]
pub(super) struct UploadFileArgs {
    #[command(flatten)]
    device: DeviceArg,
    /// The file.
    #[arg(long, visible_alias = "fp", value_name = "FILE")]
    file_path: PathBuf,
    /// What it is, such as `text/plain`.
    #[arg(long, visible_alias = "ct")]
    content_type: String,
}

impl UploadFileArgs {
    pub(super) async fn run(self, context: &CliContext) -> anyhow::Result<()> {
        let path = &self.file_path;
        let content = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .with_context(|| format!("{} has no name to upload it by", path.display()))?;
        let backend = context.backend().await?;
        let blob = backend
            .on_behalf_of(&self.device.device_id)
            .upload_file(name, content.into(), &self.content_type)
            .await?;
        progress(format_args!("uploaded {blob}"));
        Ok(())
    }
}
