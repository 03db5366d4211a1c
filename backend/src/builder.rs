//! [`Backend`], the handle that everything starts from, and how it is configured.

use std::path::Path;
use std::sync::Arc;

use iothub_protocol::connection_string::ConnectionString;
use iothub_protocol::{Clock, Timestamp};
use serde_json::Value;

use crate::amqp::{AMQPS_PORT, Connector, EVENTS_PATH, Endpoint, HUB_PATH, RetryPolicy};
use crate::c2d::Sender;
use crate::credentials::Credentials;
use crate::events::Redirect;
use crate::transport::{self, Call, Transport};
use crate::trust::{self, Trust};
use crate::{
    C2d, Configurations, DigitalTwins, Error, ErrorKind, Events, Feedback, FileNotifications, Jobs,
    Methods, OnBehalf, Query, Registry, RegistryJobs, SystemClock, Twins,
};

/// A hub as its back end sees it. Cheap to clone; clones share connections and token.
#[derive(Clone)]
pub struct Backend {
    transport: Arc<Transport>,
    amqp: Arc<Amqp>,
}

/// What is reached over AMQP. Nothing is connected before it is needed.
struct Amqp {
    hub: Arc<Connector>,
    sender: Sender,
    events: Events,
}

impl Backend {
    /// A back end for the hub that the connection string names, on the port that hubs use (443).
    /// Nothing is sent yet: an unreachable hub shows at the first request.
    pub fn from_connection_string(connection_string: &str) -> Result<Self, Error> {
        Self::builder(connection_string).build()
    }

    /// As [`Self::from_connection_string`], with more to say about how to reach the hub.
    pub fn builder(connection_string: &str) -> BackendBuilder {
        BackendBuilder {
            connection_string: connection_string.to_owned(),
            address: Address::default(),
            amqp_address: None,
            retry: RetryPolicy::default(),
            trust: Ok(Trust::default()),
            clock: Arc::new(SystemClock),
        }
    }

    /// The identity registry: devices and modules.
    pub fn registry(&self) -> Registry<'_> {
        Registry::new(&self.transport)
    }

    /// Device and module twins.
    pub fn twins(&self) -> Twins<'_> {
        Twins::new(&self.transport)
    }

    /// Direct methods.
    pub fn methods(&self) -> Methods<'_> {
        Methods::new(&self.transport)
    }

    /// Cloud-to-device messages: sending and purging.
    pub fn c2d(&self) -> C2d<'_> {
        C2d::new(&self.transport, &self.amqp.sender)
    }

    /// What became of cloud-to-device messages that asked for it.
    pub fn feedback(&self) -> Feedback<'_> {
        Feedback::new(&self.transport, &self.amqp.hub)
    }

    /// Which files devices have uploaded.
    pub fn file_notifications(&self) -> FileNotifications<'_> {
        FileNotifications::new(&self.transport, &self.amqp.hub)
    }

    /// Asks the hub in its query language.
    pub fn query(&self, text: impl Into<String>) -> Query<'_> {
        Query::new(&self.transport, text.into())
    }

    /// Jobs that update twins or call methods of many devices.
    pub fn jobs(&self) -> Jobs<'_> {
        Jobs::new(&self.transport)
    }

    /// Jobs that import or export the identity registry.
    pub fn registry_jobs(&self) -> RegistryJobs<'_> {
        RegistryJobs::new(&self.transport)
    }

    /// Automatic device and module configurations, and edge deployments.
    pub fn configurations(&self) -> Configurations<'_> {
        Configurations::new(&self.transport)
    }

    /// Digital twins: Plug and Play's view of device twins.
    pub fn digital_twins(&self) -> DigitalTwins<'_> {
        DigitalTwins::new(&self.transport)
    }

    /// What a device (`"d1"`) or module (`"d1/m1"`) does over HTTPS, done in its name.
    pub fn on_behalf_of(&self, client: &(impl ToString + ?Sized)) -> OnBehalf<'_> {
        OnBehalf::new(&self.transport, client.to_string())
    }

    /// Telemetry and the other events of the hub's built-in endpoint, which is found as the cloud's
    /// SDKs find it: by the hub's redirect.
    pub fn events(&self) -> Events {
        self.amqp.events.clone()
    }

    /// Closes the connections over AMQP and waits until the hub has been told. Those who still use
    /// them make others.
    pub async fn close(&self) {
        self.amqp.events.close().await;
        self.amqp.hub.close().await;
    }
}

