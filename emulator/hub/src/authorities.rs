//! Certificate authorities that devices' certificates may come from (`spec/device.md` 11).

use serde_json::Value;

#[derive(Clone, Default)]
pub(crate) struct Authorities {}

impl Authorities {
    pub(crate) fn restore_authority(&mut self, _key: &str, _document: Option<&Value>) {}
}
