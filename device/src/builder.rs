//! How a client reaches its hub, before it does.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use iothub_protocol::connection_string::{ConnectionString, Credential};
use iothub_protocol::mqtt::username::UserName;
use iothub_protocol::{ClientId, Clock, http};

use crate::client::Handle;
use crate::credentials::Credentials;
use crate::https::{Rest, RestAddress, RestSettings};
use crate::transport::{Endpoint, Transport};
use crate::trust::{ClientCertificate, Trust};
use crate::{
    DeviceClient, Error, ErrorKind, HttpDeviceClient, HttpModuleClient, ModuleClient, RetryPolicy,
    SystemClock,
};

/// Settles how a client connects. A setting that does not concern a kind of client (the keep-alive
/// of one over HTTPS) is without effect on it.
#[must_use = "there is no client before `connect` or `build`"]
pub struct ClientBuilder<C> {
    connection_string: String,
    address: Address,
    rest_address: RestAddress,
    trust: Result<Trust, Error>,
    certificate: Option<ClientCertificate>,
    clock: Arc<dyn Clock>,
    retry: RetryPolicy,
    keep_alive: Duration,
    token_lifetime: Duration,
    model_id: Option<String>,
    client: PhantomData<fn() -> C>,
}

/// Where to connect. Connection strings carry no port (`spec/service.md` 10.3).
enum Address {
    MqttsPort(u16),
    Mqtts(String),
    Mqtt(String),
    WebSocketPort(u16),
    PlainWebSocket(String),
}

impl ClientBuilder<DeviceClient> {
    /// Connects. Returns once the hub has accepted the client, or refused it for good, or could
    /// not be reached within the attempts of the [`RetryPolicy`].
    pub async fn connect(self) -> Result<DeviceClient, Error> {
        let connection_string = self.parse()?;
        match connection_string.client() {
            Some(client) if client.module.is_none() => {
                let client = client.clone();
                self.open(&connection_string, client)
                    .await
                    .map(DeviceClient::new)
            }
            _ => Err(configuration(NO_DEVICE)),
        }
    }
}

impl ClientBuilder<ModuleClient> {
    /// Connects. Returns once the hub has accepted the client, or refused it for good, or could
    /// not be reached within the attempts of the [`RetryPolicy`].
    pub async fn connect(self) -> Result<ModuleClient, Error> {
        let connection_string = self.parse()?;
        match connection_string.client() {
            Some(client) if client.module.is_some() => {
                let client = client.clone();
                self.open(&connection_string, client)
                    .await
                    .map(ModuleClient::new)
            }
            _ => Err(configuration(NO_MODULE)),
        }
    }
}

impl ClientBuilder<HttpDeviceClient> {
    /// Makes the client; nothing is connected yet.
    pub fn build(self) -> Result<HttpDeviceClient, Error> {
        let connection_string = self.parse()?;
        match connection_string.client() {
            Some(client) if client.module.is_none() => {
                let settings = self.rest_settings(&connection_string, client.clone())?;
                Rest::new(settings).map(HttpDeviceClient::from_rest)
            }
            _ => Err(configuration(NO_DEVICE)),
        }
    }
}

impl ClientBuilder<HttpModuleClient> {
    /// Makes the client; nothing is connected yet.
    pub fn build(self) -> Result<HttpModuleClient, Error> {
        let connection_string = self.parse()?;
        match connection_string.client() {
            Some(client) if client.module.is_some() => {
                let settings = self.rest_settings(&connection_string, client.clone())?;
                Rest::new(settings).map(HttpModuleClient::from_rest)
            }
            _ => Err(configuration(NO_MODULE)),
        }
    }
}

impl<C> ClientBuilder<C> {
    pub(crate) fn new(connection_string: &str) -> Self {
        Self {
            connection_string: connection_string.to_owned(),
            address: Address::MqttsPort(8883),
            rest_address: RestAddress::HttpsPort(443),
            trust: Ok(Trust::default()),
            certificate: None,
            clock: Arc::new(SystemClock),
            retry: RetryPolicy::default(),
            keep_alive: Duration::from_secs(60),
            token_lifetime: Duration::from_secs(3600),
            model_id: None,
            client: PhantomData,
        }
    }

    /// Speaks MQTT over TLS on this port of the connection string's host; 8883 unless said.
    pub fn mqtts_port(mut self, port: u16) -> Self {
        self.address = Address::MqttsPort(port);
        self
    }

