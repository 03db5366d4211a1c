//! Connection strings: parse and print (`spec/service.md` 10, `spec/device.md` 3.6).

mod event_hub;

use std::fmt;

use crate::identity::{ClientId, DeviceId, InvalidId, ModuleId};
use crate::sas::{SasError, SymmetricKey};

pub use event_hub::{EventHubConnectionString, EventHubCredential};

/// A parsed connection string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionString {
    /// The hub, and the audience of every token.
    pub host_name: String,
    /// Whom to connect to instead of the hub itself, where a gateway stands between.
    pub gateway_host_name: Option<String>,
    /// How the speaker proves who it is.
    pub credential: Credential,
    /// Whom the string speaks for.
    pub identity: Identity,
}

/// Whom the string speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A shared access policy: the service side.
    Policy(String),
    /// A device or a module.
    Client(ClientId),
}

/// How it proves that.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A symmetric key, to sign tokens with.
    Key(SymmetricKey),
    /// One token, made by someone else.
    Signature(String),
    /// A client certificate, which the string does not carry.
    X509,
}

/// Why a text is no connection string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionStringError {
    /// A part between two `;` has no `=`. The part may hold a secret, so only its place is told.
    #[error("part {0} of the connection string has no '='")]
    MalformedPart(usize),
    /// A member is there twice.
    #[error("the connection string has more than one {0}")]
    Repeated(&'static str),
    /// A member that must be there is not, or is empty.
    #[error("the connection string has no {0}")]
    Missing(&'static str),
    /// Two members contradict each other.
    #[error("the connection string has both {0} and {1}")]
    Contradiction(&'static str, &'static str),
    /// A device or module name breaks the grammar.
    #[error("the connection string names no device or module")]
    Id(#[source] InvalidId),
    /// The endpoint names no host, or a port that is none.
    #[error("the Endpoint of the connection string is no sb://host")]
    Endpoint,
    /// The key cannot be used.
    #[error("the SharedAccessKey of the connection string cannot be used")]
    Key(#[source] SasError),
}

impl ConnectionString {
    /// A string for a shared access policy.
    pub fn for_policy(
        host_name: impl Into<String>,
        policy: impl Into<String>,
        key: SymmetricKey,
    ) -> Self {
        Self {
            host_name: host_name.into(),
            gateway_host_name: None,
            credential: Credential::Key(key),
            identity: Identity::Policy(policy.into()),
        }
    }

    /// A string for a device or module with a symmetric key.
    pub fn for_client(host_name: impl Into<String>, client: ClientId, key: SymmetricKey) -> Self {
        Self {
            host_name: host_name.into(),
            gateway_host_name: None,
            credential: Credential::Key(key),
            identity: Identity::Client(client),
        }
    }

    /// Parses `Name=value;…`: names ignore case, values may contain `=`, unknown names and empty
    /// parts are skipped (`spec/service.md` 10.2, the most tolerant of the clients).
    pub fn parse(text: &str) -> Result<Self, ConnectionStringError> {
        let parts = Parts::parse(text)?;
        let host_name = parts
            .host_name
            .ok_or(ConnectionStringError::Missing("HostName"))?;
        Ok(Self {
            host_name: host_name.into(),
            gateway_host_name: parts.gateway_host_name.map(Into::into),
            credential: parts.credential()?,
            identity: parts.identity()?,
        })
    }

    /// The host to open a connection to: the gateway if there is one, otherwise the hub.
    pub fn connect_host(&self) -> &str {
        self.gateway_host_name.as_deref().unwrap_or(&self.host_name)
    }

    /// The device or module, when the string is for one.
    pub fn client(&self) -> Option<&ClientId> {
        match &self.identity {
            Identity::Policy(_) => None,
            Identity::Client(client) => Some(client),
        }
    }
}

/// In the order that the hub prints: host, identity, credential, gateway; no `;` at the end.
impl fmt::Display for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostName={}", self.host_name)?;
        match &self.identity {
            Identity::Policy(name) => write!(f, ";SharedAccessKeyName={name}")?,
            Identity::Client(client) => {
                write!(f, ";DeviceId={}", client.device)?;
                if let Some(module) = &client.module {
                    write!(f, ";ModuleId={module}")?;
                }
            }
        }
        match &self.credential {
            Credential::Key(key) => write!(f, ";SharedAccessKey={}", key.to_base64())?,
            Credential::Signature(token) => write!(f, ";SharedAccessSignature={token}")?,
            Credential::X509 => f.write_str(";x509=true")?,
        }
        match &self.gateway_host_name {
            None => Ok(()),
            Some(gateway) => write!(f, ";GatewayHostName={gateway}"),
        }
    }
}

/// Prints nothing secret.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key(…)",
            Self::Signature(_) => "Signature(…)",
            Self::X509 => "X509",
        })
    }
}

