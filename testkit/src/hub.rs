//! [`TestHub`]: starting a hub, reaching it, watching it, stopping it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use iothub_backend::{Backend, Events, FeedbackRecord};
use iothub_device::{ClientBuilder, DeviceClient, ModuleClient, RetryPolicy};
use iothub_emulator::http::EventsStrings;
use iothub_emulator::{Config, Emulator, HubHandle, Ports};
use iothub_hub::{Cx, Hub, Principal};
use iothub_protocol::connection_string::ConnectionString;
use iothub_protocol::registry::{Authentication, IdentitySpec, IfMatch};
use iothub_protocol::sas::{self, SymmetricKey};
use iothub_protocol::{ClientId, Clock, Error, ErrorCode, Timestamp};
use tokio::task::AbortHandle;

use crate::TestHubBuilder;
use crate::timeline::Timeline;
use crate::{Expectation, Faults, OperationKind, ScriptedDevice, Telemetry, TestClock};

/// A hub of the test's own, in the test's process. Dropping it stops it, and fails the test when
/// an expectation has not been met.
pub struct TestHub {
    /// There until [`Self::shutdown`] or the drop.
    emulator: Option<Emulator>,
    handle: HubHandle,
    ports: Ports,
    ca_pem: String,
    hostname: String,
    backend: Backend,
    timeline: Arc<Timeline>,
    recorder: AbortHandle,
    /// Each with the place in the timeline from which on it counts.
    expectations: Mutex<Vec<(usize, Expectation)>>,
}

/// One and a half times this is just within the longest silence that the hub allows
/// (`spec/device.md` 2.5), so that moving the time a little does not cost the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(1178);
/// Longer than a test moves the time; tests about expiry make tokens of their own.
const TOKEN_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

impl TestHub {
    /// Starts a hub with the system's clock; see [`Self::builder`] for others.
    ///
    /// # Panics
    ///
    /// When it cannot start.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Settles how a hub is to be before it starts.
    pub fn builder() -> TestHubBuilder {
        TestHubBuilder::new()
    }

    pub(crate) async fn open(config: Config) -> Self {
        let emulator = match Emulator::start(config).await {
            Ok(emulator) => emulator,
            Err(error) => panic!("start the hub: {error}: {error:?}"),
        };
        let handle = emulator.handle().clone();
        let timeline = Timeline::of(&handle);
        let recorder = tokio::spawn({
            let timeline = timeline.clone();
            async move { timeline.record().await }
        });
        let info = emulator.info();
        let (ports, hostname) = (info.ports(), info.hostname().to_owned());
        let owner = policy(&emulator, "iothubowner");
        Self {
            backend: backend(&owner, ports, &handle),
            ca_pem: info.ca_pem().to_owned(),
            ports,
            hostname,
            handle,
            timeline,
            recorder: recorder.abort_handle(),
            expectations: Mutex::default(),
            emulator: Some(emulator),
        }
    }

    /// Where the hub listens, on 127.0.0.1.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// The certificate authority that the TLS listeners' certificate comes from, as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The connection string of a device, which is registered if it is not there.
    ///
    /// # Panics
    ///
    /// When there can be no device of this name, or it has no symmetric key.
    pub async fn device_connection_string(&self, device: &str) -> String {
        self.client_connection_string(&client_id(device)).await
    }

    /// The connection string of a module (`"d1/m1"`), which is registered, with its device, if it
    /// is not there.
    ///
    /// # Panics
    ///
    /// When there can be no module of this name, or it has no symmetric key.
    pub async fn module_connection_string(&self, module: &str) -> String {
        self.client_connection_string(&module_id(module)).await
    }

    /// The connection string of the policy `service`, which calls methods and reads twins.
    pub fn service_connection_string(&self) -> String {
        self.policy_connection_string("service")
    }

    /// The connection string of a shared access policy.
    ///
    /// # Panics
    ///
    /// When there is no such policy.
    pub fn policy_connection_string(&self, name: &str) -> String {
        policy(self.emulator(), name)
    }

    /// A connection string for readers of events over TLS, by the policy `iothubowner`. Clients have
    /// to trust [`Self::ca_pem`], and to be told the port where they do not take it from the string.
    pub fn events_connection_string(&self) -> String {
        self.events_strings().tls.clone()
    }

    /// A connection string for readers of events in the clear, which Event Hubs clients take as it
    /// is.
    pub fn plain_events_connection_string(&self) -> String {
        self.events_strings().plain.clone()
    }

    fn events_strings(&self) -> &EventsStrings {
        let events = self.emulator().info().events();
        events.expect("an emulator tells how its events are read")
    }

