//! Message routes: which endpoints an event goes to, and what it is given on the way
//! (`spec/service.md` 5.6, `spec/device.md` 16.3).
//!
//! Without routes everything that devices send goes to the built-in endpoint, nothing else is made
//! into an event, and all that is asked here is whether there are any. `spec` reads and prints
//! what was set, `judge` decides, `enrich` adds properties, `record` remembers what was decided,
//! `trial` answers what would be.

mod endpoint;
mod enrich;
mod judge;
mod record;
mod spec;
mod trial;

use std::sync::Arc;

use iothub_protocol::{Error, Message};
use serde_json::Value;

use crate::Hub;
use crate::access::{Permission, Principal};
use crate::cx::{Change, Cx, Effect};
use crate::documents::{Document, DocumentKind};
use crate::packed::PackedTwin;
use crate::telemetry::{Event, EventSource, Origin};

pub use endpoint::{BlobFormat, Endpoint, EndpointKind};
pub use record::{EndpointCount, RouteCount, Routed, RoutingRecord};
pub use spec::RoutingSpec;

/// The key of the one document that routes are kept as.
const KEY: &str = "routing";
/// Keys of the documents that say how far connection events of a partition have been numbered.
const SEQUENCE: &str = "connection-sequence/";

/// What was set, and what came of it.
#[derive(Clone, Default)]
pub(crate) struct Routing {
    spec: Option<Arc<RoutingSpec>>,
    /// `spec`, unless it asks for no more than what happens without it.
    active: Option<Arc<RoutingSpec>>,
    record: RoutingRecord,
    sequences: Vec<Sequence>,
}

/// The last number of a connection event of one partition: it grows, whatever the clock does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sequence {
    time: u64,
    count: u64,
}

impl Hub {
    /// The routes, endpoints and enrichments, as [`Hub::put_routing`] takes them.
    pub fn routing(&self, caller: &Principal) -> Result<Value, Error> {
        caller.require(Permission::RegistryRead)?;
        Ok(match &self.routing.spec {
            Some(spec) => spec.to_json(),
            None => RoutingSpec::default().to_json(),
        })
    }

    /// The endpoints that routes name, the built-in one first.
    pub fn routing_endpoints(&self) -> Vec<Arc<Endpoint>> {
        match &self.routing.spec {
            Some(spec) => spec.endpoints().to_vec(),
            None => RoutingSpec::default().endpoints().to_vec(),
        }
    }

    /// Replaces all routes, endpoints and enrichments. What was counted begins anew.
    pub fn put_routing(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        spec: RoutingSpec,
    ) -> Result<Value, Error> {
        caller.require(Permission::RegistryWrite)?;
        let document = spec.to_json();
        self.routing.set(Some(Arc::new(spec)));
        cx.change(Change::PutDocument(Document {
            kind: DocumentKind::Routing,
            key: KEY.into(),
            value: Arc::new(document.clone()),
        }));
        Ok(document)
    }

    /// What has been decided so far: counts, and the last messages with the routes they matched.
    pub fn routing_record(&self, caller: &Principal) -> Result<RoutingRecord, Error> {
        caller.require(Permission::RegistryRead)?;
        Ok(self.routing.record.clone())
    }

    /// Whether a route wants events of this kind. Nothing is made that nobody wants.
    pub(crate) fn routes_want(&self, source: EventSource) -> bool {
        let active = self.routing.active.as_ref();
        active.is_some_and(|spec| spec.wants(source))
    }

    /// Whether messages have to be looked at before they are appended.
    pub(crate) fn has_routes(&self) -> bool {
        self.routing.active.is_some()
    }

