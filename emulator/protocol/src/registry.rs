//! Device and module identities as JSON (`spec/service.md` 2).

use serde_json::{Map, Value, json};

use crate::identity::{DeviceId, ModuleId};
use crate::sas::SymmetricKey;
use crate::{Error, Timestamp, json as members};

mod bulk;
mod job;
mod keys;
mod spec;

pub use bulk::{BulkError, BulkItem, ImportMode, MAX_BULK_ITEMS, bulk_result_json};
pub use job::{ConfigurationLine, Direction, RegistryJob, RegistryJobSpec, RegistryJobStatus};
pub use keys::{
    KeyError, KeyTarget, PolicyKey, RegenerateRequest, RotatedKeys, regenerate_result_json,
};
pub use spec::{AuthenticationSpec, IdentitySpec};

/// How an identity proves itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// One of two symmetric keys.
    Sas {
        /// The key to use.
        primary: SymmetricKey,
        /// The key that is as good, so that one can be changed while the other is in use.
        secondary: SymmetricKey,
    },
    /// A certificate known by its thumbprint: hexadecimal, as it was given.
    SelfSigned {
        /// Of the certificate in use.
        primary: String,
        /// Of the certificate that is as good.
        secondary: Option<String>,
    },
    /// A certificate that a registered authority signed.
    CertificateAuthority,
    /// Nothing: a module that its runtime vouches for.
    None,
}

/// Whether a device may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Status {
    /// It may.
    #[default]
    Enabled,
    /// It may not.
    Disabled,
}

/// A device identity as the hub prints it (`spec/service.md` 2.2).
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceIdentity {
    /// Its name.
    pub device_id: DeviceId,
    /// New with every creation under the same name.
    pub generation_id: String,
    /// Changes with every update of the identity; unquoted.
    pub etag: String,
    /// Whether it has a connection.
    pub connected: bool,
    /// Whether it may have one.
    pub status: Status,
    /// Why, in the words of who decided.
    pub status_reason: Option<String>,
    /// When `connected` last changed.
    pub connection_state_updated: Timestamp,
    /// When `status` last changed.
    pub status_updated: Timestamp,
    /// When it last connected, disconnected or sent something.
    pub last_activity: Timestamp,
    /// How many cloud-to-device messages wait for it.
    pub c2d_count: u64,
    /// How it proves itself.
    pub authentication: Authentication,
    /// Whether it is an edge gateway.
    pub iot_edge: bool,
    /// An edge's own scope, or the scope of a leaf's parent.
    pub device_scope: Option<String>,
    /// The scopes of its parents.
    pub parent_scopes: Vec<String>,
}

/// A module identity as the hub prints it (`spec/service.md` 2.6).
#[derive(Clone, Debug, PartialEq)]
pub struct ModuleIdentity {
    /// Its name.
    pub module_id: ModuleId,
    /// Who takes care of it, as free text.
    pub managed_by: Option<String>,
    /// The device that it belongs to.
    pub device_id: DeviceId,
    /// New with every creation under the same name.
    pub generation_id: String,
    /// Changes with every update of the identity; unquoted.
    pub etag: String,
    /// Whether it has a connection.
    pub connected: bool,
    /// When `connected` last changed.
    pub connection_state_updated: Timestamp,
    /// When it last connected, disconnected or sent something.
    pub last_activity: Timestamp,
    /// How many cloud-to-device messages wait for it.
    pub c2d_count: u64,
    /// How it proves itself.
    pub authentication: Authentication,
}

/// What `If-Match` asks for (`spec/service.md` 2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// There is no such header.
    Absent,
    /// `*`: whatever is there.
    Any,
    /// This etag and no other; unquoted.
    ETag(String),
}

