//! Scheduled jobs as JSON: requests, the words for kinds and states, and responses
//! (`spec/service.md` 6.1, 6.2).

mod request;

use serde_json::{Map, Value};

use crate::{Error, Timestamp};

pub use request::{DEFAULT_MAX_EXECUTION, JobRequest, JobWork, MAX_CONDITION_LENGTH};

/// The `x-ms-item-type` of lists of jobs; .NET reads it with its case (`spec/service.md` 5.1).
pub const ITEM_TYPE: &str = "JobResponse";

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal: $($(#[$member_doc:meta])* $member:ident = $word:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$member_doc])* $member,)*
        }

        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$member,)*];

            /// As the hub spells it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$member => $word,)* }
            }

            /// Parses a word, ignoring case (`spec/service.md` 0.2 item 6); 400004 when it is none.
            pub fn parse(word: &str) -> Result<Self, Error> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|known| known.name().eq_ignore_ascii_case(word))
                    .ok_or_else(|| Error::argument_invalid(format!("{} {word:?} is not known", $what)))
            }
        }
    };
}

words! {
    /// What a job does.
    JobType, "job type":
    /// Patches twins.
    ScheduleUpdateTwin = "scheduleUpdateTwin",
    /// Calls a method.
    ScheduleDeviceMethod = "scheduleDeviceMethod",
    /// Writes the registry to a blob (`spec/service.md` 6.5).
    Export = "export",
    /// Reads the registry from a blob.
    Import = "import",
    /// Anything else.
    Unknown = "unknown",
}

words! {
    /// How far a job is (`spec/service.md` 6.2).
    JobStatus, "job status":
    /// Accepted, not yet picked up.
    Queued = "queued",
    /// Picked up; its time has not come.
    Scheduled = "scheduled",
    /// Import and export only: accepted.
    Enqueued = "enqueued",
    /// At work.
    Running = "running",
    /// Every device has been dealt with, be it without success.
    Completed = "completed",
    /// Given up as a whole.
    Failed = "failed",
    /// Ended on request. Two l here, one in [`DeviceJobStatus::Canceled`] (`spec/service.md` 16,
    /// trap 23).
    Cancelled = "cancelled",
    /// Not a job of this kind.
    Unknown = "unknown",
}

words! {
    /// How far a job is with one device (`spec/service.md` 6.4).
    DeviceJobStatus, "device job status":
    /// Its turn has not come.
    Pending = "pending",
    /// Its turn has a time.
    Scheduled = "scheduled",
    /// The device is being waited for.
    Running = "running",
    /// Done.
    Completed = "completed",
    /// Not done, and why is said.
    Failed = "failed",
    /// The job was ended before.
    Canceled = "canceled",
}

/// A job as the hub prints it.
#[derive(Clone, Debug, PartialEq)]
pub struct JobResponse<'a> {
    /// Its name.
    pub id: &'a str,
    /// Whom it is for.
    pub condition: &'a str,
    /// When it was accepted.
    pub created: Timestamp,
    /// When it was, or is, to begin.
    pub start: Timestamp,
    /// When it ended.
    pub end: Option<Timestamp>,
    /// Seconds that it may take.
    pub max_execution_seconds: u64,
    /// What it does.
    pub kind: JobType,
    /// The twin patch or method call, as it was sent.
    pub work: &'a Value,
    /// How far it is.
    pub status: JobStatus,
    /// Why it was given up.
    pub failure: Option<&'a str>,
    /// Counts of devices.
    pub statistics: DeviceJobStatistics,
}

/// Counts of a job's devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceJobStatistics {
    /// All of them.
    pub total: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that succeeded.
    pub succeeded: u64,
    /// Those that are being waited for.
    pub running: u64,
    /// Those whose turn has not come.
    pub pending: u64,
}

