//! `serve`: settings from flags and environment, a running emulator, and its end.

use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, ValueEnum};
use iothub_hub::{Limits, Permission, Permissions, RoutingSpec, Sku, Tier};
use iothub_protocol::storage::ContainerName;
use tracing_subscriber::EnvFilter;

use super::otlp::OtlpArgs;
use super::ready;
use crate::blobs::DEFAULT_CONTAINER;
use crate::certificates::{CertificateOptions, KeyType};
use crate::config::{
    Config, CustomPolicy, DEFAULT_PARTITIONS, DEFAULT_RETENTION_BYTES, Durability, Listen,
    PolicyKeys, Port, Storage, Uploads,
};
use crate::emulator::Emulator;
use crate::http::{ControlAccess, HostPattern};
use crate::secret::Secret;
use crate::settings::Setting;

/// Settings. Flags win over environment variables, those over defaults.
#[derive(Debug, Args)]
pub(crate) struct ServeCommand {
    /// Address to listen on; may be given several times [default: 127.0.0.1 and ::1].
    #[arg(
        long,
        env = "IOTHUB_EMULATOR_LISTEN",
        value_delimiter = ',',
        value_name = "ADDRESS"
    )]
    listen: Vec<IpAddr>,
    /// Host name in connection strings.
    #[arg(long, env = "IOTHUB_EMULATOR_HOSTNAME", default_value = "localhost")]
    hostname: String,
    /// Port of MQTT over TLS; 0: any free one.
    #[arg(long, env = "IOTHUB_EMULATOR_MQTTS_PORT", default_value_t = 8883)]
    mqtts_port: u16,
    /// Port of MQTT in the clear.
    #[arg(long, env = "IOTHUB_EMULATOR_MQTT_PORT", default_value_t = 1883)]
    mqtt_port: u16,
    /// Port of AMQP over TLS.
    #[arg(long, env = "IOTHUB_EMULATOR_AMQPS_PORT", default_value_t = 5671)]
    amqps_port: u16,
    /// Port of AMQP in the clear.
    #[arg(long, env = "IOTHUB_EMULATOR_AMQP_PORT", default_value_t = 5672)]
    amqp_port: u16,
    /// Port of HTTPS and secure WebSocket [default: 443, or 8443 where 443 may not be bound].
    #[arg(long, env = "IOTHUB_EMULATOR_HTTPS_PORT")]
    https_port: Option<u16>,
    /// Port of HTTP and WebSocket.
    #[arg(long, env = "IOTHUB_EMULATOR_HTTP_PORT", default_value_t = 8080)]
    http_port: u16,
    // An id of its own: client commands have a flag of the same name that holds text.
    /// Ask whoever uses the control API or the dashboard for this token.
    #[arg(
        id = "token_to_ask_for",
        long = "admin-token",
        env = "IOTHUB_EMULATOR_ADMIN_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        value_parser = Secret::parse
    )]
    admin_token: Option<Secret>,
    /// Another host that the control API and the dashboard answer to, a name or `*.NAME`, beside
    /// addresses, local names and the hub's own; may be given several times.
    #[arg(
        long,
        env = "IOTHUB_EMULATOR_ALLOW_HOST",
        value_delimiter = ',',
        value_name = "NAME",
        value_parser = HostPattern::parse
    )]
    allow_host: Vec<HostPattern>,
    /// Port of the observer bus, for any MQTT client that wants to watch [default: off].
    #[arg(long, env = "IOTHUB_EMULATOR_OBSERVE", value_name = "PORT")]
    observe: Option<u16>,
    /// Address that the observer bus listens on; may be given several times [default: 127.0.0.1 and
    /// ::1].
    #[arg(
        long,
        env = "IOTHUB_EMULATOR_OBSERVE_ADDRESS",
        value_delimiter = ',',
        value_name = "ADDRESS"
    )]
    observe_address: Vec<IpAddr>,
    /// Let only observers in who know this password, under any user name.
    #[arg(
        long,
        env = "IOTHUB_EMULATOR_OBSERVE_PASSWORD",
        hide_env_values = true,
        value_name = "PASSWORD",
        value_parser = Secret::parse
    )]
    observe_password: Option<Secret>,
    /// Directory to keep state in across restarts.
    #[arg(long, env = "IOTHUB_EMULATOR_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Keep state in memory only; the default.
    #[arg(long, env = "IOTHUB_EMULATOR_IN_MEMORY", conflicts_with = "data_dir")]
    in_memory: bool,
    /// When a change in the data directory counts as safe.
    #[arg(long, env = "IOTHUB_EMULATOR_DURABILITY", value_enum, default_value_t)]
    durability: DurabilityArg,
    /// Bytes of telemetry to keep; older events are forgotten.
    #[arg(
        long,
        env = "IOTHUB_EMULATOR_RETENTION_BYTES",
        default_value_t = DEFAULT_RETENTION_BYTES,
        value_name = "BYTES"
    )]
    retention_bytes: u64,
    /// Directory of the certificates [default: certificates in the data directory, or in the
    /// user's data folder].
    #[arg(long, env = "IOTHUB_EMULATOR_CERT_DIR", value_name = "DIR")]
    cert_dir: Option<PathBuf>,
    /// Kind of the server's key.
    #[arg(long, env = "IOTHUB_EMULATOR_KEY_TYPE", value_enum, default_value_t)]
    key_type: KeyTypeArg,
    /// Another name or address for the server certificate; may be given several times.
    #[arg(
        long,
        env = "IOTHUB_EMULATOR_SAN",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    san: Vec<String>,
    /// Seed of every key, etag and identifier that the hub makes, the policies' keys included; the
    /// same seed and the same requests give the same ones [default: the well-known development
    /// keys, and device keys from seed 0].
    #[arg(long, env = "IOTHUB_EMULATOR_SEED")]
    seed: Option<u64>,
    /// Make the policies' keys at random instead of the well-known development keys.
    #[arg(long, env = "IOTHUB_EMULATOR_RANDOM_KEYS")]
    random_keys: bool,
    /// A shared access policy beside the five that every hub has, such as
    /// `telemetryReader=ServiceConnect+RegistryRead`; may be given several times.
    #[arg(
        long,
        env = "IOTHUB_EMULATOR_POLICY",
        value_delimiter = ',',
        value_name = "NAME=PERMISSIONS",
        value_parser = parse_policy
    )]
    policy: Vec<CustomPolicy>,
    /// Log what the real hub closes connections for, where it is harmless; see
    /// emulator/docs/settings.md.
    #[arg(long, env = "IOTHUB_EMULATOR_LENIENT")]
    lenient: bool,
    /// Set a number or a rule by its name, such as `session_grace=60`; may be given several times.
    /// emulator/docs/settings.md lists them, as does a wrong name.
    #[arg(
        long,
        env = "IOTHUB_EMULATOR_SET",
        value_delimiter = ',',
        value_name = "NAME=VALUE"
    )]
    set: Vec<String>,
    /// File with message routes, endpoints and enrichments: JSON in the shape of the real hub's
    /// `properties.routing` [default: those that were last set].
    #[arg(long, env = "IOTHUB_EMULATOR_ROUTES", value_name = "FILE")]
    routes: Option<PathBuf>,
    /// Directory for endpoints of routes that are files [default: routes in the data directory].
    #[arg(long, env = "IOTHUB_EMULATOR_ROUTES_DIR", value_name = "DIR")]
    routes_dir: Option<PathBuf>,
    /// Container that devices' files go to; `none`: there is no file upload.
    #[arg(
        long,
        env = "IOTHUB_EMULATOR_UPLOAD_CONTAINER",
        default_value = DEFAULT_CONTAINER,
        value_name = "NAME"
    )]
    upload_container: String,
    /// Folder that `file://` URIs of import and export jobs must be below [default: any folder when
    /// only this machine can connect, otherwise none].
    #[arg(long, env = "IOTHUB_EMULATOR_JOBS_DIR", value_name = "DIR")]
    jobs_dir: Option<PathBuf>,
    /// Partitions of the event log, 1 to 128.
    #[arg(long, env = "IOTHUB_EMULATOR_PARTITIONS", default_value_t = DEFAULT_PARTITIONS)]
    partitions: u16,
    /// Throttle and count messages as a hub of this tier does: F1, B1, B2, B3, S1, S2 or S3
    /// [default: off].
    #[arg(long, env = "IOTHUB_EMULATOR_SKU", value_name = "SKU")]
    sku: Option<Sku>,
    /// Units of the tier.
    #[arg(
        long,
        env = "IOTHUB_EMULATOR_UNITS",
        default_value_t = 1,
        value_name = "COUNT"
    )]
    units: u32,
    #[command(flatten)]
    otlp: OtlpArgs,
    /// File to write once every listener accepts: addresses and connection strings as JSON.
    #[arg(long, env = "IOTHUB_EMULATOR_READY_FILE", value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Threads that serve connections.
    #[arg(long, env = "IOTHUB_EMULATOR_WORKER_THREADS", default_value_t = 2)]
    worker_threads: usize,
    /// What to log, as a filter of the `tracing` kind ("debug", "iothub_emulator=debug", …).
    #[arg(
        long,
        env = "IOTHUB_EMULATOR_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    log: String,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum DurabilityArg {
    /// Once the operating system has it.
    #[default]
    Periodic,
    /// Once the disk has it.
    EveryCommit,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum KeyTypeArg {
    /// ECDSA on P-256.
    #[default]
    P256,
    /// RSA with 2048 bits, for stacks without ECDSA.
    Rsa2048,
}

