//! The composition root: builds every part, binds the listeners, stops everything.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use iothub_hub::{AccessPolicy, Hub, HubConfig};
use iothub_protocol::Clock;
use iothub_protocol::connection_string::ConnectionString;
use iothub_protocol::storage::Account;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::blobs::{Blobs, Home};
use crate::certificates::{CertificateError, Certificates};
use crate::clock::HubClock;
use crate::config::{ClockSetting, Config, Durability, Port, SHUTDOWN_LIMIT, Storage};
use crate::handle::HubHandle;
use crate::store::{FileOptions, FileStore, MemoryStore, Store, StoreError};
use crate::transport::{self, Bound};
use crate::{amqp, http, mqtt, otlp, registry_jobs};

/// A running emulator. Dropping it stops it without waiting; [`Emulator::shutdown`] waits.
pub struct Emulator {
    handle: HubHandle,
    info: Arc<http::Info>,
    certificates: Certificates,
    notes: Vec<String>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Where the listeners listen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// MQTT over TLS.
    pub mqtts: u16,
    /// MQTT in the clear.
    pub mqtt: u16,
    /// AMQP over TLS.
    pub amqps: u16,
    /// AMQP in the clear.
    pub amqp: u16,
    /// HTTPS and secure WebSocket.
    pub https: u16,
    /// HTTP and WebSocket.
    pub http: u16,
    /// The observer bus, when it is on.
    pub observe: Option<u16>,
}

