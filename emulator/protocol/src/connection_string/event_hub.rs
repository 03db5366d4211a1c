//! Connection strings of the Event Hubs-compatible endpoint (`spec/amqp.md` 1.1, 1.2).

use std::fmt;

use super::ConnectionStringError;
use crate::sas::SymmetricKey;

/// A parsed connection string of an event hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventHubConnectionString {
    /// The namespace's host, and with the entity the audience of every token.
    pub host_name: String,
    /// The port, where the endpoint names one.
    pub port: Option<u16>,
    /// How the reader proves who it is.
    pub credential: EventHubCredential,
    /// The event hub.
    pub entity_path: Option<String>,
    /// Whether TLS is left out, as towards an emulator.
    pub development_emulator: bool,
}

/// How a reader of events proves who it is.
#[derive(Clone, PartialEq, Eq)]
pub enum EventHubCredential {
    /// A shared access policy and its key.
    Policy {
        /// The policy's name.
        name: String,
        /// The key as it is written: Event Hubs signs with the text, not with what it decodes to.
        key: String,
    },
    /// One token, made by someone else.
    Signature(String),
}

/// The port of plain AMQP, which the flag for emulators means (`spec/amqp.md` 1).
const PLAIN_PORT: u16 = 5672;
/// The port of AMQP in TLS.
const TLS_PORT: u16 = 5671;

impl EventHubConnectionString {
    /// Parses `Endpoint=sb://host[:port][/];Name=value;…`: names ignore case, values may contain
    /// `=`, unknown names and empty parts are skipped.
    pub fn parse(text: &str) -> Result<Self, ConnectionStringError> {
        use ConnectionStringError::{Contradiction, Missing};

        let parts = Parts::parse(text)?;
        let endpoint = parts.endpoint.ok_or(Missing("Endpoint"))?;
        let (host_name, port) = host_and_port(endpoint)?;
        let credential = match (parts.policy, parts.key, parts.signature) {
            (_, Some(_), Some(_)) => {
                return Err(Contradiction("SharedAccessKey", "SharedAccessSignature"));
            }
            (_, None, Some(token)) => EventHubCredential::Signature(token.into()),
            (Some(name), Some(key), None) => EventHubCredential::Policy {
                name: name.into(),
                key: key.into(),
            },
            (None, Some(_), None) => return Err(Missing("SharedAccessKeyName")),
            (_, None, None) => return Err(Missing("SharedAccessKey")),
        };
        Ok(Self {
            host_name: host_name.into(),
            port,
            credential,
            entity_path: parts.entity_path.map(Into::into),
            development_emulator: parts
                .emulator
                .is_some_and(|value| value.eq_ignore_ascii_case("true")),
        })
    }

    /// The port to connect to: the endpoint's own, or the one that the flag for emulators means.
    pub fn connect_port(&self) -> u16 {
        self.port.unwrap_or(if self.development_emulator {
            PLAIN_PORT
        } else {
            TLS_PORT
        })
    }

    /// The audience of tokens for this entity: the shortest that covers readers and `$management`
    /// (`spec/amqp.md` 3, table).
    pub fn audience(&self, entity: &str) -> String {
        format!("sb://{}/{entity}", self.host_name)
    }
}

impl EventHubCredential {
    /// The key to sign tokens with; `None`: there is only a token.
    pub fn signing_key(&self) -> Option<SymmetricKey> {
        match self {
            Self::Policy { key, .. } => Some(SymmetricKey::from_bytes(key.as_bytes())),
            Self::Signature(_) => None,
        }
    }
}

/// In the order that the hub prints; no `;` at the end.
impl fmt::Display for EventHubConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint=sb://{}", self.host_name)?;
        match self.port {
            Some(port) => write!(f, ":{port}")?,
            None => f.write_str("/")?,
        }
        match &self.credential {
            EventHubCredential::Policy { name, key } => {
                write!(f, ";SharedAccessKeyName={name};SharedAccessKey={key}")?;
            }
            EventHubCredential::Signature(token) => write!(f, ";SharedAccessSignature={token}")?,
        }
        if let Some(entity) = &self.entity_path {
            write!(f, ";EntityPath={entity}")?;
        }
        match self.development_emulator {
            true => f.write_str(";UseDevelopmentEmulator=true"),
            false => Ok(()),
        }
    }
}

/// Prints nothing secret.
impl fmt::Debug for EventHubCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy { name, .. } => write!(f, "Policy({name})"),
            Self::Signature(_) => f.write_str("Signature(…)"),
        }
    }
}

/// The host and port of `sb://host:port/`; other schemes are read, too, since only the host counts.
fn host_and_port(endpoint: &str) -> Result<(&str, Option<u16>), ConnectionStringError> {
    let authority = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, authority)| authority);
    let authority = authority.split('/').next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of an IPv6 address are inside its brackets.
        Some((host, port)) if !port.ends_with(']') => {
            let port = port.parse().ok().filter(|&port: &u16| port != 0);
            (host, Some(port.ok_or(ConnectionStringError::Endpoint)?))
        }
        _ => (authority, None),
    };
    let is_plausible = |byte: u8| byte.is_ascii_graphic() && !b"?#@\\\"<>".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_plausible) {
        return Err(ConnectionStringError::Endpoint);
    }
    Ok((host, port))
}