/// Settles how a [`Backend`] reaches its hub.
pub struct BackendBuilder {
    connection_string: String,
    address: Address,
    amqp_address: Option<AmqpAddress>,
    retry: RetryPolicy,
    trust: Result<Trust, Error>,
    clock: Arc<dyn Clock>,
}

/// Where requests go. Connection strings carry no port (`spec/service.md` 10.3).
#[derive(Default)]
enum Address {
    #[default]
    Standard,
    HttpsPort(u16),
    Https(String),
    Http(String),
}

/// Where AMQP is spoken.
enum AmqpAddress {
    Plain(String),
    Tls(String),
    TlsPort(u16),
}

impl BackendBuilder {
    /// Speaks plain HTTP to `host:port`, whatever host the connection string names.
    #[must_use]
    pub fn http_address(mut self, address: impl Into<String>) -> Self {
        self.address = Address::Http(address.into());
        self
    }

    /// Speaks HTTPS to `host:port`, whatever host the connection string names.
    #[must_use]
    pub fn https_address(mut self, address: impl Into<String>) -> Self {
        self.address = Address::Https(address.into());
        self
    }

    /// Speaks to the host and port of this URL (`http://…` or `https://…`), whatever host the
    /// connection string names.
    #[must_use]
    pub fn url(mut self, url: &str) -> Self {
        self.address = Address::of_url(url);
        self
    }

    /// Speaks HTTPS on this port of the connection string's host.
    #[must_use]
    pub fn https_port(mut self, port: u16) -> Self {
        self.address = Address::HttpsPort(port);
        self
    }

    /// Speaks plain AMQP to `host:port`, whatever host the connection string names.
    ///
    /// Without this and the next two, AMQP goes where requests go: within a WebSocket when they were
    /// given an address or port of their own, otherwise over TLS to port 5671 of the connection
    /// string's host.
    #[must_use]
    pub fn amqp_address(mut self, address: impl Into<String>) -> Self {
        self.amqp_address = Some(AmqpAddress::Plain(address.into()));
        self
    }

    /// Speaks AMQP in TLS to `host:port`, whatever host the connection string names.
    #[must_use]
    pub fn amqps_address(mut self, address: impl Into<String>) -> Self {
        self.amqp_address = Some(AmqpAddress::Tls(address.into()));
        self
    }

    /// Speaks AMQP in TLS on this port of the connection string's host.
    #[must_use]
    pub fn amqps_port(mut self, port: u16) -> Self {
        self.amqp_address = Some(AmqpAddress::TlsPort(port));
        self
    }

