//! Why a credential is refused, and how to mend it.
//!
//! The verdict is the hub's own: the same functions are asked that the endpoints ask, on a
//! snapshot. What the doctor adds is the reason: it decodes what it was given, compares it with the
//! registry, and tries the ways in which people make tokens wrongly. It knows no more than whoever
//! runs the emulator, and logs nothing.

mod certificate;
mod connection_string;
mod holders;
mod identity;
mod key;
mod lifetime;
mod offline;
mod report;
mod resource;
mod sign;
mod signature;
mod storage;
#[cfg(test)]
mod tests;
mod token;
mod user_name;

use iothub_hub::AccessSnapshot;
use iothub_protocol::pasted::{Pasted, PastedKind, Wrapping, recognise};
use iothub_protocol::storage::Account;
use iothub_protocol::{ClientId, Timestamp};

use crate::handle::HubHandle;

pub use offline::Offline;
pub use report::{Finding, Level, Report, Row, Signed, Verdict};
pub use sign::{SignRequest, Signatory, SignedToken, WhichKey};

/// What the doctor goes by.
pub struct Doctor {
    access: AccessSnapshot,
    now: Timestamp,
    /// Whether the hub's clock stands.
    frozen: bool,
    /// The account of devices' files, where there is one.
    account: Option<Account>,
    /// The name that clients know the hub by.
    host_name: String,
}

/// What somebody wants to know.
#[derive(Clone, PartialEq, Eq)]
pub struct Question {
    /// Whatever was pasted.
    pub text: String,
    /// Whom the holder wants to be; `None`: whoever the text names.
    pub client: Option<ClientId>,
    /// The host that the holder connects to; `None`: it does not matter.
    pub host: Option<String>,
}

impl Doctor {
    /// Goes by this hub, as it was then.
    pub fn new(access: AccessSnapshot, now: Timestamp, host_name: String) -> Self {
        Self {
            access,
            now,
            frozen: false,
            account: None,
            host_name,
        }
    }

    /// Goes by a running hub as it is at this moment.
    pub(crate) fn of(handle: &HubHandle, access: AccessSnapshot, host_name: String) -> Self {
        use iothub_protocol::Clock as _;

        Self {
            frozen: handle.clock().is_frozen(),
            account: Some(handle.blobs().settings().account.clone()),
            ..Self::new(access, handle.clock().now(), host_name)
        }
    }

    /// Answers a question.
    pub fn explain(&self, question: &Question) -> Report {
        let pasted = recognise(&question.text);
        let mut report = self.examine(question, &pasted);
        note_wrappings(&mut report, &pasted);
        report.concluded()
    }

    fn examine(&self, question: &Question, pasted: &Pasted) -> Report {
        match pasted.kind {
            PastedKind::Token => self.token(question, &pasted.text),
            PastedKind::ConnectionString => self.connection_string(question, &pasted.text),
            PastedKind::Certificate => self.certificate(question, &pasted.text),
            PastedKind::PrivateKey => private_key(),
            PastedKind::UserName => self.user_name(question, &pasted.text),
            PastedKind::Key => self.key(question, &pasted.text),
            PastedKind::Thumbprint => self.thumbprint(question, &pasted.text),
            PastedKind::StorageSignature => self.storage_signature(&pasted.text),
            PastedKind::WebToken => self.web_token(&pasted.text),
            PastedKind::Nothing => Report::new("nothing", ""),
            PastedKind::Unknown => self.unknown(&pasted.text),
        }
    }

    fn web_token(&self, text: &str) -> Report {
        let mut report = Report::new("webToken", text);
        let answer = self
            .access
            .hub()
            .authenticate_audience(self.now, None, text);
        report.hear("as a token of the hub", answer);
        report.error(
            "web-token",
            "This is a JSON web token, as Microsoft Entra ID issues them.",
            "The real hub takes such tokens on its service API; here only shared access \
             signatures and certificates are taken.",
            "Use a connection string of a policy; Overview shows them.",
        );
        report
    }

    fn unknown(&self, text: &str) -> Report {
        let mut report = Report::new("unknown", text);
        let answer = self
            .access
            .hub()
            .authenticate_audience(self.now, None, text);
        report.hear("as a token of the hub", answer);
        report.error(
            "unknown",
            "This is none of the kinds of credentials that are known here.",
            "A token begins with 'SharedAccessSignature sr=', a connection string with 'HostName=', \
             a certificate with '-----BEGIN CERTIFICATE-----', a user name with the host and a slash.",
            "Paste the whole text, from its first character to its last.",
        );
        report
    }
}

fn private_key() -> Report {
    // The key itself goes nowhere, not even back.
    let mut report = Report::new("privateKey", "");
    report.error(
        "private-key",
        "This is a private key, not a certificate.",
        "The hub never sees a private key: a client proves in the TLS handshake that it holds the \
         key, and shows the certificate.",
        "Paste the certificate, and keep the key to yourself.",
    );
    report
}

/// What was taken away is not part of a credential; a program that sends it is refused.
fn note_wrappings(report: &mut Report, pasted: &Pasted) {
    for wrapping in &pasted.removed {
        let (code, what) = match wrapping {
            Wrapping::Blanks | Wrapping::Name | Wrapping::Separator => continue,
            Wrapping::Invisible => (
                "invisible-characters",
                "The text holds invisible characters, such as a byte order mark.",
            ),
            Wrapping::Quotes => ("quotes", "The text is in quotes."),
            Wrapping::LineBreaks => ("line-breaks", "The text is broken into lines."),
            Wrapping::EscapedLineBreaks => (
                "escaped-line-breaks",
                "The text has line breaks written as backslash and n.",
            ),
        };
        report.warning(
            code,
            what,
            "They were taken away before the hub was asked. If your program sends them, the hub \
             refuses.",
            "See that your program sends the text without them.",
        );
    }
}

/// A span of time as people say it.
fn spoken(duration: std::time::Duration) -> String {
    let plural = |count: u64, unit: &str| match count {
        1 => format!("1 {unit}"),
        count => format!("{count} {unit}s"),
    };
    match duration.as_secs() {
        seconds @ 0..=119 => plural(seconds, "second"),
        seconds @ 120..=7199 => plural(seconds / 60, "minute"),
        seconds @ 7200..=172_799 => plural(seconds / 3600, "hour"),
        seconds @ 172_800..=63_071_999 => plural(seconds / 86_400, "day"),
        seconds => plural(seconds / 31_536_000, "year"),
    }
}

/// Prints no secret.
impl std::fmt::Debug for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Question")
            .field("client", &self.client)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}
