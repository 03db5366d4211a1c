//! Jobs that import and export the registry (`spec/service.md` 6.5): which there are, and their
//! steps. Where files are, and when a step is done, is the business of who carries jobs out.

use std::sync::Arc;

use imbl::OrdMap;
use iothub_protocol::registry::{
    BulkError, BulkItem, ConfigurationLine, IfMatch, ImportMode, RegistryJob, RegistryJobSpec,
    RegistryJobStatus,
};
use iothub_protocol::{Error, ErrorCode};
use serde_json::{Map, Value, json};

use crate::Hub;
use crate::access::{Permission, Principal};
use crate::bulk::{client_of, required};
use crate::cx::{Change, Cx, Effect};
use crate::documents::{Document, DocumentKind};
use crate::twins::WriteMode;

/// Ended jobs that are remembered.
const REMEMBERED: usize = 100;

#[derive(Clone, Default)]
pub(crate) struct RegistryJobs {
    /// By the order in which they were created.
    jobs: OrdMap<u64, Arc<RegistryJob>>,
    numbers: OrdMap<Arc<str>, u64>,
    next: u64,
}

impl Hub {
    /// Creates a job, which waits for who carries jobs out.
    ///
    /// Refuses with `JobQuotaExceeded` while another is active.
    pub fn create_registry_job(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        spec: RegistryJobSpec,
    ) -> Result<Arc<RegistryJob>, Error> {
        caller.require(Permission::RegistryWrite)?;
        if let Some(active) = self.registry_jobs.active() {
            let detail = format!("job {} is active, and there may be one", active.id);
            return Err(Error::new(ErrorCode::JobQuotaExceeded, detail));
        }
        let id = self.entropy.uuid().to_string();
        if let Some(counter) = self.entropy.take_used() {
            cx.change(Change::PutEntropy(counter));
        }
        let number = self.registry_jobs.next;
        let job = RegistryJob {
            id,
            spec,
            status: RegistryJobStatus::Enqueued,
            progress: 0,
            started: cx.now(),
            ended: None,
            failure: None,
        };
        self.forget_old_registry_jobs(cx);
        let job = self.store_registry_job(cx, number, job);
        cx.emit(Effect::RegistryJobReady);
        Ok(job)
    }

    /// A job; refuses with `JobNotFound`.
    pub fn registry_job(&self, caller: &Principal, id: &str) -> Result<Arc<RegistryJob>, Error> {
        caller.require(Permission::RegistryWrite)?;
        self.registry_jobs.require(id).map(|(_, job)| job.clone())
    }

    /// Every job that is remembered, the newest first.
    pub fn registry_jobs(&self, caller: &Principal) -> Result<Vec<Arc<RegistryJob>>, Error> {
        caller.require(Permission::RegistryWrite)?;
        Ok(self.registry_jobs.jobs.values().rev().cloned().collect())
    }

    /// Ends a job; what it has done stays. One that has ended stays as it is.
    ///
    /// Refuses with `JobNotFound`.
    pub fn cancel_registry_job(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        id: &str,
    ) -> Result<(), Error> {
        caller.require(Permission::RegistryWrite)?;
        let (number, job) = self.registry_jobs.require(id)?;
        if job.status.is_active() {
            let job = RegistryJob {
                status: RegistryJobStatus::Cancelled,
                ended: Some(cx.now()),
                ..(**job).clone()
            };
            self.store_registry_job(cx, number, job);
        }
        Ok(())
    }

    /// For who carries jobs out: the next one, which runs from now on.
    pub fn next_registry_job(&mut self, cx: &mut Cx<'_>) -> Option<Arc<RegistryJob>> {
        let waiting = |job: &&Arc<RegistryJob>| job.status == RegistryJobStatus::Enqueued;
        let job = self.registry_jobs.jobs.values().find(waiting)?;
        let job = RegistryJob {
            status: RegistryJobStatus::Running,
            ..(**job).clone()
        };
        let number = self.registry_jobs.numbers.get(job.id.as_str()).copied()?;
        Some(self.store_registry_job(cx, number, job))
    }

