//! Connection strings and signatures of the storage account that devices' files go to.

use iothub_protocol::sas::SymmetricKey;
use iothub_protocol::storage::{AccessFault, Account, ContainerName, Query, sign_blob, verify_sas};

use super::connection_string::{TRIAL, parts};
use super::report::{Report, Verdict};
use super::{Doctor, spoken};

impl Doctor {
    /// Explains the string of an account.
    pub(super) fn storage_string(&self, report: &mut Report, text: &str) {
        let member = |name: &str| {
            let found = parts(text).find(|(other, _)| other.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value).unwrap_or_default()
        };
        let Some(account) = &self.account else {
            report.asked = "nothing: the account is not known here".to_owned();
            return;
        };
        report.asked = "to let the holder write a blob".to_owned();
        report.verdict = Verdict::Refused;
        let key = match SymmetricKey::parse(member("AccountKey")) {
            Ok(key) => key,
            Err(fault) => {
                report.error(
                    "malformed",
                    format!("The AccountKey cannot be used: {fault}."),
                    "Storage clients refuse it before anything is sent.",
                    "Copy the connection string again.",
                );
                return;
            }
        };
        if member("AccountName") != account.name {
            report.error(
                "other-account",
                format!("There is no account {:?}.", member("AccountName")),
                format!("The one that is here is {}.", account.name),
                "Copy the storage connection string from Overview.",
            );
            return;
        }
        let Ok(container) = ContainerName::parse("uploads") else {
            return;
        };
        let theirs = Account {
            name: account.name.clone(),
            key,
        };
        let query = Query::parse(&sign_blob(&theirs, &container, "b", "rw", self.now + TRIAL));
        match verify_sas(account, &query, Some(&container), Some("b"), self.now) {
            Ok(_) => {
                report.verdict = Verdict::Accepted;
                report.ok("account-key", "The key is the account's.");
            }
            Err(_) => report.error(
                "unknown-key",
                "The key is not the account's.",
                "Without a data directory the key follows from the seed, with one it is kept there.",
                "Copy the storage connection string from Overview.",
            ),
        }
        if member("BlobEndpoint").is_empty() {
            report.warning(
                "no-blob-endpoint",
                "The string has no BlobEndpoint.",
                "Storage clients then speak to the cloud, not to the emulator.",
                "Copy the storage connection string from Overview.",
            );
        }
    }

    /// Explains a URL with a signature, or the parameters of one.
    pub(super) fn storage_signature(&self, text: &str) -> Report {
        let mut report = Report::new("storageSignature", text);
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, query),
            None => ("", text),
        };
        let query = Query::parse(query);
        for (name, value) in query.pairs().take(24) {
            let meaning = match name {
                "sv" => "the version of the format",
                "sr" => "what it is for: b is a blob, c a container",
                "ss" => "for which services",
                "srt" => "for which kinds of things",
                "st" => "not good earlier",
                "se" => "not good later",
                "sp" => "what it permits: r read, w write, c create, d delete, l list",
                "sip" => "from which addresses",
                "spr" => "over which protocols",
                "sig" => "the signature",
                _ => "a parameter of the request",
            };
            report.row(name, value, meaning);
        }
        let Some(account) = &self.account else {
            report.asked = "nothing: the account is not known here".to_owned();
            return report;
        };
        let path = path.split_once("://").map_or(path, |(_, rest)| rest);
        let mut segments = path.splitn(4, '/').skip(1);
        let name = segments.next().unwrap_or_default();
        let container = segments.next().and_then(|it| ContainerName::parse(it).ok());
        let blob = segments.next().filter(|blob| !blob.is_empty());
        let blob = blob.map(|blob| {
            percent_encoding::percent_decode_str(blob)
                .decode_utf8_lossy()
                .into_owned()
        });
        if path.is_empty() {
            report.asked = "nothing: the URL in front of the parameters is missing".to_owned();
            report.warning(
                "no-url",
                "These are the parameters of a URL; the URL itself is missing.",
                "The path of the blob is signed, too.",
                "Paste the whole URL.",
            );
            return report;
        }
        report.asked = format!("to let the holder use {path}");
        let answer = verify_sas(
            account,
            &query,
            container.as_ref(),
            blob.as_deref(),
            self.now,
        );
        match answer {
            Ok(_) => {
                report.verdict = Verdict::Accepted;
                report.ok("signature", "The signature is the account's, and good now.");
            }
            Err(fault) => {
                report.verdict = Verdict::Refused;
                self.explain_fault(&mut report, &fault, name, &account.name);
            }
        }
        report
    }

    fn explain_fault(&self, report: &mut Report, fault: &AccessFault, name: &str, ours: &str) {
        if name != ours {
            report.error(
                "other-account",
                format!("The URL is one of the account {name:?}."),
                format!("The one that is here is {ours}."),
                "Ask the hub for another file upload.",
            );
        }
        match fault {
            AccessFault::Expired(until) => report.error(
                "expired",
                format!(
                    "The signature was good until {}, {} ago.",
                    until.to_iso_seconds(),
                    spoken(self.now.since(*until))
                ),
                self.clock(),
                "Ask the hub for another file upload.",
            ),
            AccessFault::NotYet(from) => report.error(
                "not-yet-valid",
                format!("The signature is good from {} on.", from.to_iso_seconds()),
                self.clock(),
                "Wait, or advance the clock.",
            ),
            AccessFault::Signature(text) => report.error(
                "unknown-signature",
                "The signature does not match.",
                format!("The text to sign is {text:?}, with the account's key."),
                "Use the URL as it was given, letter by letter.",
            ),
            AccessFault::Missing | AccessFault::Malformed(_) => report.error(
                "malformed",
                format!("The signature cannot be read: {fault}."),
                "",
                "Use the URL as it was given, letter by letter.",
            ),
        }
    }
}