impl From<KeyTypeArg> for KeyType {
    fn from(argument: KeyTypeArg) -> Self {
        match argument {
            KeyTypeArg::P256 => Self::P256,
            KeyTypeArg::Rsa2048 => Self::Rsa2048,
        }
    }
}

impl ServeCommand {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        // rumqttd tells of each of its links, of which an observer has several.
        let filter = EnvFilter::try_new(format!("rumqttd=warn,{}", self.log))
            .with_context(|| format!("--log {:?} is not a filter", self.log))?;
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .init();
        raise_file_limit();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(self.worker_threads.max(1))
            .enable_all()
            .build()
            .context("start the runtime")?;
        runtime.block_on(self.serve())
    }

    async fn serve(self) -> anyhow::Result<()> {
        let ready_file = self.ready_file.clone();
        let mut stop = StopSignals::new().context("listen for signals")?;
        let emulator = Emulator::start(self.into_config()?).await?;
        let info = emulator.info();
        if let Some(path) = &ready_file {
            ready::write_file(path, &info.to_json())?;
        }
        let mut out = std::io::stdout().lock();
        // A closed standard output is no reason not to serve.
        let _ = out.write_all(ready::block(info, emulator.notes()).as_bytes());
        let _ = out.flush();
        drop(out);

        let signal = stop.recv().await;
        tracing::info!("{signal}: stopping");
        emulator.shutdown().await.context("close the store")?;
        if let Some(path) = &ready_file {
            // It tells that an emulator is ready, and none is any more.
            let _ = std::fs::remove_file(path);
        }
        Ok(())
    }

    fn into_config(self) -> anyhow::Result<Config> {
        let default = Listen::default();
        let https = match self.https_port {
            Some(port) => Port::exactly(port),
            None => Port {
                number: 443,
                fallback: Some(8443),
            },
        };
        let low = |number: u16| Port {
            number,
            fallback: (1..1024).contains(&number).then_some(0),
        };
        let certificate_dir = self
            .cert_dir
            .or_else(|| self.data_dir.as_ref().map(|dir| dir.join("certificates")))
            .or_else(default_certificate_dir)
            .context("no place to keep certificates: give --cert-dir, or set HOME")?;
        let tier = self
            .sku
            .map(|sku| {
                let limit = sku.max_units();
                Tier::new(sku, self.units)
                    .with_context(|| format!("--units {}: {sku} has 1 to {limit}", self.units))
            })
            .transpose()?;
        let mut names = self.san;
        if self.hostname != "localhost" {
            names.push(self.hostname.clone());
        }
        let routing = self.routes.as_deref().map(read_routes).transpose()?;
        let mut config = Config {
            hostname: self.hostname,
            listen: Listen {
                addresses: if self.listen.is_empty() {
                    default.addresses
                } else {
                    self.listen
                },
                mqtts: low(self.mqtts_port),
                mqtt: low(self.mqtt_port),
                amqps: low(self.amqps_port),
                amqp: low(self.amqp_port),
                https,
                http: low(self.http_port),
                observe: self.observe.map(low),
                observe_addresses: if self.observe_address.is_empty() {
                    default.observe_addresses
                } else {
                    self.observe_address
                },
                observe_password: self.observe_password,
            },
            control: ControlAccess {
                hosts: self.allow_host,
                token: self.admin_token,
            },
            certificates: CertificateOptions {
                dir: Some(certificate_dir),
                key_type: self.key_type.into(),
                names,
            },
            storage: match self.data_dir {
                None => Storage::Memory {
                    retention_bytes: self.retention_bytes,
                },
                Some(path) => Storage::Directory {
                    path,
                    durability: match self.durability {
                        DurabilityArg::Periodic => Durability::Periodic,
                        DurabilityArg::EveryCommit => Durability::EveryCommit,
                    },
                    retention_bytes: self.retention_bytes,
                },
            },
            seed: self.seed.unwrap_or_default(),
            keys: match (self.random_keys, self.seed) {
                (true, _) => PolicyKeys::Random,
                (false, Some(_)) => PolicyKeys::Seeded,
                (false, None) => PolicyKeys::Development,
            },
            policies: self.policy,
            partitions: self.partitions,
            limits: Limits {
                tier,
                ..Limits::default()
            },
            routing: routing.map(Arc::new),
            routes_folder: self.routes_dir,
            uploads: Uploads {
                container: parse_container(&self.upload_container)?,
                jobs_dir: self.jobs_dir,
                ..Uploads::default()
            },
            otlp: self.otlp.settings()?,
            ..Config::default()
        };
        if self.lenient {
            Setting::set_lenient(&mut config);
        }
        for text in &self.set {
            Setting::set(&mut config, text).context("--set")?;
        }
        Ok(config)
    }
}

