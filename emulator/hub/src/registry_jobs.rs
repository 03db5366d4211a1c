//! Jobs that import and export the registry (`spec/service.md` 6.5).

use serde_json::Value;

#[derive(Clone, Default)]
pub(crate) struct RegistryJobs {}

impl RegistryJobs {
    pub(crate) fn restore_job(&mut self, _key: &str, _document: Option<&Value>) {}
}
