//! Who may do what: policies, permissions, and how a credential becomes a [`Principal`].

use std::fmt;

use iothub_protocol::registry::Authentication;
use iothub_protocol::sas::{SasToken, SymmetricKey};
use iothub_protocol::{ClientId, Error, ErrorCode, Timestamp};

use crate::Hub;
use crate::limits::ExpiredCertificates;
use crate::registry::Identity;

/// A right that a policy grants (`spec/device.md` 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Read identities.
    RegistryRead,
    /// Create, change and delete identities; implies reading them.
    RegistryWrite,
    /// Everything else a back end does.
    ServiceConnect,
    /// Act as a device.
    DeviceConnect,
}

/// A set of [`Permission`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions(u8);

/// A shared access policy of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessPolicy {
    /// Its name, `skn` in tokens.
    pub name: String,
    /// What it grants.
    pub permissions: Permissions,
    /// One of the two keys that sign for it.
    pub primary: SymmetricKey,
    /// The other.
    pub secondary: SymmetricKey,
}

/// Someone who has proved who they are. Only the hub makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    who: Who,
    permissions: Permissions,
    auth_method: AuthMethod,
    expires: Option<Timestamp>,
}

/// Whom a credential speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A shared access policy.
    Policy(String),
    /// A device or module with its own key or certificate.
    Client(ClientId),
    /// The emulator's own control surface, which has no credential.
    Operator,
}

/// How a client proved who it is, as events tell it (`spec/device.md` 4.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthMethod {
    /// Whose credential it was.
    pub scope: AuthScope,
    /// What kind it was.
    pub kind: AuthType,
}

/// Whose credential a client used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthScope {
    /// The hub's policy.
    Hub,
    /// The device's.
    Device,
    /// The module's.
    Module,
}

/// What kind of credential a client used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthType {
    /// A token.
    Sas,
    /// A certificate.
    X509,
}

/// What a caller offers as proof.
#[derive(Clone, Copy, Debug)]
pub enum Credentials<'a> {
    /// A token as received.
    Token(&'a str),
    /// A client certificate; possession of its key has been proved.
    Certificate(&'a CertificateFacts),
    /// Nothing at all.
    None,
}

/// What the hub needs to know of a client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// SHA-1 of the leaf, 40 hexadecimal digits.
    pub sha1: String,
    /// SHA-256 of the leaf, 64 hexadecimal digits.
    pub sha256: String,
    /// The leaf's subject common name.
    pub common_name: Option<String>,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// Who the leaf says issued it, as people write it; for refusals.
    pub issuer: String,
    /// Registered authorities that the leaf chains to, every signature on the way verified.
    pub issued_by: Vec<Chain>,
}

/// A way from a certificate to a registered authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// SHA-256 of the authority's certificate, 64 hexadecimal digits.
    pub authority: String,
    /// When the certificates between leaf and authority begin to be valid together;
    /// [`Timestamp::NEVER`] if there are none.
    pub not_before: Timestamp,
    /// When they cease to be; [`Timestamp::MAX`] if there are none.
    pub not_after: Timestamp,
}

impl Permissions {
    /// None at all.
    pub const NONE: Self = Self(0);
    /// Every permission.
    pub const ALL: Self = Self(0b1111);

    /// These permissions.
    pub fn of(permissions: &[Permission]) -> Self {
        let mut set = Self::NONE;
        for &permission in permissions {
            set.0 |= permission.bit();
            if permission == Permission::RegistryWrite {
                set.0 |= Permission::RegistryRead.bit();
            }
        }
        set
    }

    /// Whether `permission` is among them.
    pub fn contains(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }
}

