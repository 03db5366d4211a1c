//! Jobs that import or export the identity registry (`spec/service.md` 6.5).

use std::time::Duration;

use http::Method;
use serde_json::{Map, Value, json};

use crate::document::Document;
use crate::transport::{Answer, Call, Transport};
use crate::{Error, JobStatus};

/// The import and export jobs of a hub.
#[derive(Clone, Copy)]
pub struct RegistryJobs<'a> {
    transport: &'a Transport,
}

impl<'a> RegistryJobs<'a> {
    pub(crate) fn new(transport: &'a Transport) -> Self {
        Self { transport }
    }

    /// Prepares a job that writes every identity into a blob of this container, named by a URI with
    /// a shared access signature: one JSON object a line.
    pub fn export_devices(
        self,
        output_blob_container_uri: impl Into<String>,
    ) -> RegistryJobRequest<'a> {
        let output: String = output_blob_container_uri.into();
        self.request(json!({
            "type": "export",
            "outputBlobContainerUri": output,
            "excludeKeysInExport": false,
        }))
    }

    /// Prepares a job that carries out what a blob of the first container says, and writes what
    /// went wrong into the second.
    pub fn import_devices(
        self,
        input_blob_container_uri: impl Into<String>,
        output_blob_container_uri: impl Into<String>,
    ) -> RegistryJobRequest<'a> {
        let (input, output): (String, String) = (
            input_blob_container_uri.into(),
            output_blob_container_uri.into(),
        );
        self.request(json!({
            "type": "import",
            "inputBlobContainerUri": input,
            "outputBlobContainerUri": output,
        }))
    }

    /// A job as it stands. Refused with `JobNotFound`.
    pub async fn get(self, job: &str) -> Result<RegistryJob, Error> {
        let call = Call::new(Method::GET, &["jobs", job]);
        read(&self.transport.send(call).await?)
    }

    /// All of them.
    pub async fn list(self) -> Result<Vec<RegistryJob>, Error> {
        let answer = self
            .transport
            .send(Call::new(Method::GET, &["jobs"]))
            .await?;
        let jobs = Document::read_all(&answer, "a job")?;
        Ok(jobs
            .into_iter()
            .map(|document| RegistryJob { document })
            .collect())
    }

    /// Stops a job.
    pub async fn cancel(self, job: &str) -> Result<(), Error> {
        let call = Call::new(Method::DELETE, &["jobs", job]);
        self.transport.send(call).await.map(drop)
    }

    /// The job once it is finished, looking after it at this interval of the back end's clock.
    pub async fn wait(self, job: &str, interval: Duration) -> Result<RegistryJob, Error> {
        loop {
            let found = self.get(job).await?;
            if found.status().is_finished() {
                return Ok(found);
            }
            self.transport.sleep(interval).await;
        }
    }

    fn request(self, body: Value) -> RegistryJobRequest<'a> {
        RegistryJobRequest {
            transport: self.transport,
            body,
        }
    }
}

/// An import or export, before the hub knows of it.
#[must_use = "nothing is asked for before `send`"]
pub struct RegistryJobRequest<'a> {
    transport: &'a Transport,
    body: Value,
}

impl RegistryJobRequest<'_> {
    /// Exports identities without their keys.
    pub fn exclude_keys(self, exclude: bool) -> Self {
        self.member("excludeKeysInExport", exclude)
    }

    /// The blob to read. Default `devices.txt`.
    pub fn input_blob_name(self, name: impl Into<String>) -> Self {
        self.member("inputBlobName", name.into())
    }

    /// The blob to write. Default `devices.txt`.
    pub fn output_blob_name(self, name: impl Into<String>) -> Self {
        self.member("outputBlobName", name.into())
    }

    /// Configurations as well, in a blob of their own (`configurations.txt`).
    pub fn include_configurations(self, include: bool) -> Self {
        self.member("includeConfigurations", include)
    }

    /// The blob of the configurations.
    pub fn configurations_blob_name(self, name: impl Into<String>) -> Self {
        self.member("configurationsBlobName", name.into())
    }

    /// Hands the job to the hub. Refused with `JobQuotaExceeded` while another one is at work, and
    /// with `BlobContainerValidationError`.
    pub async fn send(self) -> Result<RegistryJob, Error> {
        let call = Call::new(Method::POST, &["jobs", "create"]).json(&self.body);
        read(&self.transport.send(call).await?)
    }

    fn member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body[name] = value.into();
        self
    }
}

/// An import or export job as the hub printed it.
#[derive(Clone, Debug, PartialEq)]
pub struct RegistryJob {
    document: Document,
}

impl RegistryJob {
    /// Its name, which the hub chose.
    pub fn id(&self) -> &str {
        self.document.text("jobId").unwrap_or_default()
    }

    /// How far it is.
    pub fn status(&self) -> JobStatus {
        self.document
            .text("status")
            .map_or(JobStatus::Unknown, JobStatus::parse)
    }

    /// How much of it is done, in percent.
    pub fn progress(&self) -> u64 {
        self.document
            .member("progress")
            .as_u64()
            .unwrap_or_default()
    }

    /// Why it failed, if it did.
    pub fn failure_reason(&self) -> Option<&str> {
        self.document.text("failureReason")
    }

    /// The whole document.
    pub fn as_json(&self) -> &Map<String, Value> {
        &self.document.0
    }

    /// The whole document.
    pub fn into_json(self) -> Value {
        Value::Object(self.document.0)
    }
}

fn read(answer: &Answer) -> Result<RegistryJob, Error> {
    let document = Document::read(answer, "a job")?;
    Ok(RegistryJob { document })
}