    /// How those who wait for events, feedback or notifications go about a connection that is lost.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Trusts the certificate authorities of this PEM file and no others. Without this the system's
    /// are trusted; `SSL_CERT_FILE` replaces those.
    #[must_use]
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.trust = Trust::from_file(path.as_ref());
        self
    }

    /// As [`Self::ca_file`], with the PEM text itself.
    #[must_use]
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.trust = Ok(Trust::Only(pem.into()));
        self
    }

    /// Reads the time from this clock. It decides when tokens expire.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The back end; fails when the connection string or the certificates cannot be used.
    pub fn build(self) -> Result<Backend, Error> {
        let connection_string =
            ConnectionString::parse(&self.connection_string).map_err(|error| {
                let what = "the connection string cannot be used".into();
                Error::caused_by(ErrorKind::Configuration(what), error)
            })?;
        let host = connection_string.connect_host();
        let base = self.address.base(host);
        let credentials = Credentials::new(&connection_string)?;
        let endpoint = self.amqp_endpoint(host);
        let needs_trust = self.address.is_tls() || endpoint.is_tls;
        let tls = match needs_trust {
            true => self.trust?.client_config()?,
            false => trust::trusting_nobody(),
        };
        let is_elsewhere = endpoint.is_elsewhere;
        let endpoint = Endpoint {
            host_name: transport::without_port(&connection_string.host_name).to_owned(),
            address: endpoint.address,
            tls: endpoint.is_tls.then(|| Arc::new(tls.clone())),
            websocket: endpoint.websocket,
        };
        let audience = endpoint.host_name.clone();
        let hub = Arc::new(Connector::new(
            endpoint.clone(),
            credentials.clone(),
            audience,
            Arc::clone(&self.clock),
            self.retry.clone(),
        ));
        let events = Events::redirected(Redirect {
            hub: Arc::clone(&hub),
            credentials: credentials.clone(),
            // An address that was given is the one that is known to be right.
            stay: is_elsewhere.then(|| Endpoint {
                websocket: endpoint.websocket.map(|_| EVENTS_PATH),
                ..endpoint
            }),
            clock: Arc::clone(&self.clock),
            retry: self.retry,
        });
        let transport = Transport::new(&base, tls, Some(credentials), self.clock)?;
        Ok(Backend {
            transport: Arc::new(transport),
            amqp: Arc::new(Amqp {
                sender: Sender::new(Arc::clone(&hub)),
                hub,
                events,
            }),
        })
    }

    /// The way that AMQP goes.
    fn amqp_endpoint(&self, host: &str) -> Way {
        let host = transport::without_port(host);
        let (is_tls, address, websocket) = match (&self.amqp_address, &self.address) {
            (Some(AmqpAddress::Plain(address)), _) => (false, address.clone(), None),
            (Some(AmqpAddress::Tls(address)), _) => (true, address.clone(), None),
            (Some(AmqpAddress::TlsPort(port)), _) => (true, format!("{host}:{port}"), None),
            (None, Address::Standard) => (true, format!("{host}:{AMQPS_PORT}"), None),
            (None, Address::HttpsPort(port)) => (true, format!("{host}:{port}"), Some(HUB_PATH)),
            (None, Address::Https(address)) => (true, with_port(address, 443), Some(HUB_PATH)),
            (None, Address::Http(address)) => (false, with_port(address, 80), Some(HUB_PATH)),
        };
        Way {
            is_tls,
            address,
            websocket,
            is_elsewhere: self.amqp_address.is_some() || !matches!(self.address, Address::Standard),
        }
    }
}

/// The way that AMQP goes, before trust is settled.
struct Way {
    is_tls: bool,
    address: String,
    websocket: Option<&'static str>,
    /// Whether it was said, instead of following from the connection string.
    is_elsewhere: bool,
}

/// An address that names a port.
fn with_port(address: &str, port: u16) -> String {
    let has_port = address
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit()));
    match has_port {
        true => address.to_owned(),
        false => format!("{address}:{port}"),
    }
}

/// Where a running emulator's control API is, and what it asks for. A URL alone is one that asks for
/// nothing.
#[derive(Clone)]
pub struct EmulatorAddress {
    url: String,
    admin_token: Option<String>,
}

impl EmulatorAddress {
    /// The emulator whose HTTP or HTTPS listener has this URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            admin_token: None,
        }
    }

    /// With the admin token that it was started with, if it was.
    #[must_use]
    pub fn admin_token(mut self, token: Option<String>) -> Self {
        self.admin_token = token;
        self
    }

    /// The URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The admin token, for those who ask the control API in a way of their own: it stands in
    /// `Authorization: Bearer TOKEN`.
    pub fn token(&self) -> Option<&str> {
        self.admin_token.as_deref()
    }

    /// The way to the control API.
    pub(crate) fn transport(self) -> Result<Transport, Error> {
        let address = Address::of_url(&self.url);
        let tls = match &address {
            Address::Http(_) => trust::trusting_nobody(),
            Address::Standard | Address::HttpsPort(_) | Address::Https(_) => {
                Trust::default().client_config()?
            }
        };
        let bearer = |token| Credentials::Signature(format!("Bearer {token}"));
        let credentials = self.admin_token.map(bearer);
        Transport::new(&address.base(""), tls, credentials, Arc::new(SystemClock))
    }
}

impl std::fmt::Debug for EmulatorAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the token.
        f.debug_struct("EmulatorAddress")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl<T: AsRef<str> + ?Sized> From<&T> for EmulatorAddress {
    fn from(url: &T) -> Self {
        Self::new(url.as_ref())
    }
}

/// What a running emulator says about itself: host name, ports, where its certificate authority is,
/// and the connection strings of its policies.
pub async fn emulator_info(emulator: impl Into<EmulatorAddress>) -> Result<Value, Error> {
    read_control(emulator.into(), "/_emulator/info").await
}

