//! Telemetry as a back end reads it: the hub's Event Hubs-compatible endpoint (`spec/amqp.md` 6).

mod event;
mod reader;

use std::path::Path;
use std::sync::Arc;

use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::management::{self, ReadRequest, Subject};
use iothub_protocol::amqp::message::AmqpMessage;
use iothub_protocol::amqp::value::{self, Value};
use iothub_protocol::connection_string::EventHubConnectionString;
use iothub_protocol::{Clock, Timestamp};
use tokio::sync::OnceCell;

pub use event::Event;
pub use iothub_protocol::amqp::selector::EventPosition;
pub use reader::{EventReader, EventReaderBuilder};

use crate::amqp::{
    AMQPS_PORT, Connector, EVENTS_PATH, Endpoint, Inbound, Link, LinkEnd, Requester, RetryPolicy,
    of_link, unreadable,
};
use crate::credentials::Credentials;
use crate::trust::Trust;
use crate::{Error, ErrorKind, SystemClock};

/// The events of a hub: telemetry, and what routes write beside it. Cheap to clone; clones share a
/// connection, and so do their readers.
#[derive(Clone)]
pub struct Events {
    way: Arc<Way>,
}

/// How an event hub is found.
struct Way {
    start: Start,
    entity: OnceCell<Arc<Entity>>,
}

enum Start {
    /// An event hub's connection string names it.
    Known(Arc<Entity>),
    /// The hub tells, by a redirect (`spec/amqp.md` 6.1).
    Redirect(Box<Redirect>),
}

/// What is needed to follow the hub's redirect.
pub(crate) struct Redirect {
    pub(crate) hub: Arc<Connector>,
    pub(crate) credentials: Credentials,
    /// Where to stay, whatever host the hub names; `None`: go there.
    pub(crate) stay: Option<Endpoint>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) retry: RetryPolicy,
}

/// An event hub, and the way to it.
pub(crate) struct Entity {
    name: String,
    connector: Arc<Connector>,
}

/// What there is to know of an event hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventHubProperties {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its partitions.
    pub partition_ids: Vec<u32>,
}

/// What there is to know of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionProperties {
    /// The event hub's name.
    pub event_hub_name: String,
    /// The partition.
    pub id: u32,
    /// The oldest event that is kept.
    pub beginning_sequence_number: i64,
    /// The newest event; -1: there was none.
    pub last_enqueued_sequence_number: i64,
    /// Its offset; `-1`: there was none.
    pub last_enqueued_offset: String,
    /// When it came; none when there was none.
    pub last_enqueued_time: Option<Timestamp>,
    /// Whether no event is kept.
    pub is_empty: bool,
}

impl Events {
    /// The events of an Event Hubs-compatible connection string
    /// (`Endpoint=sb://…;EntityPath=…`). `UseDevelopmentEmulator=true` means plain AMQP.
    pub fn from_connection_string(connection_string: &str) -> Result<Self, Error> {
        Self::builder(connection_string).build()
    }

    /// As [`Self::from_connection_string`], with more to say about how to reach the event hub.
    pub fn builder(connection_string: &str) -> EventsBuilder {
        EventsBuilder {
            connection_string: connection_string.to_owned(),
            address: None,
            over_websocket: false,
            trust: Ok(Trust::default()),
            clock: Arc::new(SystemClock),
            retry: RetryPolicy::default(),
        }
    }

    pub(crate) fn redirected(redirect: Redirect) -> Self {
        Self::starting(Start::Redirect(Box::new(redirect)))
    }

    fn starting(start: Start) -> Self {
        Self {
            way: Arc::new(Way {
                start,
                entity: OnceCell::new(),
            }),
        }
    }

    /// What there is to know of the event hub: its name and partitions.
    pub async fn properties(&self) -> Result<EventHubProperties, Error> {
        let entity = self.entity().await?;
        Questions::open(&entity).await?.properties().await
    }

    /// What there is to know of a partition: its oldest and newest event. Refused when there is no
    /// such partition.
    pub async fn partition_properties(&self, partition: u32) -> Result<PartitionProperties, Error> {
        let entity = self.entity().await?;
        Questions::open(&entity).await?.partition(partition).await
    }

    /// A reader from the oldest event that is kept.
    pub fn from_earliest(&self) -> EventReaderBuilder {
        self.from_position(EventPosition::Earliest)
    }

    /// A reader of what comes once it is open.
    pub fn from_latest(&self) -> EventReaderBuilder {
        self.from_position(EventPosition::Latest)
    }

