//! The hub as a value.
//!
//! [`Hub`] holds the identity registry, twins, sessions, pending method calls and the heads of the
//! event log. Every operation is told the time, checks, then mutates, then returns its reply and
//! leaves in [`Cx`] what has to be written down ([`Change`]) and what has to happen next
//! ([`Effect`]). The hub never waits, reads a clock, touches a socket or a file, and knows no wire
//! protocol.

mod access;
mod access_snapshot;
mod audience;
mod authorities;
mod bulk;
mod c2d;
mod census;
mod configurations;
mod consumers;
mod cx;
mod deadlines;
mod digital_twins;
mod documents;
mod edge;
mod entropy;
mod export;
mod feedback;
mod file_notifications;
mod glance;
mod jobs;
mod keys;
mod landmarks;
mod lifecycle;
mod limits;
mod locks;
mod methods;
mod packed;
mod partition_key;
mod query;
mod registry;
mod registry_jobs;
mod routing;
mod scopes;
mod sessions;
mod telemetry;
mod throttles;
mod twin_snapshot;
mod twins;
mod upcoming;
mod uploads;

use std::sync::Arc;

use iothub_protocol::Timestamp;
use serde_json::Value;

pub use access::{
    AccessPolicy, AuthMethod, AuthScope, AuthType, CertificateFacts, Chain, Credentials,
    Permission, Permissions, Principal, Who,
};
pub use access_snapshot::AccessSnapshot;
pub use audience::{Proof, Reach};
pub use authorities::{Authority, AuthorityCertificate, TrustAnchor};
pub use c2d::{C2dMessage, QueuedC2d, Received};
pub use census::Census;
pub use configurations::ConfigurationReading;
pub use consumers::{ConsumerGroup, DEFAULT_GROUP, ReaderId, ReaderRequest};
pub use cx::{Change, Cx, Delivery, Effect, IdentityChange, Notice, Outcome, TwinParts};
pub use documents::{Document, DocumentKind};
pub use entropy::Entropy;
pub use export::ExportSnapshot;
pub use feedback::FeedbackBatch;
pub use file_notifications::ReceivedFileNotification;
pub use glance::Glance;
pub use jobs::JobFilter;
pub use limits::{
    BeforeSubscription, ConnectionEvents, CountedReturns, ExpiredCertificates, Limits,
};
pub use locks::{LockToken, Settlement};
pub use methods::CallId;
pub use packed::PackedTwin;
pub use query::{
    Condition, InTurn, ItemType, Page, PageRequest, Query, QuerySnapshot, RouteCondition,
    RouteSubject, Workers,
};
pub use registry::{Identity, Statistics};
pub use routing::{
    BlobFormat, Endpoint, EndpointCount, EndpointKind, RouteCount, Routed, RoutingRecord,
    RoutingSpec,
};
pub use sessions::{
    ConnectRequest, Connected, End, Feature, Guarantee, SessionId, SessionSummary, Subscriptions,
};
pub use telemetry::{Event, EventSource, Origin, PartitionHead, PartitionId};
pub use throttles::{Decision, QuotaMeter, Sku, Throttle, ThrottleMeter, Tier};
pub use twin_snapshot::TwinSnapshot;
pub use twins::Twin;
pub use upcoming::Upcoming;
pub use uploads::{BlobFacts, Upload};

/// How a hub is set up; constant for its life.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// The hub's name, which stands in events; the first label of its host name.
    pub name: String,
    /// Host names that are this hub. Empty: any name is, and a token has to be made for the name
    /// that its user connected to (`spec/sdk-connectivity.md`).
    pub host_names: Vec<String>,
    /// Shared access policies.
    pub policies: Vec<AccessPolicy>,
    /// Number of partitions of the event log, 1 to 128.
    pub partitions: u16,
    /// Seed of every identifier, key, etag and tracking id that the hub makes.
    pub seed: u64,
    /// The numbers, and what is done where there is a choice.
    pub limits: Limits,
    /// Routes to begin with, and to come back to; those that were kept stand behind them.
    pub routing: Option<Arc<RoutingSpec>>,
}

