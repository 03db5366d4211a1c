//! What can be set, in the shape of the real hub's `properties.routing`: read, checked, printed.

use std::fmt;
use std::sync::Arc;

use iothub_protocol::{Error, ErrorCode, json as members};
use serde_json::{Map, Value, json};

use super::endpoint::{self, Endpoint};
use super::enrich::Enrichment;
use crate::limits::{ENDPOINTS, ENRICHMENTS, ROUTES};
use crate::query::RouteCondition;
use crate::telemetry::EventSource;

/// Routes, endpoints and enrichments that have been found good.
pub struct RoutingSpec {
    /// The built-in one first.
    endpoints: Vec<Arc<Endpoint>>,
    pub(super) routes: Vec<Route>,
    pub(super) fallback: Fallback,
    pub(super) enrichments: Vec<Enrichment>,
    needs_twin: bool,
}

pub(super) struct Route {
    pub(super) name: Arc<str>,
    pub(super) source: EventSource,
    pub(super) text: String,
    pub(super) condition: RouteCondition,
    /// Its place among the endpoints.
    pub(super) endpoint: usize,
    pub(super) enabled: bool,
}

/// What becomes of messages that no route matches.
pub(super) struct Fallback {
    pub(super) endpoint: usize,
    pub(super) enabled: bool,
}

impl Default for RoutingSpec {
    fn default() -> Self {
        Self {
            endpoints: vec![Arc::new(Endpoint::built_in())],
            routes: Vec::new(),
            fallback: Fallback {
                endpoint: 0,
                enabled: true,
            },
            enrichments: Vec::new(),
            needs_twin: false,
        }
    }
}

impl RoutingSpec {
    /// Reads `{"endpoints": {..}, "routes": [..], "fallbackRoute": {..}, "enrichments": [..]}`, or
    /// a whole hub's description with that at `properties.routing`. Members that are absent are
    /// empty; unknown ones are ignored, as the real hub's own descriptions are full of them.
    ///
    /// Refuses with `ArgumentInvalid`, and with `InvalidSourceOnRoute` a source of events that
    /// there is none of.
    pub fn parse(document: &Value) -> Result<Self, Error> {
        let document = object(document, "routing")?;
        let document = match members::object(document, "properties")? {
            Some(properties) => members::object(properties, "routing")?.unwrap_or(document),
            None => document,
        };
        let mut spec = Self::default();
        if let Some(groups) = members::object(document, "endpoints")? {
            spec.read_endpoints(groups)?;
        }
        for (at, route) in list(document, "routes", ROUTES)?.iter().enumerate() {
            let route = spec
                .read_route(object(route, "a route")?)
                .map_err(|error| within(error, &format!("routes[{at}]")))?;
            if spec.routes.iter().any(|known| known.name == route.name) {
                let name = &route.name;
                return Err(invalid(format!(
                    "routes[{at}]: there are two named {name:?}"
                )));
            }
            spec.routes.push(route);
        }
        if let Some(fallback) = members::object(document, "fallbackRoute")? {
            spec.fallback = spec
                .read_fallback(fallback)
                .map_err(|error| within(error, "fallbackRoute"))?;
        }
        let enrichments = list(document, "enrichments", ENRICHMENTS)?;
        for (at, enrichment) in enrichments.iter().enumerate() {
            let enrichment = spec
                .read_enrichment(object(enrichment, "an enrichment")?)
                .map_err(|error| within(error, &format!("enrichments[{at}]")))?;
            spec.enrichments.push(enrichment);
        }
        spec.needs_twin = spec.enrichments.iter().any(Enrichment::needs_twin)
            || spec.routes.iter().any(|route| route.condition.needs_twin());
        Ok(spec)
    }

    /// What [`RoutingSpec::parse`] reads again.
    pub fn to_json(&self) -> Value {
        let mut groups = Map::new();
        for group in endpoint::GROUPS {
            let endpoints = self.endpoints.iter().filter(|it| it.group == group);
            groups.insert(group.into(), endpoints.map(|it| it.to_json()).collect());
        }
        let routes = self.routes.iter().map(|route| self.route_json(route));
        let enrichments = self.enrichments.iter();
        json!({
            "endpoints": groups,
            "routes": routes.collect::<Value>(),
            "fallbackRoute": {
                "name": "$fallback",
                "source": EventSource::Telemetry.route_name(),
                "condition": "true",
                "endpointNames": [*self.endpoints[self.fallback.endpoint].name],
                "isEnabled": self.fallback.enabled,
            },
            "enrichments": enrichments.map(|it| it.to_json(self)).collect::<Value>(),
        })
    }

    /// Every endpoint, the built-in one first.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// Whether some endpoint is one of files.
    pub fn has_files(&self) -> bool {
        self.endpoints.len() > 1
    }

    /// Whether it asks for no more than what happens without it.
    pub(super) fn is_plain(&self) -> bool {
        let Fallback { endpoint, enabled } = self.fallback;
        self.routes.iter().all(|route| !route.enabled)
            && self.enrichments.is_empty()
            && (endpoint, enabled) == (0, true)
    }

    pub(super) fn needs_twin(&self) -> bool {
        self.needs_twin
    }

    pub(super) fn wants(&self, source: EventSource) -> bool {
        let mut enabled = self.routes.iter().filter(|route| route.enabled);
        enabled.any(|route| route.source == source)
    }

