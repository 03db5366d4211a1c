//! Devices and modules that are present by a connection: a session of the hub for each
//! (`spec/amqp.md` 7.1).
//!
//! A session begins with its client's first link and ends with the last one; several clients share a
//! connection, each with a credential of its own. What the nodes of a client have in common is kept
//! here, since what the hub sends arrives in one mailbox per session, whatever link it is for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use iothub_hub::{ConnectRequest, Credentials, Delivery, End, Hub, Principal, SessionId};
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::value::lookup;
use iothub_protocol::amqp::{AmqpError, LinkId};
use iothub_protocol::{ClientId, Error, ErrorCode, Timestamp};

use super::nodes::Opening;
use super::nodes::{c2d, methods, telemetry, twin};
use super::shared::{Shared, is_congested};
use crate::activity::OperationKind;
use crate::mailbox::{Mailbox, Step};

/// The model that a client says it implements (`spec/amqp.md` 7.1).
const MODEL_ID: &str = "com.microsoft:model-id";
/// The identities that an edge speaks for.
const AUTH_CHAIN: &str = "com.microsoft:auth-chain";
/// The clients' versions, for the log.
const VERSIONS: [&str; 2] = ["com.microsoft:api-version", "com.microsoft:client-version"];
/// What the two links of a pair share.
const CHANNEL: &str = "com.microsoft:channel-correlation-id";

/// The devices and modules of a connection.
#[derive(Default)]
pub(super) struct Devices {
    present: BTreeMap<SessionId, Device>,
    by_client: HashMap<ClientId, SessionId>,
    /// Who has something to hand to the hub.
    touched: BTreeSet<SessionId>,
    /// Whose mailbox or links stopped because too much waits to be written.
    behind: BTreeSet<SessionId>,
    /// Who went on last: the next one is the one after it, so that all have their turn.
    resumed: Option<SessionId>,
    /// Who has come since it was last asked.
    entered: Vec<ClientId>,
}

/// One of them.
pub(super) struct Device {
    /// Who it is.
    pub(super) client: ClientId,
    mailbox: Arc<Mailbox>,
    links: BTreeSet<LinkId>,
    /// What it has sent and the hub does not have yet.
    pub(super) telemetry: telemetry::Burst,
    /// Its links for cloud-to-device messages.
    pub(super) c2d: c2d::Receivers,
    /// Its link for method calls.
    pub(super) methods: methods::Receiver,
    /// Its links for the twin.
    pub(super) twin: twin::Channels,
}

impl Devices {
    /// The device of a session, while it is present.
    pub(super) fn get_mut(&mut self, session: SessionId) -> Option<&mut Device> {
        self.present.get_mut(&session)
    }

    /// Has [`flush`] look at a session.
    pub(super) fn touch(&mut self, session: SessionId) {
        self.touched.insert(session);
    }

    /// Who has come since it was last asked.
    pub(super) fn newly_present(&mut self) -> Vec<ClientId> {
        std::mem::take(&mut self.entered)
    }

    /// Whether no device is present.
    pub(super) fn is_empty(&self) -> bool {
        self.present.is_empty()
    }

    fn next_behind(&mut self) -> Option<SessionId> {
        let after = self.resumed.map_or(Bound::Unbounded, Bound::Excluded);
        let mut later = self.behind.range((after, Bound::Unbounded));
        let next = later.next().or_else(|| self.behind.first()).copied()?;
        self.resumed = Some(next);
        self.behind.take(&next)
    }

    fn remove(&mut self, session: SessionId) -> Option<Device> {
        let device = self.present.remove(&session)?;
        self.touched.remove(&session);
        self.behind.remove(&session);
        self.by_client.remove(&device.client);
        Some(device)
    }
}

/// Adds a link to its client's session, which begins with it if it is the first.
///
/// Refuses with `amqp:unauthorized-access` who has not proved to be that client.
pub(super) async fn enter(
    shared: &mut Shared,
    opening: &Opening<'_>,
    client: &ClientId,
) -> Result<SessionId, AmqpError> {
    let model = text(opening, MODEL_ID);
    let known = shared.devices.by_client.get(client).copied();
    if let Some(session) = known
        && is_live(shared, session)
    {
        // .NET says it on links that it sends on, which may not be the first.
        if let Some(model) = model {
            let operation = OperationKind::AnnounceModel.on(client);
            shared
                .handle
                .call(operation, |hub, cx| hub.announce_model(cx, session, &model))
                .await
                .map_err(|error| refusal(shared, &error))?;
        }
        add(shared, session, opening.link);
        return Ok(session);
    }
    let credentials = match shared.authority.credentials(client) {
        Ok(credentials) => credentials,
        Err(error) => return Err(unproved(shared, opening, client, error)),
    };
    let host = shared.host.as_deref();
    let bell = shared.wake.clone();
    let presence = shared
        .handle
        .connect_waking(client, bell, |hub, now| {
            Ok(ConnectRequest {
                client: client.clone(),
                principal: authenticate(hub, now, host, client, credentials)?,
                // Sessions that outlive their connection are another protocol's.
                remember: false,
                will: None,
                model_id: model,
                transport: "amqp",
            })
        })
        .await;
    let (presence, step) = match presence {
        Ok(connected) => connected,
        Err(error) => {
            tracing::info!(%client, peer = %shared.peer.address, reason = error.detail, "link refused");
            return Err(refusal(shared, &error));
        }
    };
    let session = presence.connected.session;
    let versions = VERSIONS.map(|name| text(opening, name).unwrap_or_default());
    tracing::debug!(%client, ?session, ?step, ?versions, "connected");
    let device = Device {
        client: client.clone(),
        mailbox: presence.mailbox,
        links: BTreeSet::new(),
        telemetry: telemetry::Burst::default(),
        c2d: c2d::Receivers::default(),
        methods: methods::Receiver::default(),
        twin: twin::Channels::default(),
    };
    shared.devices.present.insert(session, device);
    shared.devices.by_client.insert(client.clone(), session);
    shared.devices.entered.push(client.clone());
    add(shared, session, opening.link);
    Ok(session)
}

