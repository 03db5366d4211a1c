//! Clients that come and go.

use std::sync::Arc;

use iothub_hub::{ConnectRequest, Connected, End, Hub, SessionId};
use iothub_protocol::{ClientId, Error, Timestamp};
use tokio::sync::Notify;

use super::HubHandle;
use crate::activity::OperationKind;
use crate::clock::Stopwatch;
use crate::mailbox::{Mailbox, Step};

/// A connection's presence in the hub.
#[derive(Debug)]
pub struct Presence {
    /// What the hub answered.
    pub connected: Connected,
    /// Where the hub puts what is for the connection.
    pub mailbox: Arc<Mailbox>,
}

impl HubHandle {
    /// Lets a client in; the mailbox is there before the first delivery. `authenticate` runs under
    /// the same lock as the connect.
    pub async fn connect(
        &self,
        client: &ClientId,
        authenticate: impl FnOnce(&Hub, Timestamp) -> Result<ConnectRequest, Error>,
    ) -> Result<(Presence, Step), Error> {
        self.connect_to(client, Mailbox::default(), authenticate)
            .await
    }

    /// As [`HubHandle::connect`], for a connection that carries several clients: each one's mailbox
    /// rings the same bell.
    pub async fn connect_waking(
        &self,
        client: &ClientId,
        bell: Arc<Notify>,
        authenticate: impl FnOnce(&Hub, Timestamp) -> Result<ConnectRequest, Error>,
    ) -> Result<(Presence, Step), Error> {
        self.connect_to(client, Mailbox::waking(bell), authenticate)
            .await
    }

    async fn connect_to(
        &self,
        client: &ClientId,
        mailbox: Mailbox,
        authenticate: impl FnOnce(&Hub, Timestamp) -> Result<ConnectRequest, Error>,
    ) -> Result<(Presence, Step), Error> {
        self.perform(OperationKind::Connect.on(client), |core, cx| {
            let request = authenticate(&core.hub, cx.now())?;
            let connected = core.hub.connect(cx, request)?;
            let mailbox = Arc::new(mailbox);
            core.mailboxes.insert(connected.session, mailbox.clone());
            Ok(Presence { connected, mailbox })
        })
        .await
    }

    /// Tells of somebody who was not let in before the hub was asked; of others the hub's own
    /// refusal tells.
    pub fn refuse_connect(&self, client: Option<&ClientId>, why: &Error) {
        let connect = OperationKind::Connect;
        let operation = client.map_or(connect.hub_wide(), |client| connect.on(client));
        self.record(operation, Stopwatch::start(), Some(why));
    }

    /// Ends a session whose connection is over.
    pub fn disconnect(&self, session: SessionId, client: &ClientId, end: End) {
        self.disconnect_because(session, client, end, None);
    }

    /// As [`HubHandle::disconnect`], and says for people why the connection is over.
    pub fn disconnect_because(
        &self,
        session: SessionId,
        client: &ClientId,
        end: End,
        why: Option<&str>,
    ) {
        let took = Stopwatch::start();
        let result = self.apply(|core, cx| {
            core.parting = why.map(Into::into);
            core.hub.disconnect(cx, session, end);
            core.mailboxes.remove(&session);
            Ok(())
        });
        let operation = OperationKind::Disconnect.on(client);
        self.record(operation, took, result.as_ref().err());
    }
}
