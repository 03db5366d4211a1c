//! What the body of a registry write asks for, before keys are generated.

use serde_json::{Map, Value};

use super::{Authentication, DeviceIdentity, ModuleIdentity, Status};
use crate::sas::SymmetricKey;
use crate::{Error, json as members};

/// What the body of `PUT /devices/{id}` (or of a module, or of a bulk element) asks for, before
/// keys are generated.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct IdentitySpec {
    /// The device, when the body names it; must agree with the path.
    pub device_id: Option<String>,
    /// The module, when the body names it; must agree with the path.
    pub module_id: Option<String>,
    /// Whether the device may connect.
    pub status: Status,
    /// Why; at most 128 characters.
    pub status_reason: Option<String>,
    /// How the identity shall prove itself.
    pub authentication: AuthenticationSpec,
    /// Whether the device is an edge gateway.
    pub iot_edge: bool,
    /// An edge's own scope, or the scope of a leaf's parent; empty text and `null` are `None`.
    pub device_scope: Option<String>,
    /// The scopes of the parents; `None` when the body does not say.
    pub parent_scopes: Option<Vec<String>>,
    /// Who takes care of a module, as free text.
    pub managed_by: Option<String>,
    /// The etag in the body, unquoted; updates go by the `If-Match` header instead.
    pub etag: Option<String>,
}

/// As [`super::Authentication`], with keys that may still have to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthenticationSpec {
    /// Primary and secondary key; `None` asks for two new ones.
    Sas(Option<(SymmetricKey, SymmetricKey)>),
    /// Thumbprints in hexadecimal, as they were given.
    SelfSigned {
        /// Of the certificate in use.
        primary: String,
        /// Of the certificate that is as good.
        secondary: Option<String>,
    },
    /// A certificate that a registered authority signed.
    CertificateAuthority,
    /// Nothing.
    None,
}

impl Default for AuthenticationSpec {
    fn default() -> Self {
        Self::Sas(None)
    }
}

impl IdentitySpec {
    /// Parses a body: 400006 when it is not JSON, 400004 when it breaks a rule of `spec/service.md`
    /// 2.4. Member names ignore case, unknown members are skipped: clients put back what they got.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        Self::from_members(&members::parse_object(body)?)
    }

    /// As [`Self::parse`], of a value that was parsed already.
    pub fn from_value(value: &Value) -> Result<Self, Error> {
        match value {
            Value::Object(map) => Self::from_members(map),
            _ => Err(Error::argument_invalid("an identity must be an object")),
        }
    }

    fn from_members(map: &Map<String, Value>) -> Result<Self, Error> {
        let text = |name: &str| Ok::<_, Error>(members::string(map, name)?.map(str::to_owned));
        let status_reason = text("statusReason")?;
        if status_reason
            .as_ref()
            .is_some_and(|reason| reason.chars().count() > 128)
        {
            return Err(Error::argument_invalid(
                "statusReason must have at most 128 characters",
            ));
        }
        let capabilities = members::object(map, "capabilities")?;
        Ok(Self {
            device_id: text("deviceId")?,
            module_id: text("moduleId")?,
            status: members::string(map, "status")?.map_or(Ok(Status::Enabled), Status::parse)?,
            status_reason,
            authentication: AuthenticationSpec::parse(members::object(map, "authentication")?)?,
            iot_edge: flag(capabilities, "iotEdge")?,
            device_scope: text("deviceScope")?.filter(|scope| !scope.is_empty()),
            parent_scopes: texts(map, "parentScopes")?,
            managed_by: text("managedBy")?,
            etag: text("etag")?,
        })
    }
}

/// What leaves an identity as it is: where a change starts from.
impl From<DeviceIdentity> for IdentitySpec {
    fn from(identity: DeviceIdentity) -> Self {
        Self {
            device_id: Some(identity.device_id.to_string()),
            status: identity.status,
            status_reason: identity.status_reason,
            authentication: identity.authentication.into(),
            iot_edge: identity.iot_edge,
            device_scope: identity.device_scope,
            parent_scopes: Some(identity.parent_scopes),
            ..Self::default()
        }
    }
}

/// What leaves an identity as it is: where a change starts from.
impl From<ModuleIdentity> for IdentitySpec {
    fn from(identity: ModuleIdentity) -> Self {
        Self {
            device_id: Some(identity.device_id.to_string()),
            module_id: Some(identity.module_id.to_string()),
            authentication: identity.authentication.into(),
            managed_by: identity.managed_by,
            ..Self::default()
        }
    }
}

