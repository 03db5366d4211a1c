//! How a signature came about: the ways in which people make tokens, the right one first. For
//! people who look for the mistake; what counts, [`super::SasToken::is_signed_with`] alone says.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use sha2::Sha256;

use super::{RESERVED, SymmetricKey, mac};

/// A way to make a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Making {
    /// What the key was taken for.
    pub key: KeyUse,
    /// How the resource was spelled in what was signed.
    pub spelling: Spelling,
    /// What stood between the resource and the expiry.
    pub joint: Joint,
}

/// What a key was taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// Base64, decoded: right.
    Decoded,
    /// Its base64 text itself.
    Text,
}

/// How the resource was spelled in what was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// As in the token: right.
    AsSent,
    /// Percent-decoded, though it is sent encoded.
    Plain,
    /// Percent-encoded, though it is sent otherwise.
    Encoded,
    /// Percent-encoded with lower-case digits, though it is sent otherwise.
    EncodedLower,
    /// In lower case, though it is sent otherwise.
    LowerCase,
    /// Another resource than the token's: the one with this number among those that were offered.
    Other(usize),
}

/// What stood between the resource and the expiry in what was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joint {
    /// One line feed: right.
    Newline,
    /// Nothing.
    Nothing,
    /// A backslash and the letter n.
    Escaped,
    /// Carriage return and line feed.
    CarriageReturn,
    /// A blank.
    Blank,
    /// A line feed, and another one behind the expiry.
    Trailing,
}

/// The way in which `key` made the signature over `sr` and `se`, of all that are known; `others`
/// are resources, unencoded, that may have been signed instead of the token's own.
pub fn how_made(
    signature: &[u8],
    sr: &str,
    se: &str,
    key: &SymmetricKey,
    others: &[String],
) -> Option<Making> {
    let spellings = spellings(sr, others);
    let text_key = SymmetricKey::from_bytes(key.to_base64().as_bytes());
    let keys = [(KeyUse::Decoded, key), (KeyUse::Text, &text_key)];
    spellings.iter().find_map(|(spelling, resource)| {
        JOINTS.into_iter().find_map(|joint| {
            keys.iter().find_map(|&(key_use, key)| {
                let made = joint.mac(key, resource, se);
                made.verify_slice(signature).is_ok().then_some(Making {
                    key: key_use,
                    spelling: *spelling,
                    joint,
                })
            })
        })
    })
}

/// The signature that `key` makes over `sr` and `se` as they are sent, in base64: what a token has
/// to carry.
pub fn signature_over(sr: &str, se: &str, key: &SymmetricKey) -> String {
    STANDARD.encode(mac(key, sr, se).finalize().into_bytes())
}

/// Whether `key` made the signature over `sr` and `se` in the right way.
pub fn is_signature_over(signature: &[u8], sr: &str, se: &str, key: &SymmetricKey) -> bool {
    mac(key, sr, se).verify_slice(signature).is_ok()
}

impl Making {
    /// As it should be.
    pub const RIGHT: Self = Self {
        key: KeyUse::Decoded,
        spelling: Spelling::AsSent,
        joint: Joint::Newline,
    };

    /// The signature that comes of it, in base64; a spelling that is not to be had of these
    /// resources counts as the right one.
    pub fn signature(self, sr: &str, se: &str, key: &SymmetricKey, others: &[String]) -> String {
        let spellings = spellings(sr, others);
        let spelled = spellings.iter().find(|(it, _)| *it == self.spelling);
        let resource = spelled.map_or(sr, |(_, text)| text);
        let key = match self.key {
            KeyUse::Decoded => key.clone(),
            KeyUse::Text => SymmetricKey::from_bytes(key.to_base64().as_bytes()),
        };
        let mac = self.joint.mac(&key, resource, se);
        STANDARD.encode(mac.finalize().into_bytes())
    }

    /// Whether it is as it should be.
    pub fn is_right(self) -> bool {
        self == Self::RIGHT
    }
}

impl Joint {
    fn mac(self, key: &SymmetricKey, resource: &str, se: &str) -> Hmac<Sha256> {
        let (between, behind) = match self {
            Self::Newline => return mac(key, resource, se),
            Self::Nothing => ("", ""),
            Self::Escaped => ("\\n", ""),
            Self::CarriageReturn => ("\r\n", ""),
            Self::Blank => (" ", ""),
            Self::Trailing => ("\n", "\n"),
        };
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&key.0).expect("HMAC takes keys of every length");
        for part in [resource, between, se, behind] {
            mac.update(part.as_bytes());
        }
        mac
    }
}

/// Every spelling that differs from those before it.
fn spellings<'a>(sr: &'a str, others: &[String]) -> Vec<(Spelling, Cow<'a, str>)> {
    let plain = percent_decode_str(sr).decode_utf8_lossy();
    let encoded = encode(&plain);
    let mut all: Vec<(Spelling, Cow<'a, str>)> = vec![(Spelling::AsSent, sr.into())];
    let mut add = |spelling, text: Cow<'a, str>| {
        if all.iter().all(|(_, other)| *other != text) {
            all.push((spelling, text));
        }
    };
    add(Spelling::Plain, plain.clone());
    add(Spelling::EncodedLower, lower_digits(&encoded).into());
    add(Spelling::Encoded, encoded.into());
    add(Spelling::LowerCase, sr.to_lowercase().into());
    add(Spelling::LowerCase, plain.to_lowercase().into());
    add(Spelling::LowerCase, encode(&plain.to_lowercase()).into());
    for (index, other) in others.iter().enumerate() {
        let encoded = encode(other);
        add(Spelling::Other(index), lower_digits(&encoded).into());
        add(Spelling::Other(index), encoded.into());
        add(Spelling::Other(index), other.clone().into());
    }
    all
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// The digits of percent-encoding in lower case, as some libraries write them.
fn lower_digits(encoded: &str) -> String {
    let mut parts = encoded.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push('%');
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        text.push_str(&digits.to_ascii_lowercase());
        text.push_str(rest);
    }
    text
}

