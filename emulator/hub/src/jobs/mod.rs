//! Scheduled twin updates and method calls over many devices (`spec/service.md` 6.1 to 6.4).
//!
//! A job is worked on in slices, each of which is a deadline of its own: however many devices it
//! has, others have the hub in between. What becomes of a job is in `run`, what became of its
//! devices in `results`, how both are kept in `document`.

mod document;
mod results;
mod run;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use iothub_protocol::job::{
    JobRequest, JobResponse, JobStatus, JobType, JobWork, unknown_job_json,
};
use iothub_protocol::{ClientId, Error, ErrorCode, Timestamp};
use serde_json::Value;

use crate::Hub;
use crate::access::{Permission, Principal};
use crate::cx::Cx;
use crate::methods::CallId;
use crate::query::Condition;
use crate::throttles::Tier;

use results::Results;

/// What falls due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The job can go on.
    Step(JobId),
    /// The job has taken as long as it may.
    Expiry(JobId),
    /// The job has been over for as long as it is remembered.
    Forget(JobId),
}

/// Which jobs are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct JobFilter {
    /// Only those of this kind.
    pub kind: Option<JobType>,
    /// Only those that are so far.
    pub status: Option<JobStatus>,
}

pub(crate) type JobId = Arc<str>;

#[derive(Clone, Default)]
pub(crate) struct Jobs {
    jobs: OrdMap<JobId, Arc<Job>>,
    results: OrdMap<JobId, Results>,
    /// Jobs that have not ended, and how they go on.
    active: BTreeMap<JobId, run::Active>,
    /// Calls of jobs that wait for a device.
    calls: BTreeMap<CallId, (JobId, ClientId)>,
}

#[derive(Clone, Debug)]
struct Job {
    id: JobId,
    condition: String,
    work: JobWork,
    /// What is to be done, as it was sent: that is what is answered.
    sent: Arc<str>,
    created: Timestamp,
    start: Timestamp,
    max_execution: Duration,
    state: State,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Queued,
    Scheduled,
    Running {
        since: Timestamp,
        /// Whether it is known for whom the job is.
        selected: bool,
    },
    Ended {
        at: Timestamp,
        end: End,
    },
}

#[derive(Clone, Debug, PartialEq)]
enum End {
    /// Every device has been dealt with.
    Completed,
    /// Given up as a whole, for this reason.
    Failed(String),
    /// On request.
    Cancelled,
}

impl Hub {
    /// Accepts a job; `sent` is what [`JobRequest::parse`] answers beside the request.
    ///
    /// Refuses with `JobAlreadyExists`, `ArgumentInvalid` when the condition is none, and
    /// `ThrottlingMaxActiveJobCountExceeded`.
    pub fn put_job(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        request: JobRequest,
        sent: &str,
    ) -> Result<Value, Error> {
        caller.require(Permission::ServiceConnect)?;
        let taken = self.jobs.jobs.contains_key(request.id.as_str())
            || self.registry_jobs.contains(&request.id);
        if taken {
            let detail = format!("Job {} already exists", request.id);
            return Err(Error::new(ErrorCode::JobAlreadyExists, detail));
        }
        Condition::parse(&request.condition)?;
        let limits = &self.config.limits;
        if let Some(limit) = limits.active_jobs.or(limits.tier.map(Tier::active_jobs))
            && self.jobs.active.len() >= limit
        {
            let detail = format!("{limit} jobs are active, and no more may be");
            return Err(Error::new(
                ErrorCode::ThrottlingMaxActiveJobCountExceeded,
                detail,
            ));
        }
        let now = cx.now();
        let job = Job {
            id: request.id.into(),
            condition: request.condition,
            work: request.work,
            sent: sent.into(),
            created: now,
            start: request.start.unwrap_or(now).max(now),
            max_execution: request.max_execution,
            state: State::Queued,
        };
        let id = job.id.clone();
        self.begin_job(cx, job);
        Ok(self.jobs.view(&id))
    }

    /// A job; refuses with `JobNotFound`. Of a job that imports or exports, it says no more than
    /// that it is of another kind (`spec/service.md` 6.1).
    pub fn job(&self, caller: &Principal, id: &str) -> Result<Value, Error> {
        caller.require(Permission::ServiceConnect)?;
        if self.registry_jobs.contains(id) {
            return Ok(unknown_job_json(id));
        }
        let job = self.jobs.require(id)?;
        Ok(self.jobs.view(&job.id))
    }

