//! Where the fleet connects to: an emulator, or any MQTT broker.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Args;
use iothub_backend::Backend;
use iothub_protocol::connection_string::{
    ConnectionString, Credential, EventHubConnectionString, EventHubCredential, Identity,
};
use iothub_protocol::mqtt::packet::{Connect, QoS};
use iothub_protocol::mqtt::topic::{DeviceTopic, Feature};
use iothub_protocol::mqtt::username::UserName;
use iothub_protocol::sas::{SymmetricKey, sign};
use iothub_protocol::{ClientId, DeviceId};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::clock;
use crate::http::{self, HttpConnection};
use crate::mqtt::Io;
use crate::process::Process;
use crate::progress::Bar;

/// What SDKs of today put into user names and queries.
const API_VERSION: &str = "2021-04-12";
/// Devices in one bulk call (`spec/service.md` 2.7).
const BULK: usize = 100;
/// How long tokens are valid.
const TOKEN_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Longer than any run between two pings.
const KEEP_ALIVE: u16 = 1200;

/// Which server.
#[derive(Clone, Debug, Args)]
pub(crate) struct TargetArgs {
    /// HTTP address of a running emulator; it tells all other addresses and keys.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "HOST:PORT")]
    hub: String,
    /// Address of any MQTT 3.1.1 broker, in place of an emulator.
    #[arg(long, conflicts_with = "hub", value_name = "HOST:PORT")]
    generic: Option<String>,
    /// Connect with TLS.
    #[arg(long)]
    tls: bool,
    /// Certificate authority to trust (PEM) [default: what the emulator says].
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Process of the server, for its processor time and memory [default: what the emulator says].
    #[arg(long)]
    pid: Option<u32>,
    /// Names of the simulated devices begin with this.
    #[arg(long, default_value = "fleet", value_name = "TEXT")]
    prefix: String,
}

/// A server to connect to.
pub(crate) struct Target {
    pub(crate) process: Process,
    endpoint: Endpoint,
    prefix: String,
    hub: Option<Hub>,
}

/// What makes a broker a hub.
struct Hub {
    http: String,
    amqp: Endpoint,
    ca_pem: String,
    /// Whether AMQP goes over TLS, too.
    is_tls: bool,
    /// The connection string of a policy with all rights.
    owner: String,
    /// The connection string for readers of events.
    events: EventHubConnectionString,
    host_name: String,
    policy: String,
    policy_key: SymmetricKey,
    device_key: SymmetricKey,
}

