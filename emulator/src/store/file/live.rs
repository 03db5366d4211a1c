//! The state that is on disk, as a value: what a snapshot holds.

use std::sync::Arc;

use imbl::OrdMap;
use iothub_hub::{Change, Identity, Subscriptions, Twin};
use iothub_protocol::ClientId;

/// Everything but events. A copy shares structure, so it costs nothing; documents are shared with
/// the hub.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Live {
    clients: OrdMap<ClientId, Client>,
    entropy: Option<u64>,
    /// How often everything was forgotten.
    pub(super) epoch: u64,
}

/// What is kept under one name.
#[derive(Clone, Debug, Default, PartialEq)]
struct Client {
    identity: Option<Arc<Identity>>,
    twin: Option<Arc<Twin>>,
    subscriptions: Option<Subscriptions>,
}

impl Live {
    /// Nothing, after that many resets.
    pub(super) fn new(epoch: u64) -> Self {
        Self {
            epoch,
            ..Self::default()
        }
    }

    /// Takes a change; those of the event log are none of its business.
    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::PutIdentity(identity) => {
                self.client(&identity.client).identity = Some(identity.clone());
            }
            Change::DeleteIdentity(client) => {
                self.clients.remove(client);
            }
            Change::PutTwin(twin) => self.client(&twin.client).twin = Some(twin.clone()),
            Change::PutSubscriptions(client, subscriptions) => {
                self.client(client).subscriptions = Some(*subscriptions);
            }
            Change::DeleteSubscriptions(client) => {
                if let Some(entry) = self.clients.get_mut(client) {
                    entry.subscriptions = None;
                }
            }
            Change::PutEntropy(counter) => self.entropy = Some(*counter),
            Change::Reset => *self = Self::new(self.epoch + 1),
            Change::AppendEvents(_) | Change::PutPartitionHead(..) => {}
        }
    }

    /// The changes that make it.
    pub(super) fn changes(&self) -> impl Iterator<Item = Change> + '_ {
        let entropy = self.entropy.map(Change::PutEntropy);
        let clients = self.clients.iter().flat_map(|(id, client)| {
            let subscriptions = client
                .subscriptions
                .map(|it| Change::PutSubscriptions(id.clone(), it));
            [
                client.identity.clone().map(Change::PutIdentity),
                client.twin.clone().map(Change::PutTwin),
                subscriptions,
            ]
        });
        entropy.into_iter().chain(clients.flatten())
    }

    fn client(&mut self, id: &ClientId) -> &mut Client {
        self.clients.entry(id.clone()).or_default()
    }
}