    /// Up to `max` jobs with names after `after`, by name, and the name of the last when there are
    /// more.
    pub fn jobs_page(
        &self,
        caller: &Principal,
        filter: JobFilter,
        after: Option<&str>,
        max: usize,
    ) -> Result<(Vec<Value>, Option<String>), Error> {
        caller.require(Permission::ServiceConnect)?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut wanted = self
            .jobs
            .jobs
            .range::<_, str>((from, Bound::Unbounded))
            .map(|(_, job)| job)
            .filter(|job| filter.takes(job))
            .peekable();
        let mut page = Vec::new();
        let mut last = None;
        while page.len() < max
            && let Some(job) = wanted.next()
        {
            page.push(self.jobs.view(&job.id));
            last = Some(&job.id);
        }
        let more = wanted.peek().and(last).map(ToString::to_string);
        Ok((page, more))
    }

    /// Ends a job: devices that it has not dealt with are left alone, calls that wait for an answer
    /// wait no more. One that has ended stays as it is (`spec/service.md` 6.3).
    ///
    /// Refuses with `JobNotFound`.
    pub fn cancel_job(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        id: &str,
    ) -> Result<Value, Error> {
        caller.require(Permission::ServiceConnect)?;
        let id = self.jobs.require(id)?.id.clone();
        self.end_job(cx, &id, End::Cancelled);
        Ok(self.jobs.view(&id))
    }
}

impl Jobs {
    /// What jobs did to devices, in the shape of `spec/service.md` 6.4: what
    /// `SELECT * FROM devices.jobs` looks at.
    pub(crate) fn device_jobs(&self) -> impl Iterator<Item = Value> + '_ {
        self.jobs.values().flat_map(|job| {
            let results = self.results.get(&job.id);
            results
                .into_iter()
                .flat_map(|results| results.iter())
                .map(|(client, result)| result.to_json(job, client))
        })
    }

    /// What one job did to one device or module, as [`Jobs::device_jobs`] has it.
    pub(crate) fn device_job(&self, id: &JobId, client: &ClientId) -> Option<Value> {
        let result = self.results.get(id)?.get(client)?;
        Some(result.to_json(self.jobs.get(id)?, client))
    }

    pub(crate) fn restore_job(&mut self, key: &str, document: Option<&Value>) {
        match document.and_then(|document| Job::from_document(key, document)) {
            Some(job) => {
                self.jobs.insert(job.id.clone(), Arc::new(job));
            }
            None => {
                self.jobs.remove(key);
            }
        }
    }

    pub(crate) fn restore_device_job(&mut self, key: &str, document: Option<&Value>) {
        let Some((job, client)) = results::parse_key(key) else {
            return;
        };
        match document.and_then(results::DeviceJob::from_document) {
            Some(result) => self
                .results
                .entry(job.into())
                .or_default()
                .put(client, result),
            None => self.remove_result(job, &client),
        }
    }

    fn remove_result(&mut self, job: &str, client: &ClientId) {
        if let Some(results) = self.results.get_mut(job) {
            results.remove(client);
            if results.is_empty() {
                self.results.remove(job);
            }
        }
    }

    fn require(&self, id: &str) -> Result<&Arc<Job>, Error> {
        let unknown = || Error::new(ErrorCode::JobNotFound, format!("Job {id} not found"));
        self.jobs.get(id).ok_or_else(unknown)
    }

    fn view(&self, id: &JobId) -> Value {
        let job = &self.jobs[id];
        let results = self.results.get(id);
        let (end, failure) = match &job.state {
            State::Queued | State::Scheduled | State::Running { .. } => (None, None),
            State::Ended { at, end } => match end {
                End::Failed(reason) => (Some(*at), Some(reason.as_str())),
                End::Completed | End::Cancelled => (Some(*at), None),
            },
        };
        let response = JobResponse {
            id,
            condition: &job.condition,
            created: job.created,
            start: job.start,
            end,
            max_execution_seconds: job.max_execution.as_secs(),
            kind: job.work.kind(),
            work: &serde_json::from_str(&job.sent).unwrap_or_default(),
            status: job.status(),
            failure,
            statistics: results.map_or_else(Default::default, |results| results.statistics(job)),
        };
        response.to_json()
    }
}

impl Job {
    fn status(&self) -> JobStatus {
        match &self.state {
            State::Queued => JobStatus::Queued,
            State::Scheduled => JobStatus::Scheduled,
            State::Running { .. } => JobStatus::Running,
            State::Ended { end, .. } => match end {
                End::Completed => JobStatus::Completed,
                End::Failed(_) => JobStatus::Failed,
                End::Cancelled => JobStatus::Cancelled,
            },
        }
    }
}

impl JobFilter {
    fn takes(self, job: &Job) -> bool {
        self.kind.is_none_or(|kind| kind == job.work.kind())
            && self.status.is_none_or(|status| status == job.status())
    }
}
