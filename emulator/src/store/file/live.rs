//! The state that is on disk, as a value: what a snapshot holds.

use std::sync::Arc;

use imbl::OrdMap;
use iothub_hub::{C2dMessage, Change, Document, DocumentKind, Identity, PackedTwin, Subscriptions};
use iothub_protocol::ClientId;
use serde_json::Value;

/// Everything but events. A copy shares structure, so it costs nothing; documents are shared with
/// the hub.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Live {
    clients: OrdMap<ClientId, Client>,
    c2d: OrdMap<(ClientId, u64), Arc<C2dMessage>>,
    documents: OrdMap<(DocumentKind, Arc<str>), Arc<Value>>,
    entropy: Option<u64>,
    /// How often everything was forgotten.
    pub(super) epoch: u64,
}

/// What is kept under one name.
#[derive(Clone, Debug, Default, PartialEq)]
struct Client {
    identity: Option<Arc<Identity>>,
    twin: Option<PackedTwin>,
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
            Change::PutTwin(client, twin) => self.client(client).twin = Some(twin.clone()),
            Change::PutSubscriptions(client, subscriptions) => {
                self.client(client).subscriptions = Some(*subscriptions);
            }
            Change::DeleteSubscriptions(client) => {
                if let Some(entry) = self.clients.get_mut(client) {
                    entry.subscriptions = None;
                }
            }
            Change::PutC2d(message) => {
                let key = (message.client.clone(), message.sequence);
                self.c2d.insert(key, message.clone());
            }
            Change::DeleteC2d(client, sequence) => {
                self.c2d.remove(&(client.clone(), *sequence));
            }
            Change::PutDocument(document) => {
                let key = (document.kind, document.key.clone());
                self.documents.insert(key, document.value.clone());
            }
            Change::DeleteDocument(kind, key) => {
                self.documents.remove(&(*kind, key.clone()));
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
            let twin = client.twin.clone();
            let subscriptions = client
                .subscriptions
                .map(|it| Change::PutSubscriptions(id.clone(), it));
            [
                client.identity.clone().map(Change::PutIdentity),
                twin.map(|twin| Change::PutTwin(id.clone(), twin)),
                subscriptions,
            ]
        });
        let c2d = self.c2d.values().cloned().map(Change::PutC2d);
        let documents = self.documents.iter().map(|((kind, key), value)| {
            Change::PutDocument(Document {
                kind: *kind,
                key: key.clone(),
                value: value.clone(),
            })
        });
        entropy
            .into_iter()
            .chain(clients.flatten())
            .chain(c2d)
            .chain(documents)
    }

    fn client(&mut self, id: &ClientId) -> &mut Client {
        self.clients.entry(id.clone()).or_default()
    }
}
