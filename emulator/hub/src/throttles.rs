//! Throttles and daily quotas (`spec/device.md` 16.1).

use serde_json::Value;

#[derive(Clone, Default)]
pub(crate) struct Throttles {}

impl Throttles {
    pub(crate) fn restore_meter(&mut self, _key: &str, _document: Option<&Value>) {}
}