    /// A reader of what came at this time or later.
    pub fn from_enqueued_time(&self, time: Timestamp) -> EventReaderBuilder {
        self.from_position(EventPosition::Enqueued {
            time,
            inclusive: true,
        })
    }

    /// A reader from this position in every partition;
    /// [`EventReaderBuilder::partition_from`] has one for each.
    pub fn from_position(&self, position: EventPosition) -> EventReaderBuilder {
        EventReaderBuilder::new(self.clone(), position)
    }

    /// Closes the connection that readers and questions share. Readers make another one.
    pub async fn close(&self) {
        if let Some(entity) = self.way.entity.get() {
            entity.connector.close().await;
        }
    }

    async fn entity(&self) -> Result<Arc<Entity>, Error> {
        let find = || async {
            match &self.way.start {
                Start::Known(entity) => Ok(Arc::clone(entity)),
                Start::Redirect(redirect) => redirect.follow().await.map(Arc::new),
            }
        };
        self.way.entity.get_or_try_init(find).await.cloned()
    }
}

impl Redirect {
    /// Asks the hub for its event hub.
    async fn follow(&self) -> Result<Entity, Error> {
        let session = self.hub.session().await?;
        let inbound = Inbound {
            address: "/messages/events/$management".to_owned(),
            prefetch: 1,
            ..Inbound::default()
        };
        let name = session.link_name("events");
        let link = Link::receiver(&session.wire, session.id, name, inbound);
        let info = match link.receive().await {
            Err(LinkEnd::Detached(Some(error))) if error.condition == condition::LINK_REDIRECT => {
                error.info
            }
            Err(end) => return Err(of_link(end)),
            Ok(_) => return Err(unreadable("events where a redirect was expected")),
        };
        let text = |name| value::lookup(&info, name).and_then(Value::as_text);
        let entity = text("address").and_then(entity_of);
        let (Some(host), Some(entity)) = (text("hostname"), entity) else {
            return Err(unreadable("a redirect without host name or address"));
        };
        let endpoint = match &self.stay {
            Some(endpoint) => Endpoint {
                host_name: host.to_owned(),
                ..endpoint.clone()
            },
            None => {
                let port = value::lookup(&info, "port").and_then(Value::as_i64);
                let port = port.and_then(|port| u16::try_from(port).ok());
                Endpoint {
                    host_name: host.to_owned(),
                    address: format!("{host}:{}", port.unwrap_or(AMQPS_PORT)),
                    ..self.hub.endpoint().clone()
                }
            }
        };
        let audience = format!("sb://{host}/{entity}");
        Ok(Entity {
            name: entity.to_owned(),
            connector: Arc::new(Connector::new(
                endpoint,
                self.credentials.towards_event_hub(audience.clone()),
                audience,
                Arc::clone(&self.clock),
                self.retry.clone(),
            )),
        })
    }
}

/// The entity of a redirect's address: the first segment behind the host (`spec/amqp.md` 6.1).
fn entity_of(address: &str) -> Option<&str> {
    let (_, behind_scheme) = address.split_once("://")?;
    let (_, path) = behind_scheme.split_once('/')?;
    path.split('/').next().filter(|entity| !entity.is_empty())
}

/// Asks an event hub's `$management`.
struct Questions {
    requester: Requester,
    entity: String,
    /// Keeps the token fresh while there are questions.
    _session: Arc<crate::amqp::Session>,
}

impl Questions {
    async fn open(entity: &Entity) -> Result<Self, Error> {
        let session = entity.connector.session().await?;
        let requester = Requester::attach(&session.wire, session.id, "$management").await?;
        Ok(Self {
            requester,
            entity: entity.name.clone(),
            _session: session,
        })
    }

    async fn properties(&mut self) -> Result<EventHubProperties, Error> {
        let answer = self.read(Subject::EventHub).await?;
        let found = management::EventHubProperties::from_value(&body(&answer))
            .ok_or_else(|| unreadable("no properties of an event hub"))?;
        let ids = found.partition_ids.iter().map(|id| partition_id(id));
        Ok(EventHubProperties {
            partition_ids: ids.collect::<Result<_, _>>()?,
            name: found.name,
            created_at: found.created_at,
        })
    }

    async fn partition(&mut self, partition: u32) -> Result<PartitionProperties, Error> {
        let answer = self.read(Subject::Partition(partition.to_string())).await?;
        let found = management::PartitionProperties::from_value(&body(&answer))
            .ok_or_else(|| unreadable("no properties of a partition"))?;
        Ok(PartitionProperties {
            id: partition_id(&found.partition)?,
            event_hub_name: found.name,
            beginning_sequence_number: found.begin_sequence_number,
            last_enqueued_sequence_number: found.last_enqueued_sequence_number,
            last_enqueued_offset: found.last_enqueued_offset,
            last_enqueued_time: found.last_enqueued_time,
            is_empty: found.is_empty,
        })
    }

