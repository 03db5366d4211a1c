//! The one tree of settings. Text has become typed values before it gets here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use iothub_hub::{AccessPolicy, Entropy, Limits, Permission, Permissions, RoutingSpec};
use iothub_protocol::Timestamp;
use iothub_protocol::storage::ContainerName;
use sha2::{Digest, Sha256};

use crate::amqp;
use crate::blobs::{BlobSettings, DEFAULT_CONTAINER};
use crate::certificates::CertificateOptions;
use crate::http::ControlAccess;
use crate::mqtt;
use crate::otlp::OtlpSettings;
use crate::registry_jobs::Folders;
use crate::secret::Secret;

/// Everything that can be set. The default runs as it is: a hub in memory on loopback, every
/// listener on a free port.
#[derive(Clone, Debug)]
pub struct Config {
    /// The host name in connection strings.
    pub hostname: String,
    /// Other names that are this hub. Empty: any name is.
    pub host_names: Vec<String>,
    /// Where to listen.
    pub listen: Listen,
    /// Who may use the control API and the dashboard.
    pub control: ControlAccess,
    /// Certificates: where they are kept and whom they are for.
    pub certificates: CertificateOptions,
    /// Where state is kept.
    pub storage: Storage,
    /// Which time it is.
    pub clock: ClockSetting,
    /// Seed of identifiers, keys and etags.
    pub seed: u64,
    /// Keys of the shared access policies.
    pub keys: PolicyKeys,
    /// Policies beside the five that every hub has.
    pub policies: Vec<CustomPolicy>,
    /// Partitions of the event log, 1 to 128.
    pub partitions: u16,
    /// The hub's numbers.
    pub limits: Limits,
    /// The MQTT endpoint's numbers and rules.
    pub mqtt: mqtt::Settings,
    /// The AMQP endpoint's numbers.
    pub amqp: amqp::Settings,
    /// Message routes to begin with, and to come back to at a reset. Without them, those that were
    /// kept.
    pub routing: Option<Arc<RoutingSpec>>,
    /// Where endpoints of routes are that are files; otherwise `routes` in the data directory.
    pub routes_folder: Option<PathBuf>,
    /// Devices' files.
    pub uploads: Uploads,
    /// The collector that is sent traces and metrics. Without one, nothing is sent anywhere.
    pub otlp: Option<OtlpSettings>,
}

/// Where devices' files go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uploads {
    /// The container that uploads go to; `None`: there is no file upload.
    pub container: Option<ContainerName>,
    /// Bytes of all files together, while they are in memory.
    pub memory_limit: u64,
    /// The folder that `file://` URIs of imports and exports must be below; `None`: any folder when
    /// only this machine can connect, otherwise none.
    pub jobs_dir: Option<PathBuf>,
}

/// Addresses and ports.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Addresses that every listener binds.
    pub addresses: Vec<IpAddr>,
    /// MQTT over TLS.
    pub mqtts: Port,
    /// MQTT in the clear.
    pub mqtt: Port,
    /// AMQP over TLS.
    pub amqps: Port,
    /// AMQP in the clear.
    pub amqp: Port,
    /// HTTPS, and MQTT and AMQP over secure WebSocket.
    pub https: Port,
    /// HTTP, and MQTT and AMQP over WebSocket.
    pub http: Port,
    /// The observer bus; `None`: off.
    pub observe: Option<Port>,
    /// Addresses that the observer bus binds.
    pub observe_addresses: Vec<IpAddr>,
    /// What observers have to know; `None`: nothing.
    pub observe_password: Option<Secret>,
}

/// A port to bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The port; 0: any free one.
    pub number: u16,
    /// What to bind when the port may not be bound for want of a privilege.
    pub fallback: Option<u16>,
}

/// Where state is kept.
#[derive(Clone, Debug)]
pub enum Storage {
    /// In memory; events up to this many bytes, the newest.
    Memory {
        /// Bytes of events to keep.
        retention_bytes: u64,
    },
    /// In files of a directory.
    Directory {
        /// The directory.
        path: PathBuf,
        /// When a change counts as safe.
        durability: Durability,
        /// Bytes of events to keep.
        retention_bytes: u64,
    },
}

