//! A credential and a key, and no hub: what can be said of the two.

use iothub_hub::{AccessPolicy, Cx, Hub, HubConfig, Outcome, Permissions, Principal};
use iothub_protocol::connection_string::{ConnectionString, Credential, Identity};
use iothub_protocol::pasted::{PastedKind, recognise};
use iothub_protocol::registry::{AuthenticationSpec, IdentitySpec, IfMatch};
use iothub_protocol::sas::{Anatomy, SymmetricKey};
use iothub_protocol::{ClientId, Error, Timestamp};

use super::token::client_of;
use super::{Doctor, Question, Report};

/// A hub that knows one key, whose owner is taken on trust.
pub struct Offline {
    key: SymmetricKey,
    /// Whose key it is, where a connection string says so.
    owner: Option<Identity>,
    host_name: Option<String>,
}

impl Offline {
    /// Knows this key: base64, or a connection string with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let pasted = recognise(text);
        if pasted.kind != PastedKind::ConnectionString {
            let key = SymmetricKey::parse(&pasted.text).map_err(|error| error.to_string())?;
            return Ok(Self {
                key,
                owner: None,
                host_name: None,
            });
        }
        let string = ConnectionString::parse(&pasted.text).map_err(|error| error.to_string())?;
        let Credential::Key(key) = string.credential else {
            return Err("the connection string has no key".to_owned());
        };
        Ok(Self {
            key,
            owner: Some(string.identity),
            host_name: Some(string.host_name),
        })
    }

    /// Answers a question as a hub would that has the identity with this key.
    pub fn explain(&self, question: &Question, now: Timestamp) -> Result<Report, Error> {
        let pasted = recognise(&question.text);
        let anatomy = Anatomy::of(&pasted.text);
        let value = |name| anatomy.value(name).unwrap_or_default().into_owned();
        let claimed = || {
            let policy = value("skn");
            if !policy.is_empty() && question.client.is_none() {
                return Some(Identity::Policy(policy));
            }
            let named = || client_of(&value("sr"));
            question.client.clone().or_else(named).map(Identity::Client)
        };
        let owner = self.owner.clone().or_else(claimed);
        let hub = self.hub_of(owner.as_ref(), now)?;
        let access = hub.access_snapshot(&Principal::operator())?;
        let host_name = self.host_name.clone().unwrap_or_else(|| "localhost".into());
        Ok(Doctor::new(access, now, host_name).explain(question))
    }

    fn hub_of(&self, owner: Option<&Identity>, now: Timestamp) -> Result<Hub, Error> {
        let mut config = HubConfig::default();
        if let Some(Identity::Policy(name)) = owner {
            config.policies.push(AccessPolicy {
                name: name.clone(),
                permissions: Permissions::ALL,
                primary: self.key.clone(),
                secondary: self.key.clone(),
            });
        }
        let mut hub = Hub::new(config);
        if let Some(Identity::Client(client)) = owner {
            self.register(&mut hub, client, now)?;
        }
        Ok(hub)
    }

    fn register(&self, hub: &mut Hub, client: &ClientId, now: Timestamp) -> Result<(), Error> {
        let (mut outcome, operator) = (Outcome::default(), Principal::operator());
        let mut cx = Cx::new(now, &mut outcome);
        let with_key = || IdentitySpec {
            authentication: AuthenticationSpec::Sas(Some((self.key.clone(), self.key.clone()))),
            ..IdentitySpec::default()
        };
        let device = match &client.module {
            None => with_key(),
            Some(_) => IdentitySpec::default(),
        };
        let absent = &IfMatch::Absent;
        hub.put_device(&mut cx, &operator, &client.device, device, absent)?;
        if let Some(module) = &client.module {
            hub.put_module(
                &mut cx,
                &operator,
                &client.device,
                module,
                with_key(),
                absent,
            )?;
        }
        Ok(())
    }
}

/// Prints no secret.
impl std::fmt::Debug for Offline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offline")
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}
