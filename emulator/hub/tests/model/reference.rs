//! The hub said again in a fraction of its size: what it answers, whom it tells what, and what can be
//! seen of it afterwards.

use std::collections::{BTreeMap, BTreeSet};

use iothub_hub::Feature;
use iothub_protocol::ErrorCode::{self, *};
use serde_json::{Map, Value};

/// Device and module, by number.
pub(crate) type Client = (u8, Option<u8>);
pub(crate) type Reply = Result<Option<u64>, ErrorCode>;

/// How long a connection outlives its token.
const GRACE: i64 = 600;
pub(crate) const MAX_CALLS: usize = 2;

/// What leaves the hub.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Call(u64, u32),
    Desired(u64, u64, Value),
    Complete(u64, Result<i32, ErrorCode>),
    Appended(u8),
    Disconnect(u64, ErrorCode),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Etag {
    Absent,
    Any,
    Current,
    Stale,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(crate) disabled: bool,
    pub(crate) tags: Map<String, Value>,
    pub(crate) desired: Map<String, Value>,
    pub(crate) reported: Map<String, Value>,
    pub(crate) desired_version: u64,
    pub(crate) reported_version: u64,
    pub(crate) version: u64,
    pub(crate) etag: u64,
    remembered: Option<BTreeSet<Feature>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) features: BTreeSet<Feature>,
    remember: bool,
    will: bool,
    due: Due,
    calls: BTreeMap<u32, u64>,
    requests: u32,
}

#[derive(Clone, Debug)]
struct Call {
    client: Client,
    taken: Option<(u64, u32)>,
    response_timeout: i64,
    due: Due,
}

/// When, and among equals which first.
type Due = (i64, u64);

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) now: i64,
    pub(crate) records: BTreeMap<Client, Record>,
    pub(crate) sessions: BTreeMap<u64, Session>,
    pub(crate) events: BTreeMap<u8, u64>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) last_session: u64,
    pub(crate) last_call: u64,
    calls: BTreeMap<u64, Call>,
    deadlines: u64,
}

fn is_missing(client: Client) -> ErrorCode {
    if client.1.is_some() {
        ModuleNotFound
    } else {
        DeviceNotFound
    }
}

pub(crate) fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        match value {
            Value::Null => drop(target.remove(key)),
            Value::Object(inner) => {
                let child = target.entry(key.clone()).or_insert(Value::Null);
                if !child.is_object() {
                    *child = Value::Object(Map::new());
                }
                merge(child.as_object_mut().unwrap(), inner);
            }
            other => drop(target.insert(key.clone(), other.clone())),
        }
    }
}

impl Model {
    fn find(&mut self, client: Client) -> Result<&mut Record, ErrorCode> {
        if !self.records.contains_key(&(client.0, None)) {
            return Err(DeviceNotFound);
        }
        self.records.get_mut(&client).ok_or(is_missing(client))
    }

    fn check(&mut self, client: Client, etag: Etag) -> Result<&mut Record, ErrorCode> {
        let record = self.find(client)?;
        if matches!(etag, Etag::Stale) {
            Err(PreconditionFailed)
        } else {
            Ok(record)
        }
    }

    fn due(&mut self, seconds: i64) -> Due {
        self.deadlines += 1;
        (self.now + seconds, self.deadlines)
    }

    pub(crate) fn next_deadline(&self) -> Option<i64> {
        let sessions = self.sessions.values().map(|session| session.due);
        sessions
            .chain(self.calls.values().map(|call| call.due))
            .min()
            .map(|due| due.0)
    }

    pub(crate) fn put(&mut self, client: Client, disabled: bool, etag: Etag) -> Reply {
        if !matches!(etag, Etag::Absent) {
            let record = self.check(client, etag)?;
            let becomes_disabled = disabled && !record.disabled;
            record.disabled = disabled;
            if becomes_disabled {
                self.turn_out_family(client.0);
            }
            return Ok(None);
        }
        if client.1.is_some() {
            self.find((client.0, None))?;
        }
        if self.records.contains_key(&client) {
            return Err(client
                .1
                .map_or(DeviceAlreadyExists, |_| ModuleAlreadyExistsOnDevice));
        }
        let (desired_version, reported_version, version, etag) = (1, 1, 2, 1);
        let counts = Record {
            desired_version,
            reported_version,
            version,
            etag,
            ..Record::default()
        };
        self.records.insert(client, Record { disabled, ..counts });
        Ok(None)
    }

    pub(crate) fn delete(&mut self, client: Client, etag: Etag) -> Reply {
        self.check(client, etag)?;
        let modules = self
            .records
            .keys()
            .filter(|other| other.0 == client.0 && other.1.is_some());
        let mut doomed: Vec<_> = modules.copied().filter(|_| client.1.is_none()).collect();
        doomed.push(client);
        for client in doomed {
            self.turn_out(client, is_missing(client));
            self.records.remove(&client);
        }
        Ok(None)
    }

