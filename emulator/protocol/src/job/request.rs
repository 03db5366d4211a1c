//! The body of `PUT /jobs/v2/{id}` (`spec/service.md` 6.1).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::JobType;
use crate::method::MethodRequest;
use crate::twin::{self, SectionKind, TwinPatch};
use crate::{DeviceId, Error, ErrorCode, Timestamp, json as members};

/// How long a job may take when its request does not say: what the clients send.
pub const DEFAULT_MAX_EXECUTION: Duration = Duration::from_secs(3600);
/// Characters of a condition; a longer one is refused with 412001 (`spec/service.md` 5.1).
pub const MAX_CONDITION_LENGTH: usize = 8192;

/// A job that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRequest {
    /// Its name, from the path.
    pub id: String,
    /// Whom it is for: the WHERE part of a query, not parsed yet.
    pub condition: String,
    /// What it does.
    pub work: JobWork,
    /// When it shall begin; `None`: at once.
    pub start: Option<Timestamp>,
    /// How long it may take once it has begun.
    pub max_execution: Duration,
}

/// What a job does to each of its devices.
#[derive(Clone, Debug, PartialEq)]
pub enum JobWork {
    /// Patches the twin, whatever its etag.
    UpdateTwin(TwinPatch),
    /// Calls a method.
    CallMethod(MethodRequest),
}

impl JobRequest {
    /// Parses a body; answers with it the member that says what is to be done, as text: a job is
    /// answered with what was sent and no key more (`spec/service.md` 6.2).
    ///
    /// 400006 when it is not JSON, 412001 when the condition is too long, 413001 when a payload is,
    /// and 400004 for every other fault.
    pub fn parse(id: &str, body: &[u8]) -> Result<(Self, String), Error> {
        DeviceId::parse(id)
            .map_err(|_| Error::argument_invalid(format!("{id:?} is not the name of a job")))?;
        let body = Members::parse(body)?;
        if let Some(named) = body.text("jobId")?
            && named != id
        {
            return Err(Error::argument_invalid(format!(
                "jobId in the body is not the {id} of the path"
            )));
        }
        let (work, text) = match JobType::parse(&body.required("type")?)? {
            JobType::ScheduleUpdateTwin => update_twin(body.given("updateTwin"))?,
            JobType::ScheduleDeviceMethod => call_method(body.given("cloudToDeviceMethod"))?,
            other @ (JobType::Export | JobType::Import | JobType::Unknown) => {
                let detail = format!("a job of type {} cannot be scheduled", other.name());
                return Err(Error::argument_invalid(detail));
            }
        };
        let request = Self {
            id: id.to_owned(),
            condition: condition(body.required("queryCondition")?)?,
            work,
            start: start(body.text("startTime")?.as_deref())?,
            max_execution: max_execution(body.given("maxExecutionTimeInSeconds"))?,
        };
        Ok((request, text))
    }

    /// Which kind of job it is.
    pub fn kind(&self) -> JobType {
        self.work.kind()
    }
}

impl JobWork {
    /// Which kind of job does it.
    pub fn kind(&self) -> JobType {
        match self {
            Self::UpdateTwin(_) => JobType::ScheduleUpdateTwin,
            Self::CallMethod(_) => JobType::ScheduleDeviceMethod,
        }
    }

    /// Reads again what [`JobRequest::parse`] answered as text.
    pub fn parse(kind: JobType, text: &str) -> Result<Self, Error> {
        let raw: &RawValue = serde_json::from_str(text)
            .map_err(|error| Error::format(format!("the work of a job is not JSON: {error}")))?;
        let (work, _) = match kind {
            JobType::ScheduleUpdateTwin => update_twin(Some(raw))?,
            JobType::ScheduleDeviceMethod => call_method(Some(raw))?,
            JobType::Export | JobType::Import | JobType::Unknown => {
                return Err(Error::argument_invalid("not a scheduled job"));
            }
        };
        Ok(work)
    }
}

fn update_twin(given: Option<&RawValue>) -> Result<(JobWork, String), Error> {
    let raw = given.ok_or_else(|| missing("updateTwin"))?;
    let update = members::parse_object(raw.get().as_bytes())?;
    check_etag(&update)?;
    let patch = TwinPatch::from_value(&Value::Object(update))?;
    for (kind, section) in [
        (SectionKind::Tags, &patch.tags),
        (SectionKind::Desired, &patch.desired),
    ] {
        if let Some(Some(section)) = section {
            twin::validate(kind, section)?;
        }
    }
    Ok((JobWork::UpdateTwin(patch), raw.get().to_owned()))
}

/// A job is a force update: it takes no other etag than `*` (`spec/service.md` 0.6).
fn check_etag(update: &Map<String, Value>) -> Result<(), Error> {
    let etag = members::non_null(update, "etag").and_then(Value::as_str);
    if matches!(etag, Some("*" | "\"*\"")) {
        return Ok(());
    }
    Err(Error::argument_invalid(
        "Missing or invalid etag for job type ScheduleUpdateTwin. ScheduleUpdateTwin job type is \
         a force update, which only accepts '*' as the Etag.",
    ))
}