impl DeviceIdentity {
    /// The object of `spec/service.md` 2.2, in its order.
    pub fn to_json(&self) -> Value {
        let mut device = json!({
            "deviceId": self.device_id.as_str(),
            "generationId": self.generation_id,
            "etag": self.etag,
            "connectionState": connection_state(self.connected),
            "status": self.status.as_str(),
            "statusReason": self.status_reason,
            "connectionStateUpdatedTime": self.connection_state_updated.to_identity_iso(),
            "statusUpdatedTime": self.status_updated.to_identity_iso(),
            "lastActivityTime": self.last_activity.to_identity_iso(),
            "cloudToDeviceMessageCount": self.c2d_count,
            "authentication": authentication_json(&self.authentication),
            "capabilities": {"iotEdge": self.iot_edge},
        });
        // A leaf without a parent has no member at all; the parents are an empty list then.
        if let Some(scope) = &self.device_scope {
            device["deviceScope"] = scope.as_str().into();
        }
        device["parentScopes"] = self.parent_scopes.as_slice().into();
        device
    }

    /// Reads what [`Self::to_json`] prints, as a client of the hub does; `None` when the value is no
    /// device identity. What is missing beside the name has its default.
    pub fn parse(value: &Value) -> Option<Self> {
        let map = value.as_object()?;
        let capabilities = members::object(map, "capabilities").ok()?;
        let edge = capabilities.and_then(|map| members::field(map, "iotEdge"));
        Some(Self {
            device_id: DeviceId::parse(members::string(map, "deviceId").ok()??).ok()?,
            generation_id: text(map, "generationId").unwrap_or_default(),
            etag: text(map, "etag").unwrap_or_default(),
            connected: is_connected(map),
            status: Status::parse(members::string(map, "status").ok()?.unwrap_or("enabled"))
                .ok()?,
            status_reason: text(map, "statusReason"),
            connection_state_updated: time(map, "connectionStateUpdatedTime"),
            status_updated: time(map, "statusUpdatedTime"),
            last_activity: time(map, "lastActivityTime"),
            c2d_count: count(map, "cloudToDeviceMessageCount"),
            authentication: Authentication::parse(members::object(map, "authentication").ok()?)?,
            iot_edge: edge.and_then(Value::as_bool).unwrap_or(false),
            device_scope: text(map, "deviceScope").filter(|scope| !scope.is_empty()),
            parent_scopes: spec::texts(map, "parentScopes").ok()?.unwrap_or_default(),
        })
    }
}

impl ModuleIdentity {
    /// The object of `spec/service.md` 2.6, in its order.
    pub fn to_json(&self) -> Value {
        json!({
            "moduleId": self.module_id.as_str(),
            "managedBy": self.managed_by,
            "deviceId": self.device_id.as_str(),
            "generationId": self.generation_id,
            "etag": self.etag,
            "connectionState": connection_state(self.connected),
            "connectionStateUpdatedTime": self.connection_state_updated.to_identity_iso(),
            "lastActivityTime": self.last_activity.to_identity_iso(),
            "cloudToDeviceMessageCount": self.c2d_count,
            "authentication": authentication_json(&self.authentication),
        })
    }

    /// Reads what [`Self::to_json`] prints, as a client of the hub does; `None` when the value is no
    /// module identity.
    pub fn parse(value: &Value) -> Option<Self> {
        let map = value.as_object()?;
        Some(Self {
            module_id: ModuleId::parse(members::string(map, "moduleId").ok()??).ok()?,
            managed_by: text(map, "managedBy"),
            device_id: DeviceId::parse(members::string(map, "deviceId").ok()??).ok()?,
            generation_id: text(map, "generationId").unwrap_or_default(),
            etag: text(map, "etag").unwrap_or_default(),
            connected: is_connected(map),
            connection_state_updated: time(map, "connectionStateUpdatedTime"),
            last_activity: time(map, "lastActivityTime"),
            c2d_count: count(map, "cloudToDeviceMessageCount"),
            authentication: Authentication::parse(members::object(map, "authentication").ok()?)?,
        })
    }
}

