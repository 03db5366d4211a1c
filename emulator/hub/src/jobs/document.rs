//! Jobs and what they did to devices as the documents that are kept of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use iothub_protocol::job::{JobStatus, JobType, JobWork};
use iothub_protocol::method::MethodResponse;
use iothub_protocol::{ClientId, Timestamp};
use serde_json::{Map, Value, json};

use super::results::{DeviceJob, DeviceState, key};
use super::{End, Job, State};
use crate::documents::{Document, DocumentKind};

impl Job {
    pub(super) fn to_document(&self) -> Document {
        let mut value = json!({
            "queryCondition": self.condition,
            "type": self.work.kind().name(),
            // As text, so that a payload stays what it was to the byte.
            "work": &*self.sent,
            "created": self.created.ticks(),
            "start": self.start.ticks(),
            "maxExecution": self.max_execution.as_secs(),
            "status": self.status().name(),
        });
        match &self.state {
            State::Queued | State::Scheduled => {}
            State::Running { since, selected } => {
                value["since"] = since.ticks().into();
                value["selected"] = (*selected).into();
            }
            State::Ended { at, end } => {
                value["ended"] = at.ticks().into();
                if let End::Failed(reason) = end {
                    value["reason"] = reason.as_str().into();
                }
            }
        }
        Document {
            kind: DocumentKind::Job,
            key: self.id.clone(),
            value: Arc::new(value),
        }
    }

    pub(super) fn from_document(id: &str, value: &Value) -> Option<Self> {
        let sent = value["work"].as_str()?;
        let kind = JobType::parse(value["type"].as_str()?).ok()?;
        let ended = |end| {
            let at = time(&value["ended"])?;
            Some(State::Ended { at, end })
        };
        let state = match JobStatus::parse(value["status"].as_str()?).ok()? {
            JobStatus::Queued => State::Queued,
            JobStatus::Scheduled => State::Scheduled,
            JobStatus::Running => State::Running {
                since: time(&value["since"])?,
                selected: value["selected"].as_bool()?,
            },
            JobStatus::Completed => ended(End::Completed)?,
            JobStatus::Failed => ended(End::Failed(value["reason"].as_str()?.to_owned()))?,
            JobStatus::Cancelled => ended(End::Cancelled)?,
            JobStatus::Enqueued | JobStatus::Unknown => return None,
        };
        Some(Self {
            id: id.into(),
            condition: value["queryCondition"].as_str()?.to_owned(),
            work: JobWork::parse(kind, sent).ok()?,
            sent: sent.into(),
            created: time(&value["created"])?,
            start: time(&value["start"])?,
            max_execution: Duration::from_secs(value["maxExecution"].as_u64()?),
            state,
        })
    }
}

impl DeviceJob {
    pub(super) fn to_document(&self, job: &str, client: &ClientId) -> Document {
        let mut value = Map::new();
        let mut put = |name: &str, it: Value| {
            value.insert(name.to_owned(), it);
        };
        put("created", self.created.ticks().into());
        put("updated", self.updated.ticks().into());
        if let Some(started) = self.started {
            put("started", started.ticks().into());
        }
        let state = match &self.state {
            DeviceState::Pending => "pending",
            DeviceState::Running => "running",
            DeviceState::Completed(response) => {
                if let Some(MethodResponse { status, payload }) = response {
                    put("answer", (*status).into());
                    put("payload", String::from_utf8_lossy(payload).into());
                }
                "completed"
            }
            DeviceState::Failed { code, description } => {
                put("code", (*code).into());
                put("description", description.as_str().into());
                "failed"
            }
            DeviceState::Canceled => "canceled",
        };
        put("state", state.into());
        Document {
            kind: DocumentKind::DeviceJob,
            key: key(job, client),
            value: Arc::new(Value::Object(value)),
        }
    }

    pub(super) fn from_document(value: &Value) -> Option<Self> {
        let state = match value["state"].as_str()? {
            "pending" => DeviceState::Pending,
            "running" => DeviceState::Running,
            "completed" => DeviceState::Completed(response(value)),
            "failed" => DeviceState::Failed {
                code: u32::try_from(value["code"].as_u64()?).ok()?,
                description: value["description"].as_str()?.to_owned(),
            },
            "canceled" => DeviceState::Canceled,
            _ => return None,
        };
        Some(Self {
            created: time(&value["created"])?,
            updated: time(&value["updated"])?,
            started: time(&value["started"]),
            state,
        })
    }
}

fn response(value: &Value) -> Option<MethodResponse> {
    Some(MethodResponse {
        status: i32::try_from(value["answer"].as_i64()?).ok()?,
        payload: Bytes::copy_from_slice(value["payload"].as_str()?.as_bytes()),
    })
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_i64().map(Timestamp::from_ticks)
}
