//! Who is connected, what they listen to, and who takes whose place.

mod subscriptions;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use imbl::OrdMap;
use iothub_protocol::{ClientId, DeviceId, Error, ErrorCode, Message, Timestamp};

use crate::access::{Principal, Who};
use crate::cx::{Change, Cx, Effect, Notice};
use crate::deadlines::{DeadlineId, Due};
use crate::limits::ConnectionEvents;
use crate::methods::CallId;
use crate::telemetry::Origin;
use crate::{Hub, Permission};

pub use subscriptions::{Feature, Guarantee, Subscriptions};

/// Names a connection's presence in the hub. Never given out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A client's wish to be present.
#[derive(Clone, Debug)]
pub struct ConnectRequest {
    /// Who connects.
    pub client: ClientId,
    /// The proof of it.
    pub principal: Principal,
    /// Whether subscriptions outlive the connection.
    pub remember: bool,
    /// What to publish in the client's name if the connection is lost.
    pub will: Option<Message>,
    /// The model the client says it implements (Plug and Play), if it says.
    pub model_id: Option<String>,
    /// What carries the connection, for people; means nothing to the hub.
    pub transport: &'static str,
}

/// The answer to a [`ConnectRequest`].
#[derive(Clone, Debug, PartialEq)]
pub struct Connected {
    /// The new session.
    pub session: SessionId,
    /// Whether subscriptions were remembered from before.
    pub resumed: bool,
    /// What the client is subscribed to from the start.
    pub subscriptions: Subscriptions,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client said goodbye: no will.
    Goodbye,
    /// It broke, timed out, or broke a rule: the will is published.
    Lost,
}

/// A session as `/_emulator/connections` shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionSummary {
    /// The session.
    pub session: SessionId,
    /// Who it is.
    pub client: ClientId,
    /// What carries it.
    pub transport: &'static str,
    /// Since when.
    pub since: Timestamp,
    /// When it last did something.
    pub last_activity: Timestamp,
    /// When it ends because its token does; `None`: it has none.
    pub expires: Option<Timestamp>,
    /// What it listens to.
    pub subscriptions: Subscriptions,
}

#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) client: ClientId,
    pub(crate) origin: Arc<Origin>,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) last_activity: Timestamp,
    /// Calls delivered and not answered, by request number. They live in the session so that one
    /// client can never answer another's call.
    pub(crate) calls: BTreeMap<u32, CallId>,
    pub(crate) last_request: u32,
    /// Whether it has sent or subscribed to anything (`spec/device.md` 16.3).
    pub(crate) used: bool,
    remember: bool,
    will: Option<Message>,
    transport: &'static str,
    since: Timestamp,
    expiry: Option<DeadlineId>,
}

#[derive(Clone, Default)]
pub(crate) struct Sessions {
    open: HashMap<SessionId, Session>,
    by_client: HashMap<ClientId, SessionId>,
    /// Kept beside, so that nobody who wants to know has to count.
    counts: Counts,
    /// Shared between forks, like the registry.
    remembered: OrdMap<ClientId, Subscriptions>,
    last: u64,
}

/// How many are open.
#[derive(Clone, Default)]
struct Counts {
    by_transport: BTreeMap<&'static str, usize>,
    devices: u64,
}

