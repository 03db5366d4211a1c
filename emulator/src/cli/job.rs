//! `job`: scheduled jobs, with the words of `az iot hub job`.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use iothub_backend::{Backend, ErrorCode, Job, JobStatus, JobType};
use iothub_protocol::{Clock, Timestamp};
use serde_json::{Value, json};

use super::arguments::{json_argument, limit};
use super::context::CliContext;
use super::output::{print, progress};
use super::query::rows;

/// Scheduled jobs.
#[derive(Debug, Args)]
pub(crate) struct JobCommand {
    #[command(flatten)]
    context: CliContext,
    #[command(subcommand)]
    command: JobSubcommand,
}

#[derive(Debug, Subcommand)]
enum JobSubcommand {
    /// Schedule a job.
    Create(Box<CreateArgs>),
    /// Show a job.
    Show {
        #[command(flatten)]
        job: JobArg,
    },
    /// List jobs, those that import or export included.
    List {
        /// Only those that do this.
        #[arg(long, visible_alias = "jt", value_enum)]
        job_type: Option<TypeArg>,
        /// Only those that are so far.
        #[arg(long, visible_alias = "js", value_enum)]
        job_status: Option<StatusArg>,
        /// How many at most; -1: all.
        #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
        top: i64,
    },
    /// Stop a job.
    Cancel {
        #[command(flatten)]
        job: JobArg,
    },
}

#[derive(Debug, Args)]
struct JobArg {
    /// The job.
    #[arg(long)]
    job_id: String,
}

