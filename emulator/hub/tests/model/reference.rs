//! The hub said again in a fraction of its size: what it answers, whom it tells what, and what can be
//! seen of it afterwards.

mod c2d;
mod feedback;

use std::collections::{BTreeMap, BTreeSet};

use iothub_hub::Feature;
use iothub_protocol::ErrorCode::{self, *};
use serde_json::{Map, Value};

/// Device and module, by number.
pub(crate) type Client = (u8, Option<u8>);
pub(crate) type Reply = Result<Option<u64>, ErrorCode>;

/// How long a connection outlives its token.
const GRACE: i64 = 600;
pub(crate) use c2d::limits;

pub(crate) const MAX_CALLS: usize = 2;

/// What leaves the hub.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Call(u64, u32),
    Desired(u64, u64, Value),
    Complete(u64, Result<i32, ErrorCode>),
    /// Session, sequence number, number of the lock, whether it is sent again.
    C2d(u64, u64, Option<u64>, bool),
    FeedbackReady,
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
    /// What it is subscribed to, and whether it wants messages at most once.
    remembered: Option<(BTreeSet<Feature>, bool)>,
}

#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) features: BTreeSet<Feature>,
    once: bool,
    credit: Option<u32>,
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
    pub(crate) queues: BTreeMap<Client, c2d::Queue>,
    pub(crate) last_lock: u64,
    feedback: feedback::Feedback,
    calls: BTreeMap<u64, Call>,
    deadlines: u64,
}

/// Something that falls due.
#[derive(Clone, Copy)]
enum What {
    Session(u64),
    Call(u64),
    Expiry(Client, u64),
    Lock(Client, u64),
    Batch(u64),
    BatchLock(u64),
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
        self.next_due().map(|(due, _)| due.0)
    }

    fn next_due(&self) -> Option<(Due, What)> {
        let sessions = self
            .sessions
            .iter()
            .map(|it| (it.1.due, What::Session(*it.0)));
        let calls = self.calls.iter().map(|it| (it.1.due, What::Call(*it.0)));
        sessions
            .chain(calls)
            .chain(self.c2d_dues())
            .chain(self.feedback.dues())
            .min_by_key(|(due, _)| *due)
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
            self.queues.remove(&client);
            self.feedback.forget(client);
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
        self.release_c2d(ended.client, session);
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
        let (features, once) = record
            .remembered
            .take()
            .filter(|_| remember)
            .unwrap_or_default();
        record.remembered = remember.then(|| (features.clone(), once));
        self.last_session += 1;
        let (id, due) = (self.last_session, self.due(ttl + GRACE));
        let (calls, requests) = (BTreeMap::new(), 0);
        self.sessions.insert(
            id,
            Session {
                client,
                features,
                once,
                credit: None,
                remember,
                will,
                due,
                calls,
                requests,
            },
        );
        self.release(id);
        self.push(client);
        Ok(Some(id))
    }

    fn session(&mut self, id: u64) -> Result<&mut Session, ErrorCode> {
        self.sessions
            .get_mut(&id)
            .ok_or(DeviceConnectionClosedRemotely)
    }

    pub(crate) fn subscribe(&mut self, id: u64, feature: Feature, on: bool, once: bool) -> Reply {
        let session = self.session(id)?;
        if on {
            session.features.insert(feature);
        } else {
            session.features.remove(&feature);
        }
        if feature == Feature::C2d {
            session.once = once;
        }
        let (client, remember) = (session.client, session.remember);
        let subscriptions = (session.features.clone(), session.once);
        if remember {
            self.find(client)?.remembered = Some(subscriptions);
        }
        self.release(id);
        self.push(client);
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
        while let Some((_, what)) = self.next_due().filter(|(due, _)| due.0 <= self.now) {
            match what {
                What::Session(session) => self.force_out(session, IotHubUnauthorized),
                What::Call(call) => {
                    let taken = self.calls[&call].taken.is_some();
                    let code = if taken {
                        GatewayTimeout
                    } else {
                        DeviceNotOnline
                    };
                    self.complete(call, Err(code));
                }
                What::Expiry(client, sequence) => self.expire(client, sequence),
                What::Lock(client, sequence) => {
                    self.give_back(client, sequence, false);
                    self.push(client);
                }
                What::Batch(batch) => self.batch_due(batch),
                What::BatchLock(batch) => self.give_back_batch(batch, false),
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
        self.queues.clear();
        self.feedback = feedback::Feedback::default();
        self.last_lock = 0;
    }
}