/// Where devices connect.
pub(crate) struct Endpoint {
    address: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl TargetArgs {
    /// Asks the emulator, if it is one, for its addresses.
    pub(crate) async fn resolve(&self) -> anyhow::Result<Arc<Target>> {
        Ok(Arc::new(match &self.generic {
            Some(address) => self.broker(address)?,
            None => self.emulator().await?,
        }))
    }

    fn broker(&self, address: &str) -> anyhow::Result<Target> {
        let host = address
            .rsplit_once(':')
            .context("--generic needs HOST:PORT")?
            .0;
        let authority = self.ca_file.as_deref().map(read).transpose()?;
        Ok(Target {
            process: Process::new(self.pid),
            endpoint: Endpoint::new(
                address.to_owned(),
                self.tls.then_some(host),
                authority.as_deref(),
            )?,
            prefix: self.prefix.clone(),
            hub: None,
        })
    }

    async fn emulator(&self) -> anyhow::Result<Target> {
        let mut connection = HttpConnection::open(&self.hub)
            .await
            .context("no emulator")?;
        let get = http::request("GET", "/_emulator/info", &self.hub, &[], "");
        let info: Value = serde_json::from_slice(&connection.expect_ok(&get).await?)?;
        let text = |pointer: &str| {
            info.pointer(pointer)
                .and_then(Value::as_str)
                .with_context(|| format!("the emulator does not tell {pointer}"))
        };
        let owner = ConnectionString::parse(text("/connection_strings/iothubowner")?)?;
        let (Identity::Policy(policy), Credential::Key(policy_key)) =
            (owner.identity, owner.credential)
        else {
            anyhow::bail!("the connection string of iothubowner has no policy and key");
        };

        let port = |plain: &str| {
            let name = if self.tls {
                format!("/ports/{plain}s")
            } else {
                format!("/ports/{plain}")
            };
            info.pointer(&name)
                .and_then(Value::as_u64)
                .with_context(|| format!("the emulator does not tell {name}"))
        };
        let host = self
            .hub
            .rsplit_once(':')
            .context("--hub needs HOST:PORT")?
            .0;
        let authority = match &self.ca_file {
            Some(file) => read(file)?,
            None => text("/ca_pem")?.to_owned(),
        };
        let pid = info["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        let endpoint = |port: u64| {
            Endpoint::new(
                format!("{host}:{port}"),
                self.tls.then_some(&owner.host_name),
                Some(&authority),
            )
        };
        Ok(Target {
            process: Process::new(self.pid.or(pid)),
            endpoint: endpoint(port("mqtt")?)?,
            prefix: self.prefix.clone(),
            hub: Some(Hub {
                http: self.hub.clone(),
                amqp: endpoint(port("amqp")?)?,
                ca_pem: authority.clone(),
                is_tls: self.tls,
                owner: text("/connection_strings/iothubowner")?.to_owned(),
                events: EventHubConnectionString::parse(text("/connection_strings/events")?)?,
                host_name: owner.host_name,
                policy,
                policy_key,
                device_key: SymmetricKey::from_bytes(*b"the same key for a whole fleet!!"),
            }),
        })
    }
}

impl Target {
    /// Whether it is an emulator, and not some broker.
    pub(crate) fn is_hub(&self) -> bool {
        self.hub.is_some()
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Where AMQP is spoken.
    pub(crate) fn amqp(&self) -> anyhow::Result<&Endpoint> {
        Ok(&self.require_hub()?.amqp)
    }

    /// A back end with all rights.
    pub(crate) fn backend(&self) -> anyhow::Result<Backend> {
        let hub = self.require_hub()?;
        let builder = Backend::builder(&hub.owner).http_address(&hub.http);
        let builder = match hub.is_tls {
            true => builder
                .amqps_address(&hub.amqp.address)
                .ca_pem(hub.ca_pem.clone()),
            false => builder.amqp_address(&hub.amqp.address),
        };
        Ok(builder.build()?)
    }

    /// The audience and the token of device `n`.
    pub(crate) fn device_token(&self, n: usize) -> anyhow::Result<(String, String)> {
        let hub = self.require_hub()?;
        let resource = format!("{}/devices/{}", hub.host_name, self.device(n));
        let token = sign(&resource, clock::wall() + TOKEN_LIFE, None, &hub.device_key);
        Ok((resource, token))
    }

    /// The event hub's name, its audience and a token for it.
    pub(crate) fn event_hub(&self) -> anyhow::Result<(String, String, String)> {
        let events = &self.require_hub()?.events;
        let entity = events.entity_path.clone().context("no event hub")?;
        let audience = events.audience(&entity);
        let EventHubCredential::Policy { name, .. } = &events.credential else {
            anyhow::bail!("the connection string for events has no key");
        };
        let key = events.credential.signing_key().context("no key")?;
        let expiry = clock::wall() + TOKEN_LIFE;
        let token = sign(&audience, expiry, Some(name), &key);
        Ok((entity, audience, token))
    }

    /// The id of device `n`.
    pub(crate) fn device(&self, n: usize) -> String {
        format!("{}-{n:06}", self.prefix)
    }

    /// Makes sure that devices 0 to `count` - 1 exist.
    pub(crate) async fn register(&self, count: usize) -> anyhow::Result<()> {
        let Some(hub) = &self.hub else { return Ok(()) };
        let mut connection = HttpConnection::open(&hub.http).await?;
        let key = hub.device_key.to_base64();
        let bar = Bar::new("registering", count as u64);
        for first in (0..count).step_by(BULK) {
            let elements: Vec<Value> = (first..count.min(first + BULK))
                .map(|n| {
                    json!({
                        "id": self.device(n),
                        "importMode": "createOrUpdate",
                        "status": "enabled",
                        "authentication": {
                            "type": "sas",
                            "symmetricKey": {"primaryKey": key, "secondaryKey": key},
                        },
                    })
                })
                .collect();
            let body = Value::Array(elements).to_string();
            let post = hub.request("POST", "/devices", &[], &body);
            connection
                .expect_ok(&post)
                .await
                .context("register devices")?;
            bar.advance(BULK.min(count - first) as u64);
        }
        Ok(())
    }

    /// How many events the hub has ever stored: what the sequence numbers of all partitions add up
    /// to. `None` for a broker.
    pub(crate) async fn stored_events(&self) -> anyhow::Result<Option<u64>> {
        let next = self.next_sequences().await?;
        Ok(next.map(|next| next.iter().sum()))
    }

    /// The next sequence number of each partition, or none before the first event. `None` for a
    /// broker.
    pub(crate) async fn next_sequences(&self) -> anyhow::Result<Option<Vec<u64>>> {
        let Some(hub) = &self.hub else {
            return Ok(None);
        };
        let mut connection = HttpConnection::open(&hub.http).await?;
        let get = http::request("GET", "/_emulator/events?max=1", &hub.http, &[], "");
        let body = connection.expect_ok(&get).await?;
        if body.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let newest: Value = serde_json::from_slice(&body)?;
        // The cursor after the newest event is the next sequence number of every partition.
        let cursor = newest["cursor"]
            .as_str()
            .context("an event without a cursor")?;
        let next: Result<Vec<u64>, _> = cursor.split('.').map(str::parse).collect();
        Ok(Some(next.context("the cursor is no list of numbers")?))
    }

    /// A connection for direct method calls, with the request that calls device `n`. `None` for a
    /// broker.
    pub(crate) async fn method_caller(
        &self,
        n: usize,
    ) -> anyhow::Result<Option<(HttpConnection, Vec<u8>)>> {
        if self.hub.is_none() {
            return Ok(None);
        }
        let path = format!("/twins/{}/methods", self.device(n));
        let body = r#"{"methodName":"ping","payload":{"n":1},"responseTimeoutInSeconds":30}"#;
        let request = self.request("POST", &path, &[], body)?;
        Ok(Some((self.http().await?, request)))
    }

    /// A connection to the hub's REST endpoint; a broker has none.
    pub(crate) async fn http(&self) -> anyhow::Result<HttpConnection> {
        HttpConnection::open(&self.require_hub()?.http).await
    }

    /// A back end's request, with the headers that it needs beside the usual ones.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> anyhow::Result<Vec<u8>> {
        Ok(self.require_hub()?.request(method, path, headers, body))
    }