    /// Speaks MQTT over TLS to `host:port`, whatever host the connection string names.
    pub fn mqtts_address(mut self, address: impl Into<String>) -> Self {
        self.address = Address::Mqtts(address.into());
        self
    }

    /// Speaks MQTT over plain TCP to `host:port`. Only an emulator listens like that.
    pub fn mqtt_address(mut self, address: impl Into<String>) -> Self {
        self.address = Address::Mqtt(address.into());
        self
    }

    /// Speaks MQTT over WebSocket over TLS on this port (443 by custom) of the connection string's
    /// host.
    pub fn websocket_port(mut self, port: u16) -> Self {
        self.address = Address::WebSocketPort(port);
        self
    }

    /// Speaks MQTT over WebSocket over plain TCP to `host:port`. Only an emulator listens like
    /// that.
    pub fn plain_websocket_address(mut self, address: impl Into<String>) -> Self {
        self.address = Address::PlainWebSocket(address.into());
        self
    }

    /// Speaks HTTPS on this port of the connection string's host; 443 unless said. This is the way
    /// of [`HttpDeviceClient`] and [`HttpModuleClient`], and that of file uploads for all devices.
    pub fn https_port(mut self, port: u16) -> Self {
        self.rest_address = RestAddress::HttpsPort(port);
        self
    }

    /// Speaks HTTPS to `host:port`, whatever host the connection string names.
    pub fn https_address(mut self, address: impl Into<String>) -> Self {
        self.rest_address = RestAddress::Https(address.into());
        self
    }

    /// Speaks HTTP in the clear to `host:port`. Only an emulator listens like that, and no
    /// certificate is shown there; the files themselves go to the blob storage over HTTPS all the
    /// same.
    pub fn http_address(mut self, address: impl Into<String>) -> Self {
        self.rest_address = RestAddress::Http(address.into());
        self
    }

    /// Trusts the certificate authorities of this PEM file and no others. Without this the system's
    /// are trusted; `SSL_CERT_FILE` replaces those.
    pub fn ca_file(mut self, path: impl AsRef<Path>) -> Self {
        self.trust = Trust::from_file(path.as_ref());
        self
    }

    /// As [`Self::ca_file`], with the PEM text itself.
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.trust = Ok(Trust::Only(pem.into()));
        self
    }

    /// Shows this certificate, whose chain and key are PEM text: for `x509=true`.
    pub fn certificate(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.certificate = Some(ClientCertificate {
            certificate: chain.into(),
            key: key.into(),
        });
        self
    }

    /// Reads the time from this clock, and sleeps by it.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Goes about failures like this.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// How long the hub waits for a sign of life, in whole seconds; 60 s unless said.
    pub fn keep_alive(mut self, keep_alive: Duration) -> Self {
        self.keep_alive = keep_alive;
        self
    }

    /// How long a token is valid; an hour unless said. It is replaced after four fifths of that.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.token_lifetime = lifetime;
        self
    }

    /// Announces the Plug and Play model (`spec/device.md` 15).
    pub fn model_id(mut self, model_id: impl Into<String>) -> Self {
        self.model_id = Some(model_id.into());
        self
    }

    fn parse(&self) -> Result<ConnectionString, Error> {
        ConnectionString::parse(&self.connection_string).map_err(|error| {
            let what = "the connection string cannot be used".into();
            Error::caused_by(ErrorKind::Configuration(what), error)
        })
    }

    /// What the way over HTTPS is made of.
    fn rest_settings(
        &self,
        connection_string: &ConnectionString,
        client: ClientId,
    ) -> Result<RestSettings, Error> {
        if connection_string.credential == Credential::X509 && self.certificate.is_none() {
            return Err(configuration("x509=true needs a certificate with its key"));
        }
        Ok(RestSettings {
            base: self.rest_address.base(connection_string.connect_host())?,
            credentials: Credentials::new(connection_string, &client, self.token_lifetime),
            client,
            trust: self.trust.clone()?,
            certificate: self.certificate.clone(),
            clock: self.clock.clone(),
        })
    }

    async fn open(
        self,
        connection_string: &ConnectionString,
        client: ClientId,
    ) -> Result<Handle, Error> {
        let rest_settings = self.rest_settings(connection_string, client.clone())?;
        if !(1..=u64::from(u16::MAX)).contains(&self.keep_alive.as_secs()) {
            return Err(configuration("the keep-alive is 1 to 65535 seconds"));
        }
        let endpoint = self.address.endpoint(connection_string.connect_host())?;
        let tls = match endpoint.is_secure() {
            true => Some(self.trust?.client_config(self.certificate.as_ref())?),
            false => None,
        };
        let mut user_name = UserName::new(&connection_string.host_name, client.clone());
        user_name.api_version = Some(http::API_VERSION.into());
        user_name.client_type = Some(CLIENT_TYPE.into());
        user_name.model_id = self.model_id;
        let credentials = Credentials::new(connection_string, &client, self.token_lifetime);
        let transport = Transport {
            endpoint,
            tls,
            client,
            user_name: user_name.to_string(),
            keep_alive: self.keep_alive,
        };
        Handle::connect(transport, credentials, self.retry, rest_settings).await
    }
}

