//! Certificates that devices show, and why they are refused.

use iothub_hub::{CertificateFacts, Credentials, ExpiredCertificates, Identity};
use iothub_protocol::ClientId;
use iothub_protocol::registry::Authentication;

use super::holders::{MOST_IDENTITIES, named};
use super::identity::capital;
use super::report::Report;
use super::{Doctor, Question, spoken};
use crate::certificates::{Description, certificate_facts, decode_chain, describe};

impl Doctor {
    /// Explains a certificate, the holder's own first, and those behind it.
    pub(super) fn certificate(&self, question: &Question, text: &str) -> Report {
        let mut report = Report::new("certificate", text);
        let chain = decode_chain(text).unwrap_or_default();
        let anchors = || self.access.hub().trust_anchors();
        let described: Vec<Description> = chain.iter().filter_map(|der| describe(der)).collect();
        let (Some(leaf), Some(facts)) = (described.first(), certificate_facts(&chain, anchors))
        else {
            report.error(
                "no-certificate",
                "There is no certificate in the text that can be read.",
                "A certificate in PEM form stands between '-----BEGIN CERTIFICATE-----' and \
                 '-----END CERTIFICATE-----', in lines of base64.",
                "Paste all of it, both marks included.",
            );
            return report;
        };
        decode_into(&mut report, leaf, &described[1..]);
        let Some(client) = self.client_of_certificate(question, &facts) else {
            self.explain_nobody(&mut report, leaf);
            return report;
        };
        let credentials = Credentials::Certificate(&facts);
        let hub = self.access.hub();
        let (asked, answer) = match &question.host {
            Some(host) => (
                format!("to let {} in, connected to {host}", named(&client)),
                hub.authenticate_client(self.now, host, &client, credentials),
            ),
            None => (
                format!("to let {} in", named(&client)),
                hub.authenticate_client_anywhere(self.now, &client, credentials),
            ),
        };
        report.hear(asked, answer);
        self.look_at_used_host(&mut report, question);
        match self.access.identity(&client) {
            None => self.look_at_identity(&mut report, &client, true),
            Some(identity) => {
                self.look_whether_disabled(&mut report, &client.device);
                self.look_at_certificate(&mut report, identity, &facts, leaf);
            }
        }
        if leaf.version == 1 {
            report.ok(
                "version-1",
                "The certificate is of X.509 version 1, as `openssl x509 -req` makes it without \
                 extensions; the hub takes that.",
            );
        }
        report
    }

    /// Whom it is shown for: whoever was asked about, whom its name says, or who has its thumbprint.
    fn client_of_certificate(
        &self,
        question: &Question,
        facts: &CertificateFacts,
    ) -> Option<ClientId> {
        if let Some(client) = &question.client {
            return Some(client.clone());
        }
        let name = facts.common_name.as_deref();
        let by_name = name.and_then(|name| ClientId::parse(name).ok());
        by_name
            .filter(|client| self.access.identity(client).is_some())
            .or_else(|| self.holder_of_thumbprint(&[&facts.sha1, &facts.sha256]))
            .or_else(|| name.and_then(|name| ClientId::parse(name).ok()))
    }

    /// Who is registered with one of these thumbprints.
    pub(super) fn holder_of_thumbprint(&self, thumbprints: &[&str]) -> Option<ClientId> {
        let is_one = |wanted: &str| thumbprints.iter().any(|it| it.eq_ignore_ascii_case(wanted));
        self.access
            .identities()
            .take(MOST_IDENTITIES)
            .find(|identity| match &identity.authentication {
                Authentication::SelfSigned { primary, secondary } => {
                    is_one(primary) || secondary.as_deref().is_some_and(is_one)
                }
                Authentication::Sas { .. }
                | Authentication::CertificateAuthority
                | Authentication::None => false,
            })
            .map(|identity| identity.client.clone())
    }

    fn explain_nobody(&self, report: &mut Report, leaf: &Description) {
        let name = leaf.common_name.as_deref().unwrap_or_default();
        if leaf.is_authority {
            let sha256 = &leaf.thumbprints.sha256_hex;
            let known = self
                .access
                .authorities()
                .find(|authority| authority.certificate.sha256.eq_ignore_ascii_case(sha256));
            match known {
                Some(authority) if authority.is_verified => report.ok(
                    "authority",
                    format!("This is the authority {}, verified.", authority.name),
                ),
                Some(authority) => report.warning(
                    "authority-not-verified",
                    format!(
                        "This is the authority {}, not verified yet.",
                        authority.name
                    ),
                    "Nobody has proved to hold its key, so that its signatures do not count.",
                    "`iothub-emulator certificate generate-verification-code`, then `certs \
                     verification` and `certificate verify`.",
                ),
                None => report.warning(
                    "authority-not-registered",
                    "This is an authority's certificate, and it is not registered here.",
                    "Devices whose certificates it signed are refused.",
                    "Register it: `iothub-emulator certificate create`.",
                ),
            }
            return;
        }
        report.warning(
            "nobody",
            format!("Nobody is named by this certificate: its common name is {name:?}."),
            "A certificate is found by the device id as its common name, or by its thumbprint.",
            "Say for which device it is.",
        );
    }

