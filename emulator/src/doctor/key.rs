//! Keys and thumbprints by themselves: whose they are.

use iothub_protocol::sas::{SymmetricKey, sign};

use super::connection_string::TRIAL;
use super::holders::{Owner, named};
use super::report::{Report, Verdict};
use super::resource::path_of;
use super::{Doctor, Question};

impl Doctor {
    /// Explains a key.
    pub(super) fn key(&self, question: &Question, text: &str) -> Report {
        let mut report = Report::new("key", text);
        let key = match SymmetricKey::parse(text) {
            Ok(key) => key,
            Err(fault) => {
                report.verdict = Verdict::Refused;
                report.asked = "nothing: nobody can sign with it".to_owned();
                report.error(
                    "malformed",
                    format!("This is no key of a hub: {fault}."),
                    "Keys are 16 to 64 bytes, written in base64.",
                    "Copy it whole, with the '=' at its end.",
                );
                return report;
            }
        };
        report.row(
            "length",
            format!("{} bytes", key.as_bytes().len()),
            "keys that the hub makes have 32",
        );
        let owner = self
            .policy_keys()
            .into_iter()
            .chain(self.client_keys())
            .find(|holder| holder.key == key);
        let client = question.client.clone().or_else(|| match &owner {
            Some(holder) => match &holder.owner {
                Owner::Client(client) => Some(client.clone()),
                Owner::Policy(_) => None,
            },
            None => None,
        });
        let host = question
            .host
            .clone()
            .unwrap_or_else(|| self.host_name.clone());
        let policy = match &owner {
            Some(holder) => match &holder.owner {
                Owner::Policy(name) => Some(name.clone()),
                Owner::Client(_) => None,
            },
            None => None,
        };
        let resource = match &client {
            Some(client) => format!("{host}/{}", path_of(client)),
            None => host.clone(),
        };
        match (&client, &policy, &owner) {
            (None, None, _) => {
                report.error(
                    "unknown-key",
                    if self.looks_at_all() {
                        "This is a key of nobody on this hub.".to_owned()
                    } else {
                        "This is a key of nobody among the first identities of this hub.".to_owned()
                    },
                    "Keys change when an identity is made anew, or when they are regenerated.",
                    "Copy the key again.",
                );
                report.asked = "whose key it is".to_owned();
                report.verdict = if self.looks_at_all() {
                    Verdict::Refused
                } else {
                    Verdict::Undecided
                };
            }
            _ => {
                // A policy's key names itself, as it would in a token.
                let named_policy = policy.as_deref();
                let token = sign(&resource, self.now + TRIAL, named_policy, &key);
                let asked = Question {
                    text: String::new(),
                    client,
                    host: question.host.clone(),
                };
                self.explain_token(&mut report, &asked, &token, true);
            }
        }
        report
    }

    /// Explains a thumbprint.
    pub(super) fn thumbprint(&self, question: &Question, text: &str) -> Report {
        let mut report = Report::new("thumbprint", text);
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        let (name, length) = match digits.len() {
            40 => ("SHA-1", "20 bytes"),
            _ => ("SHA-256", "32 bytes"),
        };
        report.row(
            name,
            digits.to_uppercase(),
            format!("{length} of a certificate's digest"),
        );
        report.asked = "whose certificate it is".to_owned();
        let is_it = |other: &str| other.eq_ignore_ascii_case(&digits);
        let authority = self.access.authorities().find(|authority| {
            is_it(&authority.certificate.sha1) || is_it(&authority.certificate.sha256)
        });
        match (self.holder_of_thumbprint(&[&digits]), authority) {
            (Some(holder), _) => {
                report.ok(
                    "thumbprint",
                    format!("It is registered for {}.", named(&holder)),
                );
                if let Some(client) = question.client.as_ref().filter(|&it| *it != holder) {
                    report.error(
                        "thumbprint-of-another",
                        format!("It is not registered for {}.", named(client)),
                        "A certificate opens the identity that knows its thumbprint.",
                        format!("Register it for {}, too.", named(client)),
                    );
                }
                self.look_whether_disabled(&mut report, &holder.device);
            }
            (None, Some(authority)) => report.ok(
                "authority",
                format!("It is that of the authority {}.", authority.name),
            ),
            (None, None) => report.warning(
                "unknown-thumbprint",
                "It is registered for nobody on this hub.",
                "A self-signed certificate is known by its thumbprint, in SHA-1 or SHA-256.",
                "Register it: authentication selfSigned with this as primaryThumbprint.",
            ),
        }
        if report.has_error() {
            report.verdict = Verdict::Refused;
        }
        report
    }
}