impl From<Authentication> for AuthenticationSpec {
    fn from(authentication: Authentication) -> Self {
        match authentication {
            Authentication::Sas { primary, secondary } => Self::Sas(Some((primary, secondary))),
            Authentication::SelfSigned { primary, secondary } => {
                Self::SelfSigned { primary, secondary }
            }
            Authentication::CertificateAuthority => Self::CertificateAuthority,
            Authentication::None => Self::None,
        }
    }
}

impl AuthenticationSpec {
    /// From the `authentication` object, when there is one. Without a `type`, a thumbprint means
    /// `selfSigned`, anything else `sas` (`spec/service.md` 2.4).
    pub(super) fn parse(map: Option<&Map<String, Value>>) -> Result<Self, Error> {
        let Some(map) = map else {
            return Ok(Self::default());
        };
        let thumbprints = Pair::parse(
            members::object(map, "x509Thumbprint")?,
            "primaryThumbprint",
            "secondaryThumbprint",
        )?;
        let name = match members::string(map, "type")? {
            Some(name) => name.to_ascii_lowercase(),
            None if thumbprints.primary.is_some() => "selfsigned".into(),
            None => "sas".into(),
        };
        match name.as_str() {
            "sas" => Self::keys(map),
            "selfsigned" => Self::thumbprints(&thumbprints),
            "certificateauthority" => Ok(Self::CertificateAuthority),
            "none" => Ok(Self::None),
            _ => Err(Error::argument_invalid(format!(
                "authentication.type {name:?} is not known"
            ))),
        }
    }

    fn keys(map: &Map<String, Value>) -> Result<Self, Error> {
        let keys = members::object(map, "symmetricKey")?;
        match Pair::parse(keys, "primaryKey", "secondaryKey")? {
            Pair {
                primary: None,
                secondary: None,
            } => Ok(Self::Sas(None)),
            Pair {
                primary: Some(primary),
                secondary: Some(secondary),
            } => Ok(Self::Sas(Some((
                key("primaryKey", primary)?,
                key("secondaryKey", secondary)?,
            )))),
            _ => Err(Error::argument_invalid(
                "symmetricKey needs both primaryKey and secondaryKey, or neither",
            )),
        }
    }

    fn thumbprints(pair: &Pair<'_>) -> Result<Self, Error> {
        let Some(primary) = pair.primary else {
            return Err(Error::argument_invalid(
                "authentication type selfSigned needs x509Thumbprint.primaryThumbprint",
            ));
        };
        Ok(Self::SelfSigned {
            primary: thumbprint(primary)?,
            secondary: pair.secondary.map(thumbprint).transpose()?,
        })
    }
}

/// Two texts of which each may be missing, `null` or empty.
struct Pair<'a> {
    primary: Option<&'a str>,
    secondary: Option<&'a str>,
}

impl<'a> Pair<'a> {
    fn parse(
        map: Option<&'a Map<String, Value>>,
        primary: &str,
        secondary: &str,
    ) -> Result<Self, Error> {
        let text = |name: &str| match map {
            None => Ok(None),
            Some(map) => Ok(members::string(map, name)?.filter(|text| !text.is_empty())),
        };
        Ok(Self {
            primary: text(primary)?,
            secondary: text(secondary)?,
        })
    }
}

fn key(name: &str, base64: &str) -> Result<SymmetricKey, Error> {
    SymmetricKey::parse(base64)
        .map_err(|reason| Error::argument_invalid(format!("symmetricKey.{name}: {reason}")))
}

fn thumbprint(hex: &str) -> Result<String, Error> {
    if matches!(hex.len(), 40 | 64) && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(hex.into())
    } else {
        Err(Error::argument_invalid(
            "a thumbprint must have 40 (SHA-1) or 64 (SHA-256) hexadecimal digits",
        ))
    }
}

fn flag(map: Option<&Map<String, Value>>, name: &str) -> Result<bool, Error> {
    match map.and_then(|map| members::non_null(map, name)) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(Error::argument_invalid(format!(
            "{name} must be true or false"
        ))),
    }
}

