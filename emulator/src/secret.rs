//! Words that one has to know: the admin token, the password of the observer bus.

use std::fmt;

use sha2::{Digest, Sha256};

/// A word that opens something. `{:?}` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Why a text cannot be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to {LONGEST} printable ASCII characters and no space")]
pub struct SecretError;

/// Characters of a secret.
const LONGEST: usize = 512;

impl Secret {
    /// Takes a word that every protocol can carry.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let lawful =
            (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        match lawful {
            true => Ok(Self(text.to_owned())),
            false => Err(SecretError),
        }
    }

    /// Whether this is it; takes the same time wherever the difference is.
    pub fn is(&self, word: &[u8]) -> bool {
        is_same(
            &Sha256::digest(&self.0).into(),
            &Sha256::digest(word).into(),
        )
    }

    /// The word itself.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Compares digests in the same time wherever the difference is.
fn is_same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let difference = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_what_every_protocol_can_carry() {
        let longest = "x".repeat(LONGEST);
        for good in ["x", "s3cret/+=~", &longest] {
            assert!(Secret::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\n", "\u{e9}", &format!("{longest}x")] {
            assert_eq!(Secret::parse(bad), Err(SecretError), "{bad:?}");
        }
    }

    #[test]
    fn only_the_word_itself_is_it_and_it_is_not_shown() {
        let secret = Secret::parse("secret").unwrap();

        assert!(secret.is(b"secret"));
        for other in ["", "Secret", "secret ", "secre"] {
            assert!(!secret.is(other.as_bytes()), "{other:?}");
        }
        assert!(!format!("{secret:?}").contains("secret"));
    }
}
