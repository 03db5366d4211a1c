//! File-upload notifications, told to back ends (`spec/service.md` 8).

use serde_json::Value;

use crate::Hub;
use crate::cx::Cx;

/// What falls due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {}

#[derive(Clone, Default)]
pub(crate) struct FileNotifications {}

impl FileNotifications {
    pub(crate) fn restore_notification(&mut self, _key: &str, _document: Option<&Value>) {}
}

impl Hub {
    /// Sets the deadlines of what was restored or copied.
    pub(crate) fn file_notifications_rearm(&mut self) {}

    pub(crate) fn file_notifications_due(&mut self, _cx: &mut Cx<'_>, due: Due) {
        match due {}
    }
}
