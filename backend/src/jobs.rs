//! Scheduled jobs: the same for many devices, now or later (`spec/service.md` 6.1 to 6.4).

use std::time::Duration;

use http::Method;
use iothub_protocol::Timestamp;
use serde_json::{Map, Value, json};

use crate::document::Document;
use crate::transport::{Answer, Call, Transport};
use crate::{Error, Query, query};

mod job;

pub use job::{DeviceJobStatistics, Job, JobStatus, JobType};

/// The scheduled jobs of a hub.
#[derive(Clone, Copy)]
pub struct Jobs<'a> {
    transport: &'a Transport,
}

impl<'a> Jobs<'a> {
    pub(crate) fn new(transport: &'a Transport) -> Self {
        Self { transport }
    }

    /// Prepares a job that merges `patch`, which has `tags` and `properties.desired`, into the twin
    /// of every device that `query_condition` selects: the body of a WHERE, or `*`.
    pub fn schedule_twin_update(
        self,
        job: impl Into<String>,
        query_condition: impl Into<String>,
        patch: &Value,
    ) -> ScheduledJob<'a> {
        let mut update = patch.as_object().cloned().unwrap_or_default();
        // A twin job is forced, whatever the patch was made from.
        update.insert("etag".into(), "*".into());
        let work = ("updateTwin", Value::Object(update));
        self.schedule(
            job.into(),
            JobType::ScheduleUpdateTwin,
            query_condition,
            work,
        )
    }

    /// Prepares a job that calls a direct method of every device that `query_condition` selects.
    pub fn schedule_method(
        self,
        job: impl Into<String>,
        query_condition: impl Into<String>,
        method: impl Into<String>,
    ) -> ScheduledJob<'a> {
        let work = ("cloudToDeviceMethod", json!({"methodName": method.into()}));
        self.schedule(
            job.into(),
            JobType::ScheduleDeviceMethod,
            query_condition,
            work,
        )
    }

    /// A job as it stands. Refused with `JobNotFound`.
    pub async fn get(self, job: &str) -> Result<Job, Error> {
        let call = Call::new(Method::GET, &["jobs", "v2", job]);
        read(&self.transport.send(call).await?)
    }

    /// The job once it is finished, looking after it at this interval of the back end's clock.
    pub async fn wait(self, job: &str, interval: Duration) -> Result<Job, Error> {
        loop {
            let found = self.get(job).await?;
            if found.status().is_finished() {
                return Ok(found);
            }
            self.transport.sleep(interval).await;
        }
    }

    /// Stops a job; devices that it has reached stay as they are. One that is finished stays so.
    pub async fn cancel(self, job: &str) -> Result<Job, Error> {
        let call = Call::new(Method::POST, &["jobs", "v2", job, "cancel"]);
        read(&self.transport.send(call).await?)
    }

    /// The jobs of a type, of a status, or all; the rows are what [`Job::from_json`] reads.
    pub fn list(self, job_type: Option<JobType>, status: Option<JobStatus>) -> Query<'a> {
        let parameters = [
            ("jobType", job_type.map(|it| it.as_str().to_owned())),
            ("jobStatus", status.map(|it| it.as_str().to_owned())),
        ];
        let given = parameters
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        Query::list(self.transport, &["jobs", "v2", "query"], given)
    }

    /// What a job did on each of its devices: the rows of `devices.jobs` (`spec/service.md` 6.4).
    pub fn device_jobs(self, job: &str) -> Query<'a> {
        let job = query::escape(job);
        let text = format!("SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '{job}'");
        Query::new(self.transport, text)
    }

    fn schedule(
        self,
        id: String,
        job_type: JobType,
        query_condition: impl Into<String>,
        (name, work): (&str, Value),
    ) -> ScheduledJob<'a> {
        let mut body = Map::new();
        body.insert("jobId".into(), id.as_str().into());
        body.insert("type".into(), job_type.as_str().into());
        body.insert("queryCondition".into(), query_condition.into().into());
        body.insert(name.into(), work);
        ScheduledJob {
            transport: self.transport,
            id,
            body,
        }
    }
}

/// A job, before the hub knows of it.
#[must_use = "nothing is scheduled before `send`"]
pub struct ScheduledJob<'a> {
    transport: &'a Transport,
    id: String,
    body: Map<String, Value>,
}

impl ScheduledJob<'_> {
    /// When to begin. Default: as soon as possible.
    pub fn start_time(self, time: Timestamp) -> Self {
        self.member("startTime", time.to_iso())
    }

    /// After how long the devices that are left are given up, in whole seconds. Default: an hour.
    pub fn max_execution_time(self, limit: Duration) -> Self {
        self.member("maxExecutionTimeInSeconds", limit.as_secs())
    }

    /// What the devices get with the call; of no meaning for a twin update.
    pub fn payload(self, payload: &Value) -> Self {
        self.of_method("payload", payload.clone())
    }

    /// How long each device may take to answer, in whole seconds; of no meaning for a twin update.
    pub fn response_timeout(self, timeout: Duration) -> Self {
        self.of_method("responseTimeoutInSeconds", timeout.as_secs())
    }

    /// How long to wait for each device that is offline, in whole seconds; of no meaning for a twin
    /// update.
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        self.of_method("connectTimeoutInSeconds", timeout.as_secs())
    }

    /// Hands the job to the hub. Refused with `JobAlreadyExists`, and with `ArgumentInvalid` when
    /// the condition cannot be understood.
    pub async fn send(self) -> Result<Job, Error> {
        let call = Call::new(Method::PUT, &["jobs", "v2", &self.id]);
        let call = call.json(&Value::Object(self.body));
        read(&self.transport.send(call).await?)
    }

    fn member(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body.insert(name.into(), value.into());
        self
    }

    fn of_method(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Some(method) = self.body.get_mut("cloudToDeviceMethod") {
            method[name] = value.into();
        }
        self
    }
}

fn read(answer: &Answer) -> Result<Job, Error> {
    Document::read(answer, "a job").map(Job::from)
}