fn call_method(given: Option<&RawValue>) -> Result<(JobWork, String), Error> {
    let raw = given.ok_or_else(|| missing("cloudToDeviceMethod"))?;
    // The text is answered as JSON later: what cannot be read back is refused now.
    members::parse_object(raw.get().as_bytes())?;
    let request = MethodRequest::parse(raw.get().as_bytes())?;
    Ok((JobWork::CallMethod(request), raw.get().to_owned()))
}

fn condition(text: String) -> Result<String, Error> {
    let length = text.chars().count();
    if length > MAX_CONDITION_LENGTH {
        let detail =
            format!("queryCondition has {length} characters, at most {MAX_CONDITION_LENGTH}");
        return Err(Error::new(ErrorCode::PreconditionFailed, detail));
    }
    Ok(text)
}

fn start(text: Option<&str>) -> Result<Option<Timestamp>, Error> {
    match text {
        None | Some("") => Ok(None),
        Some(text) => Timestamp::parse_iso(text).map(Some).ok_or_else(|| {
            Error::argument_invalid(format!("startTime {text:?} is not a time in ISO 8601"))
        }),
    }
}

fn max_execution(given: Option<&RawValue>) -> Result<Duration, Error> {
    let Some(raw) = given else {
        return Ok(DEFAULT_MAX_EXECUTION);
    };
    let seconds: Option<f64> = serde_json::from_str(raw.get()).ok();
    let allowed = |seconds: &f64| seconds.fract() == 0.0 && (0.0..=1e10).contains(seconds);
    match seconds.filter(allowed) {
        // The clients' own default stands in for nothing, too.
        Some(0.0) => Ok(DEFAULT_MAX_EXECUTION),
        Some(seconds) => Ok(Duration::from_secs(seconds as u64)),
        None => Err(Error::argument_invalid(format!(
            "maxExecutionTimeInSeconds must be a whole number from 0, not {}",
            shortened(raw.get())
        ))),
    }
}

