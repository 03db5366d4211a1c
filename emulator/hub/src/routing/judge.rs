//! Which routes an event matches, and where it therefore goes.

use super::spec::RoutingSpec;
use crate::packed::PackedTwin;
use crate::query::RouteSubject;
use crate::telemetry::{Event, EventSource};

/// What was decided about an event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The routes that matched, by their places.
    pub(super) routes: Vec<usize>,
    /// Whether none did, and the fallback route took it.
    pub(super) fallback: bool,
    /// The endpoints, a bit for each place: several routes to one endpoint make one copy.
    endpoints: u16,
}

impl Verdict {
    /// The places of the endpoints, in order.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = usize> + use<> {
        let bits = self.endpoints;
        (0..u16::BITS as usize).filter(move |at| bits & (1 << at) != 0)
    }

    fn add(&mut self, endpoint: usize) {
        self.endpoints |= 1 << endpoint;
    }
}

impl RoutingSpec {
    /// Holds an event against every route of its source. The fallback route is for messages of
    /// devices only: what else happens is an event for those who ask for it.
    pub(super) fn judge(&self, event: &Event, twin: Option<&PackedTwin>) -> Verdict {
        let subject = RouteSubject { event, twin };
        let mut verdict = Verdict::default();
        for (at, route) in self.routes.iter().enumerate() {
            if route.enabled && route.source == event.source && route.condition.matches(&subject) {
                verdict.routes.push(at);
                verdict.add(route.endpoint);
            }
        }
        if verdict.routes.is_empty()
            && self.fallback.enabled
            && event.source == EventSource::Telemetry
        {
            verdict.fallback = true;
            verdict.add(self.fallback.endpoint);
        }
        verdict
    }
}
