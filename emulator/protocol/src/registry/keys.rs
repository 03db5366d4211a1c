//! Requests and results of `POST /devices/keys/regenerate` (`spec/service.md` 2.4).

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::MAX_BULK_ITEMS;
use crate::sas::SymmetricKey;
use crate::{Error, ErrorCode, json as members};

/// Which keys are to be new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKey {
    /// The primary one.
    Primary,
    /// The secondary one.
    Secondary,
    /// Both.
    Both,
}

/// New keys for these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegenerateRequest {
    /// Which keys.
    pub key: PolicyKey,
    /// Whose; at most [`MAX_BULK_ITEMS`], none twice.
    pub targets: Vec<KeyTarget>,
}

/// A device or module, not checked yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyTarget {
    /// The device.
    pub id: String,
    /// The module, when it is about one.
    pub module_id: Option<String>,
}

/// The keys of a device or module, as they are now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotatedKeys {
    /// Whose.
    pub target: KeyTarget,
    /// The primary key.
    pub primary: SymmetricKey,
    /// The secondary key.
    pub secondary: SymmetricKey,
}

/// Why a target has no new keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    /// Whose.
    pub target: KeyTarget,
    /// Why.
    pub error: Error,
}

impl PolicyKey {
    const ALL: [Self; 3] = [Self::Primary, Self::Secondary, Self::Both];

    /// As it stands in `policyKey`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Primary => "primaryKey",
            Self::Secondary => "secondaryKey",
            Self::Both => "both",
        }
    }

    /// Parses a name, ignoring case; 400035 when there is no such key.
    pub fn parse(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|key| key.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| {
                let detail =
                    format!("policyKey must be primaryKey, secondaryKey or both, not {name:?}");
                Error::new(ErrorCode::InvalidPolicyKey, detail)
            })
    }
}

impl RegenerateRequest {
    /// Parses a body. Refused as a whole, like a bulk call: what is not JSON (400006), another
    /// `policyKey` (400035), no list of at least one (400004), more than [`MAX_BULK_ITEMS`]
    /// (413002), and the same target twice (400011).
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let map = members::parse_object(body)?;
        let key = PolicyKey::parse(members::string(&map, "policyKey")?.unwrap_or_default())?;
        let devices = members::non_null(&map, "devices")
            .and_then(Value::as_array)
            .filter(|devices| !devices.is_empty())
            .ok_or_else(|| {
                Error::argument_invalid("devices must be a list of at least one device or module")
            })?;
        if devices.len() > MAX_BULK_ITEMS {
            let detail = format!("{} devices, at most {MAX_BULK_ITEMS}", devices.len());
            return Err(Error::new(ErrorCode::TooManyDevices, detail));
        }
        let targets = devices
            .iter()
            .map(KeyTarget::from_value)
            .collect::<Result<Vec<_>, _>>()?;
        let mut seen = HashSet::new();
        match targets.iter().find(|target| !seen.insert(*target)) {
            Some(twice) => Err(Error::defined_multiple_times(&twice.id)),
            None => Ok(Self { key, targets }),
        }
    }
}

impl KeyTarget {
    fn from_value(value: &Value) -> Result<Self, Error> {
        let map = value.as_object().ok_or_else(|| {
            Error::argument_invalid("each of devices must be an object with an id")
        })?;
        let text = |name: &str| Ok::<_, Error>(members::string(map, name)?.map(str::to_owned));
        Ok(Self {
            id: text("id")?.ok_or_else(|| Error::argument_invalid("id is missing"))?,
            module_id: text("moduleId")?.filter(|id| !id.is_empty()),
        })
    }

    fn to_json(&self) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("id".into(), self.id.as_str().into());
        map.insert("moduleId".into(), self.module_id.as_deref().into());
        map
    }
}

