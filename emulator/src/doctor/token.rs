//! Shared access signatures: what the hub says to one, and why.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use iothub_hub::Credentials;
use iothub_protocol::sas::{Anatomy, SasError, SasToken, SignatureForm, signature_over};
use iothub_protocol::{ClientId, DeviceId, Error, ModuleId, Timestamp};

use super::holders::{Holder, named};
use super::lifetime::seconds_of;
use super::report::{Report, Row, Signed};
use super::{Doctor, Question};

/// A token as its parts can be read, whether the hub reads it or not.
pub(super) struct Parts<'a> {
    /// The resource as it is sent.
    pub(super) sr: &'a str,
    /// Whether there is one, if only an empty one.
    pub(super) has_resource: bool,
    /// The expiry as it is sent.
    pub(super) se: &'a str,
    /// The resource, decoded.
    pub(super) resource: String,
    /// The policy, if one is named.
    pub(super) policy: Option<String>,
    /// The signature's bytes.
    pub(super) signature: Option<Vec<u8>>,
    /// A token of the same resource and policy, to ask what it covers.
    pub(super) shape: Option<SasToken>,
    /// Whom the holder wants to be.
    pub(super) client: Option<ClientId>,
    /// Whether the token was made here, of a key that was pasted.
    pub(super) is_made_here: bool,
}

impl Doctor {
    /// Explains a token that was pasted.
    pub(super) fn token(&self, question: &Question, text: &str) -> Report {
        let mut report = Report::new("sas", text);
        self.explain_token(&mut report, question, text, false);
        report
    }

    /// Explains a token: one that was pasted, or one that was made of a pasted key.
    pub(super) fn explain_token(
        &self,
        report: &mut Report,
        question: &Question,
        text: &str,
        is_made_here: bool,
    ) {
        let anatomy = Anatomy::of(text);
        let parts = Parts::of(&anatomy, question, is_made_here);
        let (asked, answer) = self.ask(question, &parts, text);
        let is_accepted = answer.is_ok();
        report.hear(asked, answer);
        if !is_made_here {
            self.decode(report, &anatomy, &parts);
            look_at_form(report, &anatomy, text);
        }
        self.look_at_resource(report, question, &parts);
        self.look_at_policy(report, &parts, is_accepted);
        if let Some(client) = &parts.client {
            self.look_at_identity(report, client, parts.policy.is_some());
        }
        self.look_at_signature(report, &parts, is_accepted);
        if !is_made_here {
            self.look_at_lifetime(report, parts.se);
        }
    }

    /// Asks the hub as an endpoint would.
    fn ask(
        &self,
        question: &Question,
        parts: &Parts<'_>,
        text: &str,
    ) -> (String, Result<(), Error>) {
        let hub = self.access.hub();
        let token = Credentials::Token(text);
        match (&parts.client, &question.host) {
            (Some(client), Some(host)) => (
                format!("to let {} in, connected to {host}", named(client)),
                hub.authenticate_client(self.now, host, client, token)
                    .map(drop),
            ),
            (Some(client), None) => (
                format!("to let {} in", named(client)),
                hub.authenticate_client_anywhere(self.now, client, token)
                    .map(drop),
            ),
            (None, Some(host)) => {
                let path = path_of(&parts.resource);
                (
                    format!("to let a back end in, connected to {host}"),
                    hub.authenticate_service(self.now, host, &path, token)
                        .map(drop),
                )
            }
            (None, None) => (
                "to let the token's holder in".to_owned(),
                hub.authenticate_audience(self.now, None, text).map(drop),
            ),
        }
    }

    fn decode(&self, report: &mut Report, anatomy: &Anatomy<'_>, parts: &Parts<'_>) {
        for field in anatomy.fields() {
            let meaning = match field.name {
                "sr" => "what the token is for: the host, and below it a device or module",
                "sig" => "the signature: HMAC-SHA256 over sr, a line feed and se",
                "se" => "when it ends: seconds since 1970",
                "skn" if parts.policy.is_some() => {
                    "the shared access policy whose key signed; without it, the device's own key"
                }
                "skn" => "empty, which is the same as none: the device's own key signed",
                _ => "nothing that the hub looks at",
            };
            let expiry = seconds_of(&field.value).filter(|_| field.name == "se");
            let value = match expiry {
                Some(seconds) => Timestamp::from_unix_seconds(seconds).to_iso_seconds(),
                None => field.value.clone().into_owned(),
            };
            report.rows.push(Row {
                name: field.name.to_owned(),
                raw: (value != field.raw).then(|| field.raw.to_owned()),
                value,
                meaning: meaning.to_owned(),
            });
        }
        if !parts.sr.is_empty() {
            report.signed = Some(Signed {
                string_to_sign: format!("{}\n{}", parts.sr, parts.se),
                received: parts.signature.as_ref().map(|bytes| STANDARD.encode(bytes)),
                matched: None,
                expected: self
                    .right_keys(parts)
                    .iter()
                    .map(|holder| {
                        let signature = signature_over(parts.sr, parts.se, &holder.key);
                        (holder.name(), signature)
                    })
                    .collect(),
            });
        }
    }

    /// The keys that the hub would try.
    pub(super) fn right_keys(&self, parts: &Parts<'_>) -> Vec<Holder> {
        match (&parts.policy, &parts.client) {
            (Some(policy), _) => self.keys_of_policy(policy),
            (None, Some(client)) => self.keys_of_client(client),
            (None, None) => Vec::new(),
        }
    }
}

