//! How a job goes on: queued, scheduled, running, ended (`spec/service.md` 6.2, 6.3).

use std::sync::Arc;
use std::time::Duration;

use iothub_protocol::job::JobWork;
use iothub_protocol::method::{MethodRequest, MethodResponse};
use iothub_protocol::registry::IfMatch;
use iothub_protocol::twin::TwinPatch;
use iothub_protocol::{ClientId, Error, ErrorCode, Timestamp};

use super::results::{DeviceJob, DeviceState};
use super::{Due, End, Job, JobId, State};
use crate::Hub;
use crate::cx::{Change, Cx};
use crate::deadlines::{self, DeadlineId};
use crate::documents::DocumentKind;
use crate::methods::{CallId, Caller};
use crate::query::Condition;
use crate::throttles::Throttle;
use crate::twins::WriteMode;

/// Devices that a job looks at before others have the hub: some milliseconds of work.
const SLICE: usize = 500;
/// Calls of one job that wait for their devices at the same time.
const CALLS_IN_FLIGHT: usize = 100;
/// How long a job that has ended is remembered (`spec/service.md` 6.1).
const HISTORY: Duration = Duration::from_secs(30 * 24 * 3600);

/// How a job that has not ended goes on. Made anew after a restart.
#[derive(Clone, Default)]
pub(super) struct Active {
    /// Whom it is for, while that is being found out.
    condition: Option<Arc<Condition>>,
    /// The last identity or result that was looked at.
    cursor: Option<ClientId>,
    /// Whether every result has been.
    exhausted: bool,
    in_flight: usize,
    step: Option<DeadlineId>,
    expiry: Option<DeadlineId>,
}

impl Hub {
    /// Sets the deadlines of what was restored or copied. Calls stay behind: who waits for them
    /// finds them gone when the job goes on.
    pub(crate) fn jobs_rearm(&mut self) {
        self.jobs.calls.clear();
        self.jobs.active.clear();
        let jobs: Vec<_> = self.jobs.jobs.values().cloned().collect();
        for job in jobs {
            match &job.state {
                State::Queued => self.activate(&job.id, job.created, None),
                State::Scheduled => self.activate(&job.id, job.start, None),
                State::Running { since, .. } => {
                    self.activate(&job.id, *since, Some(*since + job.max_execution));
                }
                State::Ended { at, .. } => self.forget_later(&job.id, *at),
            }
        }
    }

    pub(crate) fn jobs_due(&mut self, cx: &mut Cx<'_>, due: Due) {
        match due {
            Due::Step(id) => self.step_job(cx, &id),
            Due::Expiry(id) => {
                let reason = "The job took longer than maxExecutionTimeInSeconds.";
                self.end_job(cx, &id, End::Failed(reason.into()));
            }
            Due::Forget(id) => self.forget_job(cx, &id),
        }
    }

    pub(super) fn begin_job(&mut self, cx: &mut Cx<'_>, job: Job) {
        let id = job.id.clone();
        self.store_job(cx, job);
        self.activate(&id, cx.now(), None);
    }

    /// Ends a job that has not ended.
    pub(super) fn end_job(&mut self, cx: &mut Cx<'_>, id: &JobId, end: End) {
        let Some(active) = self.jobs.active.remove(id) else {
            return;
        };
        for deadline in [active.step, active.expiry].into_iter().flatten() {
            self.deadlines.cancel(deadline);
        }
        let waiting: Vec<_> = self
            .jobs
            .calls
            .iter()
            .filter(|(_, (job, _))| job == id)
            .map(|(call, (_, client))| (*call, client.clone()))
            .collect();
        for (call, client) in waiting {
            self.jobs.calls.remove(&call);
            self.cancel_call(call);
            let state = match &end {
                End::Failed(reason) => DeviceState::timed_out(reason),
                End::Completed | End::Cancelled => DeviceState::Canceled,
            };
            self.settle_device(cx, id, &client, state);
        }
        let at = cx.now();
        self.change_state(cx, id, State::Ended { at, end });
        self.forget_later(id, at);
    }

    /// Takes the end of a call that a job made.
    pub(crate) fn job_call_ended(
        &mut self,
        cx: &mut Cx<'_>,
        call: CallId,
        result: Result<MethodResponse, Error>,
    ) {
        let Some((id, client)) = self.jobs.calls.remove(&call) else {
            return;
        };
        let state = match result {
            Ok(response) => DeviceState::Completed(Some(response)),
            Err(error) => DeviceState::failed(&error),
        };
        self.settle_device(cx, &id, &client, state);
        if let Some(active) = self.jobs.active.get_mut(&id) {
            active.in_flight -= 1;
            self.step_at(&id, cx.now());
        }
    }