    /// The events of the hub, as the holder of [`Self::plain_events_connection_string`] reads them, by
    /// the hub's clock. [`Backend::events`] reads the same by way of the hub's redirect.
    pub fn events(&self) -> Events {
        Events::builder(&self.plain_events_connection_string())
            .address(format!("127.0.0.1:{}", self.ports.amqp))
            .clock(self.clock().shared())
            .retry(reconnection(&self.handle))
            .build()
            .expect("the hub's own connection strings can be used")
    }

    /// Waits for feedback on the message of this id, reading by AMQP as a back end does; all other
    /// feedback that comes meanwhile is completed, too. The hub collects feedback for a while (15 s,
    /// `Limits::feedback_delay`): configure less, or move a virtual clock meanwhile.
    ///
    /// # Panics
    ///
    /// When that takes longer than [`crate::WAIT_LIMIT`], with everything that the hub saw.
    pub async fn wait_for_feedback(&self, message_id: &str) -> FeedbackRecord {
        let receiving = async {
            let mut receiver = self.backend.feedback().open().await?;
            loop {
                let batch = receiver.next().await?;
                receiver.complete(&batch.lock_token).await?;
                let mut records = batch.records.into_iter();
                if let Some(record) = records.find(|it| it.original_message_id == message_id) {
                    receiver.close().await;
                    return Ok::<_, iothub_backend::Error>(record);
                }
            }
        };
        let what = format!("feedback on {message_id}");
        match self.timeline.limit(&what, receiving).await {
            Ok(record) => record,
            Err(error) => panic!("receive feedback: {error}\n{}", self.timeline),
        }
    }

    /// A connected device, over plain MQTT and by the hub's clock. It is registered if it is not
    /// there, and reconnects by itself.
    ///
    /// # Panics
    ///
    /// When it cannot connect, with everything that the hub saw.
    pub async fn device(&self, device: &str) -> DeviceClient {
        let builder = self.device_builder(device).await;
        let what = format!("{device} to connect");
        match self.timeline.limit(&what, builder.connect()).await {
            Ok(client) => client,
            Err(error) => panic!("connect {device}: {error}\n{}", self.timeline),
        }
    }

    /// A connected module (`"d1/m1"`); as [`Self::device`] otherwise.
    ///
    /// # Panics
    ///
    /// When it cannot connect, with everything that the hub saw.
    pub async fn module(&self, module: &str) -> ModuleClient {
        let connection_string = self.module_connection_string(module).await;
        let builder = self.preset(ModuleClient::builder(&connection_string));
        let what = format!("{module} to connect");
        match self.timeline.limit(&what, builder.connect()).await {
            Ok(client) => client,
            Err(error) => panic!("connect {module}: {error}\n{}", self.timeline),
        }
    }

    /// What [`Self::device`] connects with, to be changed: another transport, a model id, another
    /// life of tokens.
    ///
    /// # Panics
    ///
    /// As [`Self::device_connection_string`].
    pub async fn device_builder(&self, device: &str) -> ClientBuilder<DeviceClient> {
        let connection_string = self.device_connection_string(device).await;
        self.preset(DeviceClient::builder(&connection_string))
    }

    /// A device that does just what it is told, byte by byte: connected as an SDK would connect it,
    /// subscribed to nothing.
    ///
    /// # Panics
    ///
    /// When it cannot connect.
    pub async fn scripted_device(&self, client: &str) -> ScriptedDevice {
        let connect = self.connect_packet(client).await;
        let mut device = self.dial().await;
        device.connect(connect).await;
        device
    }

    /// The CONNECT packet that opens a clean session of a device (`"d1"`) or module (`"d1/m1"`),
    /// to be changed. Who it names is registered if it is not there.
    ///
    /// # Panics
    ///
    /// As [`Self::device_connection_string`].
    pub async fn connect_packet(&self, client: &str) -> iothub_protocol::mqtt::packet::Connect {
        let id = client_id(client);
        let expiry = self.handle.clock().now() + TOKEN_LIFETIME;
        let token = self.token(client, expiry).await;
        ScriptedDevice::connect_packet(&self.hostname, &id, &token)
    }

    /// A SAS token by the primary key of a device (`"d1"`) or module (`"d1/m1"`), which is
    /// registered if it is not there.
    ///
    /// # Panics
    ///
    /// As [`Self::device_connection_string`].
    pub async fn token(&self, client: &str, expiry: Timestamp) -> String {
        let id = client_id(client);
        let key = self.key(&id).await;
        let resource = match &id.module {
            None => format!("{}/devices/{}", self.hostname, id.device),
            Some(module) => format!("{}/devices/{}/modules/{module}", self.hostname, id.device),
        };
        sas::sign(&resource, expiry, None, &key)
    }