impl Permission {
    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Principal {
    /// The emulator's own control surface: may do everything, never expires.
    pub fn operator() -> Self {
        Self {
            who: Who::Operator,
            permissions: Permissions::ALL,
            auth_method: AuthMethod {
                scope: AuthScope::Hub,
                kind: AuthType::Sas,
            },
            expires: None,
        }
    }

    /// Who holds a key of this policy, or a token that is good until then.
    pub(crate) fn of_policy(policy: &AccessPolicy, expires: Option<Timestamp>) -> Self {
        Self {
            who: Who::Policy(policy.name.clone()),
            permissions: policy.permissions,
            auth_method: AuthMethod {
                scope: AuthScope::Hub,
                kind: AuthType::Sas,
            },
            expires,
        }
    }

    /// Whether it has `permission`.
    pub fn may(&self, permission: Permission) -> bool {
        self.permissions.contains(permission)
    }

    /// Whom it speaks for.
    pub fn who(&self) -> &Who {
        &self.who
    }

    /// Until when its credential is good, where it says.
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    pub(crate) fn auth_method(&self) -> AuthMethod {
        self.auth_method
    }

    /// Refuses a caller without `permission`: 401 like every other failure to authenticate
    /// (`spec/service.md` 1.1).
    pub(crate) fn require(&self, permission: Permission) -> Result<(), Error> {
        if self.permissions.contains(permission) {
            return Ok(());
        }
        Err(Error::unauthorized(format!(
            "{} lacks the permission {permission:?}",
            self.who
        )))
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(name) => write!(f, "policy {name}"),
            Self::Client(client) => write!(f, "client {client}"),
            Self::Operator => f.write_str("operator"),
        }
    }
}

impl AuthMethod {
    /// The JSON text of the annotation `iothub-connection-auth-method` (`spec/device.md` 4.6).
    pub fn to_json(self) -> &'static str {
        match (self.scope, self.kind) {
            (AuthScope::Hub, AuthType::Sas) => {
                r#"{"scope":"hub","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#
            }
            (AuthScope::Hub, AuthType::X509) => {
                r#"{"scope":"hub","type":"x509","issuer":"iothub","acceptingIpFilterRule":null}"#
            }
            (AuthScope::Device, AuthType::Sas) => {
                r#"{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#
            }
            (AuthScope::Device, AuthType::X509) => {
                r#"{"scope":"device","type":"x509","issuer":"iothub","acceptingIpFilterRule":null}"#
            }
            (AuthScope::Module, AuthType::Sas) => {
                r#"{"scope":"module","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}"#
            }
            (AuthScope::Module, AuthType::X509) => {
                r#"{"scope":"module","type":"x509","issuer":"iothub","acceptingIpFilterRule":null}"#
            }
        }
    }
}

impl Hub {
    /// Authenticates a back end that asks for `path` (segments below the host) on `host`.
    ///
    /// Every failure is `IotHubUnauthorizedAccess`; the detail tells a person why and is for the
    /// log only (`spec/service.md` 1.1).
    pub fn authenticate_service(
        &self,
        now: Timestamp,
        host: &str,
        path: &[String],
        credentials: Credentials<'_>,
    ) -> Result<Principal, Error> {
        let token = match credentials {
            Credentials::Token(text) => parse_token(text)?,
            Credentials::Certificate(_) | Credentials::None => {
                return Err(Error::unauthorized("no Authorization header"));
            }
        };
        let policy = self.policy_that_signed(&token)?;
        // Behind a gateway or a forwarder the Host header differs from the hub's name, so that
        // only configured names bind the token's host (`spec/service.md` 10.4).
        self.check_host(&token, token_host(&token))?;
        let requested: Vec<&str> = path.iter().map(String::as_str).collect();
        if !is_prefix(&token_path(&token), &requested) {
            return Err(Error::unauthorized(format!(
                "signed sr {}, which does not cover {host}/{}",
                token.sr_text(),
                path.join("/")
            )));
        }
        self.check_expiry(now, &token)?;
        Ok(Principal::of_policy(policy, Some(token.expiry())))
    }

    /// Authenticates someone who wants to act as `client` on `host`, the name that they used.
    ///
    /// Refusals: `IotHubUnauthorizedAccess` for everything about credentials and for unknown
    /// identities, `DeviceDisabled`; details are for the log (`spec/device.md` 2.4).
    pub fn authenticate_client(
        &self,
        now: Timestamp,
        host: &str,
        client: &ClientId,
        credentials: Credentials<'_>,
    ) -> Result<Principal, Error> {
        self.check_is_ours(host)?;
        self.authenticate_client_by(now, Some(host), client, credentials)
    }

    /// As [`Self::authenticate_client`], where the name that the client used cannot be told: behind
    /// a gateway or a forwarder it differs from the hub's, so that only configured names bind the
    /// token's host (`spec/device.md` 1.4).
    pub fn authenticate_client_anywhere(
        &self,
        now: Timestamp,
        client: &ClientId,
        credentials: Credentials<'_>,
    ) -> Result<Principal, Error> {
        self.authenticate_client_by(now, None, client, credentials)
    }