/// The right one first.
const JOINTS: [Joint; 6] = [
    Joint::Newline,
    Joint::Nothing,
    Joint::Escaped,
    Joint::CarriageReturn,
    Joint::Blank,
    Joint::Trailing,
];

#[cfg(test)]
mod tests {
    use super::super::{SasToken, sign};
    use super::*;
    use crate::Timestamp;
    use proptest::prelude::*;

    const SR: &str = "hub.example%2Fdevices%2FDev%25ice1";
    const SE: &str = "1900000000";

    fn key() -> SymmetricKey {
        SymmetricKey::from_bytes([9; 32])
    }

    fn hmac(key: &[u8], text: &str) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }

    fn made(signature: &[u8], others: &[String]) -> Option<Making> {
        how_made(signature, SR, SE, &key(), others)
    }

    #[test]
    fn each_mistake_is_recognised_by_its_signature() {
        let right = Making::RIGHT;
        let of = |text: &str| made(&hmac(key().as_bytes(), text), &[]);

        assert_eq!(of(&format!("{SR}\n{SE}")), Some(right));
        assert!(right.is_right());
        for (text, making) in [
            (
                format!("{SR}{SE}"),
                Making {
                    joint: Joint::Nothing,
                    ..right
                },
            ),
            (
                format!("{SR}\\n{SE}"),
                Making {
                    joint: Joint::Escaped,
                    ..right
                },
            ),
            (
                format!("{SR}\n{SE}\n"),
                Making {
                    joint: Joint::Trailing,
                    ..right
                },
            ),
            (
                format!("hub.example/devices/Dev%ice1\n{SE}"),
                Making {
                    spelling: Spelling::Plain,
                    ..right
                },
            ),
            (
                format!("hub.example%2fdevices%2fDev%25ice1\n{SE}"),
                Making {
                    spelling: Spelling::EncodedLower,
                    ..right
                },
            ),
            (
                format!("hub.example%2fdevices%2fdev%25ice1\n{SE}"),
                Making {
                    spelling: Spelling::LowerCase,
                    ..right
                },
            ),
        ] {
            assert_eq!(of(&text), Some(making), "{text}");
            assert!(!making.is_right());
        }
        assert_eq!(of("something else"), None);
    }

    #[test]
    fn a_key_that_was_not_decoded_is_recognised() {
        let signature = hmac(key().to_base64().as_bytes(), &format!("{SR}\n{SE}"));

        assert_eq!(made(&signature, &[]).map(|it| it.key), Some(KeyUse::Text));
    }

    #[test]
    fn another_resource_is_recognised_where_it_is_offered() {
        let signature = hmac(
            key().as_bytes(),
            &format!("hub.example%2Fdevices%2Fd2\n{SE}"),
        );
        let others = [
            "hub.example".to_owned(),
            "hub.example/devices/d2".to_owned(),
        ];

        let making = made(&signature, &others).unwrap();

        assert_eq!(making.spelling, Spelling::Other(1));
    }

    proptest! {
        #[test]
        fn a_right_token_is_made_rightly_and_carries_the_expected_signature(
            resource in "[a-z.]{1,20}/devices/[A-Za-z0-9:.+%_#*?!(),=@;$'-]{1,30}",
            seconds in 0..4_000_000_000_i64,
        ) {
            let expiry = Timestamp::from_unix_seconds(seconds);
            let text = sign(&resource, expiry, None, &key());
            let token = SasToken::parse(&text).unwrap();
            let (sr, se) = (token.sr_text(), token.se_text());
            let signature = STANDARD.decode(signature_over(sr, se, &key())).unwrap();

            let making = how_made(&signature, sr, se, &key(), &[]);
            prop_assert!(making.is_some_and(Making::is_right));
            prop_assert!(token.is_signed_with(&key()));
        }

        #[test]
        fn every_way_is_recognised(
            joint in prop::sample::select(JOINTS.to_vec()),
            as_text in any::<bool>(),
            spelling in prop::sample::select(vec![
                Spelling::AsSent, Spelling::Plain, Spelling::EncodedLower, Spelling::LowerCase,
                Spelling::Other(0),
            ]),
        ) {
            let key_use = if as_text { KeyUse::Text } else { KeyUse::Decoded };
            let making = Making { key: key_use, spelling, joint };
            let others = ["hub.example".to_owned()];
            let signature = making.signature(SR, SE, &key(), &others);
            let signature = STANDARD.decode(signature).unwrap();

            prop_assert_eq!(made(&signature, &others), Some(making));
        }

        #[test]
        fn arbitrary_texts_never_panic(sr in ".{0,40}", se in ".{0,20}", other in ".{0,20}") {
            prop_assert_eq!(how_made(&[0; 32], &sr, &se, &key(), &[other]), None);
        }
    }
}
