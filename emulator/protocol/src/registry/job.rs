//! Jobs that import and export the registry, as JSON (`spec/service.md` 6.5).

use serde_json::{Map, Value, json};

use super::ImportMode;
use crate::configuration::{ConfigurationId, ConfigurationSpec};
use crate::{Error, Timestamp, json as members};

/// What a job is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryJobSpec {
    /// In which direction.
    pub direction: Direction,
    /// Where an import reads.
    pub input_container: Option<String>,
    /// What it reads there.
    pub input_blob: String,
    /// Where an export writes, and an import its errors.
    pub output_container: String,
    /// What an export writes there.
    pub output_blob: String,
    /// Whether an export leaves keys out.
    pub exclude_keys: bool,
    /// Whether the hub proves itself by its identity instead of a signature in the URI.
    pub identity_based: bool,
    /// Which identity, as it was given.
    pub identity: Option<Value>,
    /// Whether configurations are part of it.
    pub include_configurations: bool,
    /// What they are read from or written to.
    pub configurations_blob: String,
}

/// Whether devices go in or out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// In.
    Import,
    /// Out.
    Export,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryJobStatus {
    /// It waits for its turn.
    Enqueued,
    /// It is being done.
    Running,
    /// It is done.
    Completed,
    /// It could not be done.
    Failed,
    /// Somebody did not want it any more.
    Cancelled,
}

/// A job as the hub prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryJob {
    /// Its name.
    pub id: String,
    /// What it is asked to do.
    pub spec: RegistryJobSpec,
    /// How far it is.
    pub status: RegistryJobStatus,
    /// The same in percent.
    pub progress: u8,
    /// When it was created.
    pub started: Timestamp,
    /// When it came to its end.
    pub ended: Option<Timestamp>,
    /// Why it failed.
    pub failure: Option<String>,
}

/// The blob of devices unless the job names another.
const DEVICES: &str = "devices.txt";
/// The blob of configurations unless the job names another.
const CONFIGURATIONS: &str = "configurations.txt";

impl RegistryJobSpec {
    /// Parses the body of `POST /jobs/create`: 400006 when it is not JSON, 400004 when it lacks or
    /// mistakes something.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        Self::from_members(&members::parse_object(body)?)
    }

    fn from_members(map: &Map<String, Value>) -> Result<Self, Error> {
        let text = |name: &str| {
            let text = members::string(map, name)?.filter(|text| !text.is_empty());
            Ok::<_, Error>(text.map(str::to_owned))
        };
        let flag = |name: &str| match members::non_null(map, name) {
            None => Ok(false),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| Error::argument_invalid(format!("{name} must be true or false"))),
        };
        let direction = match text("type")?
            .unwrap_or_default()
            .to_ascii_lowercase()
            .as_str()
        {
            "import" => Direction::Import,
            "export" => Direction::Export,
            _ => return Err(Error::argument_invalid("type must be import or export")),
        };
        let input_container = text("inputBlobContainerUri")?;
        if direction == Direction::Import && input_container.is_none() {
            return Err(Error::argument_invalid(
                "an import needs inputBlobContainerUri",
            ));
        }
        let authentication = text("storageAuthenticationType")?.unwrap_or_default();
        let identity_based = match authentication.to_ascii_lowercase().as_str() {
            "" | "keybased" => false,
            "identitybased" => true,
            _ => {
                return Err(Error::argument_invalid(
                    "storageAuthenticationType must be keyBased or identityBased",
                ));
            }
        };
        let blob = |name: &str, default: &str| {
            let blob = text(name)?.unwrap_or_else(|| default.to_owned());
            if is_blob_path(&blob) {
                return Ok(blob);
            }
            Err(Error::argument_invalid(format!("{name} is no blob's name")))
        };
        Ok(Self {
            direction,
            input_container,
            input_blob: blob("inputBlobName", DEVICES)?,
            output_container: text("outputBlobContainerUri")?
                .ok_or_else(|| Error::argument_invalid("the job needs outputBlobContainerUri"))?,
            output_blob: blob("outputBlobName", DEVICES)?,
            exclude_keys: flag("excludeKeysInExport")?,
            identity_based,
            identity: members::non_null(map, "identity").cloned(),
            include_configurations: flag("includeConfigurations")?,
            configurations_blob: blob("configurationsBlobName", CONFIGURATIONS)?,
        })
    }
}