    fn activate(&mut self, id: &JobId, step: Timestamp, expiry: Option<Timestamp>) {
        let expiry = expiry.map(|at| {
            self.deadlines
                .set(at, deadlines::Due::Jobs(Due::Expiry(id.clone())))
        });
        let active = Active {
            expiry,
            ..Active::default()
        };
        self.jobs.active.insert(id.clone(), active);
        self.step_at(id, step);
    }

    fn step_at(&mut self, id: &JobId, at: Timestamp) {
        if let Some(active) = self.jobs.active.get_mut(id)
            && active.step.is_none()
        {
            let due = deadlines::Due::Jobs(Due::Step(id.clone()));
            active.step = Some(self.deadlines.set(at, due));
        }
    }

    fn step_job(&mut self, cx: &mut Cx<'_>, id: &JobId) {
        let (Some(job), Some(active)) = (self.jobs.jobs.get(id), self.jobs.active.get_mut(id))
        else {
            return;
        };
        active.step = None;
        let (job, now) = (job.clone(), cx.now());
        match &job.state {
            State::Queued if job.start > now => {
                self.change_state(cx, id, State::Scheduled);
                self.step_at(id, job.start);
            }
            State::Queued | State::Scheduled => {
                let due = deadlines::Due::Jobs(Due::Expiry(id.clone()));
                active.expiry = Some(self.deadlines.set(now + job.max_execution, due));
                let (since, selected) = (now, false);
                self.change_state(cx, id, State::Running { since, selected });
                self.step_at(id, now);
            }
            State::Running {
                selected: false, ..
            } => self.select_slice(cx, &job),
            State::Running { .. } => self.work_slice(cx, &job),
            State::Ended { .. } => {}
        }
    }

    /// Finds out for whom the job is. The real hub asks an index that lags behind; a set that was
    /// gathered in several turns is as good as that.
    fn select_slice(&mut self, cx: &mut Cx<'_>, job: &Arc<Job>) {
        let Some(active) = self.jobs.active.get_mut(&job.id) else {
            return;
        };
        let condition = match active.condition.take() {
            Some(condition) => condition,
            None => match Condition::parse(&job.condition) {
                Ok(condition) => Arc::new(condition),
                Err(error) => {
                    let reason = error.message().to_owned();
                    return self.end_job(cx, &job.id, End::Failed(reason));
                }
            },
        };
        let cursor = active.cursor.take();
        let (selected, more) = if condition.names_devices() {
            (self.clients_where(&condition), None)
        } else {
            self.look_for_clients(&condition, cursor.as_ref())
        };
        for client in selected {
            self.store_result(cx, &job.id, &client, DeviceJob::new(cx.now()));
        }
        let done = more.is_none();
        self.with_active(&job.id, |active| {
            active.condition = more.is_some().then_some(condition);
            active.cursor = more;
        });
        if let (true, State::Running { since, .. }) = (done, &job.state) {
            let (since, selected) = (*since, true);
            self.change_state(cx, &job.id, State::Running { since, selected });
        }
        self.step_at(&job.id, cx.now());
    }

    /// Those of the next clients behind `cursor` whom a condition means, and where to go on when
    /// there may be more.
    fn look_for_clients(
        &self,
        condition: &Condition,
        cursor: Option<&ClientId>,
    ) -> (Vec<ClientId>, Option<ClientId>) {
        let seen: Vec<_> = self.registry.clients_after(cursor).take(SLICE).collect();
        let more = (seen.len() == SLICE)
            .then(|| seen.last().copied())
            .flatten();
        let more = more.cloned();
        let meant = seen
            .into_iter()
            .filter(|client| self.satisfies(condition, client));
        (meant.cloned().collect(), more)
    }

