//! What can be seen of the hub and of its model.

use std::collections::BTreeSet;

use iothub_hub::Feature;
use proptest::prelude::*;
use serde_json::Value;

use crate::fixture::{T0, client, device, secs};
use crate::reference::Client;
use crate::{Bench, etag_of, name, operations};

impl Bench {
    pub(crate) fn compare_all(&mut self) -> Result<(), TestCaseError> {
        operations::CLIENTS
            .into_iter()
            .try_for_each(|client| self.compare(Some(client)))
    }

    /// What can be seen of the hub as a whole and of one client.
    pub(crate) fn compare(&mut self, of: Option<Client>) -> Result<(), TestCaseError> {
        let (hub, model, operator) = (&self.hub.hub, &self.model, &self.hub.operator);
        let next = model.next_deadline().map(|due| T0 + secs(due as u64));
        prop_assert_eq!(hub.next_deadline(), next);
        let connections: Vec<_> = hub
            .connections()
            .into_iter()
            .map(|it| {
                (
                    it.session.0,
                    it.client.to_string(),
                    it.subscriptions.features().collect(),
                )
            })
            .collect();
        let sessions: Vec<(u64, String, BTreeSet<Feature>)> = model
            .sessions
            .iter()
            .map(|(id, session)| (*id, name(session.client), session.features.clone()))
            .collect();
        let counted: usize = hub.connection_counts().values().sum();
        prop_assert_eq!(counted, sessions.len());
        prop_assert_eq!(connections, sessions);
        for (partition, head) in hub.partition_heads().iter().enumerate() {
            let in_it = |id: &u8| hub.partition_of(&device(&format!("d{id}"))) == partition as u16;
            let events = model
                .events
                .iter()
                .filter(|(id, _)| in_it(id))
                .map(|it| it.1);
            prop_assert_eq!(head.next_sequence, events.sum::<u64>());
        }
        let devices = model.records.iter().filter(|(id, _)| id.1.is_none());
        let (disabled, enabled): (Vec<_>, Vec<_>) = devices.partition(|it| it.1.disabled);
        let statistics = hub.statistics(operator).unwrap();
        prop_assert_eq!(statistics.enabled as usize, enabled.len());
        prop_assert_eq!(statistics.disabled as usize, disabled.len());

        let Some(of) = of else { return Ok(()) };
        let id = client(&name(of));
        let Some(record) = model.records.get(&of) else {
            prop_assert!(hub.twin(operator, &id).is_err());
            self.etags.remove(&of);
            return Ok(());
        };
        let (twin, etag) = hub.twin(operator, &id).unwrap();
        prop_assert_eq!(&etag, &etag_of(record.etag));
        prop_assert_eq!(&twin["version"], record.version);
        let waiting = model.queues.get(&of).map_or(0, |queue| queue.waiting.len());
        prop_assert_eq!(&twin["cloudToDeviceMessageCount"], waiting);
        // Modules have no status of their own (`spec/service.md` 3.1).
        prop_assert_eq!(
            &twin["status"],
            if record.disabled {
                "disabled"
            } else {
                "enabled"
            }
        );
        let connected = model.sessions.values().any(|session| session.client == of);
        let state = if connected {
            "Connected"
        } else {
            "Disconnected"
        };
        prop_assert_eq!(&twin["connectionState"], state);
        let tags = twin
            .get("tags")
            .cloned()
            .unwrap_or_else(|| serde_json::json!({}));
        prop_assert_eq!(tags, Value::Object(record.tags.clone()));
        for (section, value, version) in [
            (
                &twin["properties"]["desired"],
                &record.desired,
                record.desired_version,
            ),
            (
                &twin["properties"]["reported"],
                &record.reported,
                record.reported_version,
            ),
        ] {
            let mut section = section.as_object().unwrap().clone();
            section.remove("$metadata");
            prop_assert_eq!(section.remove("$version").unwrap(), version);
            prop_assert_eq!(&section, value);
        }
        self.etags
            .insert(of, twin["deviceEtag"].as_str().unwrap().into());
        Ok(())
    }
}