    fn authenticate_client_by(
        &self,
        now: Timestamp,
        host: Option<&str>,
        client: &ClientId,
        credentials: Credentials<'_>,
    ) -> Result<Principal, Error> {
        let identity = self
            .registry
            .find(client)
            .ok_or_else(|| Error::unauthorized(format!("{client} is not registered")))?;
        let principal = match credentials {
            Credentials::Token(text) => self.client_by_token(now, host, identity, text)?,
            Credentials::Certificate(facts) => self.client_by_certificate(now, identity, facts)?,
            Credentials::None => {
                return Err(Error::unauthorized(
                    "neither a token nor a client certificate",
                ));
            }
        };
        // Last, so that only who could come in learns that the door is locked.
        if self.registry.is_disabled(&client.device) {
            return Err(Error::new(
                ErrorCode::DeviceDisabled,
                format!("device {} is disabled", client.device),
            ));
        }
        Ok(principal)
    }

    fn client_by_token(
        &self,
        now: Timestamp,
        host: Option<&str>,
        identity: &Identity,
        text: &str,
    ) -> Result<Principal, Error> {
        let token = parse_token(text)?;
        let host = host.unwrap_or_else(|| token_host(&token));
        let client = &identity.client;
        let wanted = resource_path(client);
        // The host is a question of its own.
        let covers = token.covers(&format!("{}/{}", token.host(), wanted.join("/")));
        let wrong_resource = || {
            Error::unauthorized(format!(
                "signed sr {}, expected {host}/{}",
                token.sr_text(),
                wanted.join("/")
            ))
        };
        self.check_host(&token, host)?;
        let (permissions, scope, who) = if token.policy().is_some() {
            let policy = self.policy_that_signed(&token)?;
            // A policy's token may be made for the hub, for all devices, or for this one.
            if !covers {
                return Err(wrong_resource());
            }
            if !policy.permissions.contains(Permission::DeviceConnect) {
                return Err(Error::unauthorized(format!(
                    "policy {} lacks the permission DeviceConnect",
                    policy.name
                )));
            }
            (
                policy.permissions,
                AuthScope::Hub,
                Who::Policy(policy.name.clone()),
            )
        } else {
            let Authentication::Sas { primary, secondary } = &identity.authentication else {
                return Err(Error::unauthorized(format!(
                    "{client} authenticates by {}, not by key",
                    identity.authentication.type_name()
                )));
            };
            // A key opens its own identity only, by its whole name; tools append segments to it
            // (`spec/device.md` 3.2).
            if !covers || token_path(&token).len() < wanted.len() {
                return Err(wrong_resource());
            }
            if !token.is_signed_with(primary) && !token.is_signed_with(secondary) {
                return Err(Error::unauthorized(format!(
                    "the signature over sr {} matches neither key of {client}",
                    token.sr_text()
                )));
            }
            let scope = if client.module.is_some() {
                AuthScope::Module
            } else {
                AuthScope::Device
            };
            (
                Permissions::of(&[Permission::DeviceConnect]),
                scope,
                Who::Client(client.clone()),
            )
        };
        self.check_expiry(now, &token)?;
        Ok(Principal {
            who,
            permissions,
            auth_method: AuthMethod {
                scope,
                kind: AuthType::Sas,
            },
            expires: Some(token.expiry()),
        })
    }

    pub(crate) fn policy_that_signed(&self, token: &SasToken) -> Result<&AccessPolicy, Error> {
        let Some(name) = token.policy() else {
            return Err(Error::unauthorized("the token names no policy (skn)"));
        };
        let policy = self
            .config
            .policies
            .iter()
            .find(|policy| policy.name == name)
            .ok_or_else(|| Error::unauthorized(format!("there is no policy {name}")))?;
        if token.is_signed_with(&policy.primary) || token.is_signed_with(&policy.secondary) {
            return Ok(policy);
        }
        Err(Error::unauthorized(format!(
            "the signature over sr {} matches neither key of policy {name}",
            token.sr_text()
        )))
    }

    /// A token is made for the name that its user connected to, or for another configured name.
    fn check_host(&self, token: &SasToken, used: &str) -> Result<(), Error> {
        let host = token_host(token);
        self.check_is_ours(host)?;
        let used = without_port(used);
        if host.eq_ignore_ascii_case(used) || !self.config.host_names.is_empty() {
            return Ok(());
        }
        Err(Error::unauthorized(format!(
            "the token is for host {host}, the connection for {used}"
        )))
    }