    fn look_at_certificate(
        &self,
        report: &mut Report,
        identity: &Identity,
        facts: &CertificateFacts,
        leaf: &Description,
    ) {
        let client = &identity.client;
        match &identity.authentication {
            Authentication::Sas { .. } | Authentication::None => report.error(
                "not-by-certificate",
                format!(
                    "{} proves itself by a key, not by a certificate.",
                    capital(client)
                ),
                "An identity has one way to prove itself.",
                format!(
                    "Change its authentication to selfSigned with the thumbprint {}, or to \
                     certificateAuthority.",
                    leaf.thumbprints.sha1_hex
                ),
            ),
            Authentication::SelfSigned { primary, secondary } => {
                self.look_at_thumbprint(report, client, primary, secondary.as_deref(), leaf);
                self.look_at_validity(report, leaf, true);
            }
            Authentication::CertificateAuthority => {
                self.look_at_chain(report, facts, leaf);
                look_at_name(report, client, leaf);
                self.look_at_validity(report, leaf, false);
            }
        }
    }

    fn look_at_thumbprint(
        &self,
        report: &mut Report,
        client: &ClientId,
        primary: &str,
        secondary: Option<&str>,
        leaf: &Description,
    ) {
        let ours = [&*leaf.thumbprints.sha1_hex, &*leaf.thumbprints.sha256_hex];
        let is_ours = |wanted: &str| ours.iter().any(|it| it.eq_ignore_ascii_case(wanted));
        if is_ours(primary) || secondary.is_some_and(is_ours) {
            let which = if is_ours(primary) {
                "primary"
            } else {
                "secondary"
            };
            report.ok(
                "thumbprint",
                format!("The thumbprint is the {which} one of {}.", named(client)),
            );
            return;
        }
        let bare = |text: &str| text.replace([':', ' '], "");
        let registered = match secondary {
            Some(secondary) => format!("{primary} and {secondary}"),
            None => primary.to_owned(),
        };
        if is_ours(&bare(primary)) || secondary.map(bare).is_some_and(|it| is_ours(&it)) {
            report.error(
                "thumbprint-punctuated",
                "The thumbprint is registered with colons or blanks in it.",
                format!("Registered is {registered}; the hub compares hexadecimal digits."),
                format!("Register {}.", leaf.thumbprints.sha1_hex),
            );
            return;
        }
        let other = self.holder_of_thumbprint(&ours);
        report.error(
            "thumbprint",
            format!("The thumbprint is none of {}.", named(client)),
            match other {
                Some(other) => format!(
                    "It is registered for {}. For {} it is {registered}.",
                    named(&other),
                    named(client)
                ),
                None => format!(
                    "Registered is {registered}; this certificate's is {} (SHA-1), {} (SHA-256).",
                    ours[0], ours[1]
                ),
            },
            "Register this certificate's thumbprint, or connect with the certificate that is \
             registered.",
        );
    }

    fn look_at_chain(&self, report: &mut Report, facts: &CertificateFacts, leaf: &Description) {
        if facts.issued_by.is_empty() {
            let known: Vec<String> = self
                .access
                .authorities()
                .map(|authority| authority.certificate.subject.clone())
                .collect();
            let same_name = known.contains(&leaf.issuer);
            let why = if known.is_empty() {
                "No authority is registered.".to_owned()
            } else if same_name {
                format!(
                    "An authority of the name {} is registered, but its key did not sign this \
                     certificate: two authorities may bear one name.",
                    leaf.issuer
                )
            } else {
                format!(
                    "Its issuer is {}; registered are {}.",
                    leaf.issuer,
                    known.join("; ")
                )
            };
            report.error(
                "no-authority",
                "The certificate leads to no registered authority.",
                why,
                "Register the authority, or let the device send the intermediate certificates, too: \
                 paste the whole chain to see whether that is it.",
            );
            return;
        }
        for chain in &facts.issued_by {
            let of_chain = |sha256: &str| sha256 == chain.authority;
            let mut found = self
                .access
                .authorities()
                .filter(|authority| of_chain(&authority.certificate.sha256));
            let Some(first) = found.next() else {
                continue;
            };
            if !first.is_verified && !found.any(|other| other.is_verified) {
                report.error(
                    "authority-not-verified",
                    format!(
                        "The authority {} is registered, but not verified.",
                        first.name
                    ),
                    "Nobody has proved to hold its key, so that its signatures do not count.",
                    "`iothub-emulator certificate generate-verification-code`, then `certs \
                     verification` and `certificate verify`.",
                );
                continue;
            }
            let not_before = chain.not_before.max(first.certificate.not_before);
            let not_after = chain.not_after.min(first.certificate.not_after);
            if self.now < not_before || self.now > not_after {
                report.error(
                    "chain-expired",
                    format!(
                        "The certificates up to the authority {} are not valid now.",
                        first.name
                    ),
                    format!(
                        "{} Together they are valid from {} to {}.",
                        self.clock(),
                        not_before.to_iso_seconds(),
                        not_after.to_iso_seconds()
                    ),
                    "Issue them anew.",
                );
            } else {
                report.ok(
                    "authority",
                    format!("The certificate leads to the authority {}.", first.name),
                );
            }
        }
    }