/// The list of texts called `name`; `None` when it is absent or `null`.
pub(super) fn texts(map: &Map<String, Value>, name: &str) -> Result<Option<Vec<String>>, Error> {
    let Some(value) = members::non_null(map, name) else {
        return Ok(None);
    };
    let texts = value.as_array().and_then(|items| {
        items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
    });
    texts
        .map(Some)
        .ok_or_else(|| Error::argument_invalid(format!("{name} must be a list of strings")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;
    use proptest::prelude::*;

    const KEY: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";

    fn authentication(json: &str) -> Result<AuthenticationSpec, ErrorCode> {
        let body = format!(r#"{{"deviceId":"d1","authentication":{json}}}"#);
        IdentitySpec::parse(body.as_bytes())
            .map(|spec| spec.authentication)
            .map_err(|e| e.code)
    }

    #[test]
    fn missing_null_and_empty_keys_ask_for_new_ones() {
        for json in [
            "null",
            "{}",
            r#"{"type":"sas"}"#,
            r#"{"symmetricKey":null}"#,
            r#"{"symmetricKey":{}}"#,
            r#"{"type":"SAS","symmetricKey":{"primaryKey":"","secondaryKey":null}}"#,
        ] {
            assert_eq!(
                authentication(json),
                Ok(AuthenticationSpec::Sas(None)),
                "{json}"
            );
        }
    }

    #[test]
    fn keys_come_in_pairs_of_16_to_64_bytes() {
        let key = SymmetricKey::parse(KEY).unwrap();
        let both = format!(r#"{{"symmetricKey":{{"primaryKey":"{KEY}","secondaryKey":"{KEY}"}}}}"#);
        assert_eq!(
            authentication(&both),
            Ok(AuthenticationSpec::Sas(Some((key.clone(), key))))
        );

        for bad in [
            format!(r#"{{"symmetricKey":{{"primaryKey":"{KEY}"}}}}"#),
            format!(r#"{{"symmetricKey":{{"secondaryKey":"{KEY}"}}}}"#),
            format!(r#"{{"symmetricKey":{{"primaryKey":"AAAA","secondaryKey":"{KEY}"}}}}"#),
            format!(r#"{{"symmetricKey":{{"primaryKey":"{KEY}","secondaryKey":"?"}}}}"#),
            r#"{"symmetricKey":{"primaryKey":7}}"#.into(),
        ] {
            assert_eq!(
                authentication(&bad),
                Err(ErrorCode::ArgumentInvalid),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_thumbprint_implies_self_signed() {
        let thumbprint = "aB".repeat(20);
        let expected = AuthenticationSpec::SelfSigned {
            primary: thumbprint.clone(),
            secondary: None,
        };
        for kind in ["", r#""type":"selfSigned","#, r#""type":"selfsigned","#] {
            let json =
                format!(r#"{{{kind}"x509Thumbprint":{{"primaryThumbprint":"{thumbprint}"}}}}"#);
            assert_eq!(authentication(&json).as_ref(), Ok(&expected), "{json}");
        }
    }

    #[test]
    fn bad_thumbprints_and_types_are_refused() {
        for bad in [
            r#"{"type":"selfSigned"}"#,
            r#"{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"12"}}"#,
            r#"{"type":"tpm"}"#,
            r#"{"type":1}"#,
            "[]",
        ] {
            assert_eq!(
                authentication(bad),
                Err(ErrorCode::ArgumentInvalid),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_whole_device_object_can_be_put_back() {
        let body = br#"{"DeviceId":"d1","generationId":"1","etag":"MA==","connectionState":"Connected",
            "status":"Disabled","statusReason":"why","connectionStateUpdatedTime":"0001-01-01T00:00:00",
            "capabilities":{"iotEdge":true},"deviceScope":"","parentScopes":["s"],"hub":"h"}"#;

        let spec = IdentitySpec::parse(body).unwrap();

        assert_eq!(
            spec,
            IdentitySpec {
                device_id: Some("d1".into()),
                status: Status::Disabled,
                status_reason: Some("why".into()),
                iot_edge: true,
                parent_scopes: Some(vec!["s".into()]),
                etag: Some("MA==".into()),
                ..IdentitySpec::default()
            }
        );
    }

    #[test]
    fn bad_members_are_refused() {
        let long = format!(r#"{{"statusReason":"{}"}}"#, "x".repeat(129));
        for (body, code) in [
            ("{", ErrorCode::IotHubFormatError),
            ("[]", ErrorCode::ArgumentInvalid),
            (r#"{"status":"off"}"#, ErrorCode::ArgumentInvalid),
            (
                r#"{"capabilities":{"iotEdge":"yes"}}"#,
                ErrorCode::ArgumentInvalid,
            ),
            (r#"{"parentScopes":"s"}"#, ErrorCode::ArgumentInvalid),
            (&long, ErrorCode::ArgumentInvalid),
        ] {
            assert_eq!(
                IdentitySpec::parse(body.as_bytes()).unwrap_err().code,
                code,
                "{body}"
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = IdentitySpec::parse(&body);
        }
    }
}
