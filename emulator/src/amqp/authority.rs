//! What a connection has proved: tokens it has put, a login, a certificate (`spec/amqp.md` 2.2, 3).

use iothub_hub::{CertificateFacts, Credentials, Hub, Permission, Principal, Proof, Reach, Who};
use iothub_protocol::amqp::AmqpError;
use iothub_protocol::amqp::error::condition;
use iothub_protocol::{ClientId, Error, Timestamp};

/// Tokens of one connection; several devices may share it, each with its own.
const MAX_GRANTS: usize = 4096;

/// Where back ends send messages to devices.
pub(super) const DEVICE_BOUND: &str = "messages/devicebound";
/// Where they hear what became of them.
pub(super) const FEEDBACK: &str = "messages/servicebound/feedback";
/// Where they hear of files.
pub(super) const FILE_NOTIFICATIONS: &str = "messages/servicebound/filenotifications";

/// What a connection has proved.
#[derive(Debug)]
pub(super) struct Authority {
    hub_name: String,
    /// The newest last. One for each resource of each holder.
    grants: Vec<Grant>,
    /// The peer's certificate; whose it is shows once a client is named.
    certificate: Option<Box<CertificateFacts>>,
    /// Whether the certificate is of a registered authority, or of the client that it names.
    is_certified: bool,
}

/// Something that has been proved.
struct Grant {
    proof: Proof,
    /// The token itself, which a client's session is opened with.
    token: Option<Box<str>>,
}

impl Authority {
    /// Nothing has been proved yet to the hub of this name.
    pub(super) fn new(hub_name: String) -> Self {
        Self {
            hub_name,
            grants: Vec::new(),
            certificate: None,
            is_certified: false,
        }
    }

    /// Takes a token for an audience; it replaces an older one of the same holder for the same
    /// resource. Answers what it is good for; refuses with why it is not good.
    pub(super) fn put(
        &mut self,
        hub: &Hub,
        now: Timestamp,
        audience: &str,
        token: &str,
    ) -> Result<Reach, Error> {
        let proof = hub.authenticate_audience(now, Some(audience), token)?;
        let reach = proof.reach.clone();
        self.add(Grant {
            proof,
            token: Some(token.into()),
        })?;
        Ok(reach)
    }

    /// What this token alone proves, whatever the connection has proved.
    ///
    /// Refuses with `amqp:unauthorized-access`.
    pub(super) fn of_token(
        &self,
        hub: &Hub,
        now: Timestamp,
        token: &str,
    ) -> Result<Self, AmqpError> {
        let proof = hub
            .authenticate_audience(now, None, token)
            .map_err(|error| unauthorized(error.detail))?;
        let mut authority = Self::new(self.hub_name.clone());
        authority.grants.push(Grant { proof, token: None });
        Ok(authority)
    }

    /// Takes a login: a policy's or client's name with a token, or a policy's name with its key
    /// (`spec/amqp.md` 2.2).
    pub(super) fn log_in(
        &mut self,
        hub: &Hub,
        now: Timestamp,
        response: &[u8],
    ) -> Result<(), Error> {
        let (user, password) = plain_response(response)
            .ok_or_else(|| Error::unauthorized("the login is no user name and password"))?;
        let grant = match Login::parse(user) {
            Login::Key(policy) => Grant {
                proof: Proof {
                    principal: hub.authenticate_key(policy, password)?,
                    // Logging in with a key is Event Hubs' way; the hub itself has tokens only.
                    reach: Reach::Path(self.hub_name.clone()),
                    until: None,
                },
                token: None,
            },
            Login::Policy { policy, host } => {
                self.check_host(hub, host)?;
                let proof = hub.authenticate_audience(now, None, password)?;
                if *proof.principal.who() != Who::Policy(policy.to_owned()) {
                    return Err(Error::unauthorized(format!(
                        "the token of {} is not one of policy {policy}",
                        proof.principal.who()
                    )));
                }
                Grant {
                    proof,
                    token: Some(password.into()),
                }
            }
            Login::Client { client, host } => {
                self.check_host(hub, host)?;
                let client = ClientId::parse(client)
                    .map_err(|error| Error::unauthorized(format!("user {client:?}: {error}")))?;
                let credentials = Credentials::Token(password);
                let principal = hub.authenticate_client_anywhere(now, &client, credentials)?;
                let skew = hub.config().limits.token_skew;
                Grant {
                    proof: Proof {
                        until: principal.expires().map(|expires| expires + skew),
                        principal,
                        reach: Reach::Client(client),
                    },
                    token: Some(password.into()),
                }
            }
        };
        self.add(grant)
    }

    /// The client whose name a login has, if it has one.
    pub(super) fn client_of_login(response: &[u8]) -> Option<ClientId> {
        match Login::parse(plain_response(response)?.0) {
            Login::Client { client, .. } => ClientId::parse(client).ok(),
            Login::Policy { .. } | Login::Key(_) => None,
        }
    }