    /// For who carries jobs out: how far the job is; whether it is to go on.
    pub fn note_registry_job(&mut self, cx: &mut Cx<'_>, id: &str, progress: u8) -> bool {
        let Some((number, job)) = self.registry_jobs.running(id) else {
            return false;
        };
        if job.progress != progress {
            let job = RegistryJob {
                progress,
                ..(**job).clone()
            };
            self.store_registry_job(cx, number, job);
        }
        true
    }

    /// For who carries jobs out: the job has come to its end.
    pub fn end_registry_job(&mut self, cx: &mut Cx<'_>, id: &str, result: Result<(), String>) {
        let Some((number, job)) = self.registry_jobs.running(id) else {
            return;
        };
        let (status, progress, failure) = match result {
            Ok(()) => (RegistryJobStatus::Completed, 100, None),
            Err(reason) => (RegistryJobStatus::Failed, job.progress, Some(reason)),
        };
        let job = RegistryJob {
            status,
            progress,
            failure,
            ended: Some(cx.now()),
            ..(**job).clone()
        };
        self.store_registry_job(cx, number, job);
    }

    /// For who carries jobs out: some elements of an import, each on its own; what failed, and
    /// `None` when the job is not to go on.
    pub fn import(
        &mut self,
        cx: &mut Cx<'_>,
        id: &str,
        items: Vec<BulkItem>,
    ) -> Option<Vec<(BulkItem, BulkError)>> {
        self.registry_jobs.running(id)?;
        let mut failed = Vec::new();
        for mut item in items {
            // An export says of every twin what it has, and most have nothing: no reason to write.
            let is_empty = |section: &Option<Option<Map<String, Value>>>| matches!(section, Some(Some(members)) if members.is_empty());
            if is_empty(&item.twin.tags) {
                item.twin.tags = None;
            }
            if is_empty(&item.twin.desired) {
                item.twin.desired = None;
            }
            if let Err(error) = self.import_item(cx, &item) {
                let error = BulkError {
                    device_id: item.id.clone(),
                    module_id: item.module_id.clone(),
                    code: error.code,
                    status: error.detail,
                    operation: item.mode.name().to_owned(),
                };
                failed.push((item, error));
            }
        }
        Some(failed)
    }

    /// For who carries jobs out: a line of an import's configurations; `None` when the job is not to
    /// go on.
    pub fn import_configuration(
        &mut self,
        cx: &mut Cx<'_>,
        id: &str,
        line: &ConfigurationLine,
    ) -> Option<Result<(), Error>> {
        self.registry_jobs.running(id)?;
        Some(self.write_configuration(cx, line))
    }

    fn write_configuration(
        &mut self,
        cx: &mut Cx<'_>,
        line: &ConfigurationLine,
    ) -> Result<(), Error> {
        let operator = Principal::operator();
        let exists = self.configuration(&operator, &line.id).is_ok();
        let by_etag = IfMatch::parse(line.etag.as_deref());
        let if_match = match line.mode {
            ImportMode::Create => IfMatch::Absent,
            ImportMode::CreateOrUpdate | ImportMode::CreateOrUpdateIfMatchETag if !exists => {
                IfMatch::Absent
            }
            ImportMode::CreateOrUpdate | ImportMode::Update | ImportMode::Delete => IfMatch::Any,
            ImportMode::UpdateIfMatchETag
            | ImportMode::CreateOrUpdateIfMatchETag
            | ImportMode::DeleteIfMatchETag => required(by_etag)?,
            ImportMode::UpdateTwin | ImportMode::UpdateTwinIfMatchETag => {
                return Err(Error::argument_invalid("a configuration has no twin"));
            }
        };
        if matches!(
            line.mode,
            ImportMode::Delete | ImportMode::DeleteIfMatchETag
        ) {
            return self.delete_configuration(cx, &operator, &line.id, &if_match);
        }
        self.put_configuration(cx, &operator, &line.id, line.spec.clone(), &if_match)
            .map(drop)
    }