impl Hub {
    /// Lets a client in. An older connection of the same client is ended (400027), its will
    /// published (`spec/device.md` 2.6, 2.8).
    ///
    /// Refuses with `IotHubUnauthorizedAccess` a credential of someone else, with
    /// `DeviceNotFound` or `ModuleNotFound` who is not registered, and with `DeviceDisabled`.
    pub fn connect(
        &mut self,
        cx: &mut Cx<'_>,
        request: ConnectRequest,
    ) -> Result<Connected, Error> {
        request.principal.require(Permission::DeviceConnect)?;
        let client = request.client;
        if let Who::Client(proven) = request.principal.who()
            && *proven != client
        {
            return Err(Error::unauthorized(format!(
                "{proven} wants to connect as {client}"
            )));
        }
        let identity = self.registry.require(&client)?.clone();
        if self.registry.is_disabled(&client.device) {
            return Err(Error::new(
                ErrorCode::DeviceDisabled,
                format!("device {} is disabled", client.device),
            ));
        }
        if let Some(old) = self.sessions.by_client.get(&client).copied() {
            let code = ErrorCode::ConnectionForcefullyClosedOnNewConnection;
            self.force_out(cx, old, code, "replaced by a new connection");
        }

        let remembered = self.sessions.remembered.get(&client).copied();
        let subscriptions = match (request.remember, remembered) {
            (true, Some(subscriptions)) => subscriptions,
            (true, None) => {
                let none = Subscriptions::default();
                self.sessions.remembered.insert(client.clone(), none);
                cx.change(Change::PutSubscriptions(client.clone(), none));
                none
            }
            (false, Some(_)) => {
                self.sessions.remembered.remove(&client);
                cx.change(Change::DeleteSubscriptions(client.clone()));
                Subscriptions::default()
            }
            (false, None) => Subscriptions::default(),
        };

        self.sessions.last += 1;
        let session = SessionId(self.sessions.last);
        let expiry = request.principal.expires().map(|expires| {
            self.deadlines.set(
                expires + self.config.limits.session_grace,
                Due::SessionExpiry(session),
            )
        });
        let origin = Arc::new(Origin {
            client: client.clone(),
            generation: identity.generation.clone(),
            auth_method: request.principal.auth_method(),
            model_id: request.model_id.clone().filter(|id| !id.is_empty()),
        });
        self.sessions.add(
            session,
            Session {
                client: client.clone(),
                origin,
                subscriptions,
                last_activity: cx.now(),
                calls: BTreeMap::new(),
                last_request: 0,
                used: false,
                remember: request.remember,
                will: request.will,
                transport: request.transport,
                since: cx.now(),
                expiry,
            },
        );
        self.note_connection_state(cx, &client, true);
        self.set_model_id(cx, &client, request.model_id.as_deref().unwrap_or_default());
        cx.notice(Notice::Connected(client.clone(), request.transport));
        let at_once = self.config.limits.connection_events == ConnectionEvents::Connect;
        // A client that comes back is subscribed without saying so again.
        if at_once || subscriptions.features().next().is_some() {
            self.connection_used(cx, session);
        }
        if subscriptions.get(Feature::Methods).is_some() {
            self.release_waiting_calls(cx, session);
        }
        self.push_c2d(cx, &client);
        let resumed = request.remember && remembered.is_some();
        Ok(Connected {
            session,
            resumed,
            subscriptions,
        })
    }

    /// Takes a newer proof of who a session's client is. The session lasts as long as that one is
    /// good, and what it sends is stamped with it (`spec/device.md` 2.8, 4.6).
    ///
    /// Refuses with `IotHubUnauthorizedAccess` a credential of someone else, and with
    /// `DeviceConnectionClosedRemotely` when the session has ended.
    pub fn renew_session(
        &mut self,
        session: SessionId,
        principal: &Principal,
    ) -> Result<(), Error> {
        principal.require(Permission::DeviceConnect)?;
        let state = self.sessions.require(session)?;
        if let Who::Client(proven) = principal.who()
            && *proven != state.client
        {
            return Err(Error::unauthorized(format!(
                "{proven} wants to stay connected as {}",
                state.client
            )));
        }
        let old = state.expiry.take();
        if state.origin.auth_method != principal.auth_method() {
            Arc::make_mut(&mut state.origin).auth_method = principal.auth_method();
        }
        if let Some(old) = old {
            self.deadlines.cancel(old);
        }
        let grace = self.config.limits.session_grace;
        let expiry = principal.expires().map(|expires| {
            self.deadlines
                .set(expires + grace, Due::SessionExpiry(session))
        });
        self.sessions.require(session)?.expiry = expiry;
        Ok(())
    }

    /// Takes the model that a session's client says it implements only after it has connected
    /// (`spec/device.md` 15).
    pub fn announce_model(
        &mut self,
        cx: &mut Cx<'_>,
        session: SessionId,
        model_id: &str,
    ) -> Result<(), Error> {
        let state = self.sessions.require(session)?;
        if state.origin.model_id.as_deref().unwrap_or_default() == model_id {
            return Ok(());
        }
        let model = Some(model_id.to_owned()).filter(|id| !id.is_empty());
        Arc::make_mut(&mut state.origin).model_id = model;
        let client = state.client.clone();
        self.set_model_id(cx, &client, model_id);
        Ok(())
    }

    /// Ends a session whose connection is over. A session that has already been ended is not an
    /// error: the connection learns of it late.
    pub fn disconnect(&mut self, cx: &mut Cx<'_>, session: SessionId, end: End) {
        let why = match end {
            End::Goodbye => "disconnected",
            End::Lost => "connection lost",
        };
        self.end_session(cx, session, end, why);
    }

