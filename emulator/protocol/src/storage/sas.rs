//! Shared access signatures of the storage kind, which are another format than those of the hub:
//! parameters of a URL, signed over a text whose lines depend on the version.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;

use super::{Account, ContainerName, Query};
use crate::Timestamp;
use crate::sas::SymmetricKey;

/// The version that signatures for devices' files are made in (`spec/device.md` 8.1).
const VERSION: &str = "2018-03-28";

const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// What a signature lets its holder do: letters such as `r`, `w`, `l`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant(String);

/// Why a request is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessFault {
    /// There is neither a signature nor an `Authorization`.
    #[error("the request has neither a shared access signature nor an Authorization header")]
    Missing,
    /// A parameter is absent or makes no sense.
    #[error("{0} is missing, unreadable or not supported")]
    Malformed(&'static str),
    /// Someone else's key, or something else was signed.
    #[error("the signature does not match; the text that it should sign is {0:?}")]
    Signature(String),
    /// Too early.
    #[error("the signature is good from {0} on")]
    NotYet(Timestamp),
    /// Too late.
    #[error("the signature was good until {0}")]
    Expired(Timestamp),
}

impl Grant {
    /// Everything: the account's own key.
    pub fn everything() -> Self {
        Self("racwdxltfmeopi".into())
    }

    /// Whether one of these permissions was granted.
    pub fn allows(&self, any_of: &str) -> bool {
        any_of.contains(|permission| self.0.contains(permission))
    }
}

/// The parameters, with their `?`, that let their holder use one blob until `expires`, spelled as
/// the hub hands them to devices (`spec/device.md` 8.1).
pub fn sign_blob(
    account: &Account,
    container: &ContainerName,
    blob: &str,
    permissions: &str,
    expires: Timestamp,
) -> String {
    let expiry = expires.to_iso_seconds();
    let resource = format!("/blob/{}/{container}/{blob}", account.name);
    let text = format!("{permissions}\n\n{expiry}\n{resource}\n\n\n\n{VERSION}\n\n\n\n\n");
    let signature = STANDARD.encode(mac(&account.key, &text).finalize().into_bytes());
    let encode = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
    format!(
        "?sv={VERSION}&sr=b&sig={}&se={}&sp={permissions}",
        encode(&signature),
        encode(&expiry)
    )
}

/// What a signature in `query` grants about a container, or about one blob of it.
pub fn verify_sas(
    account: &Account,
    query: &Query,
    container: Option<&ContainerName>,
    blob: Option<&str>,
    now: Timestamp,
) -> Result<Grant, AccessFault> {
    let signature = query.find("sig").ok_or(AccessFault::Missing)?;
    let text = if query.find("ss").is_some() {
        account_text(account, query, container, blob)?
    } else {
        service_text(account, query, container, blob)?
    };
    let bytes = STANDARD
        .decode(signature)
        .map_err(|_| AccessFault::Malformed("sig"))?;
    if mac(&account.key, &text).verify_slice(&bytes).is_err() {
        return Err(AccessFault::Signature(text));
    }
    if let Some(start) = query.find("st").filter(|start| !start.is_empty()) {
        let start = time(start).ok_or(AccessFault::Malformed("st"))?;
        if now < start {
            return Err(AccessFault::NotYet(start));
        }
    }
    let expires = time(query.value("se")).ok_or(AccessFault::Malformed("se"))?;
    if now > expires {
        return Err(AccessFault::Expired(expires));
    }
    Ok(Grant(query.value("sp").to_owned()))
}

/// The text of a service signature, for one blob or one container ("Create a service SAS").
fn service_text(
    account: &Account,
    query: &Query,
    container: Option<&ContainerName>,
    blob: Option<&str>,
) -> Result<String, AccessFault> {
    let version = query.value("sv");
    // Before this version other lines were signed; nobody sends them any more.
    if version < "2015-04-05" {
        return Err(AccessFault::Malformed("sv"));
    }
    let container = container.ok_or(AccessFault::Malformed("sr"))?;
    let account = &account.name;
    let resource = match (query.value("sr"), blob) {
        ("b", Some(blob)) => format!("/blob/{account}/{container}/{blob}"),
        ("c", _) => format!("/blob/{account}/{container}"),
        _ => return Err(AccessFault::Malformed("sr")),
    };
    let mut lines = vec![
        query.value("sp"),
        query.value("st"),
        query.value("se"),
        &resource,
        query.value("si"),
        query.value("sip"),
        query.value("spr"),
        version,
    ];
    if version >= "2018-11-09" {
        lines.extend([query.value("sr"), ""]);
    }
    if version >= "2020-12-06" {
        lines.push(query.value("ses"));
    }
    lines.extend(["rscc", "rscd", "rsce", "rscl", "rsct"].map(|name| query.value(name)));
    Ok(lines.join("\n"))
}