    /// The peer has shown a certificate and holds its key.
    pub(super) fn show(&mut self, hub: &Hub, now: Timestamp, certificate: CertificateFacts) {
        // SDKs open a connection and attach a link when there is something to say, so that a device
        // may have nothing else to show for long.
        let named = certificate.common_name.as_deref().map(ClientId::parse);
        self.is_certified = !certificate.issued_by.is_empty()
            || named.and_then(Result::ok).is_some_and(|client| {
                let credentials = Credentials::Certificate(&certificate);
                hub.authenticate_client_anywhere(now, &client, credentials)
                    .is_ok()
            });
        self.certificate = Some(Box::new(certificate));
    }

    /// Forgets what is not good any longer; answers whether there was something.
    pub(super) fn expire(&mut self, now: Timestamp) -> bool {
        let before = self.grants.len();
        self.grants
            .retain(|grant| grant.proof.until.is_none_or(|until| now < until));
        self.grants.len() < before
    }

    /// Whether anything has been proved, or may be by a certificate.
    pub(super) fn has_proof(&self) -> bool {
        !self.grants.is_empty() || self.certificate.is_some()
    }

    /// Whether anything has been proved that is still good; a certificate by itself proves something
    /// when the hub knows it.
    pub(super) fn is_somebody(&self) -> bool {
        !self.grants.is_empty() || self.is_certified
    }

    /// Whether the peer has shown a certificate.
    pub(super) fn has_certificate(&self) -> bool {
        self.certificate.is_some()
    }

    /// When the first thing that has been proved ceases to be good.
    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        let until = self.grants.iter().filter_map(|grant| grant.proof.until);
        until.min()
    }

    /// Someone with this permission on the hub as a whole, on the event hub of this name, or on what is
    /// at this path of the hub.
    ///
    /// Refuses with `amqp:unauthorized-access`.
    pub(super) fn service(
        &self,
        permission: Permission,
        entity: Option<&str>,
    ) -> Result<&Principal, AmqpError> {
        let mut lacking = None;
        for Grant { proof, .. } in self.grants.iter().rev() {
            let covers = match (&proof.reach, entity) {
                (Reach::Hub, _) => true,
                (Reach::Path(path), Some(entity)) => {
                    // What is above it covers it, as with every token.
                    self.is_same_entity(path, entity) || starts_with_segments(entity, path)
                }
                (Reach::Path(_) | Reach::Devices | Reach::Client(_), _) => false,
            };
            match covers {
                true if proof.principal.may(permission) => return Ok(&proof.principal),
                true => lacking = Some(proof.principal.who()),
                false => {}
            }
        }
        Err(unauthorized(match (lacking, entity) {
            (Some(who), _) => format!("{who} lacks the permission {permission:?}"),
            (None, None) => "no token for the hub has been put".to_owned(),
            (None, Some(entity)) => format!("no token for {entity} has been put"),
        }))
    }

    /// What to authenticate a client with: its own token before a policy's.
    ///
    /// Refuses with `amqp:unauthorized-access` when nothing put so far could be for it.
    pub(super) fn credentials(&self, client: &ClientId) -> Result<Credentials<'_>, AmqpError> {
        let rank = |grant: &Grant| match &grant.proof.reach {
            Reach::Client(of) if of == client => Some(3),
            // A device's own key opens none of its modules; a policy's token for it does.
            Reach::Client(of) => {
                let is_policy = matches!(grant.proof.principal.who(), Who::Policy(_));
                (of.module.is_none() && of.device == client.device && is_policy).then_some(2)
            }
            Reach::Devices => Some(1),
            Reach::Hub => Some(0),
            Reach::Path(_) => None,
        };
        let best = self
            .grants
            .iter()
            .filter_map(|grant| Some((rank(grant)?, grant.token.as_deref()?)))
            .max_by_key(|&(rank, _)| rank);
        match (best, &self.certificate) {
            (Some((_, token)), _) => Ok(Credentials::Token(token)),
            (None, Some(facts)) => Ok(Credentials::Certificate(facts)),
            (None, None) => Err(unauthorized(format!("no token for {client} has been put"))),
        }
    }

    /// Whether the proof is for the hub itself, not for an event hub: readers of `messages/events`
    /// are then sent elsewhere (`spec/amqp.md` 6.1).
    pub(super) fn is_for_hub(&self) -> bool {
        !self.grants.iter().any(|grant| match &grant.proof.reach {
            Reach::Path(path) => starts_with_segments(path, "messages/events"),
            Reach::Hub | Reach::Devices | Reach::Client(_) => false,
        })
    }

    fn add(&mut self, grant: Grant) -> Result<(), Error> {
        let is_same = |old: &Grant| {
            old.proof.reach == grant.proof.reach
                && old.proof.principal.who() == grant.proof.principal.who()
        };
        self.grants.retain(|old| !is_same(old));
        if self.grants.len() >= MAX_GRANTS {
            return Err(Error::unauthorized(format!(
                "the connection has put {MAX_GRANTS} tokens already"
            )));
        }
        self.grants.push(grant);
        Ok(())
    }

    /// Whether a token for this path is one for the event hub of that name. A token for one of its
    /// groups or partitions is, too: they are not told apart.
    fn is_same_entity(&self, path: &str, entity: &str) -> bool {
        starts_with_segments(path, entity)
            || (self.is_event_hub(entity)
                && (starts_with_segments(path, "messages/events")
                    || path
                        .split('/')
                        .next()
                        .is_some_and(|it| self.is_event_hub(it))))
    }

    fn is_event_hub(&self, entity: &str) -> bool {
        is_event_hub(&self.hub_name, entity)
    }

    /// Clients take the hub's name from its host name, whatever that is.
    fn check_host(&self, hub: &Hub, host: &str) -> Result<(), Error> {
        let names = &hub.config().host_names;
        let first_label = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        let is_ours = names.is_empty()
            || first_label(host).eq_ignore_ascii_case(&self.hub_name)
            || names
                .iter()
                .any(|name| first_label(name).eq_ignore_ascii_case(&first_label(host)));
        if is_ours {
            return Ok(());
        }
        Err(Error::unauthorized(format!("{host} is not this hub")))
    }
}

