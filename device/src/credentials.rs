//! How a device proves who it is: a key that signs tokens, a token made elsewhere, or a certificate.

use std::time::Duration;

use iothub_protocol::connection_string::{ConnectionString, Credential};
use iothub_protocol::sas::{self, SymmetricKey};
use iothub_protocol::{ClientId, Timestamp};

/// Gives the password of each CONNECT, and the token of each request.
#[derive(Clone, Debug)]
pub(crate) enum Credentials {
    /// Signs a token for each connection.
    Key {
        resource: String,
        key: SymmetricKey,
        lifetime: Duration,
    },
    /// A token that the connection string brought; it cannot be renewed.
    Signature(String),
    /// The TLS client certificate says it all.
    Certificate,
}

/// A password, and when to connect anew with a fresh one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Password {
    pub(crate) text: String,
    pub(crate) renew_at: Option<Timestamp>,
}

impl Credentials {
    pub(crate) fn new(
        connection_string: &ConnectionString,
        client: &ClientId,
        lifetime: Duration,
    ) -> Self {
        match &connection_string.credential {
            Credential::Key(key) => Self::Key {
                resource: resource(&connection_string.host_name, client),
                key: key.clone(),
                lifetime,
            },
            Credential::Signature(token) => Self::Signature(token.clone()),
            Credential::X509 => Self::Certificate,
        }
    }

    /// The password to connect with at `now`.
    pub(crate) fn password(&self, now: Timestamp) -> Password {
        match self {
            Self::Key {
                resource,
                key,
                lifetime,
            } => Password {
                text: sas::sign(resource, now + *lifetime, None, key),
                renew_at: Some(now + lifetime.mul_f64(RENEW_AT)),
            },
            Self::Signature(token) => Password {
                text: token.clone(),
                renew_at: None,
            },
            // `spec/device.md` 2.2: absent for X.509.
            Self::Certificate => Password {
                text: String::new(),
                renew_at: None,
            },
        }
    }
}

/// What a token is for (`spec/device.md` 3.2).
fn resource(host_name: &str, client: &ClientId) -> String {
    match &client.module {
        None => format!("{host_name}/devices/{}", client.device),
        Some(module) => format!("{host_name}/devices/{}/modules/{module}", client.device),
    }
}

/// The share of a token's life after which it is replaced: that of the C SDK (`spec/device.md` 2.9).
const RENEW_AT: f64 = 0.8;

#[cfg(test)]
mod tests {
    use iothub_protocol::sas::SasToken;

    use super::*;

    const KEY: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";

    fn credentials(text: &str) -> Credentials {
        let connection_string = ConnectionString::parse(text).unwrap();
        let client = connection_string.client().unwrap().clone();
        Credentials::new(&connection_string, &client, Duration::from_secs(3600))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(1_700_000_000 + seconds)
    }

    #[test]
    fn key_signs_a_token_for_the_device_and_renews_it_at_four_fifths_of_its_life() {
        let credentials = credentials(&format!("HostName=h;DeviceId=d1;SharedAccessKey={KEY}"));

        let password = credentials.password(at(0));

        assert_eq!(password.renew_at, Some(at(2880)));
        let token = SasToken::parse(&password.text).unwrap();
        assert_eq!((token.resource(), token.policy()), ("h/devices/d1", None));
        assert_eq!(token.expiry(), at(3600));
        assert!(token.is_signed_with(&SymmetricKey::parse(KEY).unwrap()));
    }

    #[test]
    fn module_token_names_the_module() {
        let text = format!("HostName=h;DeviceId=d1;ModuleId=m1;SharedAccessKey={KEY}");

        let token = SasToken::parse(&credentials(&text).password(at(0)).text).unwrap();

        assert_eq!(token.resource(), "h/devices/d1/modules/m1");
    }

    #[test]
    fn certificate_needs_no_password_and_no_renewal() {
        let password = credentials("HostName=h;DeviceId=d1;x509=true").password(at(0));

        assert_eq!(
            password,
            Password {
                text: String::new(),
                renew_at: None
            }
        );
    }
}