    /// Deals with the next devices.
    fn work_slice(&mut self, cx: &mut Cx<'_>, job: &Arc<Job>) {
        for _ in 0..SLICE {
            let Some(active) = self.jobs.active.get(&job.id) else {
                return;
            };
            if active.exhausted || active.in_flight >= CALLS_IN_FLIGHT {
                break;
            }
            let results = self.jobs.results.get(&job.id);
            let next = results.and_then(|results| results.after(active.cursor.as_ref()));
            let Some((client, state)) =
                next.map(|(client, result)| (client.clone(), result.state.clone()))
            else {
                self.with_active(&job.id, |active| active.exhausted = true);
                break;
            };
            if state == DeviceState::Pending
                && let Err(next) = self.throttles.take(cx.now(), Throttle::JobDevices)
            {
                return self.step_at(&job.id, next);
            }
            let cursor = Some(client.clone());
            self.with_active(&job.id, |active| active.cursor = cursor);
            match state {
                DeviceState::Pending => match &job.work {
                    JobWork::UpdateTwin(patch) => self.update_from_job(cx, job, &client, patch),
                    JobWork::CallMethod(request) => self.call_from_job(cx, job, &client, request),
                },
                // The hub was restarted while the device was being waited for.
                DeviceState::Running => {
                    let code = ErrorCode::DeviceConnectionClosedRemotely;
                    let error = Error::new(code, code.default_message());
                    self.settle_device(cx, &job.id, &client, DeviceState::failed(&error));
                }
                DeviceState::Completed(_) | DeviceState::Failed { .. } | DeviceState::Canceled => {}
            }
        }
        match self.jobs.active.get(&job.id) {
            // The end of a call lets the job go on.
            Some(active) if active.in_flight >= CALLS_IN_FLIGHT => {}
            Some(active) if !active.exhausted => self.step_at(&job.id, cx.now()),
            Some(active) if active.in_flight == 0 => self.end_job(cx, &job.id, End::Completed),
            Some(_) | None => {}
        }
    }

    fn update_from_job(
        &mut self,
        cx: &mut Cx<'_>,
        job: &Arc<Job>,
        client: &ClientId,
        patch: &TwinPatch,
    ) {
        let patched = self.write_twin(cx, client, patch.clone(), &IfMatch::Any, WriteMode::Merge);
        let state = match patched {
            Ok(()) => DeviceState::Completed(None),
            Err(error) => DeviceState::failed(&error),
        };
        self.settle_device(cx, &job.id, client, state);
    }

    fn call_from_job(
        &mut self,
        cx: &mut Cx<'_>,
        job: &Arc<Job>,
        client: &ClientId,
        request: &MethodRequest,
    ) {
        match self.invoke(cx, client, request.clone(), Caller::Job) {
            Ok(call) => {
                self.jobs
                    .calls
                    .insert(call, (job.id.clone(), client.clone()));
                self.with_active(&job.id, |active| active.in_flight += 1);
                self.settle_device(cx, &job.id, client, DeviceState::Running);
            }
            Err(error) => {
                self.settle_device(cx, &job.id, client, DeviceState::failed(&error));
            }
        }
    }

    fn with_active(&mut self, id: &JobId, change: impl FnOnce(&mut Active)) {
        if let Some(active) = self.jobs.active.get_mut(id) {
            change(active);
        }
    }

    fn settle_device(
        &mut self,
        cx: &mut Cx<'_>,
        id: &JobId,
        client: &ClientId,
        state: DeviceState,
    ) {
        let results = self.jobs.results.get(id);
        if let Some(result) = results.and_then(|results| results.get(client)) {
            let result = result.at(state, cx.now());
            self.store_result(cx, id, client, result);
        }
    }

    fn store_result(&mut self, cx: &mut Cx<'_>, id: &JobId, client: &ClientId, result: DeviceJob) {
        cx.change(Change::PutDocument(result.to_document(id, client)));
        let results = self.jobs.results.entry(id.clone()).or_default();
        results.put(client.clone(), result);
        self.device_job_changed(cx, id, client);
    }

    fn store_job(&mut self, cx: &mut Cx<'_>, job: Job) {
        cx.change(Change::PutDocument(job.to_document()));
        self.jobs.jobs.insert(job.id.clone(), Arc::new(job));
    }

    fn change_state(&mut self, cx: &mut Cx<'_>, id: &JobId, state: State) {
        if let Some(job) = self.jobs.jobs.get(id) {
            let job = Job {
                state,
                ..(**job).clone()
            };
            self.store_job(cx, job);
        }
    }

    fn forget_later(&mut self, id: &JobId, ended: Timestamp) {
        let due = deadlines::Due::Jobs(Due::Forget(id.clone()));
        self.deadlines.set(ended + HISTORY, due);
    }

    fn forget_job(&mut self, cx: &mut Cx<'_>, id: &JobId) {
        let results = self.jobs.results.get(id);
        let some: Vec<_> = results
            .into_iter()
            .flat_map(|results| results.iter().take(SLICE))
            .map(|(client, _)| client.clone())
            .collect();
        for client in &some {
            let key = super::results::key(id, client);
            cx.change(Change::DeleteDocument(DocumentKind::DeviceJob, key));
            self.jobs.remove_result(id, client);
        }
        if some.len() < SLICE {
            self.jobs.jobs.remove(id);
            cx.change(Change::DeleteDocument(DocumentKind::Job, id.clone()));
        } else {
            let due = deadlines::Due::Jobs(Due::Forget(id.clone()));
            self.deadlines.set(cx.now(), due);
        }
    }
}
