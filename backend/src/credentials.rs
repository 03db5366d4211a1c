//! How a back end proves who it is: a shared access policy's key, or a signature made elsewhere.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use iothub_protocol::Timestamp;
use iothub_protocol::connection_string::{
    ConnectionString, Credential, EventHubCredential, Identity,
};
use iothub_protocol::sas::{self, SymmetricKey};

use crate::{Error, ErrorKind};

/// Gives the token of each request or connection. Clones share it.
#[derive(Clone)]
pub(crate) enum Credentials {
    /// Signs tokens as they are needed.
    Policy {
        /// The token's audience: the hub's name, without a port (`spec/service.md` 1.1), or an
        /// event hub's address.
        resource: String,
        policy: String,
        key: SymmetricKey,
        /// The token in use; replaced shortly before it expires.
        token: Arc<Mutex<Option<IssuedToken>>>,
    },
    /// A token that the connection string brought; it cannot be renewed.
    Signature(String),
}

/// A token with the time from which it is not used any more.
pub(crate) struct IssuedToken {
    text: String,
    renew_at: Timestamp,
}

impl Credentials {
    /// The credentials of a service connection string.
    pub(crate) fn new(connection_string: &ConnectionString) -> Result<Self, Error> {
        let Identity::Policy(policy) = &connection_string.identity else {
            return Err(Error::new(ErrorKind::Configuration(
                "a device connection string where one of a shared access policy is needed \
                 (it has SharedAccessKeyName)"
                    .into(),
            )));
        };
        match &connection_string.credential {
            Credential::Key(key) => Ok(Self::Policy {
                resource: connection_string.host_name.clone(),
                policy: policy.clone(),
                key: key.clone(),
                token: Arc::default(),
            }),
            Credential::Signature(token) => Ok(Self::Signature(token.clone())),
            Credential::X509 => Err(Error::new(ErrorKind::Configuration(
                "a back end cannot authenticate with x509=true".into(),
            ))),
        }
    }

    /// The credentials of an event hub's connection string, for tokens for `resource`.
    pub(crate) fn for_event_hub(credential: &EventHubCredential, resource: String) -> Self {
        match credential {
            EventHubCredential::Policy { name, key } => Self::Policy {
                resource,
                policy: name.clone(),
                // Event Hubs signs with the key's text, not with what it decodes to.
                key: SymmetricKey::from_bytes(key.as_bytes()),
                token: Arc::default(),
            },
            EventHubCredential::Signature(token) => Self::Signature(token.clone()),
        }
    }

    /// The same policy towards the hub's event hub, whose tokens are for `resource`
    /// (`spec/amqp.md` 6.1: the redirected re-use the policy key).
    pub(crate) fn towards_event_hub(&self, resource: String) -> Self {
        match self {
            Self::Policy { policy, key, .. } => Self::Policy {
                resource,
                policy: policy.clone(),
                key: SymmetricKey::from_bytes(key.to_base64().into_bytes()),
                token: Arc::default(),
            },
            Self::Signature(token) => Self::Signature(token.clone()),
        }
    }

    /// What the tokens are for, unless the connection string brought a signature of its own.
    pub(crate) fn resource(&self) -> Option<&str> {
        match self {
            Self::Policy { resource, .. } => Some(resource),
            Self::Signature(_) => None,
        }
    }

    /// A token that is good for at least [`RENEW_BEFORE`] from `now` on.
    pub(crate) fn token(&self, now: Timestamp) -> String {
        self.token_until(now).0
    }

    /// A token as [`Self::token`], and when to ask for the next; `None`: there is no other.
    pub(crate) fn token_until(&self, now: Timestamp) -> (String, Option<Timestamp>) {
        match self {
            Self::Signature(token) => (token.clone(), None),
            Self::Policy {
                resource,
                policy,
                key,
                token,
            } => {
                let mut token = token.lock().unwrap_or_else(PoisonError::into_inner);
                let issued = match token.take() {
                    Some(issued) if issued.is_fresh(now) => issued,
                    _ => IssuedToken::sign(resource, policy, key, now),
                };
                let issued = token.insert(issued);
                (issued.text.clone(), Some(issued.renew_at))
            }
        }
    }
}

impl IssuedToken {
    fn sign(resource: &str, policy: &str, key: &SymmetricKey, now: Timestamp) -> Self {
        let expiry = now + LIFETIME;
        Self {
            text: sas::sign(resource, expiry, Some(policy), key),
            renew_at: expiry - RENEW_BEFORE,
        }
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        // A clock that was set back makes a token whose life has not begun: sign again.
        now < self.renew_at && now + LIFETIME >= self.renew_at
    }
}

/// The hour that the SDKs use (`spec/service.md` 1.1, table).
const LIFETIME: Duration = Duration::from_secs(3600);
/// Covers the longest method call (`spec/service.md` 4) no better than the hub's clock skew does:
/// a token is checked when the request arrives, never again.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use iothub_protocol::sas::SasToken;

    use super::*;

    const KEY: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";

    fn credentials() -> Credentials {
        let text = format!("HostName=h;SharedAccessKeyName=service;SharedAccessKey={KEY}");
        Credentials::new(&ConnectionString::parse(&text).unwrap()).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(1_700_000_000 + seconds)
    }

    #[test]
    fn token_names_host_and_policy_and_lives_an_hour() {
        let token = SasToken::parse(&credentials().token(at(0))).unwrap();

        assert_eq!(token.resource(), "h");
        assert_eq!(token.policy(), Some("service"));
        assert_eq!(token.expiry(), at(3600));
        assert!(token.is_signed_with(&SymmetricKey::parse(KEY).unwrap()));
    }

    #[test]
    fn token_is_kept_until_shortly_before_it_expires() {
        let credentials = credentials();
        let first = credentials.token(at(0));

        assert_eq!(credentials.token(at(3299)), first);
        assert_ne!(credentials.token(at(3300)), first);
    }

    #[test]
    fn clock_set_back_signs_a_new_token() {
        let credentials = credentials();
        let first = credentials.token(at(0));

        assert_ne!(credentials.token(at(-7200)), first);
    }

    #[test]
    fn device_connection_string_is_refused() {
        let text = format!("HostName=h;DeviceId=d1;SharedAccessKey={KEY}");
        let error = Credentials::new(&ConnectionString::parse(&text).unwrap())
            .err()
            .unwrap();

        assert!(matches!(error.kind(), ErrorKind::Configuration(_)));
    }
}
