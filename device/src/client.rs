//! [`DeviceClient`] and [`ModuleClient`]: handles of a connection task.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use iothub_protocol::message::MAX_TELEMETRY_SIZE;
use iothub_protocol::mqtt::topic::{DeviceTopic, Feature};
use iothub_protocol::property_bag::SystemProperty;
use iothub_protocol::{ClientId, Message};
use serde_json::Value;
use tokio::sync::{Mutex, OnceCell, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::c2d::{self, Delivery, Receipt};
use crate::connection::{Calls, Connection};
use crate::credentials::Credentials;
use crate::https::{Rest, RestSettings, Source};
use crate::methods::{self, Handler, Handlers};
use crate::operation::{Command, Done, Operation};
use crate::retry::Schedule;
use crate::session::{Session, WINDOW};
use crate::transport::Transport;
use crate::twin::{self, DesiredFeed};
use crate::{
    ClientBuilder, ConnectionState, ConnectionStates, DesiredUpdate, DesiredUpdates, Error,
    ErrorKind, InputMessages, Messages, MethodCall, MethodResponse, RetryPolicy, StorageInfo, Twin,
};

/// A device of a hub. Cheap to clone; clones share one connection, which ends with
/// [`Self::close`] or with the last clone.
#[derive(Clone)]
pub struct DeviceClient {
    handle: Handle,
}

/// A module of a device. Cheap to clone; clones share one connection, which ends with
/// [`Self::close`] or with the last clone.
#[derive(Clone)]
pub struct ModuleClient {
    handle: Handle,
}

/// What devices and modules do alike.
macro_rules! common_operations {
    ($client:ident) => {
        impl $client {
            pub(crate) fn new(handle: Handle) -> Self {
                Self { handle }
            }

            /// Connects to the hub that the connection string names, over TLS on port 8883. The
            /// system's certificate authorities are trusted, or those of `SSL_CERT_FILE`.
            pub async fn connect(connection_string: &str) -> Result<Self, Error> {
                Self::builder(connection_string).connect().await
            }

            /// As [`Self::connect`], with more to say about how.
            pub fn builder(connection_string: &str) -> ClientBuilder<Self> {
                ClientBuilder::new(connection_string)
            }

            /// Sends a message and waits until the hub has stored it. One that was under way when
            /// the connection was lost is sent again, so that it may be stored twice.
            pub async fn send_telemetry(&self, message: Message) -> Result<(), Error> {
                self.handle.send_telemetry(message).await
            }

            /// Lets `handler` answer calls of the method `name`, in the place of an earlier
            /// handler. Calls reach it from the moment this returns. Several calls may run at once;
            /// those that run when the connection is lost are not answered.
            pub async fn on_method<F, A>(
                &self,
                name: impl Into<String>,
                handler: F,
            ) -> Result<(), Error>
            where
                F: Fn(MethodCall) -> A + Send + Sync + 'static,
                A: Future<Output = MethodResponse> + Send + 'static,
            {
                self.handle
                    .on_method(Some(name.into()), methods::handler(handler))
                    .await
            }

            /// Lets `handler` answer calls of all methods without a handler of their own. Without
            /// it they are answered with status 404.
            pub async fn on_other_methods<F, A>(&self, handler: F) -> Result<(), Error>
            where
                F: Fn(MethodCall) -> A + Send + Sync + 'static,
                A: Future<Output = MethodResponse> + Send + 'static,
            {
                self.handle.on_method(None, methods::handler(handler)).await
            }

            /// The twin as the hub has it.
            pub async fn twin(&self) -> Result<Twin, Error> {
                self.handle.twin().await
            }

            /// Merges `patch`, an object, into the reported properties: members that are null are
            /// removed, others replaced. Returns the new version of the reported properties.
            pub async fn patch_reported(&self, patch: &Value) -> Result<u64, Error> {
                self.handle.patch_reported(patch).await
            }

            /// Follows changes of the desired properties. Those before the call are in
            /// [`Self::twin`].
            pub async fn desired_updates(&self) -> Result<DesiredUpdates, Error> {
                self.handle.desired_updates().await
            }

            /// Receives cloud-to-device messages, in the place of an earlier receiver.
            pub async fn messages(&self) -> Result<Messages, Error> {
                self.handle.messages().await
            }

            /// Follows the state of the connection.
            pub fn connection_states(&self) -> ConnectionStates {
                ConnectionStates::new(self.handle.shared.state.clone())
            }

            /// Who the client is.
            pub fn id(&self) -> &ClientId {
                &self.handle.shared.client
            }

            /// Lets what is under way finish, within limits, and ends the connection. Returns when
            /// its task has ended. Handlers of methods are forgotten.
            pub async fn close(&self) {
                self.handle.close().await;
            }
        }
    };
}

common_operations!(DeviceClient);
common_operations!(ModuleClient);

impl DeviceClient {
    /// Uploads a file to the hub's blob storage, over HTTPS: asks for a place, writes it there (in
    /// blocks when it is over 4 MiB), and tells the hub how that went.
    pub async fn upload_file(&self, name: &str, content: impl Into<Bytes>) -> Result<(), Error> {
        let source = Source::Bytes(content.into());
        self.handle.rest().await?.upload(name, source).await
    }

    /// As [`Self::upload_file`], with the content of the file at `path`, which is read as it is
    /// sent.
    pub async fn upload_file_from(&self, name: &str, path: impl AsRef<Path>) -> Result<(), Error> {
        let source = Source::open(path.as_ref()).await?;
        self.handle.rest().await?.upload(name, source).await
    }

    /// The first step of an upload by itself: a place for a file, to be written with other means.
    /// [`Self::notify_blob_upload_status`] has to follow.
    pub async fn get_storage_info_for_blob(&self, name: &str) -> Result<StorageInfo, Error> {
        self.handle.rest().await?.get_storage_info(name).await
    }

    /// The last step of an upload by itself: tells the hub how it went, with the status that the
    /// storage answered and a few words.
    pub async fn notify_blob_upload_status(
        &self,
        correlation_id: &str,
        is_success: bool,
        status_code: u16,
        status_description: &str,
    ) -> Result<(), Error> {
        let rest = self.handle.rest().await?;
        rest.notify_upload(correlation_id, is_success, status_code, status_description)
            .await
    }
}

impl ModuleClient {
    /// Receives messages for the module's inputs, in the place of an earlier receiver. A hub itself
    /// sends none; an edge's hub does, along its routes (`spec/device.md` 10).
    pub async fn input_messages(&self) -> Result<InputMessages, Error> {
        let (deliveries, receipts) = self.handle.receive(Feature::Inputs).await?;
        Ok(InputMessages::new(deliveries, receipts))
    }

    /// As [`Self::send_telemetry`], to an output of the module (`$.on`, `spec/device.md` 4.3).
    pub async fn send_to_output(&self, output: &str, mut message: Message) -> Result<(), Error> {
        message
            .properties
            .push_system(SystemProperty::OutputName, output);
        self.handle.send_telemetry(message).await
    }
}

/// A message whose body is JSON, and says so.
pub fn json_message(body: &Value) -> Message {
    let mut message = Message {
        body: body.to_string().into(),
        ..Message::default()
    };
    message
        .properties
        .push_system(SystemProperty::ContentType, "application/json");
    message
        .properties
        .push_system(SystemProperty::ContentEncoding, "utf-8");
    message
}

/// The way to a connection task.
#[derive(Clone)]
pub(crate) struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    client: ClientId,
    commands: mpsc::Sender<Command>,
    receipts: mpsc::Sender<Receipt>,
    closing: watch::Sender<bool>,
    state: watch::Receiver<ConnectionState>,
    handlers: Arc<Handlers>,
    /// Keeps nothing alive: updates end with the task, not with the handle.
    desired: broadcast::WeakSender<DesiredUpdate>,
    rest_settings: RestSettings,
    rest: OnceCell<Rest>,
    /// Awaited by whoever closes the client first.
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Handle {
    /// Starts the connection task and waits for its first connection.
    pub(crate) async fn connect(
        transport: Transport,
        credentials: Credentials,
        retry: RetryPolicy,
        rest_settings: RestSettings,
    ) -> Result<Self, Error> {
        let clock = rest_settings.clock.clone();
        let client = transport.client.clone();
        let handlers = Arc::new(Handlers::default());
        let (command_sender, commands) = mpsc::channel(WINDOW);
        let (receipt_sender, receipts) = mpsc::channel(c2d::BACKLOG);
        let (closing_sender, closing) = watch::channel(false);
        let (state_sender, state) = watch::channel(ConnectionState::Connecting);
        let (desired_sender, _) = broadcast::channel(twin::BACKLOG);
        let desired = desired_sender.downgrade();
        let connection = Connection {
            transport,
            credentials,
            clock,
            schedule: Schedule::new(retry),
            session: Session::new(client.clone(), DesiredFeed::new(desired_sender)),
            handlers: Arc::clone(&handlers),
            commands,
            receipts,
            closing,
            state: state_sender,
            calls: Calls::default(),
        };
        let (first_sender, first) = oneshot::channel();
        let task = tokio::spawn(connection.run(first_sender));
        let shared = Shared {
            client,
            commands: command_sender,
            receipts: receipt_sender,
            closing: closing_sender,
            state,
            handlers,
            desired,
            rest_settings,
            rest: OnceCell::new(),
            task: Mutex::new(Some(task)),
        };
        let handle = Self {
            shared: Arc::new(shared),
        };
        first.await.unwrap_or_else(|_| Err(handle.ended()))?;
        Ok(handle)
    }

    async fn send_telemetry(&self, message: Message) -> Result<(), Error> {
        let size = message.size();
        if size > MAX_TELEMETRY_SIZE {
            return Err(Error::new(ErrorKind::TooLarge {
                size,
                limit: MAX_TELEMETRY_SIZE,
            }));
        }
        let topic = DeviceTopic::Telemetry {
            bag: message.properties.as_encoded(),
        };
        let topic = topic.to_topic(&self.shared.client);
        if topic.len() > MAX_TOPIC_SIZE {
            let size = topic.len();
            return Err(Error::new(ErrorKind::TooLarge {
                size,
                limit: MAX_TOPIC_SIZE,
            }));
        }
        let body = message.body;
        self.perform(|done| Operation::SendTelemetry { topic, body, done })
            .await
    }

    async fn on_method(&self, name: Option<String>, handler: Handler) -> Result<(), Error> {
        match name {
            Some(name) => self.shared.handlers.set(name, handler),
            None => self.shared.handlers.set_fallback(handler),
        }
        self.ask(|done| Command::Subscribe(Feature::Methods, done))
            .await
    }

    async fn twin(&self) -> Result<Twin, Error> {
        self.perform(|done| Operation::GetTwin { done }).await
    }

    async fn patch_reported(&self, patch: &Value) -> Result<u64, Error> {
        let patch = Bytes::from(patch.to_string());
        if patch.len() > MAX_TELEMETRY_SIZE {
            let (size, limit) = (patch.len(), MAX_TELEMETRY_SIZE);
            return Err(Error::new(ErrorKind::TooLarge { size, limit }));
        }
        self.perform(|done| Operation::PatchReported { patch, done })
            .await
    }

    async fn desired_updates(&self) -> Result<DesiredUpdates, Error> {
        let sender = self.shared.desired.upgrade().ok_or_else(|| self.ended())?;
        // Listens before the hub is asked to talk.
        let updates = DesiredUpdates::new(sender.subscribe());
        drop(sender);
        self.ask(|done| Command::Subscribe(Feature::DesiredChanges, done))
            .await?;
        Ok(updates)
    }

    async fn messages(&self) -> Result<Messages, Error> {
        let (deliveries, receipts) = self.receive(Feature::C2d).await?;
        Ok(Messages::new(deliveries, receipts))
    }

    async fn receive(
        &self,
        feature: Feature,
    ) -> Result<(mpsc::Receiver<Delivery>, mpsc::Sender<Receipt>), Error> {
        let filter = feature.to_filter(&self.shared.client);
        if !rumqttc::valid_filter(&filter) {
            let what = "messages for a name with + or # cannot be subscribed to".into();
            return Err(Error::new(ErrorKind::Configuration(what)));
        }
        let (sender, deliveries) = mpsc::channel(c2d::BACKLOG);
        self.ask(|done| Command::Receive(feature, sender, done))
            .await?;
        Ok((deliveries, self.shared.receipts.clone()))
    }

    /// The way over HTTPS, made when it is first needed.
    async fn rest(&self) -> Result<&Rest, Error> {
        let settings = || async { Rest::new(self.shared.rest_settings.clone()) };
        self.shared.rest.get_or_try_init(settings).await
    }

    async fn close(&self) {
        self.shared.closing.send_replace(true);
        if let Some(task) = self.shared.task.lock().await.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the connection task failed");
        }
    }

    async fn perform<T>(&self, operation: impl FnOnce(Done<T>) -> Operation) -> Result<T, Error> {
        self.ask(|done| Command::Perform(operation(done))).await
    }

    async fn ask<T>(&self, command: impl FnOnce(Done<T>) -> Command) -> Result<T, Error> {
        let (done, result) = oneshot::channel();
        self.shared
            .commands
            .send(command(done))
            .await
            .map_err(|_| self.ended())?;
        result.await.unwrap_or_else(|_| Err(self.ended()))
    }

    /// Why nothing can be asked any more.
    fn ended(&self) -> Error {
        match &*self.shared.state.borrow() {
            ConnectionState::Closed {
                reason: Some(reason),
            } => reason.clone(),
            _ => Error::new(ErrorKind::Closed),
        }
    }
}

/// MQTT's own limit (`spec/device.md` 4.4).
const MAX_TOPIC_SIZE: usize = 65_535;