    /// A bare TCP connection to the plain MQTT port; nothing has been sent on it.
    ///
    /// # Panics
    ///
    /// When the hub does not listen.
    pub async fn dial(&self) -> ScriptedDevice {
        ScriptedDevice::dial(self.ports.mqtt).await
    }

    /// A back end with all rights, over HTTP and plain AMQP, by the hub's clock.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// A back end with the rights of a shared access policy.
    ///
    /// # Panics
    ///
    /// When there is no such policy.
    pub fn backend_as(&self, policy_name: &str) -> Backend {
        backend(
            &self.policy_connection_string(policy_name),
            self.ports,
            &self.handle,
        )
    }

    /// The hub's time.
    pub fn clock(&self) -> TestClock<'_> {
        TestClock::new(&self.handle)
    }

    /// Makes operations fail or wait.
    pub fn faults(&self) -> Faults<'_> {
        Faults::new(&self.handle)
    }

    /// What a device (`"d1"`) or module (`"d1/m1"`) sends.
    ///
    /// # Panics
    ///
    /// When nobody can have this name.
    pub fn telemetry_from(&self, client: &str) -> Telemetry<'_> {
        Telemetry::new(&self.handle, &self.timeline, client_id(client))
    }

    /// Cuts the connection of a device (`"d1"`) or module (`"d1/m1"`), as a fault of the network
    /// would. Returns once the hub has taken it for gone.
    ///
    /// # Panics
    ///
    /// When it is not connected.
    pub async fn drop_connection(&self, client: &str) {
        let id = client_id(client);
        let operator = Principal::operator();
        let dropped = self
            .operate(|hub, cx| hub.drop_connection(cx, &operator, &id))
            .await;
        if let Err(error) = dropped {
            panic!(
                "drop the connection of {client}: {error}\n{}",
                self.timeline
            );
        }
    }

    /// Whether a device (`"d1"`) or module (`"d1/m1"`) is connected.
    pub fn is_connected(&self, client: &str) -> bool {
        let id = client_id(client);
        self.handle
            .inspect(|hub| hub.connections().iter().any(|session| session.client == id))
    }

    /// Waits until a device (`"d1"`) or module (`"d1/m1"`) is connected.
    ///
    /// # Panics
    ///
    /// When that takes longer than [`crate::WAIT_LIMIT`], with everything that the hub saw.
    pub async fn wait_until_connected(&self, client: &str) {
        let what = format!("{client} to be connected");
        self.timeline
            .wait_until(&what, || self.is_connected(client).then_some(()))
            .await;
    }

    /// Waits until a device (`"d1"`) or module (`"d1/m1"`) is not connected.
    ///
    /// # Panics
    ///
    /// When that takes longer than [`crate::WAIT_LIMIT`], with everything that the hub saw.
    pub async fn wait_until_disconnected(&self, client: &str) {
        let what = format!("{client} to be disconnected");
        self.timeline
            .wait_until(&what, || (!self.is_connected(client)).then_some(()))
            .await;
    }

    /// Waits until something has happened as often as said, counted from the hub's start.
    ///
    /// # Panics
    ///
    /// When that takes longer than [`crate::WAIT_LIMIT`], with everything that the hub saw.
    pub async fn wait_until(&self, expectation: Expectation) {
        let what = expectation.to_string();
        let met = || {
            let count = self.timeline.count(0, |it| expectation.count(it));
            expectation.is_met_by(count).then_some(())
        };
        self.timeline.wait_until(&what, met).await;
    }

    /// Expects something to happen from now on. Whether it has is settled by [`Self::verify`], or
    /// when the hub is dropped.
    pub fn expect(&self, expectation: Expectation) {
        let since = self.timeline.len();
        self.expectations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((since, expectation));
    }

    /// Settles the expectations so far.
    ///
    /// # Panics
    ///
    /// When one has not been met, with everything that the hub saw.
    pub fn verify(&self) {
        let mut guard = self
            .expectations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let expectations = std::mem::take(&mut *guard);
        drop(guard);
        let mut unmet = Vec::new();
        for (since, expectation) in &expectations {
            let count = self.timeline.count(*since, |it| expectation.count(it));
            if !expectation.is_met_by(count) {
                unmet.push(format!("  expected {expectation}; there were {count}"));
            }
        }
        if !unmet.is_empty() {
            panic!("not as expected:\n{}\n{}", unmet.join("\n"), self.timeline);
        }
    }

    /// Everything that the hub saw so far, a line each, for a person.
    pub fn timeline(&self) -> String {
        self.timeline.to_string()
    }

    /// The hub behind it all, for what has no name here.
    pub fn handle(&self) -> &HubHandle {
        &self.handle
    }

    /// Settles the expectations, stops the hub, and waits until all of it has stopped.
    ///
    /// # Panics
    ///
    /// When an expectation has not been met, or the hub does not stop.
    pub async fn shutdown(mut self) {
        self.verify();
        let emulator = self
            .emulator
            .take()
            .expect("only `shutdown` takes it, and takes `self`");
        let stopped = self
            .timeline
            .limit("the hub to stop", emulator.shutdown())
            .await;
        if let Err(error) = stopped {
            panic!("stop the hub: {error}");
        }
    }

    async fn client_connection_string(&self, client: &ClientId) -> String {
        let key = self.key(client).await;
        ConnectionString::for_client(&self.hostname, client.clone(), key).to_string()
    }

    /// The primary key of a device or module, which is registered if it is not there.
    async fn key(&self, client: &ClientId) -> SymmetricKey {
        let registered = self.operate(|hub, cx| register(hub, cx, client)).await;
        match registered {
            Ok(Authentication::Sas { primary, .. }) => primary,
            Ok(other) => panic!(
                "{client} authenticates by {}, not by key",
                other.type_name()
            ),
            Err(error) => panic!("register {client}: {error}"),
        }
    }

    /// Something that the test's own hand does to the hub, and that no fault is about.
    async fn operate<R>(
        &self,
        f: impl FnOnce(&mut Hub, &mut Cx<'_>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.handle.call(OperationKind::Control.hub_wide(), f).await
    }

    fn preset<C>(&self, builder: ClientBuilder<C>) -> ClientBuilder<C> {
        let mut retry = RetryPolicy {
            first_delay: Duration::from_millis(5),
            ..Default::default()
        };
        if self.clock().is_frozen() {
            // The time of the pauses would stand still as well.
            retry.first_delay = Duration::ZERO;
        }
        builder
            .mqtt_address(format!("127.0.0.1:{}", self.ports.mqtt))
            .https_address(format!("127.0.0.1:{}", self.ports.https))
            .ca_pem(self.ca_pem.clone())
            .clock(self.clock().shared())
            .keep_alive(KEEP_ALIVE)
            .token_lifetime(TOKEN_LIFETIME)
            .retry(retry)
    }

    fn emulator(&self) -> &Emulator {
        self.emulator
            .as_ref()
            .expect("only `shutdown` takes it, and takes `self`")
    }
}

