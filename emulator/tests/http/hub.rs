//! A hub behind an HTTP endpoint, without sockets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use iothub_emulator::amqp;
use iothub_emulator::blobs::{BlobSettings, Blobs};
use iothub_emulator::clock::HubClock;
use iothub_emulator::handle::Presence;
use iothub_emulator::http::{Endpoint, Info};
use iothub_emulator::mqtt;
use iothub_emulator::store::MemoryStore;
use iothub_emulator::transport::{Peer, TransportKind};
use iothub_emulator::{HubHandle, Ports};
use iothub_hub::{
    AccessPolicy, ConnectRequest, Delivery, Feature, Guarantee, Hub, HubConfig, Limits, Permission,
    Permissions, Principal,
};
use iothub_protocol::registry::Authentication;
use iothub_protocol::sas::{SymmetricKey, sign};
use iothub_protocol::{ClientId, Clock, Message, Timestamp};
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::{Client, Reply};

pub const VERSION: &str = "api-version=2021-04-12";

pub struct TestHub {
    pub handle: HubHandle,
    pub info: Arc<Info>,
    pub endpoint: Endpoint,
    pub stop: CancellationToken,
}

/// A device that is connected and answers when the test says so.
pub struct FakeDevice {
    pub presence: Presence,
    pub client: ClientId,
}

impl TestHub {
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> Self {
        let key = SymmetricKey::from_bytes([1; 32]);
        Self::with(limits, Blobs::in_memory(BlobSettings::with_key(key)))
    }

    /// A hub whose devices' files go there.
    pub fn with_blobs(blobs: Blobs) -> Self {
        Self::with(Limits::default(), blobs)
    }

    fn with(limits: Limits, blobs: Blobs) -> Self {
        let start = Timestamp::parse_iso("2024-03-14T09:54:49.6536567Z").unwrap();
        let clock = Arc::new(HubClock::frozen(start));
        let hub = Hub::new(HubConfig {
            name: "hub".into(),
            host_names: Vec::new(),
            policies: vec![
                policy("iothubowner", Permissions::ALL),
                policy("service", Permissions::of(&[Permission::ServiceConnect])),
                policy("registryRead", Permissions::of(&[Permission::RegistryRead])),
                policy("device", Permissions::of(&[Permission::DeviceConnect])),
            ],
            partitions: 2,
            seed: 1,
            limits,
            ..HubConfig::default()
        });
        let store = Box::new(MemoryStore::new(2, 1 << 26));
        let handle = HubHandle::open_with(hub, store, blobs, clock).unwrap();
        let ports = Ports {
            mqtts: 1,
            mqtt: 2,
            amqps: 5,
            amqp: 6,
            https: 3,
            http: 4,
            observe: None,
        };
        let strings = BTreeMap::from([("iothubowner".to_owned(), "HostName=hub".to_owned())]);
        let info = Arc::new(Info::new("hub".into(), ports, None, "PEM".into(), strings));
        info.set_ready(true);
        let mqtt = mqtt::Endpoint::new(handle.clone(), mqtt::Settings::default());
        let amqp = amqp::Endpoint::new(handle.clone(), amqp::Settings::default());
        let endpoint = Endpoint::new(handle.clone(), info.clone(), mqtt, amqp);
        Self {
            handle,
            info,
            endpoint,
            stop: CancellationToken::new(),
        }
    }

    /// A connection, and the task that serves it.
    pub fn connect(&self) -> (Client, JoinHandle<()>) {
        let (stream, served) = self.open();
        (Client::new(stream), served)
    }

    pub fn open(&self) -> (DuplexStream, JoinHandle<()>) {
        let (client, server) = duplex(64 * 1024);
        let peer = Peer {
            address: ([127, 0, 0, 1], 9).into(),
            tls: None,
            kind: TransportKind::Tcp,
        };
        let (endpoint, stop) = (self.endpoint.clone(), self.stop.clone());
        let served = tokio::spawn(async move { endpoint.serve(server, peer, stop).await });
        (client, served)
    }

    /// A token of a policy, good for an hour.
    pub fn token(&self, policy: &str) -> String {
        let expiry = self.handle.clock().now() + Duration::from_secs(3600);
        sign("hub", expiry, Some(policy), &key(policy))
    }

