//! Message routes, endpoints and enrichments (`spec/service.md` 5.6, `spec/device.md` 16.3).

use serde_json::Value;

#[derive(Clone, Default)]
pub(crate) struct Routing {}

impl Routing {
    pub(crate) fn restore_routing(&mut self, _key: &str, _document: Option<&Value>) {}
}
