//! What jobs did to devices (`spec/service.md` 6.4).

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use iothub_protocol::job::{DeviceJobStatistics, DeviceJobStatus};
use iothub_protocol::method::MethodResponse;
use iothub_protocol::{ClientId, Error, ErrorCode, Timestamp};
use serde_json::{Map, Value, json};

use super::{End, Job, State};

/// A job's devices, and how many are how far.
#[derive(Clone, Default)]
pub(super) struct Results {
    devices: OrdMap<ClientId, Arc<DeviceJob>>,
    counts: DeviceJobStatistics,
}

/// How far a job is with one device. One that is pending when its job ends stays so: what it has
/// become follows from the job, which so ends at once however many devices it has.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DeviceJob {
    pub(super) created: Timestamp,
    pub(super) updated: Timestamp,
    pub(super) started: Option<Timestamp>,
    pub(super) state: DeviceState,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum DeviceState {
    Pending,
    Running,
    Completed(Option<MethodResponse>),
    Failed { code: u32, description: String },
    Canceled,
}

impl DeviceState {
    pub(super) fn failed(error: &Error) -> Self {
        Self::Failed {
            code: error.code.number(),
            description: error.message().to_owned(),
        }
    }

    /// The job was given up before the device was dealt with.
    pub(super) fn timed_out(reason: &str) -> Self {
        Self::Failed {
            code: ErrorCode::GenericTimeout.number(),
            description: reason.to_owned(),
        }
    }
}

impl DeviceJob {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            created: now,
            updated: now,
            started: None,
            state: DeviceState::Pending,
        }
    }

    /// What it becomes at `now`.
    pub(super) fn at(&self, state: DeviceState, now: Timestamp) -> Self {
        Self {
            created: self.created,
            updated: now,
            started: self.started.or(Some(now)),
            state,
        }
    }

    /// The object of `spec/service.md` 6.4, in its order.
    pub(super) fn to_json(&self, job: &Job, client: &ClientId) -> Value {
        let (state, updated) = match (&self.state, &job.state) {
            (DeviceState::Pending, State::Ended { at, end }) => {
                let state = match end {
                    End::Failed(reason) => DeviceState::timed_out(reason),
                    End::Completed | End::Cancelled => DeviceState::Canceled,
                };
                (state, *at)
            }
            (state, _) => (state.clone(), self.updated),
        };
        let (status, ended) = match state {
            DeviceState::Pending => (DeviceJobStatus::Pending, None),
            DeviceState::Running => (DeviceJobStatus::Running, None),
            DeviceState::Completed(_) => (DeviceJobStatus::Completed, Some(updated)),
            DeviceState::Failed { .. } => (DeviceJobStatus::Failed, Some(updated)),
            DeviceState::Canceled => (DeviceJobStatus::Canceled, Some(updated)),
        };
        let mut row = Map::new();
        let mut put = |name: &str, value: Value| {
            row.insert(name.to_owned(), value);
        };
        put("deviceId", client.device.as_str().into());
        if let Some(module) = &client.module {
            put("moduleId", module.as_str().into());
        }
        put("jobId", job.id.as_ref().into());
        put("jobType", job.work.kind().name().into());
        put("status", status.name().into());
        put("startTimeUtc", self.started.map(Timestamp::to_iso).into());
        put("endTimeUtc", ended.map(Timestamp::to_iso).into());
        put("createdDateTimeUtc", self.created.to_iso().into());
        put("lastUpdatedDateTimeUtc", updated.to_iso().into());
        match state {
            DeviceState::Completed(Some(response)) => {
                let response = serde_json::from_slice::<Value>(&response.to_json());
                let response = response.unwrap_or_default();
                put("outcome", json!({ "deviceMethodResponse": response }));
            }
            DeviceState::Failed { code, description } => {
                put(
                    "error",
                    json!({"code": code.to_string(), "description": description}),
                );
            }
            DeviceState::Pending
            | DeviceState::Running
            | DeviceState::Completed(None)
            | DeviceState::Canceled => {}
        }
        Value::Object(row)
    }
}

impl Results {
    pub(super) fn put(&mut self, client: ClientId, result: DeviceJob) {
        self.count(&result.state, 1);
        if let Some(old) = self.devices.insert(client, Arc::new(result)) {
            self.count(&old.state, -1);
        }
    }

    pub(super) fn remove(&mut self, client: &ClientId) {
        if let Some(old) = self.devices.remove(client) {
            self.count(&old.state, -1);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    pub(super) fn get(&self, client: &ClientId) -> Option<&Arc<DeviceJob>> {
        self.devices.get(client)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ClientId, &Arc<DeviceJob>)> {
        self.devices.iter()
    }

    /// The first one after `cursor`.
    pub(super) fn after(&self, cursor: Option<&ClientId>) -> Option<(&ClientId, &Arc<DeviceJob>)> {
        let from = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        self.devices
            .range::<_, ClientId>((from, Bound::Unbounded))
            .next()
    }

    /// As the job prints them. Those that it has not come to when it ends have failed with it, or
    /// are in no count but the total's.
    pub(super) fn statistics(&self, job: &Job) -> DeviceJobStatistics {
        let mut counts = self.counts;
        if let State::Ended { end, .. } = &job.state {
            if let End::Failed(_) = end {
                counts.failed += counts.pending;
            }
            counts.pending = 0;
        }
        counts
    }

    fn count(&mut self, state: &DeviceState, by: i64) {
        let counts = &mut self.counts;
        counts.total = counts.total.wrapping_add_signed(by);
        let part = match state {
            DeviceState::Pending => &mut counts.pending,
            DeviceState::Running => &mut counts.running,
            DeviceState::Completed(_) => &mut counts.succeeded,
            DeviceState::Failed { .. } => &mut counts.failed,
            DeviceState::Canceled => return,
        };
        *part = part.wrapping_add_signed(by);
    }
}

/// `job/device[/module]`; none of the names has a slash.
pub(super) fn key(job: &str, client: &ClientId) -> Arc<str> {
    format!("{job}/{client}").into()
}

pub(super) fn parse_key(key: &str) -> Option<(&str, ClientId)> {
    let (job, client) = key.split_once('/')?;
    Some((job, ClientId::parse(client).ok()?))
}