    pub(super) fn route_json(&self, route: &Route) -> Value {
        json!({
            "name": *route.name,
            "source": route.source.route_name(),
            "condition": route.text,
            "endpointNames": [*self.endpoints[route.endpoint].name],
            "isEnabled": route.enabled,
        })
    }

    pub(super) fn read_route(&self, members: &Map<String, Value>) -> Result<Route, Error> {
        let name = endpoint::name(members)?;
        let source = members::string(members, "source")?.unwrap_or("DeviceMessages");
        let source = EventSource::from_route_name(source).ok_or_else(|| {
            let known = EventSource::ALL.map(EventSource::route_name).join(", ");
            let detail = format!("source {source:?} is none of {known}");
            Error::new(ErrorCode::InvalidSourceOnRoute, detail)
        })?;
        // Without a condition every message matches; a blank one is refused by its parser.
        let text = members::string(members, "condition")?.unwrap_or("true");
        let condition = RouteCondition::parse(text)?;
        // The real hub takes a list of exactly one.
        let endpoints = self.places(members, 1)?;
        Ok(Route {
            name: name.into(),
            source,
            text: text.to_owned(),
            condition,
            endpoint: endpoints[0],
            enabled: flag(members, "isEnabled")?.unwrap_or(true),
        })
    }

    fn read_fallback(&self, members: &Map<String, Value>) -> Result<Fallback, Error> {
        let source = members::string(members, "source")?.unwrap_or("DeviceMessages");
        if EventSource::from_route_name(source) != Some(EventSource::Telemetry) {
            let detail = format!("source {source:?}: the fallback route is for DeviceMessages");
            return Err(Error::new(ErrorCode::InvalidSourceOnRoute, detail));
        }
        let condition = members::string(members, "condition")?.unwrap_or("true");
        if !condition.trim().eq_ignore_ascii_case("true") {
            return Err(invalid("the fallback route's condition is always \"true\""));
        }
        Ok(Fallback {
            endpoint: self.places(members, 1)?[0],
            enabled: flag(members, "isEnabled")?.unwrap_or(true),
        })
    }

    fn read_enrichment(&self, members: &Map<String, Value>) -> Result<Enrichment, Error> {
        let key = members::string(members, "key")?.unwrap_or_default();
        let value = members::string(members, "value")?.unwrap_or_default();
        Enrichment::new(key, value, self.places(members, ENDPOINTS + 1)?)
    }

    fn read_endpoints(&mut self, groups: &Map<String, Value>) -> Result<(), Error> {
        for group in endpoint::GROUPS {
            for (at, members) in list(groups, group, ENDPOINTS)?.iter().enumerate() {
                let place = format!("endpoints.{group}[{at}]");
                let endpoint = object(members, "an endpoint")
                    .and_then(|members| Endpoint::read(group, members))
                    .map_err(|error| within(error, &place))?;
                if self.place(&endpoint.name).is_some() {
                    let name = &endpoint.name;
                    return Err(invalid(format!("{place}: there are two named {name:?}")));
                }
                self.endpoints.push(Arc::new(endpoint));
            }
        }
        if self.endpoints.len() > ENDPOINTS + 1 {
            return Err(invalid(format!("a hub has at most {ENDPOINTS} endpoints")));
        }
        Ok(())
    }

    /// The endpoints that `endpointNames` lists, each once.
    fn places(&self, members: &Map<String, Value>, most: usize) -> Result<Vec<usize>, Error> {
        let names = list(members, "endpointNames", most)?;
        if names.is_empty() {
            return Err(invalid("endpointNames must name an endpoint"));
        }
        let mut places = Vec::new();
        for name in names {
            let name = name
                .as_str()
                .ok_or_else(|| invalid("endpointNames must be a list of strings"))?;
            let place = self
                .place(name)
                .ok_or_else(|| invalid(format!("there is no endpoint {name:?}")))?;
            if !places.contains(&place) {
                places.push(place);
            }
        }
        Ok(places)
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.endpoints
            .iter()
            .position(|endpoint| endpoint.name.eq_ignore_ascii_case(name))
    }
}

impl fmt::Debug for RoutingSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoutingSpec({})", self.to_json())
    }
}

fn list<'a>(
    members: &'a Map<String, Value>,
    name: &str,
    most: usize,
) -> Result<&'a [Value], Error> {
    match members::non_null(members, name) {
        None => Ok(&[]),
        Some(Value::Array(list)) if list.len() <= most => Ok(list),
        Some(Value::Array(_)) => Err(invalid(format!("{name} has more than {most} elements"))),
        Some(_) => Err(invalid(format!("{name} must be a list"))),
    }
}

fn flag(members: &Map<String, Value>, name: &str) -> Result<Option<bool>, Error> {
    match members::non_null(members, name) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(invalid(format!("{name} must be true or false"))),
    }
}

pub(super) fn object<'a>(value: &'a Value, what: &str) -> Result<&'a Map<String, Value>, Error> {
    value
        .as_object()
        .ok_or_else(|| invalid(format!("{what} must be an object")))
}

pub(super) fn invalid(detail: impl Into<String>) -> Error {
    Error::argument_invalid(detail)
}

/// The same refusal, with the place it is about.
fn within(mut error: Error, place: &str) -> Error {
    error.detail = format!("{place}: {}", error.message());
    error
}