impl Default for HubConfig {
    /// A hub that nobody may use: without policies.
    fn default() -> Self {
        Self {
            name: "hub".into(),
            host_names: Vec::new(),
            policies: Vec::new(),
            partitions: 4,
            seed: 0,
            limits: Limits::default(),
            routing: None,
        }
    }
}

/// An IoT hub. See the crate's documentation.
#[derive(Clone)]
pub struct Hub {
    config: Arc<HubConfig>,
    entropy: Entropy,
    registry: registry::Registry,
    twins: twins::Twins,
    sessions: sessions::Sessions,
    methods: methods::Methods,
    telemetry: telemetry::Telemetry,
    c2d: c2d::Queues,
    feedback: feedback::Feedback,
    jobs: jobs::Jobs,
    registry_jobs: registry_jobs::RegistryJobs,
    configurations: configurations::Configurations,
    consumers: consumers::Consumers,
    authorities: authorities::Authorities,
    uploads: uploads::Uploads,
    file_notifications: file_notifications::FileNotifications,
    routing: routing::Routing,
    throttles: throttles::Throttles,
    deadlines: deadlines::Deadlines,
}

impl Hub {
    /// An empty hub.
    pub fn new(config: HubConfig) -> Self {
        Self {
            entropy: Entropy::new(config.seed),
            registry: registry::Registry::default(),
            twins: twins::Twins::default(),
            sessions: sessions::Sessions::default(),
            methods: methods::Methods::default(),
            telemetry: telemetry::Telemetry::new(config.partitions),
            c2d: c2d::Queues::default(),
            feedback: feedback::Feedback::default(),
            jobs: jobs::Jobs::default(),
            registry_jobs: registry_jobs::RegistryJobs::default(),
            configurations: configurations::Configurations::default(),
            consumers: consumers::Consumers::default(),
            authorities: authorities::Authorities::default(),
            uploads: uploads::Uploads::default(),
            file_notifications: file_notifications::FileNotifications::default(),
            routing: routing::Routing::new(config.routing.clone()),
            throttles: throttles::Throttles::new(config.limits.tier),
            deadlines: deadlines::Deadlines::default(),
            config: Arc::new(config),
        }
    }

    /// Takes back a change that was written down earlier. Changes are states, so that replaying
    /// them in order restores the hub.
    pub fn restore(&mut self, change: Change) {
        match change {
            Change::PutIdentity(identity) => self.registry.put(identity),
            Change::DeleteIdentity(client) => {
                self.registry.remove(&client);
                self.twins.remove(&client);
                self.sessions.forget(&client);
                self.forget_configurations_of(&client);
            }
            Change::PutTwin(client, twin) => {
                self.twins.put(&client, twin);
            }
            Change::PutSubscriptions(client, subscriptions) => {
                self.sessions.remember(client, subscriptions);
            }
            Change::DeleteSubscriptions(client) => self.sessions.forget(&client),
            Change::AppendEvents(events) => {
                for event in &events {
                    self.telemetry
                        .restore_head(event.partition, event.next_head());
                }
            }
            Change::PutPartitionHead(partition, head) => {
                self.telemetry.restore_head(partition, head);
            }
            Change::PutC2d(message) => self.c2d.put(message),
            Change::DeleteC2d(client, sequence) => self.c2d.remove(&client, sequence),
            Change::PutDocument(document) => {
                self.restore_document(document.kind, &document.key, Some(&document.value));
            }
            Change::DeleteDocument(kind, key) => self.restore_document(kind, &key, None),
            Change::PutEntropy(counter) => self.entropy.advance_to(counter),
            Change::Reset => *self = Self::new((*self.config).clone()),
        }
    }

    /// Sets the deadlines of what was restored. To be called once after the last
    /// [`Hub::restore`]; [`Hub::fork`] does by itself.
    pub fn rearm(&mut self) {
        self.deadlines = deadlines::Deadlines::default();
        self.c2d_rearm();
        self.configurations_rearm();
        self.feedback_rearm();
        self.jobs_rearm();
        self.uploads_rearm();
        self.registry_jobs_rearm();
        self.file_notifications_rearm();
    }

