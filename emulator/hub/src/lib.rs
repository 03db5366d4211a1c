//! The hub as a value.
//!
//! [`Hub`] holds the identity registry, twins, sessions, pending method calls and the heads of the
//! event log. Every operation is told the time, checks, then mutates, then returns its reply and
//! leaves in [`Cx`] what has to be written down ([`Change`]) and what has to happen next
//! ([`Effect`]). The hub never waits, reads a clock, touches a socket or a file, and knows no wire
//! protocol.

mod access;
mod bulk;
mod cx;
mod deadlines;
mod edge;
mod entropy;
mod limits;
mod methods;
mod registry;
mod sessions;
mod telemetry;
mod twins;

use std::sync::Arc;

use iothub_protocol::Timestamp;

pub use access::{
    AccessPolicy, AuthMethod, AuthScope, AuthType, CertificateFacts, Credentials, Permission,
    Permissions, Principal, Who,
};
pub use cx::{Change, Cx, Delivery, Effect, Notice, Outcome};
pub use entropy::Entropy;
pub use limits::Limits;
pub use methods::CallId;
pub use registry::{Identity, Statistics};
pub use sessions::{
    ConnectRequest, Connected, End, Feature, Guarantee, SessionId, SessionSummary, Subscriptions,
};
pub use telemetry::{Event, EventSource, Origin, PartitionHead, PartitionId};
pub use twins::Twin;

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
    /// The numbers.
    pub limits: Limits,
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
            }
            Change::PutTwin(twin) => self.twins.put(twin),
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
            Change::PutEntropy(counter) => self.entropy.advance_to(counter),
            Change::Reset => *self = Self::new((*self.config).clone()),
        }
    }

    /// An independent copy. What is kept for devices is structurally shared, so the cost does not
    /// depend on their number. Sessions belong to connections and stay behind, and so do the calls
    /// that someone waits for.
    pub fn fork(&self) -> Self {
        Self {
            config: self.config.clone(),
            entropy: self.entropy.clone(),
            registry: self.registry.clone(),
            twins: self.twins.clone(),
            sessions: self.sessions.without_connections(),
            methods: self.methods.emptied(),
            telemetry: self.telemetry.clone(),
            deadlines: deadlines::Deadlines::default(),
        }
    }

    /// When [`Hub::fire_due`] has to be called next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.next()
    }

    /// Does what is due at `cx.now()`.
    pub fn fire_due(&mut self, cx: &mut Cx<'_>) {
        while let Some(due) = self.deadlines.pop_due(cx.now()) {
            match due {
                deadlines::Due::MethodConnect(call) => self.method_connect_timed_out(cx, call),
                deadlines::Due::MethodResponse(call) => self.method_response_timed_out(cx, call),
                deadlines::Due::SessionExpiry(session) => self.session_token_expired(cx, session),
            }
        }
    }

    /// Forgets everything: registry, twins, sessions, events. Connections are closed.
    pub fn reset(&mut self, cx: &mut Cx<'_>) {
        self.close_all_sessions(cx);
        self.fail_all_calls(cx);
        cx.change(Change::Reset);
        *self = Self {
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
