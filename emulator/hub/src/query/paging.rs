//! Pages and the tokens between them (`spec/service.md` 5.1).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use iothub_protocol::{ClientId, Error};

/// What a caller asks for beside the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// Rows of a page, from 1; more than the hub gives are not refused.
    pub size: Option<usize>,
    /// The token that came with the page before.
    pub continuation: Option<String>,
}

/// Where the next page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// Behind this device or module.
    After(ClientId),
    /// Behind this many rows.
    Skip(u64),
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Continuation {
    pub(super) position: Position,
    /// Rows that TOP still allows.
    pub(super) left: Option<u64>,
}

impl Continuation {
    /// The token for the query with this text: opaque, URL-safe, of bounded length. It names the
    /// query and is sealed, so that a foreign or changed one is noticed.
    pub(super) fn to_token(&self, query: &str) -> String {
        let left = self.left.map_or_else(String::new, |left| left.to_string());
        let position = match &self.position {
            Position::After(client) => format!("a{client}"),
            Position::Skip(rows) => format!("s{rows}"),
        };
        let body = format!("1 {:016x} {left} {position}", hash(query));
        let sealed = format!("{:016x} {body}", hash(&body));
        URL_SAFE_NO_PAD.encode(sealed)
    }

    /// Reads a token; refuses one that is not of this query.
    pub(super) fn from_token(token: &str, query: &str) -> Result<Self, Error> {
        let foreign =
            || Error::argument_invalid("The continuation token does not belong to this query");
        Self::parse(token, query).ok_or_else(foreign)
    }

    fn parse(token: &str, query: &str) -> Option<Self> {
        if token.len() > 1024 {
            return None;
        }
        let sealed = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (seal, body) = sealed.split_once(' ')?;
        let parts: Vec<&str> = body.splitn(4, ' ').collect();
        let ["1", of, left, position] = parts.as_slice() else {
            return None;
        };
        if seal != format!("{:016x}", hash(body)) || *of != format!("{:016x}", hash(query)) {
            return None;
        }
        let left = match *left {
            "" => None,
            left => Some(left.parse().ok()?),
        };
        let position = match position.split_at_checked(1)? {
            ("a", client) => Position::After(ClientId::parse(client).ok()?),
            ("s", rows) => Position::Skip(rows.parse().ok()?),
            _ => return None,
        };
        Some(Self { position, left })
    }
}

/// FNV-1a: the same after a restart.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_and_are_good_for_their_query_only() {
        for continuation in [
            Continuation {
                position: Position::After(ClientId::parse("d 1".trim_end_matches(" 1")).unwrap()),
                left: Some(7),
            },
            Continuation {
                position: Position::After(ClientId::parse("d/m").unwrap()),
                left: None,
            },
            Continuation {
                position: Position::Skip(12),
                left: None,
            },
        ] {
            let token = continuation.to_token("q");

            assert_eq!(Continuation::from_token(&token, "q"), Ok(continuation));
            assert!(Continuation::from_token(&token, "other").is_err());
            let mut changed = token.clone();
            let last = changed.pop();
            changed.push(if last == Some('A') { 'E' } else { 'A' });
            assert!(Continuation::from_token(&changed, "q").is_err());
        }
        for junk in ["", "x", "====", &"A".repeat(5000)] {
            assert!(Continuation::from_token(junk, "q").is_err());
        }
    }
}