    fn restore_document(&mut self, kind: DocumentKind, key: &str, document: Option<&Value>) {
        match kind {
            DocumentKind::Feedback => self.feedback.restore_record(key, document),
            DocumentKind::Job => self.jobs.restore_job(key, document),
            DocumentKind::DeviceJob => self.jobs.restore_device_job(key, document),
            DocumentKind::RegistryJob => self.registry_jobs.restore_job(key, document),
            DocumentKind::Configuration => {
                self.configurations.restore_configuration(key, document);
            }
            DocumentKind::Authority => self.authorities.restore_authority(key, document),
            DocumentKind::Upload => self.uploads.restore_upload(key, document),
            DocumentKind::FileNotification => {
                self.file_notifications.restore_notification(key, document);
            }
            DocumentKind::Routing => {
                let configured = self.config.routing.as_ref();
                self.routing.restore_routing(key, document, configured);
            }
            DocumentKind::Meter => self.throttles.restore_meter(key, document),
            DocumentKind::ConsumerGroup => self.consumers.restore_group(key, document),
        }
    }

    /// An independent copy. What is kept for devices is structurally shared, so the cost does not
    /// depend on their number. Sessions belong to connections and stay behind, and so do the calls
    /// that someone waits for.
    pub fn fork(&self) -> Self {
        let mut fork = self.without_connections();
        fork.rearm();
        fork
    }

    /// A copy that nobody is connected to, and in which nothing falls due.
    pub(crate) fn without_connections(&self) -> Self {
        Self {
            config: self.config.clone(),
            entropy: self.entropy.clone(),
            registry: self.registry.clone(),
            twins: self.twins.clone(),
            sessions: self.sessions.without_connections(),
            methods: self.methods.emptied(),
            telemetry: self.telemetry.clone(),
            c2d: self.c2d.clone(),
            feedback: self.feedback.clone(),
            jobs: self.jobs.clone(),
            registry_jobs: self.registry_jobs.clone(),
            configurations: self.configurations.clone(),
            consumers: self.consumers.without_readers(),
            authorities: self.authorities.clone(),
            uploads: self.uploads.clone(),
            file_notifications: self.file_notifications.clone(),
            routing: self.routing.clone(),
            throttles: self.throttles.clone(),
            deadlines: deadlines::Deadlines::default(),
        }
    }

    /// When [`Hub::fire_due`] has to be called next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.next()
    }

    /// Does what is due at `cx.now()`: as much of it as may be done in one turn. What is left keeps
    /// its deadline.
    pub fn fire_due(&mut self, cx: &mut Cx<'_>) {
        while let Some(due) = self.deadlines.pop_due(cx.now()) {
            match due {
                deadlines::Due::MethodConnect(call) => self.method_connect_timed_out(cx, call),
                deadlines::Due::MethodResponse(call) => self.method_response_timed_out(cx, call),
                deadlines::Due::SessionExpiry(session) => self.session_token_expired(cx, session),
                deadlines::Due::C2d(due) => self.c2d_due(cx, due),
                deadlines::Due::Configurations(due) => {
                    self.configurations_due(cx, &due);
                    // What is left may be due already: others get their turn before it.
                    return;
                }
                deadlines::Due::Feedback(due) => self.feedback_due(cx, due),
                deadlines::Due::Jobs(due) => {
                    self.jobs_due(cx, due);
                    // Others have the hub before a job goes on.
                    return;
                }
                deadlines::Due::Uploads(due) => self.uploads_due(cx, due),
                deadlines::Due::FileNotifications(due) => self.file_notifications_due(cx, due),
            }
        }
    }

    /// Forgets everything: registry, twins, sessions, events. Connections are closed.
    pub fn reset(&mut self, cx: &mut Cx<'_>) {
        self.close_all_sessions(cx);
        self.fail_all_calls(cx);
        let consumers = self.consumers_after_reset(cx);
        cx.change(Change::Reset);
        *self = Self {
            consumers,
            sessions: self.sessions.emptied(),
            methods: self.methods.emptied(),
            ..Self::new((*self.config).clone())
        };
    }

    /// How the hub was set up.
    pub fn config(&self) -> &HubConfig {
        &self.config
    }

    /// A fresh tracking id: 32 hex digits (`spec/service.md` 0.6).
    pub fn tracking_id(&mut self) -> String {
        self.entropy.hex(16)
    }
}
