//! What routes would do with a message: the question of `az iot hub message-route test`.

use std::sync::Arc;

use iothub_protocol::property_bag::{PropertyBag, SystemProperty};
use iothub_protocol::twin::{Section, TwinPatch};
use iothub_protocol::{ClientId, DeviceId, Error, ErrorCode, Message, ModuleId, json as members};
use serde_json::{Map, Value, json};

use super::spec::{RoutingSpec, object};
use crate::Hub;
use crate::access::{AuthMethod, AuthScope, AuthType, Permission, Principal};
use crate::cx::Cx;
use crate::packed::PackedTwin;
use crate::query::RouteSubject;
use crate::telemetry::{Event, EventSource, Origin};
use crate::twins::Twin;

impl Hub {
    /// Which routes a message would match and where it would go. Nothing is sent or counted.
    ///
    /// The input is `{"message": {"body": text, "appProperties": {}, "systemProperties": {}},
    /// "routingSource": "DeviceMessages", "routeName": name, "route": {..}, "deviceId": id,
    /// "moduleId": id, "twin": {"tags": {}, "properties": {}}}`, every member of which may be
    /// absent. With `route` only that is held against the message, whatever is set; with
    /// `routeName` only the route of that name. Without `twin` the client's own is looked at.
    ///
    /// Refuses with `InvalidRouteTestInput`, and a bad `route` as [`RoutingSpec::parse`] does.
    pub fn test_routes(
        &self,
        cx: &Cx<'_>,
        caller: &Principal,
        input: &Map<String, Value>,
    ) -> Result<Value, Error> {
        caller.require(Permission::RegistryRead)?;
        let plain = Arc::new(RoutingSpec::default());
        let spec = self.routing.spec.as_ref().unwrap_or(&plain);
        let mut event = self.trial_event(cx, input)?;
        let twin = match members::object(input, "twin")? {
            Some(given) => Some(PackedTwin::pack(&trial_twin(&event.origin.client, given)?)),
            None => self.twins.find(&event.origin.client).cloned(),
        };
        if let Some(route) = members::object(input, "route")? {
            let route = spec.read_route(route)?;
            event.source = route.source;
            let subject = RouteSubject {
                event: &event,
                twin: twin.as_ref(),
            };
            let matched = route.condition.matches(&subject);
            let mut tried = spec.route_json(&route);
            tried["result"] = matched.to_string().into();
            let endpoints = if matched {
                vec![&*spec.endpoints()[route.endpoint].name]
            } else {
                Vec::new()
            };
            return Ok(json!({"routes": [tried], "fallback": false, "endpoints": endpoints}));
        }
        let only = members::string(input, "routeName")?;
        if let Some(name) = only {
            let route = spec.routes.iter().find(|route| *route.name == *name);
            let route = route.ok_or_else(|| bad_input(format!("there is no route {name:?}")))?;
            if members::non_null(input, "routingSource").is_none() {
                event.source = route.source;
            }
        }
        let verdict = spec.judge(&event, twin.as_ref());
        let mut tried = Vec::new();
        for (at, route) in spec.routes.iter().enumerate() {
            let asked = only.is_none_or(|name| *route.name == *name);
            if !asked || route.source != event.source {
                continue;
            }
            let mut route = spec.route_json(route);
            route["result"] = verdict.routes.contains(&at).to_string().into();
            tried.push(route);
        }
        let endpoints = verdict.endpoints();
        let endpoints: Vec<&str> = endpoints.map(|at| &*spec.endpoints()[at].name).collect();
        Ok(json!({"routes": tried, "fallback": verdict.fallback, "endpoints": endpoints}))
    }

    fn trial_event(&self, cx: &Cx<'_>, input: &Map<String, Value>) -> Result<Event, Error> {
        let source = members::string(input, "routingSource")?.unwrap_or("DeviceMessages");
        let source = EventSource::from_route_name(source)
            .ok_or_else(|| bad_input(format!("routingSource {source:?}")))?;
        let none = Map::new();
        let given = members::object(input, "message")?.unwrap_or(&none);
        let mut message = Message {
            properties: PropertyBag::new(),
            body: body(given)?,
        };
        let mut device = members::string(input, "deviceId")?.unwrap_or("device");
        let mut module = members::string(input, "moduleId")?;
        if let Some(system) = members::object(given, "systemProperties")? {
            for (name, value) in system {
                let value = text(name, value)?;
                match name.trim_start_matches('$') {
                    "connectionDeviceId" => device = value,
                    "connectionModuleId" => module = Some(value),
                    name => {
                        let property = system_property(name)
                            .ok_or_else(|| bad_input(format!("system property {name:?}")))?;
                        message.properties.push_system(property, value);
                    }
                }
            }
        }
        if let Some(application) = members::object(given, "appProperties")? {
            for (name, value) in application {
                message.properties.push(name, text(name, value)?);
            }
        }
        let device = DeviceId::parse(device).map_err(|error| bad_input(error.to_string()))?;
        let module = match module.filter(|id| !id.is_empty()) {
            None => None,
            Some(id) => Some(ModuleId::parse(id).map_err(|error| bad_input(error.to_string()))?),
        };
        let client = ClientId { device, module };
        let identity = self.registry.find(&client);
        let origin = Origin {
            generation: identity.map_or_else(|| "0".into(), |it| it.generation.clone()),
            auth_method: AuthMethod {
                scope: AuthScope::Device,
                kind: AuthType::Sas,
            },
            model_id: None,
            client,
        };
        Ok(Event {
            partition: self.partition_of(&origin.client.device),
            sequence: 0,
            offset: 0,
            enqueued: cx.now(),
            source,
            origin: Arc::new(origin),
            message,
        })
    }
}

/// A string as it is; other JSON, as a convenience, as its text.
fn body(message: &Map<String, Value>) -> Result<bytes::Bytes, Error> {
    Ok(match members::non_null(message, "body") {
        None => bytes::Bytes::new(),
        Some(Value::String(text)) => text.clone().into(),
        Some(other) => other.to_string().into(),
    })
}

fn text<'a>(name: &str, value: &'a Value) -> Result<&'a str, Error> {
    value
        .as_str()
        .ok_or_else(|| bad_input(format!("property {name:?} must be a string")))
}

/// By the name in routing conditions or in events.
fn system_property(name: &str) -> Option<SystemProperty> {
    let property = match name {
        "messageId" => SystemProperty::MessageId,
        "correlationId" => SystemProperty::CorrelationId,
        "userId" => SystemProperty::UserId,
        "contentType" => SystemProperty::ContentType,
        "contentEncoding" => SystemProperty::ContentEncoding,
        name => {
            let mut all = SystemProperty::ALL.iter();
            *all.find(|property| property.event_name() == Some(name))?
        }
    };
    Some(property)
}

fn trial_twin(client: &ClientId, given: &Map<String, Value>) -> Result<Twin, Error> {
    let patch = TwinPatch::from_value(&Value::Object(given.clone()))?;
    let mut twin = Twin::new(client.clone());
    twin.tags = patch.tags.flatten().unwrap_or_default();
    set(&mut twin.desired, patch.desired.flatten());
    if let Some(properties) = members::object(given, "properties")?
        && let Some(reported) = members::non_null(properties, "reported")
    {
        set(
            &mut twin.reported,
            Some(object(reported, "reported")?.clone()),
        );
    }
    Ok(twin)
}

fn set(section: &mut Section, value: Option<Map<String, Value>>) {
    section.value = value.unwrap_or_default();
}

fn bad_input(detail: impl Into<String>) -> Error {
    Error::new(ErrorCode::InvalidRouteTestInput, detail)
}