#[derive(Debug, Args)]
struct CreateArgs {
    #[command(flatten)]
    job: JobArg,
    /// What it does.
    #[arg(long, visible_alias = "jt", value_enum)]
    job_type: CreateTypeArg,
    /// For which devices: the body of a WHERE, or `*`.
    #[arg(long, short = 'q')]
    query_condition: String,
    /// When to begin (ISO 8601) [default: now].
    #[arg(long, visible_alias = "start", value_name = "TIME")]
    start_time: Option<String>,
    /// Seconds after which the devices that are left are given up.
    #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
    ttl: u64,
    /// What to merge into the twins, as JSON or a file of it.
    #[arg(long, visible_alias = "patch", value_name = "JSON")]
    twin_patch: Option<String>,
    /// The method to call.
    #[arg(long, visible_alias = "mn")]
    method_name: Option<String>,
    /// What to send along, as JSON or a file of it.
    #[arg(long, visible_alias = "mp", value_name = "JSON")]
    method_payload: Option<String>,
    /// Seconds to wait for a device that is offline.
    #[arg(
        long,
        visible_alias = "mct",
        default_value_t = 30,
        value_name = "SECONDS"
    )]
    method_connect_timeout: u64,
    /// Seconds that a device may take to answer.
    #[arg(
        long,
        visible_alias = "mrt",
        default_value_t = 30,
        value_name = "SECONDS"
    )]
    method_response_timeout: u64,
    /// Return only when the job is finished.
    #[arg(long, short = 'w')]
    wait: bool,
    /// Seconds between two looks at the job.
    #[arg(long, visible_alias = "interval", default_value_t = 10, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..))]
    poll_interval: u64,
    /// Seconds after which waiting is given up; the job goes on.
    #[arg(
        long,
        visible_alias = "duration",
        default_value_t = 600,
        value_name = "SECONDS"
    )]
    poll_duration: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CreateTypeArg {
    #[value(name = "scheduleUpdateTwin")]
    UpdateTwin,
    #[value(name = "scheduleDeviceMethod")]
    DeviceMethod,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TypeArg {
    #[value(name = "scheduleUpdateTwin")]
    UpdateTwin,
    #[value(name = "scheduleDeviceMethod")]
    DeviceMethod,
    #[value(name = "exportDevices", alias = "export")]
    Export,
    #[value(name = "importDevices", alias = "import")]
    Import,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StatusArg {
    Queued,
    Scheduled,
    Enqueued,
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl JobCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let backend = self.context.backend().await?;
        let answer = match self.command {
            JobSubcommand::Create(args) => args.run(&self.context, &backend).await?,
            JobSubcommand::Show { job } => show(&backend, &job.job_id).await?,
            JobSubcommand::List {
                job_type,
                job_status,
                top,
            } => list(&backend, job_type, job_status, limit(top)?).await?,
            JobSubcommand::Cancel { job } => match scheduled(&backend, &job.job_id).await? {
                Some(_) => backend.jobs().cancel(&job.job_id).await?.into_json(),
                None => {
                    backend.registry_jobs().cancel(&job.job_id).await?;
                    return Ok(());
                }
            },
        };
        print(&answer, self.context.output)
    }
}

impl CreateArgs {
    async fn run(self, context: &CliContext, backend: &Backend) -> anyhow::Result<Value> {
        let id = &self.job.job_id;
        let jobs = backend.jobs();
        let mut job = match self.job_type {
            CreateTypeArg::UpdateTwin => {
                let patch = self.twin_patch.as_deref();
                let patch = patch.context("a twin update needs --twin-patch")?;
                let patch = json_argument("--twin-patch", patch)?;
                jobs.schedule_twin_update(id, &self.query_condition, &patch)
            }
            CreateTypeArg::DeviceMethod => {
                let method = self.method_name.as_deref();
                let method = method.context("a method call needs --method-name")?;
                let payload = self.method_payload.as_deref().unwrap_or("{}");
                jobs.schedule_method(id, &self.query_condition, method)
                    .payload(&json_argument("--method-payload", payload)?)
                    .connect_timeout(Duration::from_secs(self.method_connect_timeout))
                    .response_timeout(Duration::from_secs(self.method_response_timeout))
            }
        };
        job = job.max_execution_time(Duration::from_secs(self.ttl));
        if let Some(text) = &self.start_time {
            let start = Timestamp::parse_iso(text);
            let start = start.with_context(|| format!("--start-time is not ISO 8601: {text}"))?;
            job = job.start_time(start);
        }
        let job = job.send().await?;
        if !self.wait {
            return Ok(job.into_json());
        }
        Ok(self.wait(context, backend, job).await?.into_json())
    }

    async fn wait(
        &self,
        context: &CliContext,
        backend: &Backend,
        mut job: Job,
    ) -> anyhow::Result<Job> {
        let clock = context.clock().await?;
        let end = clock.now() + Duration::from_secs(self.poll_duration);
        let shown = context.progress();
        let bar = shown.bar("devices done", 0);
        while !job.status().is_finished() {
            let counts = job.statistics();
            let done = counts.succeeded_count + counts.failed_count;
            bar.set(done, counts.device_count);
            if !shown.is_shown() {
                progress(format_args!(
                    "{}: {}, {} of {} devices done",
                    job.id(),
                    job.status().as_str(),
                    done,
                    counts.device_count
                ));
            }
            if clock.now() >= end {
                bail!(
                    "{} is not finished after {} s",
                    job.id(),
                    self.poll_duration
                );
            }
            let next = clock.now() + Duration::from_secs(self.poll_interval);
            clock.sleep_until(next.min(end)).await;
            job = backend.jobs().get(&self.job.job_id).await?;
        }
        Ok(job)
    }
}

/// A scheduled job; `None` when it is one that imports or exports, or none at all: the hub knows
/// them apart by the word `unknown` (`spec/service.md` 6.1).
async fn scheduled(backend: &Backend, id: &str) -> anyhow::Result<Option<Job>> {
    match backend.jobs().get(id).await {
        Ok(job) if job.status() == JobStatus::Unknown => Ok(None),
        Ok(job) => Ok(Some(job)),
        Err(error) => Err(error.into()),
    }
}

async fn show(backend: &Backend, id: &str) -> anyhow::Result<Value> {
    Ok(match scheduled(backend, id).await? {
        Some(job) => job.into_json(),
        None => backend.registry_jobs().get(id).await?.into_json(),
    })
}

async fn list(
    backend: &Backend,
    job_type: Option<TypeArg>,
    status: Option<StatusArg>,
    limit: usize,
) -> anyhow::Result<Value> {
    let status = status.map(StatusArg::status);
    let scheduled = match job_type {
        None => Some(None),
        Some(TypeArg::UpdateTwin) => Some(Some(JobType::ScheduleUpdateTwin)),
        Some(TypeArg::DeviceMethod) => Some(Some(JobType::ScheduleDeviceMethod)),
        Some(TypeArg::Export | TypeArg::Import) => None,
    };
    let mut found = Vec::new();
    if let Some(job_type) = scheduled
        && let Value::Array(jobs) = rows(backend.jobs().list(job_type, status), limit).await?
    {
        found = jobs;
    }
    let of_registry = match job_type {
        None => Some(None),
        Some(TypeArg::Export) => Some(Some("export")),
        Some(TypeArg::Import) => Some(Some("import")),
        Some(TypeArg::UpdateTwin | TypeArg::DeviceMethod) => None,
    };
    if let Some(wanted) = of_registry {
        let jobs = match backend.registry_jobs().list().await {
            Ok(jobs) => jobs,
            // Who may schedule jobs need not be one who may write the registry.
            Err(error)
                if wanted.is_none()
                    && error.code() == Some(ErrorCode::IotHubUnauthorizedAccess) =>
            {
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        };
        let fits = |job: &iothub_backend::RegistryJob| {
            status.is_none_or(|status| job.status() == status)
                && wanted.is_none_or(|wanted| job.as_json().get("type") == Some(&json!(wanted)))
        };
        found.extend(
            jobs.into_iter()
                .filter(fits)
                .map(iothub_backend::RegistryJob::into_json),
        );
    }
    found.truncate(limit);
    Ok(Value::Array(found))
}

impl StatusArg {
    fn status(self) -> JobStatus {
        match self {
            Self::Queued => JobStatus::Queued,
            Self::Scheduled => JobStatus::Scheduled,
            Self::Enqueued => JobStatus::Enqueued,
            Self::Running => JobStatus::Running,
            Self::Completed => JobStatus::Completed,
            Self::Failed => JobStatus::Failed,
            Self::Cancelled => JobStatus::Cancelled,
        }
    }
}