    async fn read(&mut self, subject: Subject) -> Result<AmqpMessage, Error> {
        let entity = self.entity.clone();
        let asked = self.requester.ask(|message_id, reply_to| {
            ReadRequest {
                subject,
                entity,
                // The connection is authorised; clients that are not send their token here.
                security_token: None,
                message_id,
                reply_to: Some(reply_to),
            }
            .to_message()
        });
        asked.await
    }
}

fn body(answer: &AmqpMessage) -> Value {
    match &answer.body {
        iothub_protocol::amqp::message::Body::Value(value) => value.clone(),
        iothub_protocol::amqp::message::Body::Data(_)
        | iothub_protocol::amqp::message::Body::Sequence(_) => Value::Null,
    }
}

fn partition_id(text: &str) -> Result<u32, Error> {
    text.parse().map_err(unreadable)
}

/// Settles how [`Events`] reach their event hub.
pub struct EventsBuilder {
    connection_string: String,
    address: Option<String>,
    over_websocket: bool,
    trust: Result<Trust, Error>,
    clock: Arc<dyn Clock>,
    retry: RetryPolicy,
}

impl EventsBuilder {
    /// Connects to `host:port`, whatever endpoint the connection string names.
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Speaks AMQP within a WebSocket, on port 443 (80 without TLS) unless [`Self::address`] says
    /// another.
    #[must_use]
    pub fn over_websocket(mut self) -> Self {
        self.over_websocket = true;
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

    /// How readers go about a connection that is lost.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// The events; fails when the connection string or the certificates cannot be used.
    pub fn build(self) -> Result<Events, Error> {
        let parsed = EventHubConnectionString::parse(&self.connection_string).map_err(|error| {
            let what = "the connection string cannot be used".into();
            Error::caused_by(ErrorKind::Configuration(what), error)
        })?;
        let entity = parsed.entity_path.clone().ok_or_else(|| {
            let what = "the connection string has no EntityPath: the event hub's name".into();
            Error::new(ErrorKind::Configuration(what))
        })?;
        let is_tls = !parsed.development_emulator;
        let port = match (self.over_websocket, is_tls) {
            (false, _) => parsed.connect_port(),
            (true, true) => parsed.port.unwrap_or(443),
            (true, false) => parsed.port.unwrap_or(80),
        };
        let tls = match is_tls {
            true => Some(Arc::new(self.trust?.client_config()?)),
            false => None,
        };
        let endpoint = Endpoint {
            host_name: parsed.host_name.clone(),
            address: self
                .address
                .unwrap_or_else(|| format!("{}:{port}", parsed.host_name)),
            tls,
            websocket: self.over_websocket.then_some(EVENTS_PATH),
        };
        let audience = parsed.audience(&entity);
        let credentials = Credentials::for_event_hub(&parsed.credential, audience.clone());
        let connector = Connector::new(endpoint, credentials, audience, self.clock, self.retry);
        Ok(Events::starting(Start::Known(Arc::new(Entity {
            name: entity,
            connector: Arc::new(connector),
        }))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entity_of_a_redirect_is_the_first_segment_behind_the_host() {
        for (address, entity) in [
            ("amqps://h:5671/hub/$management", Some("hub")),
            (
                "amqps://h:5671/iothub-ehub-h-1-ff/ConsumerGroups/g",
                Some("iothub-ehub-h-1-ff"),
            ),
            ("amqps://h:5671/", None),
            ("hub/$management", None),
        ] {
            assert_eq!(entity_of(address), entity, "{address}");
        }
    }

    #[test]
    fn unusable_settings_say_what_is_wrong() {
        let good = "Endpoint=sb://h;SharedAccessKeyName=p;SharedAccessKey=a;EntityPath=hub";
        for builder in [
            Events::builder("HostName=h;SharedAccessKeyName=p;SharedAccessKey=a"),
            Events::builder("Endpoint=sb://h;SharedAccessKeyName=p;SharedAccessKey=a"),
            Events::builder(good).ca_pem("no certificate"),
        ] {
            let error = builder.build().err().unwrap();
            assert!(
                matches!(error.kind(), ErrorKind::Configuration(_)),
                "{error}"
            );
        }
        assert!(
            Events::from_connection_string(&format!("{good};UseDevelopmentEmulator=true")).is_ok()
        );
    }
}
