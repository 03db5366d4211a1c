//! Whose keys there are, and whose key made a signature.

use iothub_hub::{AccessPolicy, Identity};
use iothub_protocol::ClientId;
use iothub_protocol::registry::Authentication;
use iothub_protocol::sas::SymmetricKey;

use super::Doctor;

/// A key, and whose it is.
#[derive(Clone)]
pub(super) struct Holder {
    /// Whose.
    pub(super) owner: Owner,
    /// Which of the two.
    pub(super) is_primary: bool,
    /// The key.
    pub(super) key: SymmetricKey,
}

/// Who has keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A shared access policy.
    Policy(String),
    /// A device or module.
    Client(ClientId),
}

impl Doctor {
    /// The two keys of a policy.
    pub(super) fn keys_of_policy(&self, name: &str) -> Vec<Holder> {
        let named = self.access.policies().iter().find(|it| it.name == name);
        named.map(of_policy).unwrap_or_default()
    }

    /// The two keys of a device or module, if it has keys.
    pub(super) fn keys_of_client(&self, client: &ClientId) -> Vec<Holder> {
        let identity = self.access.identity(client);
        identity
            .map(|identity| of_identity(identity))
            .unwrap_or_default()
    }

    /// The keys of every policy.
    pub(super) fn policy_keys(&self) -> Vec<Holder> {
        self.access.policies().iter().flat_map(of_policy).collect()
    }

    /// The keys of many devices and modules: of all, unless there are very many.
    pub(super) fn client_keys(&self) -> impl Iterator<Item = Holder> {
        self.access
            .identities()
            .take(MOST_IDENTITIES)
            .flat_map(|identity| of_identity(identity))
    }

    /// Whether [`Self::client_keys`] are those of all.
    pub(super) fn looks_at_all(&self) -> bool {
        self.access.identities().nth(MOST_IDENTITIES).is_none()
    }
}

impl Holder {
    /// `primary key of device d1`.
    pub(super) fn name(&self) -> String {
        let which = if self.is_primary {
            "primary"
        } else {
            "secondary"
        };
        format!("{which} key of {}", self.owner)
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Policy(name) => write!(f, "policy {name}"),
            Self::Client(client) => f.write_str(&named(client)),
        }
    }
}

/// `device d1`, `module d1/m1`.
pub(super) fn named(client: &ClientId) -> String {
    match client.module {
        None => format!("device {client}"),
        Some(_) => format!("module {client}"),
    }
}

fn of_policy(policy: &AccessPolicy) -> Vec<Holder> {
    pair(
        &Owner::Policy(policy.name.clone()),
        &policy.primary,
        &policy.secondary,
    )
}

fn of_identity(identity: &Identity) -> Vec<Holder> {
    match &identity.authentication {
        Authentication::Sas { primary, secondary } => {
            pair(&Owner::Client(identity.client.clone()), primary, secondary)
        }
        Authentication::SelfSigned { .. }
        | Authentication::CertificateAuthority
        | Authentication::None => Vec::new(),
    }
}

fn pair(owner: &Owner, primary: &SymmetricKey, secondary: &SymmetricKey) -> Vec<Holder> {
    [(true, primary), (false, secondary)]
        .map(|(is_primary, key)| Holder {
            owner: owner.clone(),
            is_primary,
            key: key.clone(),
        })
        .into()
}

/// As many as are looked through before an answer would be long in coming.
pub(super) const MOST_IDENTITIES: usize = 20_000;