fn read_routes(path: &Path) -> anyhow::Result<RoutingSpec> {
    let what = || format!("--routes {}", path.display());
    let text = std::fs::read(path).with_context(what)?;
    let document = iothub_protocol::json::parse(&text).with_context(what)?;
    RoutingSpec::parse(&document).with_context(what)
}

/// `NAME=PERMISSION[+PERMISSION…]`.
fn parse_policy(text: &str) -> Result<CustomPolicy, String> {
    let (name, permissions) = text
        .split_once('=')
        .ok_or("expected NAME=PERMISSION+PERMISSION")?;
    if name.is_empty() || name.len() > 64 {
        return Err("a policy's name has 1 to 64 characters".into());
    }
    let permissions: Vec<_> = permissions
        .split('+')
        .map(parse_permission)
        .collect::<Result<_, _>>()?;
    Ok(CustomPolicy {
        name: name.to_owned(),
        permissions: Permissions::of(&permissions),
    })
}

/// The container of devices' files, unless there shall be none.
fn parse_container(name: &str) -> anyhow::Result<Option<ContainerName>> {
    if name == "none" {
        return Ok(None);
    }
    let container = ContainerName::parse(name);
    container
        .map(Some)
        .with_context(|| format!("--upload-container {name:?}"))
}

fn parse_permission(name: &str) -> Result<Permission, String> {
    const ALL: [Permission; 4] = [
        Permission::RegistryRead,
        Permission::RegistryWrite,
        Permission::ServiceConnect,
        Permission::DeviceConnect,
    ];
    let found = ALL
        .into_iter()
        .find(|known| format!("{known:?}").eq_ignore_ascii_case(name));
    found.ok_or_else(|| format!("{name:?} is no permission; there are {ALL:?}"))
}

/// The user's data folder (XDG base directory specification).
pub(super) fn default_certificate_dir() -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let data = set("XDG_DATA_HOME").or_else(|| Some(set("HOME")?.join(".local/share")))?;
    Some(data.join("iothub-emulator/certificates"))
}

/// Ten thousand connections need ten thousand descriptors; the usual soft limit is 1024.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// What asks the process to end.
struct StopSignals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl StopSignals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            terminate: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?,
        })
    }

    #[cfg(unix)]
    async fn recv(&mut self) -> &'static str {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => "interrupted",
            _ = self.terminate.recv() => "terminated",
        }
    }

    #[cfg(not(unix))]
    async fn recv(&mut self) -> &'static str {
        let _ = tokio::signal::ctrl_c().await;
        "interrupted"
    }
}