impl Authentication {
    /// As `authentication.type` and a twin's `authenticationType` spell it.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Sas { .. } => "sas",
            Self::SelfSigned { .. } => "selfSigned",
            Self::CertificateAuthority => "certificateAuthority",
            Self::None => "none",
        }
    }

    /// From what the hub prints; a `sas` identity without keys is none.
    fn parse(map: Option<&Map<String, Value>>) -> Option<Self> {
        match AuthenticationSpec::parse(map).ok()? {
            AuthenticationSpec::Sas(keys) => {
                keys.map(|(primary, secondary)| Self::Sas { primary, secondary })
            }
            AuthenticationSpec::SelfSigned { primary, secondary } => {
                Some(Self::SelfSigned { primary, secondary })
            }
            AuthenticationSpec::CertificateAuthority => Some(Self::CertificateAuthority),
            AuthenticationSpec::None => Some(Self::None),
        }
    }
}

/// The `authentication` object: both sub-objects are always there, and `type` is last, since .NET
/// takes a type from each sub-object as it reads it (`spec/service.md` 2.2).
pub fn authentication_json(authentication: &Authentication) -> Value {
    let (keys, thumbprints) = match authentication {
        Authentication::Sas { primary, secondary } => (
            (Some(primary.to_base64()), Some(secondary.to_base64())),
            (None, None),
        ),
        Authentication::SelfSigned { primary, secondary } => {
            ((None, None), (Some(primary.as_str()), secondary.as_deref()))
        }
        Authentication::CertificateAuthority | Authentication::None => ((None, None), (None, None)),
    };
    json!({
        "symmetricKey": {"primaryKey": keys.0, "secondaryKey": keys.1},
        "x509Thumbprint": {"primaryThumbprint": thumbprints.0, "secondaryThumbprint": thumbprints.1},
        "type": authentication.type_name(),
    })
}

impl Status {
    /// As identities and twins spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }

    /// Parses `enabled` or `disabled`, ignoring case; 400004 otherwise.
    pub fn parse(text: &str) -> Result<Self, Error> {
        [Self::Enabled, Self::Disabled]
            .into_iter()
            .find(|status| status.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                Error::argument_invalid(format!("status must be enabled or disabled, not {text:?}"))
            })
    }
}

impl IfMatch {
    /// Understands `*`, `"*"`, `"etag"`, `etag` and `W/"etag"`: clients send all of them.
    pub fn parse(header: Option<&str>) -> Self {
        let Some(text) = header.map(str::trim).filter(|text| !text.is_empty()) else {
            return Self::Absent;
        };
        let text = text.strip_prefix("W/").unwrap_or(text);
        let quoted = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        match quoted.unwrap_or(text) {
            "*" => Self::Any,
            etag => Self::ETag(etag.into()),
        }
    }

    /// Whether something with `etag` (unquoted) may be changed; an absent header asks for nothing.
    pub fn matches(&self, etag: &str) -> bool {
        match self {
            Self::Absent | Self::Any => true,
            Self::ETag(expected) => expected == etag,
        }
    }
}

const fn connection_state(connected: bool) -> &'static str {
    if connected {
        "Connected"
    } else {
        "Disconnected"
    }
}

fn is_connected(map: &Map<String, Value>) -> bool {
    text(map, "connectionState").is_some_and(|state| state.eq_ignore_ascii_case("connected"))
}

fn text(map: &Map<String, Value>, name: &str) -> Option<String> {
    members::field(map, name)
        .and_then(Value::as_str)
        .map(Into::into)
}

fn time(map: &Map<String, Value>, name: &str) -> Timestamp {
    let text = members::field(map, name).and_then(Value::as_str);
    text.and_then(Timestamp::parse_iso)
        .unwrap_or(Timestamp::NEVER)
}

