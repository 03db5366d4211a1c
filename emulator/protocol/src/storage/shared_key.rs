//! Requests that the account's own key signs: `Authorization: SharedKey account:signature`
//! ("Authorize with Shared Key").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::Mac as _;

use super::sas::mac;
use super::{AccessFault, Account, Grant, Query};

/// What of a request is signed. Header names are in lower case.
#[derive(Clone, Copy, Debug)]
pub struct SignedRequest<'a> {
    /// `GET`, `PUT`, …
    pub verb: &'a str,
    /// The path as it was sent, still encoded.
    pub path: &'a str,
    /// The parameters.
    pub query: &'a Query,
    /// The headers.
    pub headers: &'a [(&'a str, &'a str)],
}

/// Headers whose values are signed without their names, in this order.
const PLAIN: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// Everything is granted to who signs with the account's key.
pub fn verify_shared_key(
    account: &Account,
    request: &SignedRequest<'_>,
    authorization: &str,
) -> Result<Grant, AccessFault> {
    let (name, signature) = authorization
        .strip_prefix("SharedKey ")
        .and_then(|rest| rest.split_once(':'))
        .ok_or(AccessFault::Malformed("Authorization"))?;
    if name != account.name {
        return Err(AccessFault::Malformed("the account in Authorization"));
    }
    let signature = STANDARD
        .decode(signature.trim())
        .map_err(|_| AccessFault::Malformed("Authorization"))?;
    let text = text(account, request);
    match mac(&account.key, &text).verify_slice(&signature) {
        Ok(()) => Ok(Grant::everything()),
        Err(_) => Err(AccessFault::Signature(text)),
    }
}

fn text(account: &Account, request: &SignedRequest<'_>) -> String {
    let header = |name: &str| {
        let found = request.headers.iter().find(|(key, _)| *key == name);
        found.map_or("", |(_, value)| value.trim())
    };
    let mut text = format!("{}\n", request.verb);
    for name in PLAIN {
        let value = header(name);
        // A body without bytes is signed as if there were none.
        if name != "content-length" || value != "0" {
            text.push_str(value);
        }
        text.push('\n');
    }
    let mut own: Vec<_> = request
        .headers
        .iter()
        .filter(|(name, _)| name.starts_with("x-ms-"))
        .collect();
    own.sort_unstable();
    for (name, value) in own {
        text.push_str(&format!("{name}:{}\n", value.trim()));
    }
    text.push_str(&format!("/{}{}", account.name, request.path));
    let mut parameters: Vec<_> = request
        .query
        .pairs()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    parameters.sort_unstable();
    let mut last = None;
    for (name, value) in &parameters {
        if last == Some(name) {
            text.push_str(&format!(",{value}"));
        } else {
            text.push_str(&format!("\n{name}:{value}"));
        }
        last = Some(name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sas::SymmetricKey;

    #[test]
    fn the_text_has_every_line_of_the_reference() {
        let account = Account {
            name: "acct".into(),
            key: SymmetricKey::from_bytes(*b"01234567890123456789012345678901"),
        };
        let query = Query::parse("restype=container&comp=list&include=b&include=a");
        let request = SignedRequest {
            verb: "GET",
            path: "/c%20d",
            query: &query,
            headers: &[
                ("x-ms-version", "2021-01-01"),
                ("content-length", "0"),
                ("range", "bytes=0-1"),
                ("x-ms-date", " now "),
            ],
        };

        assert_eq!(
            text(&account, &request),
            "GET\n\n\n\n\n\n\n\n\n\n\nbytes=0-1\nx-ms-date:now\nx-ms-version:2021-01-01\n\
             /acct/c%20d\ncomp:list\ninclude:a,b\nrestype:container"
        );
        assert!(matches!(
            verify_shared_key(&account, &request, "SharedKey acct:AAAA"),
            Err(AccessFault::Signature(_))
        ));
        assert!(verify_shared_key(&account, &request, "Bearer x").is_err());
    }
}