/// Calls `take` with each name and value, trimmed; empty parts are skipped.
fn for_each_part<'a>(
    text: &'a str,
    mut take: impl FnMut(&'a str, &'a str) -> Result<(), ConnectionStringError>,
) -> Result<(), ConnectionStringError> {
    // A device id may contain ';', which no client can tell from a separator either.
    for (index, part) in text.trim().split(';').enumerate() {
        if part.is_empty() {
            continue;
        }
        let (name, value) = part
            .split_once('=')
            .ok_or(ConnectionStringError::MalformedPart(index + 1))?;
        take(name.trim(), value.trim())?;
    }
    Ok(())
}

/// The known members, as text.
#[derive(Default)]
struct Parts<'a> {
    host_name: Option<&'a str>,
    gateway_host_name: Option<&'a str>,
    policy: Option<&'a str>,
    device: Option<&'a str>,
    module: Option<&'a str>,
    key: Option<&'a str>,
    signature: Option<&'a str>,
    x509: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn parse(text: &'a str) -> Result<Self, ConnectionStringError> {
        let mut parts = Self::default();
        for_each_part(text, |name, value| {
            let Some((name, slot)) = parts.slot(name) else {
                return Ok(());
            };
            if slot.is_some() {
                return Err(ConnectionStringError::Repeated(name));
            }
            *slot = Some(value).filter(|value| !value.is_empty());
            Ok(())
        })?;
        Ok(parts)
    }

    fn slot(&mut self, name: &str) -> Option<(&'static str, &mut Option<&'a str>)> {
        [
            ("HostName", &mut self.host_name),
            ("GatewayHostName", &mut self.gateway_host_name),
            ("SharedAccessKeyName", &mut self.policy),
            ("DeviceId", &mut self.device),
            ("ModuleId", &mut self.module),
            ("SharedAccessKey", &mut self.key),
            ("SharedAccessSignature", &mut self.signature),
            ("x509", &mut self.x509),
        ]
        .into_iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    fn identity(&self) -> Result<Identity, ConnectionStringError> {
        use ConnectionStringError::{Contradiction, Missing};

        match (self.device, self.module, self.policy) {
            (Some(_), _, Some(_)) => Err(Contradiction("DeviceId", "SharedAccessKeyName")),
            (None, Some(_), _) => Err(Missing("DeviceId")),
            (None, None, None) => Err(Missing("DeviceId or SharedAccessKeyName")),
            (None, None, Some(policy)) => Ok(Identity::Policy(policy.into())),
            (Some(device), module, None) => {
                let device = DeviceId::parse(device).map_err(ConnectionStringError::Id)?;
                let module = module
                    .map(ModuleId::parse)
                    .transpose()
                    .map_err(ConnectionStringError::Id)?;
                Ok(Identity::Client(ClientId { device, module }))
            }
        }
    }

    fn credential(&self) -> Result<Credential, ConnectionStringError> {
        use ConnectionStringError::{Contradiction, Key, Missing};

        let x509 = self
            .x509
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        match (self.key, self.signature, x509) {
            (Some(_), Some(_), _) => Err(Contradiction("SharedAccessKey", "SharedAccessSignature")),
            (Some(_), None, true) => Err(Contradiction("SharedAccessKey", "x509")),
            (None, Some(_), true) => Err(Contradiction("SharedAccessSignature", "x509")),
            (Some(key), None, false) => SymmetricKey::parse(key).map(Credential::Key).map_err(Key),
            (None, Some(token), false) => Ok(Credential::Signature(token.into())),
            (None, None, true) => Ok(Credential::X509),
            (None, None, false) => Err(Missing("SharedAccessKey")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";

    #[test]
    fn every_form_round_trips() {
        for text in [
            format!("HostName=localhost;SharedAccessKeyName=iothubowner;SharedAccessKey={KEY}"),
            format!("HostName=localhost;DeviceId=d1;SharedAccessKey={KEY}"),
            format!("HostName=localhost;DeviceId=d1;ModuleId=m1;SharedAccessKey={KEY}"),
            format!("HostName=h;DeviceId=d1;SharedAccessKey={KEY};GatewayHostName=g"),
            "HostName=h;DeviceId=d1;x509=true".into(),
            "HostName=h;DeviceId=d1;SharedAccessSignature=SharedAccessSignature sr=h&sig=a=&se=1"
                .into(),
        ] {
            assert_eq!(ConnectionString::parse(&text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn names_ignore_case_and_order_and_unknown_parts_are_skipped() {
        let text = format!("sharedaccesskey={KEY};;Color=red;DEVICEID=d1;hostname=h;");

        let parsed = ConnectionString::parse(&text).unwrap();

        assert_eq!(parsed.client(), Some(&ClientId::parse("d1").unwrap()));
        assert_eq!(parsed.connect_host(), "h");
    }

    #[test]
    fn the_gateway_is_the_host_to_connect_to() {
        let text = format!("HostName=h;DeviceId=d;SharedAccessKey={KEY};GatewayHostName=g");

        assert_eq!(ConnectionString::parse(&text).unwrap().connect_host(), "g");
    }

    #[test]
    fn incomplete_and_contradictory_strings_say_what_is_wrong() {
        use ConnectionStringError::*;

        for (text, error) in [
            ("".into(), Missing("HostName")),
            ("HostName=;DeviceId=d".into(), Missing("HostName")),
            ("HostName=h;DeviceId=d".into(), Missing("SharedAccessKey")),
            (
                "HostName=h;DeviceId=d;x509=false".into(),
                Missing("SharedAccessKey"),
            ),
            (
                format!("HostName=h;SharedAccessKey={KEY}"),
                Missing("DeviceId or SharedAccessKeyName"),
            ),
            (
                format!("HostName=h;ModuleId=m;SharedAccessKey={KEY}"),
                Missing("DeviceId"),
            ),
            ("HostName=h;oops".into(), MalformedPart(2)),
            ("HostName=h;hostname=g".into(), Repeated("HostName")),
            (
                "HostName=h;DeviceId=d;SharedAccessKey=AAAA".into(),
                Key(SasError::KeyLength(3)),
            ),
            (
                "HostName=h;DeviceId=a b;x509=true".into(),
                Id(InvalidId("a b".into())),
            ),
            (
                format!("HostName=h;DeviceId=d;SharedAccessKey={KEY};x509=true"),
                Contradiction("SharedAccessKey", "x509"),
            ),
        ] {
            assert_eq!(ConnectionString::parse(&text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let text = format!("HostName=h;DeviceId=d;SharedAccessKey={KEY}");

        assert!(!format!("{:?}", ConnectionString::parse(&text)).contains(&KEY[..6]));
    }

    proptest! {
        #[test]
        fn what_was_printed_parses(
            host in "[a-z0-9.-]{1,30}",
            gateway in proptest::option::of("[a-z0-9.-]{1,30}"),
            device in "[A-Za-z0-9:.+%_#*?!(),=@$'-]{1,30}",
            module in proptest::option::of("[A-Za-z0-9:.+%_#*?!(),=@$'-]{1,30}"),
            secret in proptest::collection::vec(any::<u8>(), 16..=64),
        ) {
            let client = ClientId {
                device: DeviceId::parse(&device).unwrap(),
                module: module.map(|module| ModuleId::parse(&module).unwrap()),
            };
            let mut string =
                ConnectionString::for_client(host, client, SymmetricKey::from_bytes(secret));
            string.gateway_host_name = gateway;

            prop_assert_eq!(ConnectionString::parse(&string.to_string()), Ok(string));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,80}") {
            let _ = ConnectionString::parse(&text);
            let _ = ConnectionString::parse(&format!("HostName=h;DeviceId={text};SharedAccessKey={text}"));
        }
    }
}
