//! Scheduled twin updates and method calls over many devices (`spec/service.md` 6.1 to 6.4).

use serde_json::Value;

use crate::Hub;
use crate::cx::Cx;

/// What falls due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {}

#[derive(Clone, Default)]
pub(crate) struct Jobs {}

impl Jobs {
    /// What jobs did to devices, in the shape of `spec/service.md` 6.4.
    pub(crate) fn device_jobs(&self) -> impl Iterator<Item = Value> + '_ {
        std::iter::empty()
    }

    pub(crate) fn restore_job(&mut self, _key: &str, _document: Option<&Value>) {}

    pub(crate) fn restore_device_job(&mut self, _key: &str, _document: Option<&Value>) {}
}

impl Hub {
    /// Sets the deadlines of what was restored or copied.
    pub(crate) fn jobs_rearm(&mut self) {}

    pub(crate) fn jobs_due(&mut self, _cx: &mut Cx<'_>, due: Due) {
        match due {}
    }
}