    fn look_at_validity(&self, report: &mut Report, leaf: &Description, is_self_signed: bool) {
        let (from, to) = (leaf.not_before, leaf.not_after);
        let is_excused = is_self_signed
            && self.access.hub().config().limits.expired_certificates
                == ExpiredCertificates::Accept;
        let validity = format!(
            "{} It is valid from {} to {}.",
            self.clock(),
            from.to_iso_seconds(),
            to.to_iso_seconds()
        );
        let (code, what) = if self.now > to {
            let ago = spoken(self.now.since(to));
            ("expired", format!("The certificate expired {ago} ago."))
        } else if self.now < from {
            let ahead = spoken(from.since(self.now));
            (
                "not-yet-valid",
                format!("The certificate becomes valid in {ahead}."),
            )
        } else {
            let left = spoken(to.since(self.now));
            report.ok(
                "validity",
                format!("The certificate is valid for another {left}."),
            );
            return;
        };
        let mend = "Make a new one: `iothub-emulator certs device -d ID`, or on the page of the \
                    device.";
        if is_excused {
            report.warning(
                code,
                what,
                format!("{validity} The hub is set to take it."),
                mend,
            );
        } else {
            report.error(code, what, validity, mend);
        }
    }

    /// Whether the host that is connected to is this hub.
    pub(super) fn look_at_used_host(&self, report: &mut Report, question: &Question) {
        let Some(host) = question.host.as_deref() else {
            return;
        };
        if !self.access.is_ours(host) {
            report.error(
                "not-this-hub",
                format!("{host} is not this hub."),
                format!(
                    "It is {}.",
                    self.access.hub().config().host_names.join(", ")
                ),
                "Use one of these in the user name and as host of the connection string.",
            );
        }
    }
}

fn look_at_name(report: &mut Report, client: &ClientId, leaf: &Description) {
    let wanted = client.to_string();
    let name = leaf.common_name.as_deref().unwrap_or_default();
    if name == wanted {
        report.ok("common-name", format!("The common name is {name}."));
        return;
    }
    let why = if name.eq_ignore_ascii_case(&wanted) {
        "Ids are case-sensitive."
    } else {
        "An authority vouches for whom the certificate names, and for nobody else."
    };
    report.error(
        "common-name",
        format!(
            "The common name is {name:?}, the client is {}.",
            named(client)
        ),
        why,
        format!("Issue a certificate with CN={wanted}, or connect as {name}."),
    );
}

fn decode_into(report: &mut Report, leaf: &Description, behind: &[Description]) {
    report.row("subject", &*leaf.subject, "whose certificate it is");
    report.row(
        "common name",
        leaf.common_name.as_deref().unwrap_or_default(),
        "the device id, or device/module, where an authority vouches for it",
    );
    report.row("issuer", &*leaf.issuer, "who signed it, by its own account");
    report.row(
        "valid from",
        leaf.not_before.to_iso_seconds(),
        "not earlier, by the hub's clock",
    );
    report.row(
        "valid to",
        leaf.not_after.to_iso_seconds(),
        "not later, by the hub's clock",
    );
    report.row(
        "SHA-1",
        &*leaf.thumbprints.sha1_hex,
        "the thumbprint to register for a self-signed certificate",
    );
    report.row(
        "SHA-256",
        &*leaf.thumbprints.sha256_hex,
        "the longer thumbprint, as good",
    );
    report.row("key", &*leaf.key, "the public key");
    report.row("version", leaf.version.to_string(), "of X.509");
    for (number, one) in behind.iter().enumerate() {
        report.row(
            &format!("certificate {}", number + 2),
            &*one.subject,
            format!(
                "issued by {}, valid to {}",
                one.issuer,
                one.not_after.to_iso_seconds()
            ),
        );
    }
}
