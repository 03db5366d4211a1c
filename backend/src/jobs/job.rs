//! A job as the hub tells of it.

use iothub_protocol::Timestamp;
use serde_json::{Map, Value};

use crate::Error;
use crate::document::Document;

/// A scheduled job (`spec/service.md` 6.2).
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    document: Document,
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobType {
    /// Updates twins.
    ScheduleUpdateTwin,
    /// Calls a direct method.
    ScheduleDeviceMethod,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobStatus {
    /// Accepted.
    Queued,
    /// Waits for its start time.
    Scheduled,
    /// Accepted: the word for jobs that import or export.
    Enqueued,
    /// At work.
    Running,
    /// Every device is done, though some may have failed.
    Completed,
    /// Given up as a whole.
    Failed,
    /// Stopped by a back end.
    Cancelled,
    /// The hub does not say: also for the id of a job that imports or exports.
    Unknown,
}

/// On how many devices a job is how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DeviceJobStatistics {
    /// All of them.
    pub device_count: u64,
    /// Where it failed.
    pub failed_count: u64,
    /// Where it succeeded.
    pub succeeded_count: u64,
    /// Where it is at work.
    pub running_count: u64,
    /// Where it has not begun.
    pub pending_count: u64,
}

impl Job {
    /// A job out of a list.
    pub fn from_json(row: Value) -> Result<Self, Error> {
        Document::from_value(row, "a job").map(Self::from)
    }

    /// Its name.
    pub fn id(&self) -> &str {
        self.document.text("jobId").unwrap_or_default()
    }

    /// What it does; none for a word that this crate does not know.
    pub fn job_type(&self) -> Option<JobType> {
        JobType::parse(self.document.text("type")?)
    }

    /// How far it is.
    pub fn status(&self) -> JobStatus {
        self.document
            .text("status")
            .map_or(JobStatus::Unknown, JobStatus::parse)
    }

    /// Why it failed, if it did.
    pub fn failure_reason(&self) -> Option<&str> {
        self.document.text("failureReason")
    }

    /// When it begins, or began.
    pub fn start_time(&self) -> Option<Timestamp> {
        self.document.time("startTime")
    }

    /// When it ended.
    pub fn end_time(&self) -> Option<Timestamp> {
        self.document.time("endTime")
    }

    /// How far it is on its devices.
    pub fn statistics(&self) -> DeviceJobStatistics {
        let counts = self.document.member("deviceJobStatistics");
        let count = |name: &str| counts[name].as_u64().unwrap_or_default();
        DeviceJobStatistics {
            device_count: count("deviceCount"),
            failed_count: count("failedCount"),
            succeeded_count: count("succeededCount"),
            running_count: count("runningCount"),
            pending_count: count("pendingCount"),
        }
    }

    /// The whole document.
    pub fn as_json(&self) -> &Map<String, Value> {
        &self.document.0
    }

    /// The whole document.
    pub fn into_json(self) -> Value {
        Value::Object(self.document.0)
    }
}

impl From<Document> for Job {
    fn from(document: Document) -> Self {
        Self { document }
    }
}

impl JobType {
    /// As the hub spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ScheduleUpdateTwin => "scheduleUpdateTwin",
            Self::ScheduleDeviceMethod => "scheduleDeviceMethod",
        }
    }

    /// Parses it, ignoring case.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::ScheduleUpdateTwin, Self::ScheduleDeviceMethod]
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(text))
    }
}

impl JobStatus {
    const ALL: [Self; 8] = [
        Self::Queued,
        Self::Scheduled,
        Self::Enqueued,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Unknown,
    ];

    /// As the hub spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Scheduled => "scheduled",
            Self::Enqueued => "enqueued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
        }
    }

    /// Whether nothing will change any more.
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Parses it, ignoring case; what is not known is `Unknown`.
    pub fn parse(text: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(text))
            .unwrap_or(Self::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn job_is_read_whatever_the_case_of_its_words() {
        let job = Job::from_json(json!({
            "jobId": "j1", "type": "ScheduleUpdateTwin", "status": "Completed",
            "startTime": "2026-01-02T03:04:05.6Z", "endTime": null,
            "deviceJobStatistics": {"deviceCount": 2, "succeededCount": 1, "failedCount": 1},
        }))
        .unwrap();

        assert_eq!((job.id(), job.status()), ("j1", JobStatus::Completed));
        assert_eq!(job.job_type(), Some(JobType::ScheduleUpdateTwin));
        assert_eq!(
            job.start_time().unwrap().to_iso(),
            "2026-01-02T03:04:05.6000000Z"
        );
        assert_eq!((job.end_time(), job.failure_reason()), (None, None));
        assert_eq!(
            job.statistics(),
            DeviceJobStatistics {
                device_count: 2,
                failed_count: 1,
                succeeded_count: 1,
                ..DeviceJobStatistics::default()
            }
        );
    }

    #[test]
    fn only_three_words_mean_that_a_job_is_over() {
        let over: Vec<_> = JobStatus::ALL
            .into_iter()
            .filter(|status| status.is_finished())
            .map(JobStatus::as_str)
            .collect();

        assert_eq!(over, ["completed", "failed", "cancelled"]);
        assert_eq!(JobStatus::parse("whatever"), JobStatus::Unknown);
    }
}