fn missing(name: &str) -> Error {
    Error::argument_invalid(format!("{name} is missing"))
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The members of a body as text, to be looked up ignoring case.
struct Members<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'a> Members<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, Error> {
        #[derive(serde::Deserialize)]
        struct Wire<'a>(#[serde(borrow)] BTreeMap<Cow<'a, str>, &'a RawValue>);

        let wire: Wire<'_> = serde_json::from_slice(body).map_err(|error| {
            if error.is_data() {
                Error::argument_invalid(format!("the job is not valid: {error}"))
            } else {
                Error::format(format!("the body is not JSON: {error}"))
            }
        })?;
        Ok(Self(wire.0))
    }

    /// The member that is there and not `null`; the exact name wins over another case.
    fn given(&self, name: &str) -> Option<&'a RawValue> {
        let exact = self.0.get(name);
        let found = exact.or_else(|| {
            let any_case = |(key, _): &(&Cow<'_, str>, _)| key.eq_ignore_ascii_case(name);
            self.0.iter().find(any_case).map(|(_, value)| value)
        });
        found.copied().filter(|value| value.get() != "null")
    }

    fn text(&self, name: &str) -> Result<Option<String>, Error> {
        let Some(raw) = self.given(name) else {
            return Ok(None);
        };
        serde_json::from_str(raw.get()).map(Some).map_err(|_| {
            let found = shortened(raw.get());
            Error::argument_invalid(format!("{name} must be a string, not {found}"))
        })
    }

    fn required(&self, name: &str) -> Result<String, Error> {
        let text = self.text(name)?.filter(|text| !text.trim().is_empty());
        text.ok_or_else(|| missing(name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parsed(body: &Value) -> Result<(JobRequest, String), Error> {
        JobRequest::parse("j1", body.to_string().as_bytes())
    }

    fn refusal(change: impl FnOnce(&mut Value)) -> ErrorCode {
        let mut body = twin_job();
        change(&mut body);
        parsed(&body).unwrap_err().code
    }

    fn twin_job() -> Value {
        json!({
            "jobId": "j1",
            "type": "scheduleUpdateTwin",
            "queryCondition": "deviceId IN ['d1']",
            "updateTwin": {"etag": "*", "tags": {"k": "v"}, "properties": {"desired": {"x": 1}}},
            "startTime": "2026-01-01T00:00:00.000Z",
            "maxExecutionTimeInSeconds": 60,
        })
    }

    #[test]
    fn a_twin_job_is_read_and_its_update_kept_as_it_was_sent() {
        let (request, text) = parsed(&twin_job()).unwrap();

        assert_eq!(request.condition, "deviceId IN ['d1']");
        assert_eq!(request.start, Timestamp::parse_iso("2026-01-01T00:00:00Z"));
        assert_eq!(request.max_execution, Duration::from_secs(60));
        let JobWork::UpdateTwin(patch) = &request.work else {
            panic!("not a twin job");
        };
        assert_eq!(patch.tags.clone().unwrap().unwrap()["k"], "v");
        assert_eq!(text, twin_job()["updateTwin"].to_string());
        assert_eq!(JobWork::parse(request.kind(), &text), Ok(request.work));
    }

    #[test]
    fn a_method_job_keeps_its_payload_to_the_byte_and_names_ignore_case() {
        let body = br#"{"Type":"ScheduleDeviceMethod","QueryCondition":"*",
            "CloudToDeviceMethod":{"methodName":"m","payload":{ "a": 1.0 },"timeoutInSeconds":5}}"#;

        let (request, text) = JobRequest::parse("j1", body).unwrap();

        let JobWork::CallMethod(method) = &request.work else {
            panic!("not a method job");
        };
        assert_eq!(method.payload.as_deref(), Some(&br#"{ "a": 1.0 }"#[..]));
        assert_eq!(method.response_timeout, Duration::from_secs(5));
        assert_eq!(request.start, None);
        assert_eq!(request.max_execution, DEFAULT_MAX_EXECUTION);
        assert_eq!(JobWork::parse(request.kind(), &text), Ok(request.work));
    }

    #[test]
    fn no_start_and_no_limit_have_several_spellings() {
        let mut body = twin_job();
        body["startTime"] = Value::Null;
        body["maxExecutionTimeInSeconds"] = Value::Null;
        let (request, _) = parsed(&body).unwrap();
        assert_eq!(
            (request.start, request.max_execution),
            (None, DEFAULT_MAX_EXECUTION)
        );

        body["startTime"] = "".into();
        body["maxExecutionTimeInSeconds"] = 0.into();
        assert_eq!(
            parsed(&body).unwrap().0.max_execution,
            DEFAULT_MAX_EXECUTION
        );
        assert_eq!(parsed(&body).unwrap().0.start, None);
    }

    #[test]
    fn an_update_is_forced() {
        for etag in [json!("abc"), Value::Null, json!(""), json!(1)] {
            let mut body = twin_job();
            body["updateTwin"]["etag"] = etag;

            let error = parsed(&body).unwrap_err();

            assert_eq!(error.code, ErrorCode::ArgumentInvalid);
            assert!(
                error
                    .detail
                    .starts_with("Missing or invalid etag for job type")
            );
        }
    }

    #[test]
    fn bad_requests_are_refused_with_the_right_code() {
        let invalid = ErrorCode::ArgumentInvalid;
        for name in ["type", "queryCondition", "updateTwin"] {
            assert_eq!(refusal(|job| job[name] = Value::Null), invalid, "{name}");
            assert_eq!(refusal(|job| job[name] = json!(7)), invalid, "{name}");
            assert_eq!(refusal(|job| job[name] = json!("")), invalid, "{name}");
        }
        assert_eq!(refusal(|job| job["jobId"] = json!("j2")), invalid);
        assert_eq!(refusal(|job| job["type"] = json!("export")), invalid);
        assert_eq!(refusal(|job| job["type"] = json!("reboot")), invalid);
        assert_eq!(
            refusal(|job| job["type"] = json!("scheduleDeviceMethod")),
            invalid
        );
        assert_eq!(refusal(|job| job["startTime"] = json!("tomorrow")), invalid);
        assert_eq!(refusal(|job| job["updateTwin"]["tags"] = json!(1)), invalid);
        assert_eq!(
            refusal(|job| job["updateTwin"]["tags"] = json!({"a.b": 1})),
            invalid
        );
        for seconds in [json!(-1), json!(1.5), json!("60"), json!(1e300)] {
            assert_eq!(
                refusal(|job| job["maxExecutionTimeInSeconds"] = seconds),
                invalid
            );
        }
        assert_eq!(
            refusal(|job| job["queryCondition"] = "x".repeat(8193).into()),
            ErrorCode::PreconditionFailed
        );
        let code = |id: &str, body: &[u8]| JobRequest::parse(id, body).unwrap_err().code;
        assert_eq!(code("j1", b"{"), ErrorCode::IotHubFormatError);
        assert_eq!(code("j1", b"[]"), invalid);
        assert_eq!(code("j 1", twin_job().to_string().as_bytes()), invalid);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = JobRequest::parse("j1", &body);
        }

        #[test]
        fn whatever_is_accepted_can_be_read_again(
            name in "[a-zA-Z]{1,8}",
            payload in "[ -~]{0,20}",
            tag in "[a-z]{1,8}",
            twin: bool,
        ) {
            let mut body = twin_job();
            if twin {
                body["updateTwin"]["tags"] = json!({ tag: payload });
            } else {
                body["type"] = "scheduleDeviceMethod".into();
                body["cloudToDeviceMethod"] = json!({"methodName": name, "payload": payload});
            }

            let (request, text) = parsed(&body).unwrap();

            prop_assert_eq!(JobWork::parse(request.kind(), &text), Ok(request.work));
        }
    }
}
