//! Tokens that are presented by themselves, before anything is asked for: what each is good for.

use iothub_protocol::sas::{SasToken, SymmetricKey};
use iothub_protocol::{ClientId, DeviceId, Error, ModuleId, Timestamp};

use crate::Hub;
use crate::access::{AccessPolicy, Credentials, Principal, parse_token, token_host, token_path};

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Who holds it.
    pub principal: Principal,
    /// What it is for.
    pub reach: Reach,
    /// When it ceases to be taken; `None`: never.
    pub until: Option<Timestamp>,
}

/// What a token is for: its resource below the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everything.
    Hub,
    /// Every device and module.
    Devices,
    /// One device, and with a policy's token its modules; or one module.
    Client(ClientId),
    /// Something else below the hub: its path.
    Path(String),
}

impl Hub {
    /// Authenticates who presents a token for `audience`, in whatever spelling: with scheme, port
    /// or trailing slash, percent-encoded or not. The token is what counts; its resource must be
    /// the audience or a parent of it, whatever the case, or a module of the device that is the
    /// audience. Without an audience it is what the token says.
    ///
    /// Refusals: as [`Hub::authenticate_client`] for a client's own token, otherwise
    /// `IotHubUnauthorizedAccess`.
    pub fn authenticate_audience(
        &self,
        now: Timestamp,
        audience: Option<&str>,
        text: &str,
    ) -> Result<Proof, Error> {
        let token = parse_token(text)?;
        let reach = reach(&token);
        if let Some(audience) = audience
            && !token.is_for_audience(audience)
            && !is_for_module_of(&token, &reach, audience)
        {
            return Err(Error::unauthorized(format!(
                "signed sr {}, which does not cover {audience}",
                token.sr_text()
            )));
        }
        let principal = if token.policy().is_some() {
            self.check_is_ours(token_host(&token))?;
            let policy = self.policy_that_signed_for(&token, &reach)?;
            self.check_expiry(now, &token)?;
            Principal::of_policy(policy, Some(token.expiry()))
        } else {
            let Reach::Client(client) = &reach else {
                return Err(Error::unauthorized(format!(
                    "signed sr {}, which is no client's, without a policy (skn)",
                    token.sr_text()
                )));
            };
            self.authenticate_client_anywhere(now, client, Credentials::Token(text))?
        };
        Ok(Proof {
            principal,
            reach,
            until: Some(token.expiry() + self.config.limits.token_skew),
        })
    }

    /// Authenticates who knows a policy's key itself, which is taken for events only.
    ///
    /// Refuses with `IotHubUnauthorizedAccess`.
    pub fn authenticate_key(&self, policy: &str, key: &str) -> Result<Principal, Error> {
        let refused = || Error::unauthorized(format!("that is no key of policy {policy:?}"));
        let policy = self
            .config
            .policies
            .iter()
            .find(|known| known.name == policy)
            .ok_or_else(refused)?;
        // Signed with the one and verified with the other: takes the same time whatever differs.
        let key = SymmetricKey::from_bytes(key.as_bytes());
        let text = SasToken::sign("key", Timestamp::UNIX_EPOCH, None, &key);
        if is_signed_with_text(&parse_token(&text)?, policy) {
            Ok(Principal::of_policy(policy, None))
        } else {
            Err(refused())
        }
    }

    /// A token for an event hub is signed with a key as it is written, not with what it decodes to.
    fn policy_that_signed_for(
        &self,
        token: &SasToken,
        reach: &Reach,
    ) -> Result<&AccessPolicy, Error> {
        let scheme = token.resource().split_once("://").map(|(scheme, _)| scheme);
        let is_for_events = matches!(reach, Reach::Path(_))
            || scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("sb"));
        let named = |policy: &&AccessPolicy| Some(policy.name.as_str()) == token.policy();
        match self.config.policies.iter().find(named) {
            Some(policy) if is_for_events && is_signed_with_text(token, policy) => Ok(policy),
            // The hub's own way is taken there, too: tools sign for both hosts alike.
            Some(_) | None => self.policy_that_signed(token),
        }
    }
}

fn is_signed_with_text(token: &SasToken, policy: &AccessPolicy) -> bool {
    [&policy.primary, &policy.secondary]
        .into_iter()
        .any(|key| token.is_signed_with(&SymmetricKey::from_bytes(key.to_base64().as_bytes())))
}

/// Whether a module's token is presented for its device, as Java does.
fn is_for_module_of(token: &SasToken, reach: &Reach, audience: &str) -> bool {
    let Reach::Client(ClientId {
        module: Some(module),
        ..
    }) = reach
    else {
        return false;
    };
    let device = audience.trim_end_matches('/');
    token.is_for_audience(&format!("{device}/modules/{module}"))
}

fn reach(token: &SasToken) -> Reach {
    let path = token_path(token);
    match path.as_slice() {
        [] => Reach::Hub,
        ["devices"] => Reach::Devices,
        ["devices", device, rest @ ..] => {
            let module = match rest {
                ["modules", module, ..] => Some(ModuleId::parse(module)),
                _ => None,
            };
            match (DeviceId::parse(device), module.transpose()) {
                (Ok(device), Ok(module)) => Reach::Client(ClientId { device, module }),
                _ => Reach::Path(path.join("/")),
            }
        }
        _ => Reach::Path(path.join("/")),
    }
}