    fn import_item(&mut self, cx: &mut Cx<'_>, item: &BulkItem) -> Result<(), Error> {
        if let Err(fault) = &item.spec {
            return Err(fault.clone());
        }
        let client = client_of(item)?;
        let existed = self.registry.find(&client).is_some();
        let overwrites = matches!(
            item.mode,
            ImportMode::CreateOrUpdate
                | ImportMode::Update
                | ImportMode::UpdateIfMatchETag
                | ImportMode::CreateOrUpdateIfMatchETag
        );
        let is_system = client
            .module
            .as_ref()
            .is_some_and(|module| module.is_system());
        // An export has the system's modules, too; they came with their device, with an etag of
        // their own, and only their twins are anybody's to write.
        if !(is_system && existed && overwrites) {
            self.bulk_item(cx, &Principal::operator(), item.clone())?;
        }
        if existed && overwrites && !item.twin.is_empty() {
            let if_match = match &item.twin_etag {
                Some(etag) if !is_system => IfMatch::parse(Some(etag)),
                _ => IfMatch::Any,
            };
            self.write_twin(cx, &client, item.twin.clone(), &if_match, WriteMode::Merge)?;
        }
        Ok(())
    }

    /// What was running when the hub ended is not carried on: nobody knows how far it came.
    pub(crate) fn registry_jobs_rearm(&mut self) {
        let running: Vec<_> = self
            .registry_jobs
            .jobs
            .iter()
            .filter(|(_, job)| job.status == RegistryJobStatus::Running)
            .map(|(&number, job)| (number, job.clone()))
            .collect();
        for (number, job) in running {
            let job = RegistryJob {
                status: RegistryJobStatus::Failed,
                ended: Some(job.started),
                failure: Some("the hub was restarted".into()),
                ..(*job).clone()
            };
            self.registry_jobs.put(number, Arc::new(job));
        }
    }

    fn forget_old_registry_jobs(&mut self, cx: &mut Cx<'_>) {
        while self.registry_jobs.jobs.len() >= REMEMBERED {
            let Some((_, oldest)) = self.registry_jobs.jobs.get_min() else {
                break;
            };
            let id: Arc<str> = oldest.id.as_str().into();
            self.registry_jobs.remove(&id);
            cx.change(Change::DeleteDocument(DocumentKind::RegistryJob, id));
        }
    }

    fn store_registry_job(
        &mut self,
        cx: &mut Cx<'_>,
        number: u64,
        job: RegistryJob,
    ) -> Arc<RegistryJob> {
        let job = Arc::new(job);
        self.registry_jobs.put(number, job.clone());
        cx.change(Change::PutDocument(Document {
            kind: DocumentKind::RegistryJob,
            key: job.id.as_str().into(),
            value: Arc::new(json!({"number": number, "job": job.to_json()})),
        }));
        job
    }
}

impl RegistryJobs {
    /// Whether there is a job of this name: elsewhere such a job is spoken of as `unknown`
    /// (`spec/service.md` 6.1).
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.numbers.contains_key(id)
    }

    pub(crate) fn restore_job(&mut self, key: &str, document: Option<&Value>) {
        self.remove(key);
        let restored = document.and_then(|document| {
            let job = RegistryJob::parse(&document["job"])?;
            Some((document["number"].as_u64()?, job))
        });
        if let Some((number, job)) = restored {
            self.put(number, Arc::new(job));
        }
    }

    fn put(&mut self, number: u64, job: Arc<RegistryJob>) {
        self.next = self.next.max(number + 1);
        self.numbers.insert(job.id.as_str().into(), number);
        self.jobs.insert(number, job);
    }

    fn remove(&mut self, id: &str) {
        if let Some(number) = self.numbers.remove(id) {
            self.jobs.remove(&number);
        }
    }

    fn active(&self) -> Option<&Arc<RegistryJob>> {
        self.jobs.values().find(|job| job.status.is_active())
    }

    fn require(&self, id: &str) -> Result<(u64, &Arc<RegistryJob>), Error> {
        let found = self.numbers.get(id).copied();
        found
            .and_then(|number| Some((number, self.jobs.get(&number)?)))
            .ok_or_else(|| {
                let id: String = id.chars().take(200).collect();
                Error::new(ErrorCode::JobNotFound, id)
            })
    }

    fn running(&self, id: &str) -> Option<(u64, &Arc<RegistryJob>)> {
        let found = self.require(id).ok()?;
        (found.1.status == RegistryJobStatus::Running).then_some(found)
    }
}
