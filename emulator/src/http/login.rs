//! The admin token, and what a browser is given instead of it.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::hex::hex;
use crate::secret::Secret;

/// Knows the token, and the cookie that stands for it.
pub(super) struct Login {
    token: Secret,
    cookie: Secret,
}

impl Login {
    /// The cookie is derived from the token and something that nobody knows and that ends with the
    /// process: it tells nothing of the token, and is of no use to another process.
    pub(super) fn new(token: &Secret) -> Self {
        let mut hash = Sha256::new();
        for _ in 0..2 {
            hash.update(uuid::Uuid::new_v4().as_bytes());
        }
        hash.update(token.as_str());
        let cookie = hex(&hash.finalize());
        Self {
            token: token.clone(),
            cookie: Secret::parse(&cookie).expect("hex digits are printable"),
        }
    }

    /// What a browser holds in the token's place.
    pub(super) fn cookie(&self) -> &str {
        self.cookie.as_str()
    }

    pub(super) fn is_token(&self, text: &str) -> bool {
        self.token.is(text.as_bytes())
    }

    pub(super) fn is_cookie(&self, text: &str) -> bool {
        self.cookie.is(text.as_bytes())
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_and_the_cookie_do_not_stand_for_each_other() {
        let token = Secret::parse("secret").unwrap();
        let (login, other) = (Login::new(&token), Login::new(&token));

        assert!(login.is_token("secret") && !login.is_token("Secret") && !login.is_token(""));
        assert!(login.is_cookie(login.cookie()) && !login.is_cookie("secret"));
        assert!(!login.is_token(login.cookie()));
        assert!(!other.is_cookie(login.cookie()), "it ends with the process");
    }
}