/// The known members, as text.
#[derive(Default)]
struct Parts<'a> {
    endpoint: Option<&'a str>,
    policy: Option<&'a str>,
    key: Option<&'a str>,
    signature: Option<&'a str>,
    entity_path: Option<&'a str>,
    emulator: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn parse(text: &'a str) -> Result<Self, ConnectionStringError> {
        let mut parts = Self::default();
        super::for_each_part(text, |name, value| {
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
            ("Endpoint", &mut self.endpoint),
            ("SharedAccessKeyName", &mut self.policy),
            ("SharedAccessKey", &mut self.key),
            ("SharedAccessSignature", &mut self.signature),
            ("EntityPath", &mut self.entity_path),
            ("UseDevelopmentEmulator", &mut self.emulator),
        ]
        .into_iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "SharedAccessKeyName=service;SharedAccessKey=a2V5";

    fn parse(text: &str) -> EventHubConnectionString {
        EventHubConnectionString::parse(text).unwrap()
    }

    #[test]
    fn every_form_round_trips() {
        for text in [
            format!("Endpoint=sb://localhost/;{KEY};EntityPath=hub"),
            format!("Endpoint=sb://localhost/;{KEY};EntityPath=hub;UseDevelopmentEmulator=true"),
            format!("Endpoint=sb://localhost:5673;{KEY};UseDevelopmentEmulator=true"),
            format!("Endpoint=sb://[::1]:5673;{KEY};EntityPath=messages/events"),
            "Endpoint=sb://h/;SharedAccessSignature=SharedAccessSignature sr=h&sig=a=&se=1".into(),
        ] {
            assert_eq!(parse(&text).to_string(), text);
        }
    }

    #[test]
    fn the_flag_for_emulators_means_the_plain_port() {
        for (text, port) in [
            ("Endpoint=sb://h;", 5671),
            ("Endpoint=sb://h/;UseDevelopmentEmulator=true;", 5672),
            ("Endpoint=sb://h;UseDevelopmentEmulator=false;", 5671),
            ("endpoint=sb://h:9/;useDevelopmentEmulator=true;", 9),
            ("Endpoint=sb://[::1];", 5671),
        ] {
            assert_eq!(
                parse(&format!("{text}{KEY}")).connect_port(),
                port,
                "{text}"
            );
        }
    }

    #[test]
    fn tokens_are_signed_with_the_text_of_the_key() {
        let parsed = parse(&format!("Endpoint=sb://h/;{KEY}"));

        let key = parsed.credential.signing_key().unwrap();

        assert_eq!(key.as_bytes(), b"a2V5");
        assert_eq!(parsed.audience("hub"), "sb://h/hub");
    }

    #[test]
    fn incomplete_and_contradictory_strings_say_what_is_wrong() {
        use ConnectionStringError::*;

        for (text, error) in [
            ("", Missing("Endpoint")),
            (
                "HostName=h;SharedAccessKeyName=p;SharedAccessKey=a2V5",
                Missing("Endpoint"),
            ),
            ("Endpoint=sb://h", Missing("SharedAccessKey")),
            (
                "Endpoint=sb://h;SharedAccessKey=a2V5",
                Missing("SharedAccessKeyName"),
            ),
            (
                "Endpoint=sb://;SharedAccessKeyName=p;SharedAccessKey=a",
                Endpoint,
            ),
            (
                "Endpoint=sb://h:x;SharedAccessKeyName=p;SharedAccessKey=a",
                Endpoint,
            ),
            (
                "Endpoint=sb://h:0;SharedAccessKeyName=p;SharedAccessKey=a",
                Endpoint,
            ),
            ("Endpoint=sb://h;endpoint=sb://g", Repeated("Endpoint")),
            ("Endpoint=sb://h;oops", MalformedPart(2)),
            (
                "Endpoint=sb://h;SharedAccessKey=a;SharedAccessSignature=b",
                Contradiction("SharedAccessKey", "SharedAccessSignature"),
            ),
        ] {
            assert_eq!(
                EventHubConnectionString::parse(text).unwrap_err(),
                error,
                "{text}"
            );
        }
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let text = format!("{:?}", parse(&format!("Endpoint=sb://h/;{KEY}")));

        assert!(!text.contains("a2V5"), "{text}");
    }

    proptest! {
        #[test]
        fn what_was_printed_parses(
            host_name in "[a-z0-9.-]{1,30}",
            port in proptest::option::of(1..u16::MAX),
            name in "[A-Za-z0-9_.-]{1,20}",
            key in "[A-Za-z0-9+/]{1,40}={0,2}",
            entity_path in proptest::option::of("[A-Za-z0-9_./-]{1,30}"),
            development_emulator: bool,
        ) {
            let string = EventHubConnectionString {
                host_name,
                port,
                credential: EventHubCredential::Policy { name, key },
                entity_path,
                development_emulator,
            };

            prop_assert_eq!(EventHubConnectionString::parse(&string.to_string()), Ok(string));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,80}") {
            let _ = EventHubConnectionString::parse(&text);
            let _ = EventHubConnectionString::parse(&format!("Endpoint={text};{KEY}"));
        }
    }
}
