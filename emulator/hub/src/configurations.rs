//! Automatic device management and edge deployments (`spec/service.md` 7).

use serde_json::Value;

#[derive(Clone, Default)]
pub(crate) struct Configurations {}

impl Configurations {
    pub(crate) fn restore_configuration(&mut self, _key: &str, _document: Option<&Value>) {}
}

impl crate::Hub {
    /// What configurations apply to a client, by their ids; `None` when none does.
    pub(crate) fn configuration_status(
        &self,
        _client: &iothub_protocol::ClientId,
    ) -> Option<serde_json::Map<String, Value>> {
        None
    }
}