/// The text of an account signature, which says what kinds of things it is about ("Create an
/// account SAS").
fn account_text(
    account: &Account,
    query: &Query,
    container: Option<&ContainerName>,
    blob: Option<&str>,
) -> Result<String, AccessFault> {
    let kind = match (container, blob) {
        (_, Some(_)) => 'o',
        (Some(_), None) => 'c',
        (None, None) => 's',
    };
    if !query.value("ss").contains('b') {
        return Err(AccessFault::Malformed("ss"));
    }
    if !query.value("srt").contains(kind) {
        return Err(AccessFault::Malformed("srt"));
    }
    let version = query.value("sv");
    let mut lines = vec![account.name.as_str()];
    lines.extend(["sp", "ss", "srt", "st", "se", "sip", "spr", "sv"].map(|name| query.value(name)));
    if version >= "2020-12-06" {
        lines.push(query.value("ses"));
    }
    lines.push("");
    Ok(lines.join("\n"))
}

/// `YYYY-MM-DD`, or with a time.
fn time(text: &str) -> Option<Timestamp> {
    Timestamp::parse_iso(text).or_else(|| Timestamp::parse_iso(&format!("{text}T00:00:00Z")))
}

pub(super) fn mac(key: &SymmetricKey, text: &str) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of every length");
    mac.update(text.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn account() -> Account {
        Account {
            name: "iothub".into(),
            key: SymmetricKey::from_bytes(*b"01234567890123456789012345678901"),
        }
    }

    fn uploads() -> ContainerName {
        ContainerName::parse("uploads").unwrap()
    }

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_225_600);
    const LATER: Timestamp = Timestamp::from_unix_seconds(1_767_229_200);

    fn check(sas: &str, blob: Option<&str>, now: Timestamp) -> Result<Grant, AccessFault> {
        verify_sas(&account(), &Query::parse(sas), Some(&uploads()), blob, now)
    }

    #[test]
    fn a_signature_for_a_blob_opens_that_blob_until_it_expires() {
        let sas = sign_blob(&account(), &uploads(), "d1/x y.txt", "rw", LATER);

        let grant = check(&sas, Some("d1/x y.txt"), NOW).unwrap();
        assert!(grant.allows("cw") && grant.allows("r") && !grant.allows("d"));
        assert!(sas.starts_with("?sv=2018-03-28&sr=b&sig="), "{sas}");
        assert!(sas.ends_with("&se=2026-01-01T01%3A00%3A00Z&sp=rw"), "{sas}");
        assert!(matches!(
            check(&sas, Some("d1/other"), NOW),
            Err(AccessFault::Signature(_))
        ));
        assert_eq!(
            check(
                &sas,
                Some("d1/x y.txt"),
                LATER + std::time::Duration::from_secs(1)
            ),
            Err(AccessFault::Expired(LATER))
        );
        assert_eq!(check(&sas, None, NOW), Err(AccessFault::Malformed("sr")));
    }

    #[test]
    fn what_was_not_signed_is_not_granted() {
        let sas = sign_blob(&account(), &uploads(), "d1/x", "r", LATER).replace("sp=r", "sp=rwd");

        assert!(matches!(
            check(&sas, Some("d1/x"), NOW),
            Err(AccessFault::Signature(_))
        ));
        assert_eq!(check("", Some("d1/x"), NOW), Err(AccessFault::Missing));
    }

    /// Made by `generate_container_sas` and `generate_account_sas` of azure-storage-blob 12.31.1
    /// for Python.
    #[test]
    fn signatures_of_the_storage_libraries_are_understood() {
        for sas in [CONTAINER_SAS, ACCOUNT_SAS] {
            let grant = check(sas, Some("d1/x"), NOW).unwrap_or_else(|fault| panic!("{fault}"));
            assert!(grant.allows("r") && grant.allows("l"));
        }
    }

    const CONTAINER_SAS: &str = "se=2026-01-01T01%3A00%3A00Z&sp=rwdl&sv=2026-10-06&sr=c&\
        sig=67Y7v50alfGZcaY9b6XQ0ILfEbeUVHV7EdrVLvVGQiA%3D";
    const ACCOUNT_SAS: &str = "se=2026-01-01T01%3A00%3A00Z&sp=rwlc&sv=2026-10-06&ss=b&\
        srt=sco&sig=OqTCjjBIOq8igyta0pIhqftSAyhv95GzVlzpWrmfCuw%3D";

    proptest! {
        #[test]
        fn arbitrary_queries_never_panic(text in ".{0,120}") {
            let _ = check(&text, Some("b"), NOW);
            let _ = check(&format!("sv=2020-12-06&sr=c&ss=b&{text}"), None, NOW);
        }
    }
}
