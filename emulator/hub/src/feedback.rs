//! What became of cloud-to-device messages, told to back ends (`spec/service.md` 8,
//! `spec/device.md` 5.6).

use serde_json::Value;

use crate::Hub;
use crate::cx::Cx;

/// What falls due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {}

#[derive(Clone, Default)]
pub(crate) struct Feedback {}

impl Feedback {
    pub(crate) fn restore_record(&mut self, _key: &str, _document: Option<&Value>) {}
}

impl Hub {
    /// Sets the deadlines of what was restored or copied.
    pub(crate) fn feedback_rearm(&mut self) {}

    pub(crate) fn feedback_due(&mut self, _cx: &mut Cx<'_>, due: Due) {
        match due {}
    }
}