/// Takes a link from its client's session, which ends with the last one.
pub(super) async fn leave(shared: &mut Shared, session: SessionId, link: LinkId) {
    settle(shared, session).await;
    let Some(device) = shared.devices.get_mut(session) else {
        return;
    };
    device.links.remove(&link);
    if device.links.is_empty() {
        goodbye(shared, session, End::Goodbye);
    }
}

/// Hands what the links of every client have brought to the hub: after each read burst.
pub(super) async fn flush(shared: &mut Shared) {
    while let Some(session) = shared.devices.touched.pop_first() {
        settle(shared, session).await;
    }
}

/// Sends what the hub has put into the mailboxes, and detaches the links of those whose sessions it
/// has ended; others on the connection stay.
pub(super) async fn drain(shared: &mut Shared) {
    let sessions: Vec<_> = shared.devices.present.keys().copied().collect();
    for session in sessions {
        deliver(shared, session, None);
        is_live(shared, session);
    }
    flush(shared).await;
}

/// Has clients go on that stopped because too much waited to be written, as far as there is room now.
/// Answers whether there were any.
pub(super) async fn go_on(shared: &mut Shared) -> bool {
    let mut any = false;
    while !shared.is_congested()
        && let Some(session) = shared.devices.next_behind()
    {
        any = true;
        if let Some(device) = shared.devices.present.get_mut(&session) {
            device.methods.pump(&mut shared.machine);
            device.twin.pump(&mut shared.machine, session);
        }
        settle(shared, session).await;
    }
    flush(shared).await;
    any
}

/// A client's links have been sent what they take. What they were not, since too much waits to be
/// written, goes on later; answers whether that may be so.
pub(super) fn is_behind(shared: &mut Shared, session: SessionId) -> bool {
    let is_behind = shared.is_congested() && shared.devices.present.contains_key(&session);
    if is_behind {
        shared.devices.behind.insert(session);
    }
    is_behind
}

/// A token of this client has been put, which may be for its modules, too, or with `None` one that may
/// be for any: sessions last as long as the newer one is good (`spec/amqp.md` 3).
pub(super) async fn renewed(shared: &mut Shared, client: Option<&ClientId>) {
    let covers = |present: &ClientId| match client {
        Some(client) if client.module.is_none() => present.device == client.device,
        Some(client) => present == client,
        None => true,
    };
    let present = shared.devices.by_client.keys();
    let clients: Vec<_> = present.filter(|it| covers(it)).cloned().collect();
    for client in &clients {
        renew(shared, client).await;
    }
}

async fn renew(shared: &mut Shared, client: &ClientId) {
    let Some(&session) = shared.devices.by_client.get(client) else {
        return;
    };
    let Ok(credentials) = shared.authority.credentials(client) else {
        return;
    };
    let host = shared.host.as_deref();
    let renewed = shared
        .handle
        .call(OperationKind::RenewToken.on(client), |hub, cx| {
            let principal = authenticate(hub, cx.now(), host, client, credentials)?;
            hub.renew_session(session, &principal)
        })
        .await;
    if let Err(error) = renewed {
        tracing::info!(%client, reason = error.detail, "not renewed");
    }
}

/// The connection is over.
pub(super) async fn close(shared: &mut Shared, end: End) {
    flush(shared).await;
    let sessions: Vec<_> = shared.devices.present.keys().copied().collect();
    for session in sessions {
        goodbye(shared, session, end);
    }
}

/// Hands to the hub what a client's links have brought, in the order that they brought it.
pub(super) async fn settle(shared: &mut Shared, session: SessionId) {
    shared.devices.touched.remove(&session);
    telemetry::store(shared, session).await;
    c2d::settle(shared, session).await;
    deliver(shared, session, None);
    if let Some(device) = shared.devices.get_mut(session) {
        for link in device.twin.take_overflowing() {
            let error = AmqpError::new(
                condition::RESOURCE_LIMIT_EXCEEDED,
                "too much waits for the link's credit",
            );
            shared.detach(link, Some(error));
        }
    }
}