impl Address {
    fn endpoint(&self, host: &str) -> Result<Endpoint, Error> {
        Ok(match self {
            Self::MqttsPort(port) => Endpoint::Tls {
                host: host.into(),
                port: *port,
            },
            Self::Mqtts(address) => {
                let (host, port) = split(address)?;
                Endpoint::Tls { host, port }
            }
            Self::Mqtt(address) => {
                let (host, port) = split(address)?;
                Endpoint::Tcp { host, port }
            }
            Self::WebSocketPort(port) => Endpoint::SecureWebSocket {
                host: host.into(),
                port: *port,
            },
            Self::PlainWebSocket(address) => {
                let (host, port) = split(address)?;
                Endpoint::WebSocket { host, port }
            }
        })
    }
}

fn split(address: &str) -> Result<(String, u16), Error> {
    address
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty())
        .and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)))
        .ok_or_else(|| configuration(&format!("not host:port: {address:?}")))
}

fn configuration(what: &str) -> Error {
    Error::new(ErrorKind::Configuration(what.to_owned()))
}

const NO_DEVICE: &str = "not a device's connection string (HostName, DeviceId and key)";
const NO_MODULE: &str = "not a module's connection string (HostName, DeviceId, ModuleId and key)";
const CLIENT_TYPE: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";

    #[test]
    fn endpoint_follows_the_address() {
        let cases = [
            (Address::MqttsPort(8883), "mqtts://hub:8883"),
            (Address::Mqtts("other:1".into()), "mqtts://other:1"),
            (
                Address::Mqtt("127.0.0.1:1883".into()),
                "mqtt://127.0.0.1:1883",
            ),
            (
                Address::WebSocketPort(443),
                "wss://hub:443/$iothub/websocket",
            ),
            (
                Address::PlainWebSocket("e:80".into()),
                "ws://e:80/$iothub/websocket",
            ),
        ];
        for (address, expected) in cases {
            assert_eq!(address.endpoint("hub").unwrap().url(), expected);
        }
    }

    #[test]
    fn address_without_a_port_is_refused() {
        for bad in ["", "host", "host:", ":1", "host:x", "host:65536"] {
            assert!(Address::Mqtt(bad.into()).endpoint("hub").is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn unusable_settings_are_refused_before_anything_is_connected() {
        let device = format!("HostName=h;DeviceId=d1;SharedAccessKey={KEY}");
        let policy = format!("HostName=h;SharedAccessKeyName=p;SharedAccessKey={KEY}");
        let module = format!("HostName=h;DeviceId=d1;ModuleId=m1;SharedAccessKey={KEY}");
        let failures = [
            DeviceClient::connect("HostName=only").await.err(),
            DeviceClient::connect(&policy).await.err(),
            DeviceClient::connect(&module).await.err(),
            ModuleClient::connect(&device).await.err(),
            DeviceClient::connect("HostName=h;DeviceId=d1;x509=true")
                .await
                .err(),
            DeviceClient::builder(&device)
                .ca_pem("no certificate")
                .connect()
                .await
                .err(),
            DeviceClient::builder(&device)
                .mqtt_address("nowhere")
                .connect()
                .await
                .err(),
            DeviceClient::builder(&device)
                .keep_alive(Duration::ZERO)
                .connect()
                .await
                .err(),
        ];
        for failure in failures {
            assert!(matches!(
                failure.unwrap().kind(),
                ErrorKind::Configuration(_)
            ));
        }
    }
}
