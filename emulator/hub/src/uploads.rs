//! File uploads of devices (`spec/device.md` 8).

use serde_json::Value;

use crate::Hub;
use crate::cx::Cx;

/// What falls due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {}

#[derive(Clone, Default)]
pub(crate) struct Uploads {}

impl Uploads {
    pub(crate) fn restore_upload(&mut self, _key: &str, _document: Option<&Value>) {}
}

impl Hub {
    /// Sets the deadlines of what was restored or copied.
    pub(crate) fn uploads_rearm(&mut self) {}

    pub(crate) fn uploads_due(&mut self, _cx: &mut Cx<'_>, due: Due) {
        match due {}
    }
}