/// Sends what the hub has put into a client's mailbox: what is of before a step, since the answer of
/// that step is next; or everything, as far as there is room for it. The rest stays in the mailbox,
/// which ends the session when it is full.
pub(super) fn deliver(shared: &mut Shared, session: SessionId, before: Option<Step>) {
    let Shared {
        devices, machine, ..
    } = shared;
    let Some(device) = devices.present.get_mut(&session) else {
        return;
    };
    while (before.is_some() || !is_congested(machine))
        && let Some(delivery) = device.mailbox.take(before)
    {
        match delivery {
            Delivery::MethodRequest {
                request,
                name,
                payload,
            } => device
                .methods
                .push(machine, session, request, name, payload),
            Delivery::DesiredChanged { version, patch } => {
                if device.twin.notify(machine, session, version, patch) {
                    devices.touched.insert(session);
                }
            }
            Delivery::C2d {
                lock,
                redelivered: _,
                message,
            } => {
                device.c2d.push(machine, lock, message);
                if device.c2d.is_at_odds(machine) {
                    devices.touched.insert(session);
                }
            }
        }
    }
    is_behind(shared, session);
}

/// The channel of a link: what it shares with the other link of its pair.
pub(super) fn channel(opening: &Opening<'_>) -> Option<String> {
    text(opening, CHANNEL)
}

/// Looks at a credential by the name of the host that the client used, where it said one.
fn authenticate(
    hub: &Hub,
    now: Timestamp,
    host: Option<&str>,
    client: &ClientId,
    credentials: Credentials<'_>,
) -> Result<Principal, Error> {
    match host {
        Some(host) => hub.authenticate_client(now, host, client, credentials),
        None => hub.authenticate_client_anywhere(now, client, credentials),
    }
}

/// What a client is told of a refusal: not what exactly was wrong with its credential, which is for
/// the log (`spec/service.md` 1.1).
fn refusal(shared: &Shared, error: &Error) -> AmqpError {
    match error.code {
        // Clients take the condition of other entities for something that passes.
        ErrorCode::DeviceDisabled | ErrorCode::IotHubUnauthorizedAccess => {
            let code = ErrorCode::IotHubUnauthorizedAccess;
            AmqpError::new(condition::UNAUTHORIZED_ACCESS, code.default_message())
        }
        _ => shared.refusal(error),
    }
}

fn text(opening: &Opening<'_>, name: &str) -> Option<String> {
    let value = lookup(&opening.attach.properties, name)?;
    value.as_text().map(str::to_owned)
}

fn add(shared: &mut Shared, session: SessionId, link: LinkId) {
    if let Some(device) = shared.devices.get_mut(session) {
        device.links.insert(link);
    }
}

/// Why a link is refused for whose client there is no credential.
fn unproved(
    shared: &Shared,
    opening: &Opening<'_>,
    client: &ClientId,
    error: AmqpError,
) -> AmqpError {
    let Some(chain) = text(opening, AUTH_CHAIN) else {
        tracing::info!(%client, peer = %shared.peer.address, "link refused: nothing was proved for it");
        return error;
    };
    tracing::warn!(%client, chain, "link refused: an edge cannot speak for others here");
    shared
        .handle
        .activity()
        .record_not_emulated("an edge that connects on behalf of a device (auth-chain)");
    AmqpError::new(
        condition::NOT_IMPLEMENTED,
        "not emulated: an edge that connects on behalf of a device",
    )
}

/// Whether a session goes on; one that the hub has ended is ended here, too.
///
/// Only its links are: all SDKs take that for the end and come back, with a new token if that is what
/// it lacked. A close of the connection would be the form of `spec/amqp.md` 3, but the Node SDK then
/// waits for ever for the answer to a detach of its own.
fn is_live(shared: &mut Shared, session: SessionId) -> bool {
    let Some(device) = shared.devices.present.get(&session) else {
        return false;
    };
    let Some(code) = device.mailbox.closed() else {
        return true;
    };
    tracing::info!(client = %device.client, code = code.name(), "disconnected by hub");
    let error = farewell(shared, code);
    let links = device.links.clone();
    for link in links {
        shared.detach(link, Some(error.clone()));
    }
    // The hub knows already, unless it was the mailbox that overflowed.
    goodbye(shared, session, End::Lost);
    false
}

/// Why a client's links are detached when the hub has ended its session.
fn farewell(shared: &Shared, code: ErrorCode) -> AmqpError {
    match code {
        // To clients these would mean that there is no such device, or that its queue is full; they
        // are to come back.
        ErrorCode::DeviceConnectionClosedRemotely | ErrorCode::DeviceMaximumQueueSizeExceeded => {
            AmqpError::new(condition::DETACH_FORCED, code.default_message())
        }
        _ => refusal(shared, &Error::new(code, code.default_message())),
    }
}

fn goodbye(shared: &mut Shared, session: SessionId, end: End) {
    if let Some(device) = shared.devices.remove(session) {
        let why = shared.parting.as_deref();
        let handle = &shared.handle;
        handle.disconnect_because(session, &device.client, end, why);
    }
}