/// The body of the answer: 200 when all went well, 207 when some did, 400 when none did.
pub fn regenerate_result_json(
    key: PolicyKey,
    rotated: &[RotatedKeys],
    errors: &[KeyError],
) -> Value {
    let rotated: Vec<Value> = rotated
        .iter()
        .map(|keys| {
            let mut map = keys.target.to_json();
            map.insert("primaryKey".into(), keys.primary.to_base64().into());
            map.insert("secondaryKey".into(), keys.secondary.to_base64().into());
            Value::Object(map)
        })
        .collect();
    let errors: Vec<Value> = errors
        .iter()
        .map(|KeyError { target, error }| {
            let mut map = target.to_json();
            map.insert("errorCode".into(), error.code.name().into());
            map.insert("errorStatus".into(), error.message().into());
            Value::Object(map)
        })
        .collect();
    json!({"policyKey": key.name(), "rotatedKeys": rotated, "errors": errors})
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(body: &Value) -> ErrorCode {
        RegenerateRequest::parse(body.to_string().as_bytes())
            .unwrap_err()
            .code
    }

    #[test]
    fn devices_and_modules_are_named_in_one_list() {
        let body = br#"{"PolicyKey":"PRIMARYKEY","devices":[{"id":"d1"},
            {"id":"d1","moduleId":"m1"},{"id":"d2","moduleId":null}]}"#;

        let request = RegenerateRequest::parse(body).unwrap();

        assert_eq!(request.key, PolicyKey::Primary);
        let named: Vec<_> = request
            .targets
            .iter()
            .map(|target| (target.id.as_str(), target.module_id.as_deref()))
            .collect();
        assert_eq!(named, [("d1", None), ("d1", Some("m1")), ("d2", None)]);
    }

    #[test]
    fn calls_are_refused_as_a_whole() {
        let many: Vec<Value> = (0..101).map(|i| json!({"id": format!("d{i}")})).collect();
        let one = json!([{"id": "d1"}]);
        for (body, code) in [
            (json!([]), ErrorCode::ArgumentInvalid),
            (json!({"devices": one}), ErrorCode::InvalidPolicyKey),
            (
                json!({"policyKey": "third", "devices": one}),
                ErrorCode::InvalidPolicyKey,
            ),
            (json!({"policyKey": "both"}), ErrorCode::ArgumentInvalid),
            (
                json!({"policyKey": "both", "devices": []}),
                ErrorCode::ArgumentInvalid,
            ),
            (
                json!({"policyKey": "both", "devices": ["d1"]}),
                ErrorCode::ArgumentInvalid,
            ),
            (
                json!({"policyKey": "both", "devices": [{}]}),
                ErrorCode::ArgumentInvalid,
            ),
            (
                json!({"policyKey": "both", "devices": many}),
                ErrorCode::TooManyDevices,
            ),
            (
                json!({"policyKey": "both", "devices": [{"id": "d1"}, {"id": "d1"}]}),
                ErrorCode::DeviceDefinedMultipleTimes,
            ),
        ] {
            assert_eq!(refusal(&body), code, "{body}");
        }
        assert_eq!(
            RegenerateRequest::parse(b"{").unwrap_err().code,
            ErrorCode::IotHubFormatError
        );
    }

    #[test]
    fn results_have_the_order_of_the_reference() {
        let target = |id: &str, module: Option<&str>| KeyTarget {
            id: id.into(),
            module_id: module.map(str::to_owned),
        };
        let rotated = [RotatedKeys {
            target: target("d1", None),
            primary: SymmetricKey::from_bytes(*b"a"),
            secondary: SymmetricKey::from_bytes(*b"b"),
        }];
        let errors = [KeyError {
            target: target("d2", Some("m1")),
            error: Error::new(ErrorCode::ModuleNotFound, "d2/m1"),
        }];

        assert_eq!(
            regenerate_result_json(PolicyKey::Primary, &rotated, &errors).to_string(),
            concat!(
                r#"{"policyKey":"primaryKey","rotatedKeys":[{"id":"d1","moduleId":null,"#,
                r#""primaryKey":"YQ==","secondaryKey":"Yg=="}],"errors":[{"id":"d2","#,
                r#""moduleId":"m1","errorCode":"ModuleNotFound","errorStatus":"d2/m1"}]}"#,
            )
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = RegenerateRequest::parse(&body);
        }
    }
}