impl<'a> Parts<'a> {
    fn of(anatomy: &'a Anatomy<'_>, question: &Question, is_made_here: bool) -> Self {
        let raw = |name| anatomy.raw(name).unwrap_or_default();
        let value = |name| anatomy.value(name).map(Cow::into_owned);
        // Only what it is for counts here.
        let shape = format!(
            "SharedAccessSignature sr={}&sig={}%3D&se=0&skn={}",
            raw("sr"),
            "A".repeat(43),
            raw("skn"),
        );
        let resource = value("sr").unwrap_or_default();
        let policy = value("skn").filter(|name| !name.is_empty());
        let of_resource = || client_of(&resource).filter(|_| policy.is_none());
        Self {
            sr: raw("sr"),
            has_resource: anatomy.raw("sr").is_some(),
            se: raw("se"),
            signature: anatomy.signature().1,
            shape: SasToken::parse(&shape).ok(),
            client: question.client.clone().or_else(of_resource),
            resource,
            policy,
            is_made_here,
        }
    }

    /// The token's host, without scheme and port.
    pub(super) fn host(&self) -> &str {
        let host = self.shape.as_ref().map_or("", SasToken::host);
        match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        }
    }

    /// Whether it is for events, where a policy's key may sign as its text.
    pub(super) fn is_for_events(&self) -> bool {
        let scheme = self.resource.split_once("://").map(|(scheme, _)| scheme);
        self.policy.is_some()
            && self.client.is_none()
            && (scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("sb"))
                || self.path().first().is_some_and(|it| it != "devices"))
    }

    /// What stands below the host.
    pub(super) fn path(&self) -> Vec<String> {
        path_of(&self.resource)
    }
}

/// The segments of a resource below its host.
fn path_of(resource: &str) -> Vec<String> {
    let resource = resource.trim_end_matches('/');
    let resource = resource
        .split_once("://")
        .map_or(resource, |(_, rest)| rest);
    resource.split('/').skip(1).map(str::to_owned).collect()
}

/// The device or module that a resource is, or is below.
pub(super) fn client_of(resource: &str) -> Option<ClientId> {
    let path = path_of(resource);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let ["devices", device, rest @ ..] = path.as_slice() else {
        return None;
    };
    let device = DeviceId::parse(device).ok()?;
    match rest {
        ["modules", module, ..] => Some(ClientId::module(device, ModuleId::parse(module).ok()?)),
        _ => Some(ClientId::device(device)),
    }
}

/// Why the hub cannot read it.
fn look_at_form(report: &mut Report, anatomy: &Anatomy<'_>, text: &str) {
    let Err(fault) = SasToken::parse(text) else {
        return;
    };
    if anatomy.was_encoded {
        report.error(
            "encoded-whole",
            "The whole token is percent-encoded.",
            "Only the values of sr, sig and skn are encoded; the names, '=' and '&' between them \
             are not, nor is the blank behind SharedAccessSignature.",
            format!("Send it decoded: {}", anatomy.mended()),
        );
    } else if !anatomy.has_scheme {
        report.error(
            "no-scheme",
            "The token does not begin with 'SharedAccessSignature' and one blank.",
            "By that the hub knows what it is given.",
            format!("Send this: {}", anatomy.mended()),
        );
    }
    let (form, _) = anatomy.signature();
    if anatomy.raw("sig").is_some()
        && let Some(what) = form.fault()
    {
        let mend = match form {
            SignatureForm::EncodedTwice => {
                "Encode it once: your client or proxy does so already, or you do."
            }
            SignatureForm::PlusLost => {
                "Percent-encode the signature ('+' is %2B), so that nothing takes it for a form."
            }
            SignatureForm::UrlSafe => "Use the usual alphabet, with '+' and '/', percent-encoded.",
            SignatureForm::Unpadded => "Leave the '=' at the end, percent-encoded as %3D.",
            SignatureForm::Hexadecimal => {
                "Encode the 32 bytes of the HMAC in base64, not its hexadecimal text."
            }
            SignatureForm::Base64 | SignatureForm::Unreadable => {
                "Encode the 32 bytes of the HMAC in base64, then percent-encode that."
            }
        };
        report.error(
            "signature-form",
            format!("The signature {what}."),
            "The hub reads sig as percent-encoded base64 of the 32 bytes of an HMAC-SHA256.",
            mend,
        );
    }
    let (code, what, mend) = match &fault {
        SasError::MissingField(name) => (
            "missing-field",
            match anatomy.raw(name) {
                Some(_) => format!("{name} is there in the wrong case."),
                None => format!("{name} is missing."),
            },
            "A token has sr, sig and se, in lower case and in any order, and skn where a policy \
             signs.",
        ),
        SasError::RepeatedField(name) => (
            "repeated-field",
            format!("{name} is there more than once."),
            "Leave one of them; perhaps two tokens were joined.",
        ),
        SasError::MalformedField => (
            "malformed-field",
            "Between two '&' there is something without '='.".to_owned(),
            "Percent-encode values: an '&' in a device id is %26.",
        ),
        SasError::Resource => (
            "resource-not-utf-8",
            "sr is not UTF-8 once it is decoded.".to_owned(),
            "Encode the UTF-8 bytes of the resource.",
        ),
        SasError::Scheme
        | SasError::Signature
        | SasError::Expiry
        | SasError::KeyNotBase64
        | SasError::KeyLength(_) => return,
    };
    let is_seen = matches!(&fault, SasError::MissingField(name) if anatomy.raw(name).is_some());
    if anatomy.has_scheme || !is_seen {
        report.error(code, what, "The hub cannot read the token.", mend);
    }
}