/// In words, for people.
impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let newest = |bytes: &u64| format!("the newest {} MiB of events", bytes >> 20);
        match self {
            Self::Memory { retention_bytes } => write!(
                f,
                "in memory, gone when the emulator ends; {}",
                newest(retention_bytes)
            ),
            Self::Directory {
                path,
                durability,
                retention_bytes,
            } => {
                let safe = match durability {
                    Durability::Periodic => "safe from the end of the process",
                    Durability::EveryCommit => "safe from the end of the machine",
                };
                let path = path.display();
                write!(f, "in {path}, {safe}; {}", newest(retention_bytes))
            }
        }
    }
}

/// When a change in a file counts as safe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Once the operating system has it: survives the end of the process, however sudden.
    #[default]
    Periodic,
    /// Once the disk has it: survives the end of the machine.
    EveryCommit,
}

/// Which time it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockSetting {
    /// The system's.
    #[default]
    System,
    /// This, until it is moved.
    Frozen(Timestamp),
}

/// A shared access policy beside the five that every hub has; its keys are made like theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomPolicy {
    /// Its name, `skn` in tokens; at most 64 characters.
    pub name: String,
    /// What it grants.
    pub permissions: Permissions,
}

/// Keys of the shared access policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyKeys {
    /// Fixed and known to everyone, so that connection strings are the same on every machine.
    #[default]
    Development,
    /// From the seed.
    Seeded,
    /// From the operating system's source of randomness: different at every start.
    Random,
}

/// Bytes of events that are kept unless set otherwise.
pub const DEFAULT_RETENTION_BYTES: u64 = 256 * 1024 * 1024;
/// Partitions unless set otherwise; what a new hub has.
pub const DEFAULT_PARTITIONS: u16 = 4;

/// The five policies that every hub has (`spec/device.md` 3.3).
const POLICIES: [(&str, &[Permission]); 5] = [
    (
        "iothubowner",
        &[
            Permission::RegistryRead,
            Permission::RegistryWrite,
            Permission::ServiceConnect,
            Permission::DeviceConnect,
        ],
    ),
    ("service", &[Permission::ServiceConnect]),
    ("device", &[Permission::DeviceConnect]),
    ("registryRead", &[Permission::RegistryRead]),
    (
        "registryReadWrite",
        &[Permission::RegistryRead, Permission::RegistryWrite],
    ),
];

/// The seed of the development keys; fixed for ever.
const DEVELOPMENT_SEED: u64 = u64::from_be_bytes(*b"iothubem");
/// Keeps policy keys apart from device keys of the same seed.
const POLICY_KEY_DOMAIN: u64 = u64::from_be_bytes(*b"policies");
/// Keeps the storage account's key apart from those of the policies.
const STORAGE_KEY_DOMAIN: u64 = u64::from_be_bytes(*b"storage ");

impl Default for Config {
    fn default() -> Self {
        Self {
            hostname: "localhost".into(),
            host_names: Vec::new(),
            listen: Listen::default(),
            control: ControlAccess::default(),
            certificates: CertificateOptions::default(),
            storage: Storage::Memory {
                retention_bytes: DEFAULT_RETENTION_BYTES,
            },
            clock: ClockSetting::default(),
            seed: 0,
            keys: PolicyKeys::default(),
            policies: Vec::new(),
            partitions: DEFAULT_PARTITIONS,
            limits: Limits::default(),
            mqtt: mqtt::Settings::default(),
            amqp: amqp::Settings::default(),
            routing: None,
            routes_folder: None,
            uploads: Uploads::default(),
            otlp: None,
        }
    }
}

