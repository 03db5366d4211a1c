//! The hub as it is at one moment, to be asked without holding anybody up.

use std::collections::HashMap;

use iothub_protocol::{ClientId, Error, Timestamp};

use super::rows::View;
use super::select::Query;
use crate::{Hub, Permission, Principal};

/// A copy of what queries look at. What is kept for devices is structurally shared, so its cost
/// depends on the number of connections alone.
pub struct QuerySnapshot {
    hub: Hub,
    present: HashMap<ClientId, Timestamp>,
}

impl QuerySnapshot {
    pub(super) fn view(&self) -> View<'_> {
        View {
            hub: &self.hub,
            present: Some(&self.present),
        }
    }

    /// How many rows a whole SELECT has.
    pub(crate) fn count_rows(&self, text: &str) -> Result<u64, Error> {
        Ok(Query::parse(text, false)?.count(self.view()))
    }
}

impl Hub {
    /// What a query by `caller` may look at; refuses who lacks `ServiceConnect`
    /// (`spec/service.md` 1.2).
    pub fn query_snapshot(&self, caller: &Principal) -> Result<QuerySnapshot, Error> {
        caller.require(Permission::ServiceConnect)?;
        Ok(self.snapshot())
    }

    /// The hub as it is now.
    pub(crate) fn snapshot(&self) -> QuerySnapshot {
        QuerySnapshot {
            hub: self.without_connections(),
            present: self.sessions.present(),
        }
    }
}
