//! `device-identity export` and `device-identity import`: the registry to and from blobs.

use clap::Args;
use iothub_backend::RegistryJobs;
use serde_json::Value;

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// URI of the container to write to, with a signature; or `file://` and a directory.
    #[arg(long, visible_aliases = ["bcu", "bc"], value_name = "URI")]
    blob_container_uri: String,
    /// Write the keys, too.
    #[arg(long, visible_alias = "ik", num_args = 0..=1, default_missing_value = "true")]
    include_keys: Option<bool>,
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// URI of the container that has the devices, with a signature; or `file://` and a directory.
    #[arg(long, visible_aliases = ["ibcu", "ibc"], value_name = "URI")]
    input_blob_container_uri: String,
    /// URI of the container to write errors to [default: that of the input].
    #[arg(long, visible_aliases = ["obcu", "obc"], value_name = "URI")]
    output_blob_container_uri: Option<String>,
}

impl ExportArgs {
    pub(super) async fn run(self, jobs: RegistryJobs<'_>) -> anyhow::Result<Value> {
        let job = jobs
            .export_devices(self.blob_container_uri)
            .exclude_keys(!self.include_keys.unwrap_or_default());
        Ok(job.send().await?.into_json())
    }
}

impl ImportArgs {
    pub(super) async fn run(self, jobs: RegistryJobs<'_>) -> anyhow::Result<Value> {
        let input = self.input_blob_container_uri;
        let output = self
            .output_blob_container_uri
            .unwrap_or_else(|| input.clone());
        Ok(jobs.import_devices(input, output).send().await?.into_json())
    }
}
