//! Jobs that import and export the registry (`spec/service.md` 6.5).

use serde_json::Value;

#[derive(Clone, Default)]
pub(crate) struct RegistryJobs {}

impl RegistryJobs {
    /// Whether there is such a job.
    pub(crate) fn contains(&self, _id: &str) -> bool {
        false
    }

    pub(crate) fn restore_job(&mut self, _key: &str, _document: Option<&Value>) {}
}
