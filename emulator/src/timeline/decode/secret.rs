//! Credentials, so that a person sees what they say and nobody can copy them from a screen.

use iothub_protocol::sas::SasToken;
use serde_json::{Value, json};

use super::super::entry::Excerpt;
use super::super::render::text;

/// Characters of a signature or key that are shown.
const SHOWN: usize = 6;
/// What stands before a secret in texts that hold one, JSON as programs write it among them.
const BEFORE: [&str; 7] = [
    "sig=",
    "SharedAccessKey=",
    "AccountKey=",
    "primaryKey\":\"",
    "primaryKey\": \"",
    "secondaryKey\":\"",
    "secondaryKey\": \"",
];

/// A credential: what a token says, or that it is something else.
pub(super) fn credential(text: &str) -> Value {
    match SasToken::parse(text) {
        Ok(token) => json!({
            "resource": token.resource(),
            "policy": token.policy(),
            "expires": token.expiry().to_iso_seconds(),
            "token": shown(text),
        }),
        Err(error) => json!({"text": hidden(text), "not_a_token": error.to_string()}),
    }
}

/// What is a secret as a whole, unless its form tells which part of it is: a key perhaps, where a
/// token was meant.
pub(super) fn hidden(text: &str) -> String {
    let shown = shown(text);
    match shown == text {
        true => format!("{} characters that are not shown", text.chars().count()),
        false => shown,
    }
}

/// The beginning of a body, without most of the secrets in it.
pub(super) fn excerpt(body: &[u8], length: usize) -> Excerpt {
    let excerpt = Excerpt {
        length,
        ..Excerpt::of(body)
    };
    let is_cut = excerpt.is_cut();
    let Some(text) = text(&excerpt.bytes, is_cut) else {
        return excerpt;
    };
    let bytes = shown(text).into_bytes().into_boxed_slice();
    Excerpt {
        length: if is_cut { length } else { bytes.len() },
        bytes,
    }
}

/// What a line says of a credential.
pub(super) fn in_brief(text: &str) -> String {
    match SasToken::parse(text) {
        Ok(token) => format!("SAS token until {}", token.expiry().to_iso_seconds()),
        Err(_) => "a password that is no SAS token".into(),
    }
}

/// The text without most of the secrets in it.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        let found = BEFORE
            .iter()
            .filter_map(|before| Some((find_ignoring_case(rest, before)?, before.len())))
            .min();
        let Some((at, length)) = found else {
            shown.push_str(rest);
            return shown;
        };
        let (before, secret) = rest.split_at(at + length);
        shown.push_str(before);
        let end = secret
            .find(['&', ';', ' ', '"', '\r', '\n'])
            .unwrap_or(secret.len());
        let visible = secret
            .char_indices()
            .nth(SHOWN)
            .map_or(secret.len(), |(at, _)| at);
        if visible < end {
            shown.push_str(&secret[..visible]);
            shown.push('…');
        } else {
            shown.push_str(&secret[..end]);
        }
        rest = &secret[end..];
    }
}

fn find_ignoring_case(text: &str, wanted: &str) -> Option<usize> {
    let (text, wanted) = (text.as_bytes(), wanted.as_bytes());
    text.windows(wanted.len())
        .position(|window| window.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_shortened_wherever_they_stand() {
        let check = |text: &str, wanted: &str| assert_eq!(shown(text), wanted);

        check("sr=h&sig=0123456789&se=1", "sr=h&sig=012345…&se=1");
        check(
            "HostName=h;SharedAccessKey=0123456789",
            "HostName=h;SharedAccessKey=012345…",
        );
        check("?sig=short", "?sig=short");
        check("sig=äöüäöüäöü&SIG=x", "sig=äöüäöü…&SIG=x");
        check("nothing", "nothing");
        check(
            r#"{"primaryKey":"0123456789","b":"c","secondaryKey": "0123456789"}"#,
            r#"{"primaryKey":"012345…","b":"c","secondaryKey": "012345…"}"#,
        );
    }

    #[test]
    fn what_is_no_token_is_not_shown_for_it_may_be_a_key() {
        let key = credential("bm90IGEgdG9rZW4gYnV0IGEga2V5");
        assert_eq!(key["text"], "28 characters that are not shown");

        let cut = credential("SharedAccessSignature sr=h&sig=0123456789");
        assert_eq!(cut["text"], "SharedAccessSignature sr=h&sig=012345…");
    }

    #[test]
    fn a_body_is_json_as_before_and_as_long_as_it_was_where_it_is_cut() {
        let short = excerpt(br#"{"primaryKey":"0123456789"}"#, 27);
        assert!(!short.is_cut());
        assert_eq!(&*short.bytes, r#"{"primaryKey":"012345…"}"#.as_bytes());

        let long = excerpt(&[b'x'; 5000], 6000);
        assert!(long.is_cut());
        assert_eq!(long.length, 6000);
    }
}