impl Default for Uploads {
    fn default() -> Self {
        Self {
            container: ContainerName::parse(DEFAULT_CONTAINER).ok(),
            memory_limit: BlobSettings::MEMORY_LIMIT,
            jobs_dir: None,
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            addresses: loopback(),
            mqtts: Port::ANY,
            mqtt: Port::ANY,
            amqps: Port::ANY,
            amqp: Port::ANY,
            https: Port::ANY,
            http: Port::ANY,
            observe: None,
            observe_addresses: loopback(),
            observe_password: None,
        }
    }
}

/// The addresses that only this machine can reach, of both families.
fn loopback() -> Vec<IpAddr> {
    vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
}

impl Port {
    /// Any free port.
    pub const ANY: Self = Self {
        number: 0,
        fallback: None,
    };

    /// This one, or none.
    pub const fn exactly(number: u16) -> Self {
        Self {
            number,
            fallback: None,
        }
    }
}

impl Config {
    /// The hub's name: the first label of its host name.
    pub fn hub_name(&self) -> &str {
        self.hostname.split('.').next().unwrap_or(&self.hostname)
    }

    /// The storage account of devices' files, with its key.
    pub fn blob_settings(&self) -> BlobSettings {
        let key = Entropy::new(self.key_seed() ^ STORAGE_KEY_DOMAIN).key();
        BlobSettings {
            uploads: self.uploads.container.clone(),
            memory_limit: self.uploads.memory_limit,
            folders: match &self.uploads.jobs_dir {
                Some(folder) => Folders::Below(folder.clone()),
                None if self.listen.addresses.iter().all(IpAddr::is_loopback) => Folders::Anywhere,
                None => Folders::Nowhere,
            },
            ..BlobSettings::with_key(key)
        }
    }

    fn key_seed(&self) -> u64 {
        match self.keys {
            PolicyKeys::Development => DEVELOPMENT_SEED,
            PolicyKeys::Seeded => self.seed ^ POLICY_KEY_DOMAIN,
            PolicyKeys::Random => random_seed(),
        }
    }

    /// All shared access policies, with their keys.
    pub fn all_policies(&self) -> Vec<AccessPolicy> {
        let seed = self.key_seed();
        let mut entropy = Entropy::new(seed);
        let default = POLICIES
            .iter()
            .map(|(name, permissions)| policy(name, Permissions::of(permissions), &mut entropy));
        let custom = self.policies.iter().map(|custom| {
            // By its name, so that its keys do not depend on what stands before it.
            let mut entropy = Entropy::new(seed ^ fold(&custom.name));
            policy(&custom.name, custom.permissions, &mut entropy)
        });
        default.chain(custom).collect()
    }
}

fn policy(name: &str, permissions: Permissions, entropy: &mut Entropy) -> AccessPolicy {
    AccessPolicy {
        name: name.to_owned(),
        permissions,
        primary: entropy.key(),
        secondary: entropy.key(),
    }
}

/// Sixty-four bits of a name's digest.
fn fold(name: &str) -> u64 {
    let digest = Sha256::digest(name.as_bytes());
    digest
        .iter()
        .take(8)
        .fold(0, |bits, &byte| bits << 8 | u64::from(byte))
}

/// Sixty-four bits that nobody can guess: a version 4 UUID, folded.
fn random_seed() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    high ^ low
}

/// How long shutting down may take before what is left is dropped.
pub const SHUTDOWN_LIMIT: Duration = Duration::from_millis(900);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn development_keys_are_the_same_everywhere_and_seeded_ones_differ() {
        let development = Config::default().all_policies();
        let seeded = Config {
            keys: PolicyKeys::Seeded,
            seed: 7,
            ..Config::default()
        }
        .all_policies();

        assert_eq!(
            development,
            Config {
                seed: 9,
                ..Config::default()
            }
            .all_policies()
        );
        assert!(
            development
                .iter()
                .zip(&seeded)
                .all(|(a, b)| a.primary != b.primary)
        );
        assert_eq!(
            development[0].primary.to_base64(),
            "62ANOPCex94RN6ok5+Yi39/BO63bUCimCCH/uPsnLpg=",
            "connection strings in people's settings depend on this"
        );
    }
}