    fn turn_out_family(&mut self, device: u8) {
        let family: Vec<_> = self
            .records
            .keys()
            .copied()
            .filter(|id| id.0 == device)
            .collect();
        family
            .into_iter()
            .for_each(|client| self.turn_out(client, DeviceDisabled));
    }

    fn turn_out(&mut self, client: Client, code: ErrorCode) {
        let waiting = self.calls.iter().filter(|(_, call)| call.client == client);
        let waiting: Vec<_> = waiting
            .filter(|call| call.1.taken.is_none())
            .map(|c| *c.0)
            .collect();
        waiting
            .into_iter()
            .for_each(|call| self.complete(call, Err(is_missing(client))));
        if let Some(session) = self.session_of(client) {
            self.force_out(session, code);
        }
    }

    fn session_of(&self, client: Client) -> Option<u64> {
        self.sessions
            .iter()
            .find(|(_, session)| session.client == client)
            .map(|it| *it.0)
    }

    fn force_out(&mut self, session: u64, code: ErrorCode) {
        self.end(session, true);
        self.seen.push(Seen::Disconnect(session, code));
    }

    pub(crate) fn end(&mut self, session: u64, lost: bool) {
        let Some(ended) = self.sessions.remove(&session) else {
            return;
        };
        if lost && ended.will {
            self.append(ended.client.0, 1);
        }
        for call in ended.calls.into_values() {
            self.complete(call, Err(DeviceConnectionClosedRemotely));
        }
    }

    pub(crate) fn drop_connection(&mut self, client: Client) -> Reply {
        let session = self.session_of(client).ok_or(DeviceNotOnline)?;
        self.force_out(session, ConnectionForcefullyClosedOnFaultInjection);
        Ok(None)
    }

    fn append(&mut self, device: u8, count: u64) {
        if count > 0 {
            *self.events.entry(device).or_default() += count;
            self.seen.push(Seen::Appended(device));
        }
    }

    pub(crate) fn connect(
        &mut self,
        client: Client,
        remember: bool,
        will: bool,
        ttl: i64,
    ) -> Reply {
        self.find(client).map_err(|_| IotHubUnauthorizedAccess)?;
        if self.records[&(client.0, None)].disabled {
            return Err(DeviceDisabled);
        }
        if let Some(old) = self.session_of(client) {
            self.force_out(old, ConnectionForcefullyClosedOnNewConnection);
        }
        let record = self.find(client)?;
        let features = record
            .remembered
            .take()
            .filter(|_| remember)
            .unwrap_or_default();
        record.remembered = remember.then(|| features.clone());
        self.last_session += 1;
        let (id, due) = (self.last_session, self.due(ttl + GRACE));
        let (calls, requests) = (BTreeMap::new(), 0);
        self.sessions.insert(
            id,
            Session {
                client,
                features,
                remember,
                will,
                due,
                calls,
                requests,
            },
        );
        self.release(id);
        Ok(Some(id))
    }

    fn session(&mut self, id: u64) -> Result<&mut Session, ErrorCode> {
        self.sessions
            .get_mut(&id)
            .ok_or(DeviceConnectionClosedRemotely)
    }

    pub(crate) fn subscribe(&mut self, id: u64, feature: Feature, on: bool) -> Reply {
        let session = self.session(id)?;
        let _ = if on {
            session.features.insert(feature)
        } else {
            session.features.remove(&feature)
        };
        let (client, remember, features) =
            (session.client, session.remember, session.features.clone());
        if remember {
            self.find(client)?.remembered = Some(features);
        }
        self.release(id);
        Ok(None)
    }

    pub(crate) fn ingest(&mut self, id: u64, count: u64) -> Reply {
        let device = self.session(id)?.client.0;
        self.append(device, count);
        Ok(None)
    }

    /// `whole` replaces what `tags` and `desired` name.
    pub(crate) fn write_twin(
        &mut self,
        client: Client,
        tags: Option<&Map<String, Value>>,
        desired: Option<&Map<String, Value>>,
        whole: bool,
        etag: Etag,
    ) -> Reply {
        let mut record = self.check(client, etag)?.clone();
        if tags.is_none() && desired.is_none() {
            return Ok(Some(record.etag));
        }
        for (section, patch) in [(&mut record.tags, tags), (&mut record.desired, desired)] {
            let Some(patch) = patch else { continue };
            if patch.contains_key("$no") {
                return Err(ArgumentInvalid);
            }
            if whole {
                section.clear();
            }
            merge(section, patch);
        }
        record.version += 1;
        record.etag += 1;
        let mut told = None;
        if let Some(patch) = desired {
            record.desired_version += 1;
            told = Some(if whole {
                record.desired.clone()
            } else {
                patch.clone()
            });
        }
        let (etag, version) = (record.etag, record.desired_version);
        self.records.insert(client, record);
        if let (Some(mut told), Some(session)) = (told, self.session_of(client))
            && self.sessions[&session]
                .features
                .contains(&Feature::DesiredChanges)
        {
            told.insert("$version".into(), version.into());
            self.seen.push(Seen::Desired(session, version, told.into()));
        }
        Ok(Some(etag))
    }

