//! What can go wrong for a device: its settings, the way to the hub, or a refusal by the hub.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use iothub_protocol::ErrorCode;

/// Why something did not happen. Cheap to clone: the end of a connection is told to everyone who
/// waits for something on it.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The kinds of failure that a caller may want to tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting cannot be used: the connection string, an address, a certificate.
    Configuration(String),
    /// No connection to the hub at this address.
    Unreachable(String),
    /// The hub at this address has a certificate that is not trusted.
    Untrusted(String),
    /// The hub does not let this client in.
    ConnectionRefused(ConnectRefusal),
    /// The connection was lost.
    Interrupted,
    /// The hub answered an operation with a refusal.
    Refused(Refusal),
    /// The hub does not grant a subscription.
    SubscriptionRefused,
    /// The message is larger than the hub takes.
    TooLarge {
        /// The size as the hub counts it.
        size: usize,
        /// What the hub takes.
        limit: usize,
    },
    /// The blob storage refused a part of a file.
    StorageRefused {
        /// The status, as in HTTP.
        status: u16,
        /// The storage's code for it, or what it said.
        message: String,
    },
    /// A local file cannot be uploaded.
    File(String),
    /// The hub sent something that does not fit.
    UnexpectedAnswer(String),
    /// The client was closed.
    Closed,
}

/// Why the hub did not accept a connection: its CONNACK code (`spec/device.md` 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectRefusal {
    /// 1: the hub does not speak this version of MQTT.
    ProtocolVersion,
    /// 2: the client id is not one that the hub takes.
    ClientId,
    /// 3: not now.
    Unavailable,
    /// 4: user name or password have the wrong form.
    Credentials,
    /// 5: unknown or disabled device, wrong key, expired token.
    NotAuthorized,
}

/// A refusal of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status, as in HTTP.
    pub status: u16,
    /// The hub's error code, when the answer carries one that is known.
    pub code: Option<ErrorCode>,
    /// What the hub says about it.
    pub message: String,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind) -> Self {
        Self { kind, source: None }
    }

    pub(crate) fn caused_by(
        kind: ErrorKind,
        source: impl StdError + Send + Sync + 'static,
    ) -> Self {
        Self {
            kind,
            source: Some(Arc::new(source)),
        }
    }

    /// Which kind of failure it is.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The hub's error code, when it was the hub that refused.
    pub fn code(&self) -> Option<ErrorCode> {
        if let ErrorKind::Refused(refusal) = &self.kind {
            refusal.code
        } else {
            None
        }
    }

    /// Whether trying the same connection again is pointless until somebody changes something.
    pub(crate) fn is_final(&self) -> bool {
        match &self.kind {
            ErrorKind::Configuration(_) | ErrorKind::Untrusted(_) | ErrorKind::Closed => true,
            ErrorKind::ConnectionRefused(refusal) => *refusal != ConnectRefusal::Unavailable,
            ErrorKind::Unreachable(_)
            | ErrorKind::Interrupted
            | ErrorKind::Refused(_)
            | ErrorKind::SubscriptionRefused
            | ErrorKind::TooLarge { .. }
            | ErrorKind::StorageRefused { .. }
            | ErrorKind::File(_)
            | ErrorKind::UnexpectedAnswer(_) => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ErrorKind::Configuration(what) => write!(f, "{what}"),
            ErrorKind::Unreachable(address) => write!(f, "no connection to the hub at {address}"),
            ErrorKind::Untrusted(address) => {
                write!(f, "the certificate of the hub at {address} is not trusted")
            }
            ErrorKind::ConnectionRefused(refusal) => {
                write!(f, "the hub refused the connection: {refusal}")
            }
            ErrorKind::Interrupted => write!(f, "the connection was lost"),
            ErrorKind::Refused(refusal) => write!(f, "the hub refused: {refusal}"),
            ErrorKind::SubscriptionRefused => write!(f, "the hub refused the subscription"),
            ErrorKind::TooLarge { size, limit } => {
                write!(f, "a message of {size} bytes, where the hub takes {limit}")
            }
            ErrorKind::StorageRefused { status, message } => {
                write!(f, "the blob storage refused: status {status}: {message}")
            }
            ErrorKind::File(what) => write!(f, "{what}"),
            ErrorKind::UnexpectedAnswer(what) => write!(f, "unexpected answer of the hub: {what}"),
            ErrorKind::Closed => write!(f, "the client is closed"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

impl fmt::Display for ConnectRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProtocolVersion => "it does not speak MQTT 3.1.1 (CONNACK 1)",
            Self::ClientId => "it does not take the client id (CONNACK 2)",
            Self::Unavailable => "it is not available (CONNACK 3)",
            Self::Credentials => "it cannot read the credentials (CONNACK 4)",
            Self::NotAuthorized => {
                "not authorized: unknown or disabled identity, wrong key, or expired token (CONNACK 5)"
            }
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "{} ({}): {}", code.name(), code.number(), self.message),
            None => write!(f, "status {}: {}", self.status, self.message),
        }
    }
}
