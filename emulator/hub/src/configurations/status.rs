//! Whom configurations target and where they apply: the `configurations` of twins
//! (`spec/service.md` 3.1), and their counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use iothub_protocol::ClientId;
use serde_json::{Map, Value, json};

use crate::Hub;

/// How a configuration stands to one that it targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    /// Others win everything that it sets.
    Targeted,
    /// Something that it sets is set.
    Applied,
}

/// The statuses of all who are targeted.
#[derive(Clone, Default)]
pub(super) struct Statuses {
    /// Only of those whom a configuration targets.
    clients: OrdMap<ClientId, Arc<StatusesOfOne>>,
    counts: BTreeMap<Arc<str>, Counts>,
}

/// By the id of the configuration.
type StatusesOfOne = [(Arc<str>, Status)];

/// Of one configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) targeted: u64,
    pub(super) applied: u64,
}

impl Hub {
    /// The configurations that target a client, by name: `{"id": {"status": ..}}`.
    pub(crate) fn configuration_status(&self, client: &ClientId) -> Option<Map<String, Value>> {
        let statuses = self.configurations.statuses.clients.get(client)?;
        Some(
            statuses
                .iter()
                .map(|(id, status)| (id.to_string(), json!({"status": status.name()})))
                .collect(),
        )
    }
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Targeted => "Targeted",
            Self::Applied => "Applied",
        }
    }
}

impl Statuses {
    /// Replaces the statuses of a client.
    pub(super) fn set(&mut self, client: &ClientId, mut statuses: Vec<(Arc<str>, Status)>) {
        statuses.sort();
        let old = self.clients.get(client);
        if old.map_or(&[][..], |old| old) == statuses.as_slice() {
            return;
        }
        self.forget(client);
        for (id, status) in &statuses {
            let counts = self.counts.entry(id.clone()).or_default();
            counts.targeted += 1;
            counts.applied += u64::from(*status == Status::Applied);
        }
        if !statuses.is_empty() {
            self.clients.insert(client.clone(), statuses.into());
        }
    }

    /// The client is gone.
    pub(super) fn forget(&mut self, client: &ClientId) {
        for (id, status) in self.clients.remove(client).iter().flat_map(|it| it.iter()) {
            if let Some(counts) = self.counts.get_mut(id) {
                counts.targeted -= 1;
                counts.applied -= u64::from(*status == Status::Applied);
                if counts.targeted == 0 {
                    self.counts.remove(id);
                }
            }
        }
    }

    /// Whether a configuration whose folded id satisfies `is` targets the client.
    pub(super) fn has(&self, client: &ClientId, is: impl Fn(&str) -> bool) -> bool {
        let statuses = self.clients.get(client);
        statuses.is_some_and(|it| it.iter().any(|(id, _)| is(&id.to_ascii_lowercase())))
    }

    pub(super) fn counts(&self, id: &str) -> Counts {
        self.counts.get(id).copied().unwrap_or_default()
    }
}