/// The time of a running emulator, which may be another than the world's; tokens are judged by it.
pub async fn emulator_time(emulator: impl Into<EmulatorAddress>) -> Result<Timestamp, Error> {
    let clock = read_control(emulator.into(), "/_emulator/clock").await?;
    let now = clock["now"].as_str().and_then(Timestamp::parse_iso);
    now.ok_or_else(|| Error::new(ErrorKind::UnexpectedAnswer("a clock without a time".into())))
}

async fn read_control(emulator: EmulatorAddress, path: &str) -> Result<Value, Error> {
    let call = Call::to(http::Method::GET, path.to_owned());
    emulator.transport()?.send(call).await?.json()
}

impl Address {
    fn of_url(url: &str) -> Self {
        let url = url.trim_end_matches('/');
        match url.split_once("://") {
            Some(("http", address)) => Self::Http(address.into()),
            Some(("https", address)) => Self::Https(address.into()),
            // Without a scheme it is an address already; with another one, the check of addresses
            // refuses it.
            _ => Self::Http(url.into()),
        }
    }

    fn is_tls(&self) -> bool {
        !matches!(self, Self::Http(_))
    }

    fn base(&self, host: &str) -> String {
        match self {
            Self::Standard => format!("https://{host}"),
            Self::HttpsPort(port) => format!("https://{host}:{port}"),
            Self::Https(address) => format!("https://{address}"),
            Self::Http(address) => format!("http://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_requests_follows_the_most_explicit_setting() {
        let cases = [
            (Address::Standard, "https://hub.example"),
            (Address::HttpsPort(8443), "https://hub.example:8443"),
            (Address::Https("127.0.0.1:9".into()), "https://127.0.0.1:9"),
            (
                Address::Http("127.0.0.1:8080".into()),
                "http://127.0.0.1:8080",
            ),
        ];
        for (address, expected) in cases {
            assert_eq!(address.base("hub.example"), expected);
        }
    }

    #[test]
    fn amqp_goes_where_requests_go_unless_said() {
        let good = "HostName=hub.example;SharedAccessKeyName=p;SharedAccessKey=MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=";
        let way = |builder: BackendBuilder| {
            let way = builder.amqp_endpoint("hub.example");
            (
                way.is_tls,
                way.address,
                way.websocket.is_some(),
                way.is_elsewhere,
            )
        };
        let builder = || Backend::builder(good);
        for (builder, expected) in [
            (builder(), (true, "hub.example:5671", false, false)),
            (
                builder().https_port(8443),
                (true, "hub.example:8443", true, true),
            ),
            (
                builder().url("http://127.0.0.1:8080"),
                (false, "127.0.0.1:8080", true, true),
            ),
            (builder().url("https://h"), (true, "h:443", true, true)),
            (
                builder().amqps_port(9),
                (true, "hub.example:9", false, true),
            ),
            (
                builder().http_address("h:1").amqp_address("h:2"),
                (false, "h:2", false, true),
            ),
            (builder().amqps_address("h:3"), (true, "h:3", false, true)),
        ] {
            let (is_tls, address, is_websocket, is_elsewhere) = expected;
            let expected = (is_tls, address.to_owned(), is_websocket, is_elsewhere);
            assert_eq!(way(builder), expected);
        }
    }

    #[test]
    fn url_says_whether_tls_is_spoken() {
        for (url, expected) in [
            ("http://h:1/", "http://h:1"),
            ("https://h", "https://h"),
            ("h:1", "http://h:1"),
        ] {
            assert_eq!(Address::of_url(url).base(""), expected);
        }
    }

    #[test]
    fn unusable_settings_say_what_is_wrong() {
        let good = "HostName=h;SharedAccessKeyName=p;SharedAccessKey=MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=";
        let failures = [
            Backend::from_connection_string("HostName=only"),
            Backend::builder(good).ca_pem("no certificate").build(),
            Backend::builder(good).ca_file("does/not/exist.pem").build(),
            Backend::builder(good)
                .http_address("not an address")
                .build(),
        ];
        for failure in failures {
            assert!(matches!(
                failure.err().unwrap().kind(),
                ErrorKind::Configuration(_)
            ));
        }
    }
}