    /// One request of the owner's with the api-version, over a connection of its own.
    pub async fn owner(&self, head: &str, body: &str) -> Reply {
        self.owner_with(head, &[], body).await
    }

    pub async fn owner_with(&self, head: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let token = self.token("iothubowner");
        let mut all = vec![("Authorization", token.as_str())];
        all.extend_from_slice(headers);
        let separator = if head.contains('?') { '&' } else { '?' };
        self.connect()
            .0
            .request(&format!("{head}{separator}{VERSION}"), &all, body)
            .await
    }

    /// One request of a device's or module's own, with the api-version.
    pub async fn device_with(
        &self,
        client: &str,
        head: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        let id = ClientId::parse(client).unwrap();
        let operator = Principal::operator();
        let authentication = self.handle.inspect(|hub| match &id.module {
            None => hub.device(&operator, &id.device).unwrap().authentication,
            Some(module) => {
                let module = hub.module(&operator, &id.device, module);
                module.unwrap().authentication
            }
        });
        let Authentication::Sas { primary, .. } = authentication else {
            panic!("{client} has no key")
        };
        let resource = format!("hub/devices/{}", client.replacen('/', "/modules/", 1));
        let expiry = self.handle.clock().now() + Duration::from_secs(3600);
        let token = sign(&resource, expiry, None, &primary);
        let mut all = vec![("Authorization", token.as_str())];
        all.extend_from_slice(headers);
        let separator = if head.contains('?') { '&' } else { '?' };
        self.connect()
            .0
            .request(&format!("{head}{separator}{VERSION}"), &all, body)
            .await
    }

    pub async fn device(&self, client: &str, head: &str) -> Reply {
        self.device_with(client, head, &[], "").await
    }

    /// One request to the control API.
    pub async fn control(&self, head: &str, body: &str) -> Reply {
        let (verb, path) = head.split_once(' ').unwrap();
        self.connect()
            .0
            .request(&format!("{verb} /_emulator/{path}"), &[], body)
            .await
    }

    pub async fn create(&self, client: &str) {
        let path = client.replacen('/', "/modules/", 1);
        let reply = self.owner(&format!("PUT /devices/{path}"), "{}").await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    /// Connects a device that listens to everything.
    pub async fn attach(&self, client: &str) -> FakeDevice {
        let client = ClientId::parse(client).unwrap();
        let request = ConnectRequest {
            client: client.clone(),
            principal: Principal::operator(),
            remember: false,
            will: None,
            model_id: None,
            transport: "mqtt",
        };
        let (presence, _) = self
            .handle
            .connect(&client, |_, _| Ok(request))
            .await
            .unwrap();
        let session = presence.connected.session;
        let wanted: Vec<_> = Feature::ALL
            .iter()
            .map(|&feature| (feature, Guarantee::AtMostOnce))
            .collect();
        self.handle
            .call(
                iothub_emulator::activity::OperationKind::Subscribe.on(&client),
                |hub, cx| hub.subscribe(cx, session, &wanted),
            )
            .await
            .unwrap();
        FakeDevice { presence, client }
    }

    /// Sends telemetry of a connected device.
    pub async fn ingest(&self, device: &FakeDevice, message: Message) {
        let session = device.presence.connected.session;
        let operation = iothub_emulator::activity::OperationKind::SendTelemetry.on(&device.client);
        self.handle
            .call(operation, |hub, cx| hub.ingest(cx, session, vec![message]))
            .await
            .unwrap();
    }
}

impl FakeDevice {
    /// The next thing that the hub sends.
    pub async fn delivery(&self) -> Delivery {
        loop {
            if let Some(delivery) = self.presence.mailbox.take(None) {
                return delivery;
            }
            self.presence.mailbox.changed().await;
        }
    }
}

pub fn key(of: &str) -> SymmetricKey {
    SymmetricKey::from_bytes(format!("key of {of:24}").into_bytes())
}

fn policy(name: &str, permissions: Permissions) -> AccessPolicy {
    AccessPolicy {
        name: name.into(),
        permissions,
        primary: key(name),
        secondary: key("nobody"),
    }
}