impl JobResponse<'_> {
    /// The object of `spec/service.md` 6.2, in its order.
    pub fn to_json(&self) -> Value {
        let mut job = Map::new();
        let mut put = |name: &str, value: Value| {
            job.insert(name.to_owned(), value);
        };
        put("jobId", self.id.into());
        put("queryCondition", self.condition.into());
        put("createdTime", self.created.to_iso().into());
        put("startTime", self.start.to_iso().into());
        // Java does not read an empty text as a time: what is not there yet is null.
        put("endTime", self.end.map(Timestamp::to_iso).into());
        put(
            "maxExecutionTimeInSeconds",
            self.max_execution_seconds.into(),
        );
        put("type", self.kind.name().into());
        // Only the one that there is: the Java SDK dereferences the other even if it is null.
        match self.kind {
            JobType::ScheduleUpdateTwin => put("updateTwin", self.work.clone()),
            JobType::ScheduleDeviceMethod => put("cloudToDeviceMethod", self.work.clone()),
            JobType::Export | JobType::Import | JobType::Unknown => {}
        }
        put("status", self.status.name().into());
        if let Some(reason) = self.failure {
            put("failureReason", reason.into());
        }
        put("statusMessage", Value::Null);
        put("deviceJobStatistics", self.statistics.to_json());
        Value::Object(job)
    }
}

impl DeviceJobStatistics {
    fn to_json(self) -> Value {
        serde_json::json!({
            "deviceCount": self.total,
            "failedCount": self.failed,
            "succeededCount": self.succeeded,
            "runningCount": self.running,
            "pendingCount": self.pending,
        })
    }
}

/// What `GET /jobs/v2/{id}` answers for a job that imports or exports: the command line reads the
/// status and asks `GET /jobs/{id}` instead (`spec/service.md` 6.1).
pub fn unknown_job_json(id: &str) -> Value {
    serde_json::json!({
        "jobId": id,
        "queryCondition": null,
        "createdTime": null,
        "startTime": null,
        "endTime": null,
        "maxExecutionTimeInSeconds": null,
        "type": JobType::Unknown.name(),
        "status": JobStatus::Unknown.name(),
        "statusMessage": null,
        "deviceJobStatistics": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_ignore_case_and_keep_their_spelling() {
        assert_eq!(
            JobType::parse("ScheduleUpdateTwin"),
            Ok(JobType::ScheduleUpdateTwin)
        );
        assert_eq!(JobStatus::parse("CANCELLED"), Ok(JobStatus::Cancelled));
        assert_eq!(DeviceJobStatus::Canceled.name(), "canceled");
        assert!(JobStatus::parse("canceled").is_err());
        assert!(JobType::parse("").is_err());
    }

    #[test]
    fn a_response_has_the_order_of_the_reference() {
        let work = json!({"etag": "*", "tags": {"k": "v"}});
        let response = JobResponse {
            id: "j1",
            condition: "deviceId IN ['d1']",
            created: Timestamp::UNIX_EPOCH,
            start: Timestamp::UNIX_EPOCH,
            end: None,
            max_execution_seconds: 3600,
            kind: JobType::ScheduleUpdateTwin,
            work: &work,
            status: JobStatus::Failed,
            failure: Some("late"),
            statistics: DeviceJobStatistics {
                total: 3,
                failed: 1,
                succeeded: 2,
                ..DeviceJobStatistics::default()
            },
        };

        assert_eq!(
            response.to_json().to_string(),
            concat!(
                r#"{"jobId":"j1","queryCondition":"deviceId IN ['d1']","#,
                r#""createdTime":"1970-01-01T00:00:00.0000000Z","#,
                r#""startTime":"1970-01-01T00:00:00.0000000Z","endTime":null,"#,
                r#""maxExecutionTimeInSeconds":3600,"type":"scheduleUpdateTwin","#,
                r#""updateTwin":{"etag":"*","tags":{"k":"v"}},"#,
                r#""status":"failed","failureReason":"late","statusMessage":null,"#,
                r#""deviceJobStatistics":{"deviceCount":3,"failedCount":1,"succeededCount":2,"#,
                r#""runningCount":0,"pendingCount":0}}"#,
            )
        );
    }
}
