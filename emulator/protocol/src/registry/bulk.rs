//! Elements and results of `POST /devices` (`spec/service.md` 2.7).

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::IdentitySpec;
use crate::twin::TwinPatch;
use crate::{Error, ErrorCode, json as members};

/// How many elements one call may have.
pub const MAX_BULK_ITEMS: usize = 100;

/// One element of a bulk call.
#[derive(Clone, Debug, PartialEq)]
pub struct BulkItem {
    /// The device, not checked yet.
    pub id: String,
    /// The module, when the element is about one; not checked yet.
    pub module_id: Option<String>,
    /// What to do.
    pub mode: ImportMode,
    /// The identity that is asked for, or why the element as a whole cannot be carried out: an
    /// element whose own content is bad fails alone.
    pub spec: Result<IdentitySpec, Error>,
    /// For the modes that compare the identity's etag.
    pub etag: Option<String>,
    /// For the mode that compares the twin's etag.
    pub twin_etag: Option<String>,
    /// Tags and desired properties.
    pub twin: TwinPatch,
}

/// What an element asks to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ImportMode {
    /// Overwrite what exists, create what does not. The default.
    #[default]
    CreateOrUpdate,
    /// Create; it must not exist.
    Create,
    /// Overwrite; it must exist.
    Update,
    /// Overwrite if the identity's etag matches.
    UpdateIfMatchETag,
    /// Overwrite if the identity's etag matches, create what does not exist.
    CreateOrUpdateIfMatchETag,
    /// Delete; it must exist.
    Delete,
    /// Delete if the identity's etag matches.
    DeleteIfMatchETag,
    /// Patch tags and desired properties.
    UpdateTwin,
    /// Patch tags and desired properties if the twin's etag matches.
    UpdateTwinIfMatchETag,
}

/// Why one element failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkError {
    /// The device of the element.
    pub device_id: String,
    /// The module of the element.
    pub module_id: Option<String>,
    /// Why.
    pub code: ErrorCode,
    /// Why, for a person.
    pub status: String,
    /// What was asked for: [`ImportMode::name`].
    pub operation: String,
}

impl BulkItem {
    /// Parses a body. Refused as a whole: what is not JSON (400006), an empty list or another kind
    /// of JSON (400004), more than [`MAX_BULK_ITEMS`] elements (413002), and a device that occurs
    /// twice, be it for two of its modules (400011).
    pub fn parse_all(body: &[u8]) -> Result<Vec<Self>, Error> {
        let value = members::parse(body)?;
        let elements = value
            .as_array()
            .filter(|elements| !elements.is_empty())
            .ok_or_else(|| {
                Error::argument_invalid("a bulk call needs a list of at least one element")
            })?;
        if elements.len() > MAX_BULK_ITEMS {
            let detail = format!("{} elements, at most {MAX_BULK_ITEMS}", elements.len());
            return Err(Error::new(ErrorCode::TooManyDevices, detail));
        }
        let items: Vec<Self> = elements.iter().map(Self::from_value).collect();
        let mut seen = HashSet::new();
        match items.iter().find(|item| !seen.insert(item.id.as_str())) {
            Some(twice) => Err(Error::defined_multiple_times(&twice.id)),
            None => Ok(items),
        }
    }

    /// Parses a line of an import (`spec/service.md` 6.5): 400006 when it is no JSON object. What
    /// else is wrong with it is told by its [`BulkItem::spec`].
    pub fn parse_line(line: &[u8]) -> Result<Self, Error> {
        members::parse_object(line).map(|map| Self::from_value(&Value::Object(map)))
    }

    fn from_value(value: &Value) -> Self {
        let empty = Map::new();
        let map = value.as_object().unwrap_or(&empty);
        let text = |name: &str| members::string(map, name);
        let owned = |name: &str| text(name).ok().flatten().map(str::to_owned);

        let twin = TwinPatch::from_value(value);
        let mode = text("importMode")
            .and_then(|name| name.map_or(Ok(ImportMode::default()), ImportMode::parse));
        let faults = [
            text("id").err(),
            text("moduleId").err(),
            mode.as_ref().err().cloned(),
            text("eTag").err(),
            text("twinETag").err(),
            twin.as_ref().err().cloned(),
        ];
        Self {
            id: owned("id").unwrap_or_default(),
            module_id: owned("moduleId"),
            mode: mode.unwrap_or_default(),
            spec: match faults.into_iter().flatten().next() {
                Some(fault) => Err(fault),
                None => IdentitySpec::from_value(value),
            },
            etag: owned("eTag"),
            twin_etag: owned("twinETag"),
            twin: twin.unwrap_or_default(),
        }
    }
}

impl ImportMode {
    const ALL: [Self; 9] = [
        Self::CreateOrUpdate,
        Self::Create,
        Self::Update,
        Self::UpdateIfMatchETag,
        Self::CreateOrUpdateIfMatchETag,
        Self::Delete,
        Self::DeleteIfMatchETag,
        Self::UpdateTwin,
        Self::UpdateTwinIfMatchETag,
    ];

