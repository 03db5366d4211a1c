//! What can go wrong for a back end: its settings, the way to the hub, or a refusal by the hub.

use std::error::Error as StdError;
use std::fmt;

use iothub_protocol::ErrorCode;

/// Why a request has no result.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The kinds of failure that a caller may want to tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting cannot be used: the connection string, an address, a certificate.
    Configuration(String),
    /// The text names no device or module.
    InvalidId(String),
    /// What was named exists, and cannot be used for this.
    Unsuitable(String),
    /// No connection to the hub at this address.
    Unreachable(String),
    /// The connection ended before the answer was complete.
    Interrupted,
    /// Another reader with this owner level, or a higher one, reads instead. Says what the hub said.
    Displaced(String),
    /// The hub answered, and said no.
    Refused(Refusal),
    /// The hub answered something that does not fit the question.
    UnexpectedAnswer(String),
}

/// A refusal by the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The hub's error code; a generic one when the answer names none.
    pub code: ErrorCode,
    /// What the hub says about it.
    pub message: String,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind) -> Self {
        Self { kind, source: None }
    }

    pub(crate) fn caused_by(
        kind: ErrorKind,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            source: Some(source.into()),
        }
    }

    /// Which kind of failure it is.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The hub's error code, when it was the hub that refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match &self.kind {
            ErrorKind::Refused(refusal) => Some(refusal.code),
            ErrorKind::Configuration(_)
            | ErrorKind::InvalidId(_)
            | ErrorKind::Unsuitable(_)
            | ErrorKind::Unreachable(_)
            | ErrorKind::Interrupted
            | ErrorKind::Displaced(_)
            | ErrorKind::UnexpectedAnswer(_) => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ErrorKind::Configuration(what) | ErrorKind::Unsuitable(what) => write!(f, "{what}"),
            ErrorKind::InvalidId(id) => write!(f, "not a device or module id: {id:?}"),
            ErrorKind::Unreachable(address) => write!(f, "no connection to the hub at {address}"),
            ErrorKind::Interrupted => write!(f, "the connection ended before the answer did"),
            ErrorKind::Displaced(what) => write!(f, "another reader reads instead: {what}"),
            ErrorKind::Refused(refusal) => write!(f, "the hub refused: {refusal}"),
            ErrorKind::UnexpectedAnswer(what) => write!(f, "unexpected answer of the hub: {what}"),
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

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}): {}",
            self.code.name(),
            self.code.number(),
            self.message
        )
    }
}