    /// Device `n` by its name.
    pub(crate) fn client(&self, n: usize) -> anyhow::Result<ClientId> {
        Ok(ClientId::device(DeviceId::parse(&self.device(n))?))
    }

    fn require_hub(&self) -> anyhow::Result<&Hub> {
        self.hub.as_ref().context("a broker has no REST endpoint")
    }

    /// The first packet of device `n`.
    pub(crate) fn login(&self, n: usize) -> Connect {
        let id = self.device(n);
        let (username, password) = match &self.hub {
            None => (None, None),
            Some(hub) => {
                let mut name = UserName::new(&hub.host_name, hub.client(&id));
                name.api_version = Some(API_VERSION.into());
                let resource = format!("{}/devices/{id}", hub.host_name);
                let token = sign(&resource, clock::wall() + TOKEN_LIFE, None, &hub.device_key);
                (Some(name.to_string()), Some(Bytes::from(token)))
            }
        };
        Connect {
            level: 4,
            clean_session: true,
            keep_alive: KEEP_ALIVE,
            client_id: id,
            username,
            password,
            will: None,
        }
    }

    /// What device `n` publishes telemetry to.
    pub(crate) fn telemetry_topic(&self, n: usize) -> String {
        match &self.hub {
            None => format!("t/{n}"),
            Some(hub) => DeviceTopic::Telemetry { bag: "" }.to_topic(&hub.client(&self.device(n))),
        }
    }

    /// What a device of the SDKs subscribes to when it uses everything; four filters of its own
    /// for a broker.
    pub(crate) fn usual_filters(&self, n: usize) -> Vec<(String, QoS)> {
        let usual = [
            Feature::Methods,
            Feature::TwinResponses,
            Feature::DesiredChanges,
            Feature::C2d,
        ];
        match &self.hub {
            None => ["methods", "twin/res", "twin/desired", "devicebound"]
                .map(|feature| (format!("d/{n}/{feature}/#"), QoS::AtMostOnce))
                .into(),
            Some(hub) => {
                let client = hub.client(&self.device(n));
                usual
                    .map(|feature| (feature.to_filter(&client), QoS::AtMostOnce))
                    .into()
            }
        }
    }
}

impl Hub {
    fn client(&self, id: &str) -> ClientId {
        // `--prefix` is checked by the registration, which comes first.
        ClientId::device(DeviceId::parse(id).expect("a registered device has a valid id"))
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
        let expiry = clock::wall() + TOKEN_LIFE;
        let token = sign(
            &self.host_name,
            expiry,
            Some(&self.policy),
            &self.policy_key,
        );
        let path = format!("{path}?api-version={API_VERSION}");
        let mut head = vec![("Authorization", token.as_str())];
        head.extend_from_slice(headers);
        http::request(method, &path, &self.host_name, &head, body)
    }
}

impl Endpoint {
    /// `authority` is PEM.
    fn new(
        address: String,
        tls_host: Option<&str>,
        authority: Option<&str>,
    ) -> anyhow::Result<Self> {
        let tls = match tls_host {
            None => None,
            Some(host) => {
                let name =
                    ServerName::try_from(host.to_owned()).context("the name of the server")?;
                let authority = authority.context("--tls needs --ca-file")?;
                Some((tls_connector(authority)?, name))
            }
        };
        Ok(Self { address, tls })
    }

    /// Opens a connection, with the TLS handshake if there is one.
    pub(crate) async fn open(&self) -> anyhow::Result<Box<dyn Io>> {
        let stream = TcpStream::connect(&self.address)
            .await
            .with_context(|| format!("connect to {}", self.address))?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
        })
    }
}

fn tls_connector(authority: &str) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(certificate?)?;
    }
    ensure!(
        !roots.is_empty(),
        "the authority to trust has no certificate"
    );
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    // Every login is a new one, as that of another device would be.
    config.resumption = Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn read(file: impl AsRef<Path>) -> anyhow::Result<String> {
    let file = file.as_ref();
    std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
}