/// Whether a name stays within its container, be it a folder.
fn is_blob_path(name: &str) -> bool {
    crate::storage::check_blob_name(name).is_ok()
        && !name.contains(['\\', '\0'])
        && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

impl RegistryJob {
    /// `JobProperties`, in the order of the documentation.
    pub fn to_json(&self) -> Value {
        let spec = &self.spec;
        json!({
            "jobId": self.id,
            "startTimeUtc": self.started.to_iso(),
            "endTimeUtc": self.ended.map(Timestamp::to_iso),
            "type": spec.direction.name(),
            "status": self.status.name(),
            "progress": self.progress,
            "inputBlobContainerUri": spec.input_container,
            "inputBlobName": spec.input_blob,
            "outputBlobContainerUri": spec.output_container,
            "outputBlobName": spec.output_blob,
            "excludeKeysInExport": spec.exclude_keys,
            "storageAuthenticationType":
                if spec.identity_based { "identityBased" } else { "keyBased" },
            "identity": spec.identity,
            "failureReason": self.failure,
            "includeConfigurations": spec.include_configurations,
            "configurationsBlobName": spec.configurations_blob,
        })
    }

    /// Reads what [`Self::to_json`] prints; `None` when it is something else.
    pub fn parse(value: &Value) -> Option<Self> {
        let map = value.as_object()?;
        let text = |name: &str| members::string(map, name).ok().flatten();
        Some(Self {
            id: text("jobId")?.to_owned(),
            spec: RegistryJobSpec::from_members(map).ok()?,
            status: RegistryJobStatus::parse(text("status")?)?,
            progress: members::field(map, "progress")?.as_u64()?.try_into().ok()?,
            started: Timestamp::parse_iso(text("startTimeUtc")?)?,
            ended: text("endTimeUtc").and_then(Timestamp::parse_iso),
            failure: text("failureReason").map(str::to_owned),
        })
    }
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Export => "export",
        }
    }
}

impl RegistryJobStatus {
    const ALL: [Self; 5] = [
        Self::Enqueued,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// As `status` spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enqueued => "enqueued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether something is still going to happen.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Enqueued | Self::Running)
    }

    fn parse(text: &str) -> Option<Self> {
        let known = |status: &Self| status.name().eq_ignore_ascii_case(text);
        Self::ALL.into_iter().find(known)
    }
}

/// A line of an import's configurations.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigurationLine {
    /// Which configuration.
    pub id: ConfigurationId,
    /// What to do.
    pub mode: ImportMode,
    /// For the modes that compare it.
    pub etag: Option<String>,
    /// What is asked for.
    pub spec: ConfigurationSpec,
}

impl ConfigurationLine {
    /// Parses a line: 400006 when it is not JSON, otherwise as `PUT /configurations/{id}` refuses.
    pub fn parse(line: &[u8]) -> Result<Self, Error> {
        let map = members::parse_object(line)?;
        let text = |name: &str| members::string(&map, name);
        Ok(Self {
            id: ConfigurationId::parse(text("id")?.unwrap_or_default())?,
            mode: text("importMode")?.map_or(Ok(ImportMode::default()), ImportMode::parse)?,
            etag: text("etag")?.map(str::to_owned),
            spec: ConfigurationSpec::parse(line)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_left_out_has_its_default() {
        let body = br#"{"type":"Import","inputBlobContainerUri":"https://h/in?s",
            "outputBlobContainerUri":"https://h/out?s","jobId":null,"progress":null}"#;

        let spec = RegistryJobSpec::parse(body).unwrap();

        assert_eq!(spec.direction, Direction::Import);
        assert_eq!(spec.input_blob, "devices.txt");
        assert_eq!(spec.output_blob, "devices.txt");
        assert_eq!(spec.configurations_blob, "configurations.txt");
        assert!(!spec.identity_based && !spec.exclude_keys && !spec.include_configurations);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let uri = r#""outputBlobContainerUri":"https://h/c?s""#;
        for body in [
            r#"{"type":"export"}"#.to_owned(),
            format!(r#"{{"type":"import",{uri}}}"#),
            format!(r#"{{"type":"backup",{uri}}}"#),
            format!("{{{uri}}}"),
            format!(r#"{{"type":"export",{uri},"excludeKeysInExport":"yes"}}"#),
            format!(r#"{{"type":"export",{uri},"storageAuthenticationType":"none"}}"#),
            format!(r#"{{"type":"export",{uri},"outputBlobName":"../x"}}"#),
            format!(r#"{{"type":"export",{uri},"outputBlobName":"/x"}}"#),
        ] {
            assert!(RegistryJobSpec::parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_job_is_printed_with_every_member() {
        let body = br#"{"type":"export","outputBlobContainerUri":"https://h/c?s"}"#;
        let job = RegistryJob {
            id: "j1".into(),
            spec: RegistryJobSpec::parse(body).unwrap(),
            status: RegistryJobStatus::Enqueued,
            progress: 0,
            started: Timestamp::parse_iso("2026-01-02T03:04:05Z").unwrap(),
            ended: None,
            failure: None,
        };

        assert_eq!(
            job.to_json().to_string(),
            concat!(
                r#"{"jobId":"j1","startTimeUtc":"2026-01-02T03:04:05.0000000Z","#,
                r#""endTimeUtc":null,"type":"export","status":"enqueued","progress":0,"#,
                r#""inputBlobContainerUri":null,"inputBlobName":"devices.txt","#,
                r#""outputBlobContainerUri":"https://h/c?s","outputBlobName":"devices.txt","#,
                r#""excludeKeysInExport":false,"storageAuthenticationType":"keyBased","#,
                r#""identity":null,"failureReason":null,"includeConfigurations":false,"#,
                r#""configurationsBlobName":"configurations.txt"}"#
            )
        );
        assert_eq!(RegistryJob::parse(&job.to_json()), Some(job));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = RegistryJobSpec::parse(&body);
            let _ = ConfigurationLine::parse(&body);
        }
    }
}