    /// Subscribes a session; idempotent.
    pub fn subscribe(
        &mut self,
        cx: &mut Cx<'_>,
        session: SessionId,
        wanted: &[(Feature, Guarantee)],
    ) -> Result<(), Error> {
        let before = self.sessions.require(session)?.subscriptions;
        self.change_subscriptions(cx, session, |subscriptions| {
            for &(feature, guarantee) in wanted {
                subscriptions.set(feature, Some(guarantee));
            }
        })?;
        self.connection_used(cx, session);
        if wanted
            .iter()
            .any(|&(feature, _)| feature == Feature::Methods)
        {
            self.release_waiting_calls(cx, session);
        }
        if wanted.iter().any(|&(feature, _)| feature == Feature::C2d) {
            self.listen_for_c2d(cx, session, before.get(Feature::C2d).is_none());
        }
        Ok(())
    }

    /// Unsubscribes a session; idempotent.
    pub fn unsubscribe(
        &mut self,
        cx: &mut Cx<'_>,
        session: SessionId,
        unwanted: &[Feature],
    ) -> Result<(), Error> {
        self.change_subscriptions(cx, session, |subscriptions| {
            for &feature in unwanted {
                subscriptions.set(feature, None);
            }
        })
    }

    /// Ends the connection of `client` from the hub's side; refuses with `DeviceNotOnline`.
    pub fn drop_connection(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        client: &ClientId,
    ) -> Result<(), Error> {
        caller.require(Permission::RegistryWrite)?;
        let session = self
            .sessions
            .of(client)
            .ok_or_else(|| Error::new(ErrorCode::DeviceNotOnline, client.to_string()))?;
        let code = ErrorCode::ConnectionForcefullyClosedOnFaultInjection;
        self.force_out(cx, session, code, "dropped on request");
        Ok(())
    }

    /// Ends the session of `client` as it would end when its token expires, now.
    ///
    /// Refuses with `DeviceNotOnline`, and with `ArgumentInvalid` a session that no token keeps
    /// open.
    pub fn expire_token(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        client: &ClientId,
    ) -> Result<(), Error> {
        caller.require(Permission::RegistryWrite)?;
        let (session, state) = self
            .sessions
            .find(client)
            .ok_or_else(|| Error::new(ErrorCode::DeviceNotOnline, client.to_string()))?;
        if state.expiry.is_none() {
            let detail = format!("{client} is not connected by a token: nothing of it expires");
            return Err(Error::argument_invalid(detail));
        }
        self.session_token_expired(cx, session);
        Ok(())
    }

    /// Everyone who is connected, in the order they came.
    pub fn connections(&self) -> Vec<SessionSummary> {
        let open = self.sessions.open.iter();
        let mut all: Vec<_> = open.map(|(&id, state)| state.summary(id)).collect();
        all.sort_by_key(|summary| summary.session);
        all
    }

    /// A device that is connected, then its modules that are.
    pub fn connections_of(&self, device: &DeviceId) -> Vec<SessionSummary> {
        let modules = self.registry.modules_of(device);
        let modules = modules.map(|module| module.client.clone());
        std::iter::once(ClientId::device(device.clone()))
            .chain(modules)
            .filter_map(|client| self.sessions.find(&client))
            .map(|(id, state)| state.summary(id))
            .collect()
    }

    /// How many clients are connected.
    pub fn connection_count(&self) -> usize {
        self.sessions.open.len()
    }

