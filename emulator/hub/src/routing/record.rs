//! What has been decided: counts of routes and endpoints, and the last messages. Kept in memory
//! only, for people who wonder where a message went.

use std::collections::VecDeque;
use std::sync::Arc;

use iothub_protocol::property_bag::SystemProperty;
use iothub_protocol::{ClientId, Timestamp};

use super::judge::Verdict;
use super::spec::RoutingSpec;
use crate::telemetry::{Event, EventSource};

/// How many messages are remembered.
const REMEMBERED: usize = 256;

/// Counts, and the last messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RoutingRecord {
    /// Each route, in the order they were set.
    pub routes: Vec<RouteCount>,
    /// Messages that no route matched and the fallback route took.
    pub fallback: u64,
    /// Messages of devices that nothing took.
    pub dropped: u64,
    /// Each endpoint, the built-in one first.
    pub endpoints: Vec<EndpointCount>,
    /// The last messages, oldest first.
    pub last: VecDeque<Arc<Routed>>,
}

/// How often a route matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteCount {
    /// The route.
    pub name: Arc<str>,
    /// Messages that matched.
    pub matched: u64,
}

/// What went to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointCount {
    /// The endpoint.
    pub name: Arc<str>,
    /// Messages that were sent there.
    pub messages: u64,
    /// Messages that enrichments had made too large for it.
    pub too_large: u64,
}

/// Where a message went.
#[derive(Clone, Debug, PartialEq)]
pub struct Routed {
    /// When.
    pub enqueued: Timestamp,
    /// What it tells about.
    pub source: EventSource,
    /// Whose it is.
    pub client: ClientId,
    /// The id that its sender gave it.
    pub message_id: Option<String>,
    /// Bytes of its body.
    pub size: usize,
    /// The routes that matched; none when the fallback route took it or nothing did.
    pub routes: Vec<Arc<str>>,
    /// Whether the fallback route took it.
    pub fallback: bool,
    /// Where it was sent.
    pub endpoints: Vec<Arc<str>>,
}

impl RoutingRecord {
    /// Nothing counted yet.
    pub(super) fn new(spec: Option<&RoutingSpec>) -> Self {
        let Some(spec) = spec else {
            return Self::default();
        };
        let routes = spec.routes.iter().map(|route| RouteCount {
            name: route.name.clone(),
            matched: 0,
        });
        let endpoints = spec.endpoints().iter().map(|endpoint| EndpointCount {
            name: endpoint.name.clone(),
            messages: 0,
            too_large: 0,
        });
        Self {
            routes: routes.collect(),
            endpoints: endpoints.collect(),
            ..Self::default()
        }
    }

    pub(super) fn note(&mut self, spec: &RoutingSpec, event: &Event, verdict: &Verdict) {
        for &at in &verdict.routes {
            self.routes[at].matched += 1;
        }
        for at in verdict.endpoints() {
            self.endpoints[at].messages += 1;
        }
        self.fallback += u64::from(verdict.fallback);
        let taken = verdict.fallback || !verdict.routes.is_empty();
        if !taken {
            if event.source != EventSource::Telemetry {
                // It was made for other routes of its source, and is nothing that was lost.
                return;
            }
            self.dropped += 1;
        }
        if self.last.len() == REMEMBERED {
            self.last.pop_front();
        }
        let message_id = event.message.properties.system(SystemProperty::MessageId);
        let routes = verdict.routes.iter();
        let endpoints = verdict.endpoints();
        self.last.push_back(Arc::new(Routed {
            enqueued: event.enqueued,
            source: event.source,
            client: event.origin.client.clone(),
            message_id: message_id.map(|id| id.into_owned()),
            size: event.message.body.len(),
            routes: routes.map(|&at| spec.routes[at].name.clone()).collect(),
            fallback: verdict.fallback,
            endpoints: endpoints
                .map(|at| spec.endpoints()[at].name.clone())
                .collect(),
        }));
    }

    pub(super) fn note_too_large(&mut self, spec: &RoutingSpec, endpoint: usize) {
        debug_assert_eq!(spec.endpoints().len(), self.endpoints.len());
        let count = &mut self.endpoints[endpoint];
        count.messages -= 1;
        count.too_large += 1;
    }
}