    /// Takes messages of one client to every endpoint that a route sends them to. `twin`: what the
    /// client's twin is taken to be, when it is not the one that is there.
    pub(crate) fn route(
        &mut self,
        cx: &mut Cx<'_>,
        source: EventSource,
        origin: &Arc<Origin>,
        messages: Vec<Message>,
        twin: Option<PackedTwin>,
    ) {
        let Some(spec) = self.routing.active.clone() else {
            return;
        };
        let twin = if spec.needs_twin() {
            twin.or_else(|| self.twins.find(&origin.client).cloned())
        } else {
            None
        };
        let partition = self.partition_of(&origin.client.device);
        let mut queues = vec![Vec::new(); spec.endpoints().len()];
        for message in messages {
            let event = Event {
                partition,
                sequence: 0,
                offset: 0,
                enqueued: cx.now(),
                source,
                origin: origin.clone(),
                message,
            };
            let verdict = spec.judge(&event, twin.as_ref());
            self.routing.record.note(&spec, &event, &verdict);
            for at in verdict.endpoints() {
                match spec.enriched(at, &event, twin.as_ref(), &self.config.name) {
                    Some(copy) => queues[at].push(copy),
                    None => self.routing.record.note_too_large(&spec, at),
                }
            }
        }
        for (endpoint, events) in spec.endpoints().iter().zip(queues) {
            if events.is_empty() {
                continue;
            }
            match endpoint.kind {
                EndpointKind::BuiltIn => self.append_events(cx, partition, events),
                EndpointKind::Lines | EndpointKind::Blobs(_) => {
                    cx.emit(Effect::Route(endpoint.clone(), events));
                }
            }
        }
    }

    /// The next number of a connection event: 64 hexadecimal digits, greater as text than every
    /// one before it in the partition (`spec/device.md` 16.3).
    pub(crate) fn next_connection_sequence(&mut self, cx: &mut Cx<'_>, partition: u16) -> String {
        /// Ticks from the first day of .NET to that of Windows file times, which the real hub's
        /// numbers begin with.
        const FILE_TIME_EPOCH: i64 = 504_911_232_000_000_000;
        let at = usize::from(partition);
        if self.routing.sequences.len() <= at {
            self.routing.sequences.resize(at + 1, Sequence::default());
        }
        let sequence = &mut self.routing.sequences[at];
        let time = cx.now().dotnet_ticks().saturating_sub(FILE_TIME_EPOCH);
        sequence.time = sequence.time.max(u64::try_from(time).unwrap_or(0));
        sequence.count += 1;
        let Sequence { time, count } = *sequence;
        cx.change(Change::PutDocument(Document {
            kind: DocumentKind::Routing,
            key: format!("{SEQUENCE}{partition}").into(),
            value: Arc::new(serde_json::json!([time, count])),
        }));
        format!("{time:032X}{:08X}{count:024X}", 2)
    }
}

impl Routing {
    /// What routes are at the start of a hub's life.
    pub(crate) fn new(spec: Option<Arc<RoutingSpec>>) -> Self {
        let mut routing = Self::default();
        routing.set(spec);
        routing
    }

    /// Takes back a document. Routes that were configured stand above those that were kept.
    pub(crate) fn restore_routing(
        &mut self,
        key: &str,
        document: Option<&Value>,
        configured: Option<&Arc<RoutingSpec>>,
    ) {
        if let Some(partition) = key.strip_prefix(SEQUENCE) {
            if let (Ok(at), Some(value)) = (partition.parse::<u8>(), document) {
                self.restore_sequence(usize::from(at), value);
            }
        } else if key == KEY && configured.is_none() {
            // What was stored has been parsed before; should a later hub refuse it, it routes
            // nothing rather than something else.
            let spec = document.and_then(|document| RoutingSpec::parse(document).ok());
            self.set(spec.map(Arc::new));
        }
    }

    fn restore_sequence(&mut self, at: usize, value: &Value) {
        if self.sequences.len() <= at {
            self.sequences.resize(at + 1, Sequence::default());
        }
        let number = |at: usize| value.get(at).and_then(Value::as_u64).unwrap_or_default();
        self.sequences[at] = Sequence {
            time: number(0),
            count: number(1),
        };
    }

    fn set(&mut self, spec: Option<Arc<RoutingSpec>>) {
        self.active = spec.clone().filter(|spec| !spec.is_plain());
        self.record = RoutingRecord::new(spec.as_deref());
        self.spec = spec;
    }
}