impl Drop for TestHub {
    fn drop(&mut self) {
        self.recorder.abort();
        let is_running = self.emulator.take().is_some();
        if is_running && std::thread::panicking() {
            // The test has failed already; this is to say why.
            eprintln!("{}", self.timeline);
        } else if is_running {
            self.verify();
        }
    }
}

fn register(hub: &mut Hub, cx: &mut Cx<'_>, client: &ClientId) -> Result<Authentication, Error> {
    let operator = Principal::operator();
    let new = || (IdentitySpec::default(), IfMatch::Absent);
    let device = match hub.device(&operator, &client.device) {
        Err(error) if error.code == ErrorCode::DeviceNotFound => {
            let (spec, if_match) = new();
            hub.put_device(cx, &operator, &client.device, spec, &if_match)?
        }
        found => found?,
    };
    let Some(module) = &client.module else {
        return Ok(device.authentication);
    };
    let module = match hub.module(&operator, &client.device, module) {
        Err(error) if error.code == ErrorCode::ModuleNotFound => {
            let (spec, if_match) = new();
            hub.put_module(cx, &operator, &client.device, module, spec, &if_match)?
        }
        found => found?,
    };
    Ok(module.authentication)
}

fn policy(emulator: &Emulator, name: &str) -> String {
    let strings = emulator.info().connection_strings();
    strings
        .get(name)
        .cloned()
        .unwrap_or_else(|| panic!("there is no policy {name}"))
}

fn backend(connection_string: &str, ports: Ports, handle: &HubHandle) -> Backend {
    Backend::builder(connection_string)
        .http_address(format!("127.0.0.1:{}", ports.http))
        .amqp_address(format!("127.0.0.1:{}", ports.amqp))
        .clock(handle.clock().clone())
        .retry(reconnection(handle))
        .build()
        .expect("the hub's own connection strings can be used")
}

/// How back ends come back to a hub of a test.
fn reconnection(handle: &HubHandle) -> iothub_backend::RetryPolicy {
    let is_frozen = handle.clock().is_frozen();
    iothub_backend::RetryPolicy {
        // The time of the pauses would stand still as well.
        first_delay: Duration::from_millis(if is_frozen { 0 } else { 5 }),
        ..Default::default()
    }
}

fn client_id(text: &str) -> ClientId {
    ClientId::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn module_id(text: &str) -> ClientId {
    let id = client_id(text);
    assert!(
        id.module.is_some(),
        "{text:?} names no module; \"device/module\" would"
    );
    id
}