fn count(map: &Map<String, Value>, name: &str) -> u64 {
    members::field(map, name)
        .and_then(Value::as_u64)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(first: u8) -> SymmetricKey {
        SymmetricKey::from_bytes((first..first + 32).collect::<Vec<u8>>())
    }

    fn device() -> DeviceIdentity {
        DeviceIdentity {
            device_id: DeviceId::parse("dev-1").unwrap(),
            generation_id: "637570574076206429".into(),
            etag: "MTIzNDU2Nzg5".into(),
            connected: false,
            status: Status::Enabled,
            status_reason: None,
            connection_state_updated: Timestamp::NEVER,
            status_updated: Timestamp::NEVER,
            last_activity: Timestamp::parse_iso("2017-03-09T18:30:52.3167248Z").unwrap(),
            c2d_count: 0,
            authentication: Authentication::Sas {
                primary: key(0),
                secondary: key(32),
            },
            iot_edge: false,
            device_scope: None,
            parent_scopes: vec![],
        }
    }

    #[test]
    fn a_device_is_printed_in_the_order_of_the_service() {
        assert_eq!(
            device().to_json().to_string(),
            concat!(
                r#"{"deviceId":"dev-1","generationId":"637570574076206429","#,
                r#""etag":"MTIzNDU2Nzg5","connectionState":"Disconnected","status":"enabled","#,
                r#""statusReason":null,"connectionStateUpdatedTime":"0001-01-01T00:00:00","#,
                r#""statusUpdatedTime":"0001-01-01T00:00:00","#,
                r#""lastActivityTime":"2017-03-09T18:30:52.3167248Z","#,
                r#""cloudToDeviceMessageCount":0,"authentication":{"symmetricKey":{"#,
                r#""primaryKey":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","#,
                r#""secondaryKey":"ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="},"#,
                r#""x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},"#,
                r#""type":"sas"},"capabilities":{"iotEdge":false},"parentScopes":[]}"#,
            )
        );
    }

    #[test]
    fn devices_and_modules_round_trip() {
        let scope = "ms-azure-iot-edge://edge-1-1".to_owned();
        for authentication in [
            Authentication::Sas {
                primary: key(0),
                secondary: key(32),
            },
            Authentication::SelfSigned {
                primary: "aB".repeat(20),
                secondary: None,
            },
            Authentication::CertificateAuthority,
            Authentication::None,
        ] {
            let device = DeviceIdentity {
                authentication: authentication.clone(),
                connected: true,
                status: Status::Disabled,
                status_reason: Some("why".into()),
                device_scope: Some(scope.clone()),
                parent_scopes: vec![scope.clone()],
                ..device()
            };
            assert_eq!(DeviceIdentity::parse(&device.to_json()), Some(device));

            let module = ModuleIdentity {
                module_id: ModuleId::parse("m1").unwrap(),
                managed_by: Some("iotEdge".into()),
                device_id: DeviceId::parse("d1").unwrap(),
                generation_id: "1".into(),
                etag: "MA==".into(),
                connected: true,
                connection_state_updated: Timestamp::UNIX_EPOCH,
                last_activity: Timestamp::UNIX_EPOCH,
                c2d_count: 3,
                authentication,
            };
            assert_eq!(ModuleIdentity::parse(&module.to_json()), Some(module));
        }
        assert_eq!(DeviceIdentity::parse(&json!({"deviceId": "a/b"})), None);
    }

    #[test]
    fn if_match_understands_every_spelling() {
        for (header, expected) in [
            (None, IfMatch::Absent),
            (Some(" "), IfMatch::Absent),
            (Some("*"), IfMatch::Any),
            (Some("\"*\""), IfMatch::Any),
            (Some("\"MTIz\""), IfMatch::ETag("MTIz".into())),
            (Some("AAAAAAAAAAE="), IfMatch::ETag("AAAAAAAAAAE=".into())),
            (Some("W/\"a=\""), IfMatch::ETag("a=".into())),
            (Some("\""), IfMatch::ETag("\"".into())),
        ] {
            assert_eq!(IfMatch::parse(header), expected, "{header:?}");
        }
        assert!(IfMatch::Absent.matches("a") && IfMatch::Any.matches("a"));
        assert!(IfMatch::ETag("a".into()).matches("a"));
        assert!(!IfMatch::ETag("a".into()).matches("A"));
    }
}