    pub(crate) fn patch_reported(
        &mut self,
        id: u64,
        patch: &Map<String, Value>,
        stale: bool,
    ) -> Reply {
        let client = self.session(id)?.client;
        let record = self.find(client)?;
        if stale {
            return Err(PreconditionFailed);
        }
        if patch.contains_key("$no") {
            return Err(ArgumentInvalid);
        }
        merge(&mut record.reported, patch);
        record.reported_version += 1;
        record.version += 1;
        Ok(Some(record.reported_version))
    }

    pub(crate) fn invoke(&mut self, client: Client, connect: i64, response_timeout: i64) -> Reply {
        if self
            .records
            .get(&(client.0, None))
            .is_none_or(|device| device.disabled)
        {
            return Err(DeviceNotFound);
        }
        self.find(client)?;
        let listening = self.session_of(client).filter(|id| self.listens(*id));
        match listening {
            None if connect == 0 => return Err(DeviceNotOnline),
            Some(id) if self.sessions[&id].calls.len() >= MAX_CALLS => {
                return Err(DeviceMaximumInflightMethodExceeded);
            }
            None | Some(_) => {}
        }
        self.last_call += 1;
        let due = self.due(connect);
        self.calls.insert(
            self.last_call,
            Call {
                client,
                taken: None,
                response_timeout,
                due,
            },
        );
        if let Some(session) = listening {
            self.release(session);
        }
        Ok(Some(self.last_call))
    }

    fn listens(&self, session: u64) -> bool {
        self.sessions[&session].features.contains(&Feature::Methods)
    }

    /// Hands a session the calls that wait for its client.
    fn release(&mut self, id: u64) {
        let client = self.sessions[&id].client;
        let waiting = self.calls.iter().filter(|(_, call)| call.client == client);
        let waiting: Vec<_> = waiting
            .filter(|call| call.1.taken.is_none())
            .map(|c| *c.0)
            .collect();
        for call in waiting
            .into_iter()
            .filter(|_| self.listens(id))
            .collect::<Vec<_>>()
        {
            let due = self.due(self.calls[&call].response_timeout);
            let session = self.sessions.get_mut(&id).unwrap();
            session.requests += 1;
            let request = session.requests;
            session.calls.insert(request, call);
            let call = self.calls.get_mut(&call).unwrap();
            (call.taken, call.due) = (Some((id, request)), due);
            self.seen.push(Seen::Call(id, request));
        }
    }

    pub(crate) fn answer(&mut self, id: u64, request: u32, status: i32) -> Reply {
        if let Some(call) = self.session(id)?.calls.get(&request).copied() {
            self.complete(call, Ok(status));
        }
        Ok(None)
    }

    pub(crate) fn cancel(&mut self, call: u64) {
        if let Some((session, request)) = self.calls.remove(&call).and_then(|call| call.taken)
            && let Some(session) = self.sessions.get_mut(&session)
        {
            session.calls.remove(&request);
        }
    }

    fn complete(&mut self, call: u64, result: Result<i32, ErrorCode>) {
        self.cancel(call);
        self.seen.push(Seen::Complete(call, result));
    }

    pub(crate) fn fire_due(&mut self) {
        while self.next_deadline().is_some_and(|due| due <= self.now) {
            let session = self
                .sessions
                .iter()
                .min_by_key(|it| it.1.due)
                .map(|it| (it.1.due, *it.0));
            let call = self
                .calls
                .iter()
                .min_by_key(|it| it.1.due)
                .map(|it| (it.1.due, *it.0));
            match (session, call) {
                (Some(session), None) => self.force_out(session.1, IotHubUnauthorized),
                (Some(session), Some(call)) if session.0 < call.0 => {
                    self.force_out(session.1, IotHubUnauthorized);
                }
                (_, Some((_, call))) => {
                    let taken = self.calls[&call].taken.is_some();
                    self.complete(
                        call,
                        Err(if taken {
                            GatewayTimeout
                        } else {
                            DeviceNotOnline
                        }),
                    );
                }
                (None, None) => unreachable!("something is due"),
            }
        }
    }

    pub(crate) fn reset(&mut self) {
        let sessions: Vec<_> = self.sessions.keys().copied().collect();
        for session in sessions {
            self.force_out(session, DeviceConnectionClosedRemotely);
        }
        let calls: Vec<_> = self.calls.keys().copied().collect();
        for call in calls {
            self.complete(call, Err(DeviceConnectionClosedRemotely));
        }
        self.records.clear();
        self.events.clear();
    }
}