/// Why an emulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port could not be bound.
    #[error("bind the {listener} listener on port {port} of {addresses}")]
    Bind {
        /// Which listener.
        listener: &'static str,
        /// On which port.
        port: u16,
        /// On which addresses.
        addresses: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There are no certificates.
    #[error("prepare certificates")]
    Certificates(#[from] CertificateError),
    /// The store did not open.
    #[error("open the store")]
    Store(#[from] StoreError),
    /// The folder of devices' files did not open.
    #[error("open the folder of devices' files")]
    Blobs(#[source] io::Error),
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
}

/// What a listener does with a connection: it has the endpoint serve it. A macro, as the endpoints
/// take streams of any kind.
macro_rules! serving {
    ($endpoint:ident) => {{
        let endpoint = $endpoint.clone();
        move |stream, peer, stop| {
            let endpoint = endpoint.clone();
            async move { endpoint.serve(stream, peer, stop).await }
        }
    }};
}

impl Emulator {
    /// Starts an emulator; when it returns, every listener accepts.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        if !(1..=128).contains(&config.partitions) {
            return Err(StartError::Setting(format!(
                "partitions: {}, expected 1 to 128",
                config.partitions
            )));
        }
        let clock = Arc::new(match config.clock {
            ClockSetting::System => HubClock::system(),
            ClockSetting::Frozen(at) => HubClock::frozen(at),
        });
        let policies = config.all_policies();
        let mut names = HashSet::new();
        if let Some(twice) = policies.iter().find(|policy| !names.insert(&policy.name)) {
            // Only one of them could ever sign anything.
            return Err(StartError::Setting(format!(
                "policy: there are two named {}",
                twice.name
            )));
        }
        // Clients judge a certificate's validity by the world's time, not by the emulator's.
        let world = HubClock::system().now();
        let certificates = Certificates::load_or_create(&config.certificates, world)?;
        let store = store(&config)?;
        let blobs = blobs(&config)?;
        let handle = HubHandle::open_with(hub(&config, &policies), store, blobs, clock)?;
        open_routes_folder(&config, &handle)?;

        let mut notes = Vec::new();
        let addresses = &config.listen.addresses;
        let mut bind_to =
            |addresses: &[IpAddr], name, port| bind(addresses, name, port, &mut notes);
        let mut bind = |name, port| bind_to(addresses, name, port);
        let mqtts = bind("mqtts", config.listen.mqtts)?;
        let mqtt = bind("mqtt", config.listen.mqtt)?;
        let amqps = bind("amqps", config.listen.amqps)?;
        let amqp = bind("amqp", config.listen.amqp)?;
        let https = bind("https", config.listen.https)?;
        let http = bind("http", config.listen.http)?;
        let observe = config
            .listen
            .observe
            .map(|port| bind_to(&config.listen.observe_addresses, "observe", port))
            .transpose()?;
        let ports = Ports {
            mqtts: mqtts.port(),
            mqtt: mqtt.port(),
            amqps: amqps.port(),
            amqp: amqp.port(),
            https: https.port(),
            http: http.port(),
            observe: observe.as_ref().map(Bound::port),
        };
        let account = &handle.blobs().settings().account;
        let info = http::Info::new(
            config.hostname.clone(),
            ports,
            certificates.ca_file().map(PathBuf::from),
            certificates.ca_pem().to_owned(),
            connection_strings(&config.hostname, &policies),
        );
        let info = info
            .with_storage(storage_string(&config.hostname, ports.https, account))
            .with_events(events_strings(&config, ports, &policies))
            .with_store(config.storage.to_string());
        let info = Arc::new(info.with_admin_token_needed(config.control.token.is_some()));
        if config.control.token.is_none() && !is_loopback(&config) {
            notes.push(format!(
                "whoever reaches port {} or {} can use the control API; --admin-token closes it",
                ports.http, ports.https
            ));
        }

        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let mqtt_endpoint = mqtt::Endpoint::new(handle.clone(), config.mqtt.clone());
        let amqp_settings = amqp::Settings {
            redirect_port: ports.amqps,
            ..config.amqp.clone()
        };
        let amqp_endpoint = amqp::Endpoint::new(handle.clone(), amqp_settings);
        let http_endpoint = http::Endpoint::guarded(
            handle.clone(),
            info.clone(),
            mqtt_endpoint.clone(),
            amqp_endpoint.clone(),
            guard(&config),
        );
        let tls = certificates.server_config();
        spawn(
            &tasks,
            "mqtts",
            transport::tls::serve(mqtts, tls.clone(), stop.clone(), serving!(mqtt_endpoint)),
        );
        spawn(
            &tasks,
            "mqtt",
            transport::tcp::serve(mqtt, stop.clone(), serving!(mqtt_endpoint)),
        );
        spawn(
            &tasks,
            "amqps",
            transport::tls::serve(amqps, tls.clone(), stop.clone(), serving!(amqp_endpoint)),
        );
        spawn(
            &tasks,
            "amqp",
            transport::tcp::serve(amqp, stop.clone(), serving!(amqp_endpoint)),
        );
        spawn(
            &tasks,
            "https",
            transport::tls::serve(https, tls.clone(), stop.clone(), serving!(http_endpoint)),
        );
        spawn(
            &tasks,
            "http",
            transport::tcp::serve(http, stop.clone(), serving!(http_endpoint)),
        );
        #[cfg(feature = "observer")]
        if let Some(bound) = observe {
            let hub_name = config.hub_name().to_owned();
            let password = config.listen.observe_password.clone();
            spawn(
                &tasks,
                "observe",
                crate::observer::serve(bound, handle.clone(), hub_name, password, stop.clone()),
            );
        }
        #[cfg(not(feature = "observer"))]
        if observe.is_some() {
            return Err(StartError::Setting(
                "observe: this build has no observer bus (cargo feature `observer`)".into(),
            ));
        }
        let alarm = handle.clone();
        until_stopped(&tasks, &stop, async move { alarm.run_alarm().await });
        let routes = handle.clone();
        until_stopped(&tasks, &stop, async move { routes.run_routes().await });
        until_stopped(&tasks, &stop, registry_jobs::run(handle.clone()));
        if let Some(settings) = config.otlp {
            tasks.spawn(otlp::run(handle.clone(), settings, stop.clone()));
        }
        info.set_ready(true);
        Ok(Self {
            handle,
            info,
            certificates,
            notes,
            stop,
            tasks,
        })
    }

    /// The hub.
    pub fn handle(&self) -> &HubHandle {
        &self.handle
    }

    /// What `/_emulator/info` and the ready file say.
    pub fn info(&self) -> &http::Info {
        &self.info
    }

    /// Where the listeners listen.
    pub fn ports(&self) -> Ports {
        self.info.ports()
    }

    /// The certificates of the TLS listeners.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// What a person should know about how it started: ports that are not the wanted ones.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Stops everything: listeners, connections, store; every task has ended when it returns.
    pub async fn shutdown(self) -> Result<(), StoreError> {
        self.info.set_ready(false);
        self.stop.cancel();
        self.tasks.close();
        // The listeners drop what does not end by itself well within this limit.
        let joined = tokio::time::timeout(SHUTDOWN_LIMIT, self.tasks.wait()).await;
        if joined.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
        self.handle.close()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Whose key the connection strings for events have: the policy that the real hub shows first.
const EVENTS_POLICY: &str = "iothubowner";

/// What stands before the control API: the hub's own names are those by which clients know it.
fn guard(config: &Config) -> http::Guard {
    let own = [&config.hostname].into_iter();
    let own = own
        .chain(&config.host_names)
        .chain(&config.certificates.names);
    http::Guard::new(&config.control, own.map(String::as_str))
}

/// Whether only this machine can connect.
fn is_loopback(config: &Config) -> bool {
    config.listen.addresses.iter().all(IpAddr::is_loopback)
}

fn hub(config: &Config, policies: &[AccessPolicy]) -> Hub {
    Hub::new(HubConfig {
        name: config.hub_name().to_owned(),
        host_names: config.host_names.clone(),
        policies: policies.to_vec(),
        partitions: config.partitions,
        seed: config.seed,
        limits: config.limits.clone(),
        routing: config.routing.clone(),
    })
}

/// Endpoints of routes are files below the data directory, unless said otherwise.
fn open_routes_folder(config: &Config, handle: &HubHandle) -> Result<(), StartError> {
    let (below, durability) = match &config.storage {
        Storage::Memory { .. } => (None, Durability::Periodic),
        Storage::Directory {
            path, durability, ..
        } => (Some(path.join("routes")), *durability),
    };
    if let Some(folder) = config.routes_folder.clone().or(below) {
        handle.set_routes_folder(folder, durability == Durability::EveryCommit);
    } else if config.routing.as_ref().is_some_and(|it| it.has_files()) {
        return Err(StartError::Setting(
            "routes: endpoints that are files need a folder: routes-dir, or a data directory"
                .into(),
        ));
    }
    Ok(())
}

fn blobs(config: &Config) -> Result<Blobs, StartError> {
    if let Some(container) = &config.uploads.container
        && http::RESERVED_CONTAINERS.contains(&container.as_str())
    {
        return Err(StartError::Setting(format!(
            "upload container: {container} is where something else is served"
        )));
    }
    let home = match &config.storage {
        Storage::Memory { .. } => Home::Memory,
        Storage::Directory {
            path, durability, ..
        } => Home::Directory {
            path: path.join("blobs"),
            sync: *durability == Durability::EveryCommit,
        },
    };
    Blobs::open(config.blob_settings(), &home).map_err(StartError::Blobs)
}

fn store(config: &Config) -> Result<Box<dyn Store>, StoreError> {
    Ok(match &config.storage {
        Storage::Memory { retention_bytes } => {
            Box::new(MemoryStore::new(config.partitions, *retention_bytes))
        }
        Storage::Directory {
            path,
            durability,
            retention_bytes,
        } => {
            let options = FileOptions {
                partitions: config.partitions,
                retention_bytes: *retention_bytes,
                durability: *durability,
                ..FileOptions::default()
            };
            Box::new(FileStore::open(path, options)?)
        }
    })
}

fn bind(
    addresses: &[IpAddr],
    listener: &'static str,
    port: Port,
    notes: &mut Vec<String>,
) -> Result<Bound, StartError> {
    let error = match transport::bind(addresses, port.number) {
        Ok(bound) => return Ok(bound),
        Err(error) => error,
    };
    if let (io::ErrorKind::PermissionDenied, Some(fallback)) = (error.kind(), port.fallback)
        && let Ok(bound) = transport::bind(addresses, fallback)
    {
        notes.push(format!(
            "port {wanted} may not be bound by this user; {listener} listens on {actual} instead. \
             SDKs that know no other port need {wanted}: run `sudo sysctl \
             net.ipv4.ip_unprivileged_port_start={wanted}`, give the binary the right with `sudo \
             setcap cap_net_bind_service=+ep`, or map the port from a container",
            wanted = port.number,
            actual = bound.port(),
        ));
        return Ok(bound);
    }
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    Err(StartError::Bind {
        listener,
        port: port.number,
        addresses: addresses.join(", "),
        source: error,
    })
}

fn connection_strings(hostname: &str, policies: &[AccessPolicy]) -> BTreeMap<String, String> {
    policies
        .iter()
        .map(|policy| {
            let string =
                ConnectionString::for_policy(hostname, &policy.name, policy.primary.clone());
            (policy.name.clone(), string.to_string())
        })
        .collect()
}

/// What readers of events are told: over TLS, and in the clear as towards an emulator
/// (`spec/amqp.md` 1.2). Ports that clients take by themselves are left out.
fn events_strings(config: &Config, ports: Ports, policies: &[AccessPolicy]) -> http::EventsStrings {
    let hostname = &config.hostname;
    let credential = policies
        .iter()
        .find(|policy| policy.name == EVENTS_POLICY)
        .map(|AccessPolicy { name, primary, .. }| {
            let key = primary.to_base64();
            format!("SharedAccessKeyName={name};SharedAccessKey={key};")
        })
        .unwrap_or_default();
    let entity = config.hub_name();
    let port = |port: u16, usual: u16| match port == usual {
        true => String::new(),
        false => format!(":{port}"),
    };
    http::EventsStrings {
        tls: format!(
            "Endpoint=sb://{hostname}{}/;{credential}EntityPath={entity}",
            port(ports.amqps, 5671)
        ),
        plain: format!(
            "Endpoint=sb://{hostname}{};{credential}EntityPath={entity};\
             UseDevelopmentEmulator=true;",
            port(ports.amqp, 5672)
        ),
    }
}

/// What a storage client is told to find the account, below its own path as on a local storage
/// emulator.
fn storage_string(hostname: &str, https: u16, account: &Account) -> String {
    let Account { name, key } = account;
    let port = if https == 443 {
        String::new()
    } else {
        format!(":{https}")
    };
    format!(
        "DefaultEndpointsProtocol=https;AccountName={name};AccountKey={};\
         BlobEndpoint=https://{hostname}{port}/{name};",
        key.to_base64()
    )
}

/// Runs what has no end of its own.
fn until_stopped(
    tasks: &TaskTracker,
    stop: &CancellationToken,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let stop = stop.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    });
}

fn spawn(
    tasks: &TaskTracker,
    listener: &'static str,
    serve: impl Future<Output = io::Result<()>> + Send + 'static,
) {
    tasks.spawn(async move {
        if let Err(error) = serve.await {
            tracing::error!(listener, %error, "the listener failed");
        }
    });
}