    /// Any name is this hub, unless names are configured (`spec/sdk-connectivity.md`).
    pub(crate) fn check_is_ours(&self, host: &str) -> Result<(), Error> {
        let host = without_port(host);
        if host.is_empty() {
            return Err(Error::unauthorized("no host is named, so it is no hub"));
        }
        let names = &self.config.host_names;
        if names.is_empty() || names.iter().any(|name| name.eq_ignore_ascii_case(host)) {
            return Ok(());
        }
        Err(Error::unauthorized(format!(
            "{host} is not this hub, which is {}",
            names.join(", ")
        )))
    }

    pub(crate) fn check_expiry(&self, now: Timestamp, token: &SasToken) -> Result<(), Error> {
        let expiry = token.expiry();
        if now <= expiry + self.config.limits.token_skew {
            return Ok(());
        }
        Err(Error::unauthorized(format!(
            "token expired {} ago, at {expiry}",
            spoken(now.since(expiry))
        )))
    }

    fn client_by_certificate(
        &self,
        now: Timestamp,
        identity: &Identity,
        facts: &CertificateFacts,
    ) -> Result<Principal, Error> {
        let client = &identity.client;
        match &identity.authentication {
            Authentication::SelfSigned { primary, secondary } => {
                let matches = |wanted: &str| {
                    wanted.eq_ignore_ascii_case(&facts.sha1)
                        || wanted.eq_ignore_ascii_case(&facts.sha256)
                };
                let secondary = secondary.as_deref().unwrap_or_default();
                if !matches(primary) && !matches(secondary) {
                    return Err(Error::unauthorized(format!(
                        "Thumbprint does not match configuration: Thumbprint: SHA1Hash={}, \
                         SHA2Hash={}; Configuration: PrimaryThumbprint={primary}, \
                         SecondaryThumbprint={secondary}",
                        facts.sha1, facts.sha256
                    )));
                }
            }
            Authentication::CertificateAuthority => self.check_issued(now, client, facts)?,
            Authentication::Sas { .. } | Authentication::None => {
                return Err(Error::unauthorized(format!(
                    "{client} authenticates by {}, not by certificate",
                    identity.authentication.type_name()
                )));
            }
        }
        let is_valid = (facts.not_before..=facts.not_after).contains(&now);
        let is_excused = self.config.limits.expired_certificates == ExpiredCertificates::Accept
            && matches!(identity.authentication, Authentication::SelfSigned { .. });
        if !is_valid && !is_excused {
            return Err(Error::unauthorized(format!(
                "the certificate of {client} is valid from {} to {}",
                facts.not_before, facts.not_after
            )));
        }
        let scope = if client.module.is_some() {
            AuthScope::Module
        } else {
            AuthScope::Device
        };
        Ok(Principal {
            who: Who::Client(client.clone()),
            permissions: Permissions::of(&[Permission::DeviceConnect]),
            auth_method: AuthMethod {
                scope,
                kind: AuthType::X509,
            },
            expires: None,
        })
    }
}

pub(crate) fn parse_token(text: &str) -> Result<SasToken, Error> {
    SasToken::parse(text)
        .map_err(|reason| Error::unauthorized(format!("unreadable token: {reason}")))
}

/// Segments below the host: `devices/{d}[/modules/{m}]`.
fn resource_path(client: &ClientId) -> Vec<&str> {
    let mut path = vec!["devices", client.device.as_str()];
    if let Some(module) = &client.module {
        path.extend(["modules", module.as_str()]);
    }
    path
}

pub(crate) fn token_host(token: &SasToken) -> &str {
    without_port(token.host())
}

pub(crate) fn token_path(token: &SasToken) -> Vec<&str> {
    let resource = token.resource();
    let resource = resource
        .split_once("://")
        .map_or(resource, |(_, rest)| rest);
    resource.split('/').skip(1).collect()
}

/// Whether `prefix` covers `path`, segment by segment; `/a/b` does not cover `/a/bc`.
fn is_prefix(prefix: &[&str], path: &[&str]) -> bool {
    prefix.len() <= path.len() && prefix.iter().zip(path).all(|(a, b)| a == b)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.contains(':') => {
            name
        }
        _ => host,
    }
}

fn spoken(duration: std::time::Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
