//! Makes a right token, to compare with or to go on with.

use iothub_protocol::connection_string::ConnectionString;
use iothub_protocol::sas::sign;
use iothub_protocol::{ClientId, Error, Timestamp};
use serde_json::{Value, json};

use super::Doctor;
use super::holders::named;
use super::resource::path_of;

/// What is to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignRequest {
    /// Whose key signs.
    pub signatory: Signatory,
    /// Which of the two.
    pub key: WhichKey,
    /// How long the token is good; negative: it has expired.
    pub seconds: i64,
    /// The host that it is for; `None`: the hub's own name.
    pub host: Option<String>,
}

/// Whose key signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signatory {
    /// A device or module, for itself.
    Client(ClientId),
    /// A policy: for a device or module, or for the hub.
    Policy(String, Option<ClientId>),
}

/// Which of two keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhichKey {
    /// The first.
    #[default]
    Primary,
    /// The other.
    Secondary,
}

/// A right token.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedToken {
    /// The token.
    pub token: String,
    /// When it ends.
    pub expires: Timestamp,
    /// What it is for.
    pub resource: String,
    /// The connection string with the same key.
    pub connection_string: String,
    /// Client id and user name of a CONNECT with the token as password, where it is a client's.
    pub connect: Option<(String, String)>,
}

impl Doctor {
    /// Makes a token.
    ///
    /// Refuses with `ArgumentInvalid` whoever has no key, `DeviceNotFound`, `ModuleNotFound`.
    pub fn sign(&self, request: &SignRequest) -> Result<SignedToken, Error> {
        let host = request.host.as_deref().unwrap_or(&self.host_name);
        let (holders, policy, client) = match &request.signatory {
            Signatory::Client(client) => {
                if self.access.identity(client).is_none() {
                    return Err(Error::client_not_found(client));
                }
                (self.keys_of_client(client), None, Some(client))
            }
            Signatory::Policy(policy, client) => {
                let holders = self.keys_of_policy(policy);
                (holders, Some(policy.as_str()), client.as_ref())
            }
        };
        let is_primary = request.key == WhichKey::Primary;
        let holder = holders.iter().find(|it| it.is_primary == is_primary);
        let Some(holder) = holder else {
            return Err(Error::argument_invalid(match &request.signatory {
                Signatory::Client(client) => format!("{} has no keys", named(client)),
                Signatory::Policy(policy, _) => format!("there is no policy {policy}"),
            }));
        };
        let resource = match client {
            Some(client) => format!("{host}/{}", path_of(client)),
            None => host.to_owned(),
        };
        let expires =
            Timestamp::from_unix_seconds(self.now.unix_seconds().saturating_add(request.seconds));
        let connection_string = match (&request.signatory, client) {
            (Signatory::Client(client), _) => {
                ConnectionString::for_client(host, client.clone(), holder.key.clone())
            }
            (Signatory::Policy(policy, _), _) => {
                ConnectionString::for_policy(host, policy, holder.key.clone())
            }
        };
        Ok(SignedToken {
            token: sign(&resource, expires, policy, &holder.key),
            expires,
            resource,
            connection_string: connection_string.to_string(),
            connect: client.map(|client| {
                let user = format!("{host}/{client}/?api-version=2021-04-12");
                (client.to_string(), user)
            }),
        })
    }
}

impl SignedToken {
    /// The answer as JSON.
    pub fn to_json(&self) -> Value {
        let mut document = json!({
            "token": self.token,
            "expires": self.expires.to_iso_seconds(),
            "resource": self.resource,
            "connection_string": self.connection_string,
        });
        if let Some((client_id, user_name)) = &self.connect {
            document["client_id"] = client_id.as_str().into();
            document["user_name"] = user_name.as_str().into();
        }
        document
    }
}

/// Prints no secret.
impl std::fmt::Debug for SignedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedToken")
            .field("resource", &self.resource)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}