    /// How many clients are connected by which transport, as [`ConnectRequest::transport`] names
    /// it. Transports that nobody uses any more have a zero.
    pub fn connection_counts(&self) -> &BTreeMap<&'static str, usize> {
        &self.sessions.counts.by_transport
    }

    /// Who a session is.
    pub fn session_client(&self, session: SessionId) -> Option<&ClientId> {
        self.sessions.open.get(&session).map(|state| &state.client)
    }

    pub(crate) fn session_token_expired(&mut self, cx: &mut Cx<'_>, session: SessionId) {
        self.force_out(cx, session, ErrorCode::IotHubUnauthorized, "token expired");
    }

    /// Ends a session from the hub's side and tells its connection.
    pub(crate) fn force_out(
        &mut self,
        cx: &mut Cx<'_>,
        session: SessionId,
        code: ErrorCode,
        why: &'static str,
    ) {
        if self.end_session(cx, session, End::Lost, why) {
            cx.emit(Effect::Disconnect(session, code));
        }
    }

    pub(crate) fn close_all_sessions(&mut self, cx: &mut Cx<'_>) {
        let mut all: Vec<_> = self.sessions.open.keys().copied().collect();
        all.sort();
        for session in all {
            self.force_out(
                cx,
                session,
                ErrorCode::DeviceConnectionClosedRemotely,
                "hub reset",
            );
        }
    }

    fn end_session(
        &mut self,
        cx: &mut Cx<'_>,
        session: SessionId,
        end: End,
        why: &'static str,
    ) -> bool {
        let Some(state) = self.sessions.take(session) else {
            return false;
        };
        if let Some(expiry) = state.expiry {
            self.deadlines.cancel(expiry);
        }
        if end == End::Lost
            && let Some(will) = state.will
        {
            self.publish_will(cx, &state.origin, will);
        }
        self.note_connection_state(cx, &state.client, false);
        cx.notice(Notice::Disconnected(state.client.clone(), why));
        if state.used {
            self.connection_ended(cx, &state.client);
        }
        for call in state.calls.into_values() {
            self.fail_call(cx, call, ErrorCode::DeviceConnectionClosedRemotely);
        }
        self.release_c2d(cx, &state.client, session);
        true
    }

    fn change_subscriptions(
        &mut self,
        cx: &mut Cx<'_>,
        session: SessionId,
        change: impl FnOnce(&mut Subscriptions),
    ) -> Result<(), Error> {
        let now = cx.now();
        let state = self.sessions.require(session)?;
        state.last_activity = now;
        let before = state.subscriptions;
        change(&mut state.subscriptions);
        let (after, client) = (state.subscriptions, state.client.clone());
        if after != before && state.remember {
            self.sessions.remembered.insert(client.clone(), after);
            cx.change(Change::PutSubscriptions(client, after));
        }
        Ok(())
    }
}

impl Session {
    fn summary(&self, session: SessionId) -> SessionSummary {
        SessionSummary {
            session,
            client: self.client.clone(),
            transport: self.transport,
            since: self.since,
            last_activity: self.last_activity,
            expires: self.expiry.map(DeadlineId::at),
            subscriptions: self.subscriptions,
        }
    }

    /// What carries it, and since when.
    pub(crate) fn carried(&self) -> (&'static str, Timestamp) {
        (self.transport, self.since)
    }
}

impl Sessions {
    fn add(&mut self, session: SessionId, state: Session) {
        *self.counts.by_transport.entry(state.transport).or_default() += 1;
        self.counts.devices += u64::from(state.client.module.is_none());
        self.by_client.insert(state.client.clone(), session);
        self.open.insert(session, state);
    }

    fn take(&mut self, session: SessionId) -> Option<Session> {
        let state = self.open.remove(&session)?;
        self.by_client.remove(&state.client);
        self.counts.devices -= u64::from(state.client.module.is_none());
        if let Some(count) = self.counts.by_transport.get_mut(state.transport) {
            *count -= 1;
        }
        Some(state)
    }

    /// How many devices are connected; modules are not devices.
    pub(crate) fn devices(&self) -> u64 {
        self.counts.devices
    }

    pub(crate) fn of(&self, client: &ClientId) -> Option<SessionId> {
        self.by_client.get(client).copied()
    }

    pub(crate) fn find(&self, client: &ClientId) -> Option<(SessionId, &Session)> {
        let session = self.of(client)?;
        Some((session, self.open.get(&session)?))
    }

    /// Who is connected, with their last activity.
    pub(crate) fn present(&self) -> HashMap<ClientId, Timestamp> {
        let sessions = self.open.values();
        sessions
            .map(|state| (state.client.clone(), state.last_activity))
            .collect()
    }

    /// The session's state; an ended session answers `DeviceConnectionClosedRemotely`.
    pub(crate) fn require(&mut self, session: SessionId) -> Result<&mut Session, Error> {
        self.open.get_mut(&session).ok_or_else(|| {
            Error::new(
                ErrorCode::DeviceConnectionClosedRemotely,
                "the session has ended",
            )
        })
    }

    pub(crate) fn remember(&mut self, client: ClientId, subscriptions: Subscriptions) {
        self.remembered.insert(client, subscriptions);
    }

    pub(crate) fn forget(&mut self, client: &ClientId) {
        self.remembered.remove(client);
    }

    pub(crate) fn without_connections(&self) -> Self {
        Self {
            remembered: self.remembered.clone(),
            ..self.emptied()
        }
    }

    /// Nothing but where numbering goes on: who still holds a number must not meet it again.
    pub(crate) fn emptied(&self) -> Self {
        Self {
            last: self.last,
            ..Self::default()
        }
    }
}
