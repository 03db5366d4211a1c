//! What keeps a message to one reader for a while: lock tokens, and how a reader lets go.

use std::fmt;

use iothub_protocol::{Error, ErrorCode};
use uuid::Uuid;

use crate::Hub;
use crate::cx::{Change, Cx};

/// Names a lock on a message or batch; a GUID to clients (`spec/device.md` 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockToken(Uuid);

/// What a reader does with what it has locked (`spec/device.md` 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Settlement {
    /// It is done with.
    Complete,
    /// It cannot be used; it is not delivered again.
    Reject,
    /// It returns to its place.
    Abandon,
}

impl LockToken {
    /// Reads a token as clients send it back, with or without quotes. What is none of ours is a
    /// lock that nobody holds: who has no right to ask is not to learn even that
    /// (`spec/device.md` 9.4).
    pub fn parse(text: &str) -> Self {
        Uuid::try_parse(text.trim_matches('"')).map_or(Self(Uuid::nil()), Self)
    }

    /// The token's bytes, in the order of its text.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The token with these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for LockToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl Hub {
    /// A token that was never given out.
    pub(crate) fn new_lock(&mut self, cx: &mut Cx<'_>) -> LockToken {
        let token = LockToken(self.entropy.uuid());
        if let Some(counter) = self.entropy.take_used() {
            cx.change(Change::PutEntropy(counter));
        }
        token
    }
}

/// The refusal of a lock that is lost or never was (`spec/device.md` 9.4).
pub(crate) fn lock_lost() -> Error {
    let code = ErrorCode::DeviceMessageLockLost;
    Error::new(code, code.default_message())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tokens_round_trip_in_every_spelling(bytes: [u8; 16]) {
            let token = LockToken::from_bytes(bytes);
            let text = token.to_string();
            for spelling in [text.clone(), format!("\"{text}\""), text.to_uppercase()] {
                prop_assert_eq!(LockToken::parse(&spelling), token);
            }
            prop_assert_eq!(*token.as_bytes(), bytes);
        }

        #[test]
        fn a_text_that_is_no_token_names_a_lock_that_nobody_holds(text in "[^0-9a-f]{0,40}") {
            prop_assert_eq!(LockToken::parse(&text), LockToken(Uuid::nil()));
        }
    }
}
