//! Automatic device management and edge deployments (`spec/service.md` 7).

use serde_json::Value;

#[derive(Clone, Default)]
pub(crate) struct Configurations {}

impl Configurations {
    pub(crate) fn restore_configuration(&mut self, _key: &str, _document: Option<&Value>) {}
}