    /// As it stands in `importMode` and `operation`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CreateOrUpdate => "createOrUpdate",
            Self::Create => "create",
            Self::Update => "update",
            Self::UpdateIfMatchETag => "updateIfMatchETag",
            Self::CreateOrUpdateIfMatchETag => "createOrUpdateIfMatchETag",
            Self::Delete => "delete",
            Self::DeleteIfMatchETag => "deleteIfMatchETag",
            Self::UpdateTwin => "updateTwin",
            Self::UpdateTwinIfMatchETag => "updateTwinIfMatchETag",
        }
    }

    /// Parses a name, ignoring case; 400004 when there is no such mode.
    pub fn parse(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| Error::argument_invalid(format!("importMode {name:?} is not known")))
    }
}

impl BulkError {
    /// A line of an import's error log.
    pub fn to_log_line(&self) -> Value {
        let mut line = json!({"deviceId": self.device_id});
        if let Some(module) = &self.module_id {
            line["moduleId"] = module.as_str().into();
        }
        line["errorCode"] = self.code.number().into();
        line["errorStatus"] = self.status.as_str().into();
        line
    }
}

/// The body of the answer: 200 when `errors` is empty, otherwise 400.
pub fn bulk_result_json(errors: &[BulkError]) -> Value {
    // The code is a number: an enum of .NET does not read names that it does not know.
    let printed: Vec<Value> = errors
        .iter()
        .map(|error| {
            json!({
                "deviceId": error.device_id,
                "moduleId": error.module_id,
                "errorCode": error.code.number(),
                "errorStatus": error.status,
                "operation": error.operation,
            })
        })
        .collect();
    json!({"isSuccessful": errors.is_empty(), "errors": printed, "warnings": []})
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(body: &str) -> ErrorCode {
        BulkItem::parse_all(body.as_bytes()).unwrap_err().code
    }

    #[test]
    fn an_element_is_read_whatever_the_case_of_its_names() {
        let body = br#"[{"ID":"d1","etag":"*","importMode":"deleteIfMatchEtag","tags":{"a":1}},
            {"id":"d2","moduleId":"m1","eTag":"e","twinETag":"t","properties":{"desired":{"b":2}}}]"#;

        let items = BulkItem::parse_all(body).unwrap();

        assert_eq!(items[0].mode, ImportMode::DeleteIfMatchETag);
        assert_eq!(items[0].etag.as_deref(), Some("*"));
        assert_eq!(items[0].twin.tags.clone().unwrap().unwrap()["a"], 1);
        assert_eq!(items[1].mode, ImportMode::CreateOrUpdate);
        assert_eq!(items[1].module_id.as_deref(), Some("m1"));
        assert_eq!(items[1].twin_etag.as_deref(), Some("t"));
        assert_eq!(items[1].twin.desired.clone().unwrap().unwrap()["b"], 2);
    }

    #[test]
    fn a_bad_element_fails_alone() {
        let body = br#"[{"id":"d1","importMode":"explode"},{"id":"d2","status":"off"},
            {"id":"d3","tags":7},{"id":4},"text",{"id":"d6"}]"#;

        let items = BulkItem::parse_all(body).unwrap_err();

        // The fourth and fifth have no id, which makes them the same device.
        assert_eq!(items.code, ErrorCode::DeviceDefinedMultipleTimes);

        let body = br#"[{"id":"d1","importMode":"explode"},{"id":"d2","status":"off"},
            {"id":"d3","tags":7},{"id":4},{"id":"d6"}]"#;
        let failed: Vec<bool> = BulkItem::parse_all(body)
            .unwrap()
            .iter()
            .map(|item| item.spec.is_err())
            .collect();
        assert_eq!(failed, [true, true, true, true, false]);
    }

    #[test]
    fn calls_are_refused_as_a_whole() {
        let many: Vec<Value> = (0..101).map(|i| json!({"id": format!("d{i}")})).collect();

        assert_eq!(refusal("["), ErrorCode::IotHubFormatError);
        assert_eq!(refusal("[]"), ErrorCode::ArgumentInvalid);
        assert_eq!(refusal("{}"), ErrorCode::ArgumentInvalid);
        assert_eq!(
            refusal(&Value::from(many).to_string()),
            ErrorCode::TooManyDevices
        );
        assert_eq!(
            refusal(r#"[{"id":"d","moduleId":"a"},{"id":"d","moduleId":"b"}]"#),
            ErrorCode::DeviceDefinedMultipleTimes
        );
    }

    #[test]
    fn results_are_printed_with_numbers() {
        let error = BulkError {
            device_id: "d1".into(),
            module_id: None,
            code: ErrorCode::DeviceAlreadyExists,
            status: "d1".into(),
            operation: "create".into(),
        };

        assert_eq!(
            bulk_result_json(&[error]).to_string(),
            concat!(
                r#"{"isSuccessful":false,"errors":[{"deviceId":"d1","moduleId":null,"#,
                r#""errorCode":409001,"errorStatus":"d1","operation":"create"}],"warnings":[]}"#
            )
        );
        assert_eq!(
            bulk_result_json(&[]).to_string(),
            r#"{"isSuccessful":true,"errors":[],"warnings":[]}"#
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = BulkItem::parse_all(&body);
            let _ = BulkItem::parse_line(&body);
        }
    }
}