/// Whether an event hub of this name is the hub's own: by the hub's name, by a name as the real
/// service makes it, or by the name that documentation uses (`spec/amqp.md` 1.2).
pub(crate) fn is_event_hub(hub_name: &str, entity: &str) -> bool {
    let entity = entity.trim_matches('/').to_ascii_lowercase();
    let hub_name = hub_name.to_ascii_lowercase();
    entity == hub_name
        || entity == "messages/events"
        || entity
            .strip_prefix("iothub-ehub-")
            .and_then(|rest| rest.strip_prefix(&hub_name))
            .is_some_and(|rest| rest.starts_with('-'))
}

/// Who wants to log in.
#[derive(Debug, PartialEq, Eq)]
enum Login<'a> {
    /// `{policy}@sas.root.{hub}`, with a token.
    Policy { policy: &'a str, host: &'a str },
    /// `{device}@sas.{hub}` or `{device}/{module}@sas.{hub}`, with a token.
    Client { client: &'a str, host: &'a str },
    /// `{policy}`, with its key.
    Key(&'a str),
}

impl<'a> Login<'a> {
    fn parse(user: &'a str) -> Self {
        // The last one: names of devices may hold such characters.
        let Some((name, rest)) = user.rsplit_once("@sas.") else {
            return Self::Key(user);
        };
        match rest.split_at_checked("root.".len()) {
            Some((root, host)) if root.eq_ignore_ascii_case("root.") && !host.is_empty() => {
                Self::Policy { policy: name, host }
            }
            _ => Self::Client {
                client: name,
                host: rest,
            },
        }
    }
}

/// User name and password of a response in the form of RFC 4616: whom to act for, who, and the
/// password, with zeros between.
fn plain_response(response: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(response).ok()?;
    let mut parts = text.splitn(3, '\0').skip(1);
    Some((parts.next()?, parts.next()?))
}

/// Whether the path is `start` or below it, whatever the case.
fn starts_with_segments(path: &str, start: &str) -> bool {
    let start = start.trim_matches('/');
    match path.split_at_checked(start.len()) {
        Some((head, rest)) => {
            head.eq_ignore_ascii_case(start) && (rest.is_empty() || rest.starts_with('/'))
        }
        None => false,
    }
}

fn unauthorized(description: String) -> AmqpError {
    AmqpError::new(condition::UNAUTHORIZED_ACCESS, description)
}

/// Prints no token.
impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.proof.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_are_told_apart() {
        for (user, wanted) in [
            (
                "service@sas.root.localhost",
                Login::Policy {
                    policy: "service",
                    host: "localhost",
                },
            ),
            (
                "d1@sas.localhost",
                Login::Client {
                    client: "d1",
                    host: "localhost",
                },
            ),
            (
                "d@sas.x/m1@sas.hub",
                Login::Client {
                    client: "d@sas.x/m1",
                    host: "hub",
                },
            ),
            // A hub that is called so.
            (
                "d1@sas.root",
                Login::Client {
                    client: "d1",
                    host: "root",
                },
            ),
            ("iothubowner", Login::Key("iothubowner")),
        ] {
            assert_eq!(Login::parse(user), wanted, "{user}");
        }
    }

    #[test]
    fn a_response_has_three_parts_and_the_password_may_hold_anything() {
        assert_eq!(plain_response(b"\0u\0p"), Some(("u", "p")));
        assert_eq!(plain_response(b"x\0u\0p\0q"), Some(("u", "p\0q")));
        for bad in [&b""[..], b"u", b"\0u", b"\0u\0\xff"] {
            assert_eq!(plain_response(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_hubs_own_event_hub_has_several_names() {
        for name in [
            "localhost",
            "LocalHost",
            "messages/events",
            "iothub-ehub-localhost-12345-0a1b2c3d4e",
        ] {
            assert!(is_event_hub("localhost", name), "{name}");
        }
        for name in [
            "",
            "other",
            "iothub-ehub-other-1-a",
            "messages",
            "localhost2",
        ] {
            assert!(!is_event_hub("localhost", name), "{name}");
        }
    }
}
