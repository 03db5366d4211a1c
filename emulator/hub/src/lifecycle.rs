//! Events about what happens to identities, twins, connections and jobs (`spec/device.md` 16.3,
//! `spec/service.md` 13). One is made only when a route wants its kind: otherwise each of these
//! operations asks one question and is done.

mod difference;

use std::sync::Arc;

use iothub_protocol::digital_twin;
use iothub_protocol::property_bag::{PropertyBag, SystemProperty};
use iothub_protocol::twin::{Section, SectionKind, TwinPatch};
use iothub_protocol::{ClientId, Message};
use serde_json::{Map, Value, json};

use crate::Hub;
use crate::access::{AuthMethod, AuthScope, AuthType};
use crate::cx::{Change, Cx};
use crate::jobs::JobId;
use crate::packed::PackedTwin;
use crate::sessions::SessionId;
use crate::telemetry::{EventSource, Origin};
use crate::twins::{Twin, WriteMode, etag_text};

/// What happened, as an event tells it.
struct Happening {
    source: EventSource,
    schema: &'static str,
    /// What was done: application property `opType`.
    operation: &'static str,
    content_type: &'static str,
    body: Value,
    /// The twin that conditions see, when it is not the one that is there now.
    twin: Option<PackedTwin>,
}

impl Happening {
    fn new(source: EventSource, operation: &'static str, body: Value) -> Self {
        Self {
            source,
            schema: match source {
                EventSource::Telemetry => "",
                EventSource::DeviceLifecycle => "deviceLifecycleNotification",
                EventSource::TwinChange => "twinChangeNotification",
                EventSource::ConnectionState => "deviceConnectionStateNotification",
                EventSource::JobLifecycle => "deviceJobLifecycleNotification",
                EventSource::DigitalTwinChange => "digitalTwinChangeNotification",
            },
            operation,
            content_type: "application/json",
            body,
            twin: None,
        }
    }
}

impl Hub {
    /// An identity and its twin have been made.
    pub(crate) fn identity_created(&mut self, cx: &mut Cx<'_>, client: &ClientId) {
        if !self.routes_want(EventSource::DeviceLifecycle) {
            return;
        }
        if let Ok(twin) = self.twins.read(client) {
            let body = whole(&twin);
            let source = EventSource::DeviceLifecycle;
            let happening = Happening::new(source, "createDeviceIdentity", body);
            self.tell(cx, client, happening);
        }
    }

    /// An identity and its twin are about to go.
    pub(crate) fn identity_deleted(&mut self, cx: &mut Cx<'_>, client: &ClientId) {
        if !self.routes_want(EventSource::DeviceLifecycle) {
            return;
        }
        if let Some(twin) = self.twins.find(client).cloned() {
            let source = EventSource::DeviceLifecycle;
            let mut happening = Happening::new(
                source,
                "deleteDeviceIdentity",
                whole(&twin.unpack(client.clone())),
            );
            happening.twin = Some(twin);
            self.tell(cx, client, happening);
        }
    }

    /// A back end has written tags and desired properties: what it wrote, and how.
    pub(crate) fn twin_written(
        &mut self,
        cx: &mut Cx<'_>,
        client: &ClientId,
        patch: &TwinPatch,
        mode: WriteMode,
    ) {
        if !self.routes_want(EventSource::TwinChange) {
            return;
        }
        let Ok(twin) = self.twins.read(client) else {
            return;
        };
        let happening = match mode {
            WriteMode::Replace => {
                Happening::new(EventSource::TwinChange, "replaceTwin", whole(&twin))
            }
            WriteMode::Merge => {
                let mut body = Map::new();
                body.insert("version".into(), twin.version.into());
                let none = Map::new();
                if let Some(tags) = &patch.tags {
                    let tags = tags.as_ref().unwrap_or(&none);
                    body.insert("tags".into(), Value::Object(tags.clone()));
                }
                if let Some(desired) = &patch.desired {
                    let desired = desired.as_ref().unwrap_or(&none);
                    let changed = changed(&twin.desired, desired, SectionKind::Desired);
                    body.insert("properties".into(), json!({"desired": changed}));
                }
                Happening::new(EventSource::TwinChange, "updateTwin", Value::Object(body))
            }
        };
        self.tell(cx, client, happening);
    }

    /// A client has written reported properties.
    pub(crate) fn reported_written(
        &mut self,
        cx: &mut Cx<'_>,
        client: &ClientId,
        patch: &Map<String, Value>,
    ) {
        if !self.routes_want(EventSource::TwinChange) {
            return;
        }
        if let Ok(twin) = self.twins.read(client) {
            let changed = changed(&twin.reported, patch, SectionKind::Reported);
            let body = json!({"version": twin.version, "properties": {"reported": changed}});
            let happening = Happening::new(EventSource::TwinChange, "updateTwin", body);
            self.tell(cx, client, happening);
        }
    }

    /// A session has been used for the first time, which is when the real hub takes note of a
    /// connection; later uses change nothing.
    pub(crate) fn connection_used(&mut self, cx: &mut Cx<'_>, session: SessionId) {
        let Ok(state) = self.sessions.require(session) else {
            return;
        };
        if !std::mem::replace(&mut state.used, true) {
            let client = state.client.clone();
            self.connection_changed(cx, &client, "deviceConnected");
        }
    }

    /// A connection that had been used has ended.
    pub(crate) fn connection_ended(&mut self, cx: &mut Cx<'_>, client: &ClientId) {
        self.connection_changed(cx, client, "deviceDisconnected");
    }

    /// A job has begun or done something to a device or module. The event shows what a query of
    /// `devices.jobs` does: inferred, no documentation shows one.
    pub(crate) fn device_job_changed(&mut self, cx: &mut Cx<'_>, job: &JobId, client: &ClientId) {
        if !self.routes_want(EventSource::JobLifecycle) {
            return;
        }
        if let Some(row) = self.jobs.device_job(job, client) {
            let happening = Happening::new(EventSource::JobLifecycle, "updateDeviceJob", row);
            self.tell(cx, client, happening);
        }
    }

    /// A twin has been written: what that changes of the digital twin of a device that has a model.
    pub(crate) fn digital_twin_written(
        &mut self,
        cx: &mut Cx<'_>,
        before: &PackedTwin,
        after: &Twin,
    ) {
        let has_model = after.client.module.is_none() && !after.model_id.is_empty();
        if !has_model || !self.routes_want(EventSource::DigitalTwinChange) {
            return;
        }
        let view = |twin: &Twin| {
            let device = &twin.client.device;
            digital_twin::document(device, &twin.model_id, &twin.desired, &twin.reported)
        };
        let before = before.unpack(after.client.clone());
        let (Value::Object(before), Value::Object(view)) = (view(&before), view(after)) else {
            return;
        };
        let mut patch = difference::difference(&before, &view);
        for operation in &mut patch {
            // As documented, also for a device that had not said it before.
            if operation["path"] == "/$metadata/$model" && operation["op"] == "add" {
                operation["op"] = "replace".into();
            }
        }
        if patch.is_empty() {
            return;
        }
        let source = EventSource::DigitalTwinChange;
        let mut happening = Happening::new(source, "updateDigitalTwin", Value::Array(patch));
        happening.content_type = "application/json-patch+json";
        self.tell(cx, &after.client, happening);
    }

    fn connection_changed(&mut self, cx: &mut Cx<'_>, client: &ClientId, what: &'static str) {
        if !self.routes_want(EventSource::ConnectionState) {
            return;
        }
        let partition = self.partition_of(&client.device);
        let number = self.next_connection_sequence(cx, partition);
        let body = json!({"sequenceNumber": number});
        let happening = Happening::new(EventSource::ConnectionState, what, body);
        self.tell(cx, client, happening);
    }

    /// Makes the event and sends it the way of its routes.
    fn tell(&mut self, cx: &mut Cx<'_>, client: &ClientId, happening: Happening) {
        let mut properties = PropertyBag::new();
        let correlation = self.entropy.hex(6);
        for (property, value) in [
            (SystemProperty::CorrelationId, correlation.as_str()),
            (SystemProperty::UserId, &self.config.name),
            (SystemProperty::ContentType, happening.content_type),
            (SystemProperty::ContentEncoding, "utf-8"),
        ] {
            properties.push_system(property, value);
        }
        properties.push("hubName", &self.config.name);
        properties.push("deviceId", client.device.as_str());
        if let Some(module) = &client.module {
            properties.push("moduleId", module.as_str());
        }
        properties.push("operationTimestamp", &cx.now().to_iso());
        properties.push("opType", happening.operation);
        properties.push("iothub-message-schema", happening.schema);
        let identity = self.registry.find(client);
        let origin = Arc::new(Origin {
            client: client.clone(),
            generation: identity.map_or_else(|| "".into(), |it| it.generation.clone()),
            // Not shown: nobody's credential stands behind what the hub says itself.
            auth_method: AuthMethod {
                scope: AuthScope::Hub,
                kind: AuthType::Sas,
            },
            model_id: None,
        });
        let message = Message {
            properties,
            body: happening.body.to_string().into(),
        };
        let twin = happening.twin;
        self.route(cx, happening.source, &origin, vec![message], twin);
        if let Some(counter) = self.entropy.take_used() {
            cx.change(Change::PutEntropy(counter));
        }
    }
}

/// The twin as events show the whole of it.
fn whole(twin: &Twin) -> Value {
    let mut body = Map::new();
    body.insert("deviceId".into(), twin.client.device.as_str().into());
    if let Some(module) = &twin.client.module {
        body.insert("moduleId".into(), module.as_str().into());
    }
    body.insert("etag".into(), etag_text(twin.etag).into());
    body.insert("version".into(), twin.version.into());
    if !twin.tags.is_empty() {
        body.insert("tags".into(), Value::Object(twin.tags.clone()));
    }
    let desired = twin.desired.to_service_json(SectionKind::Desired);
    let reported = twin.reported.to_service_json(SectionKind::Reported);
    let properties = json!({"desired": desired, "reported": reported});
    body.insert("properties".into(), properties);
    Value::Object(body)
}

/// What was written to a section, with its metadata. What was removed stands as `null`.
fn changed(section: &Section, patch: &Map<String, Value>, kind: SectionKind) -> Value {
    let metadata = section
        .metadata
        .to_json(patch, kind == SectionKind::Desired);
    let mut printed = patch.clone();
    printed.insert("$metadata".into(), metadata);
    printed.insert("$version".into(), section.version.into());
    Value::Object(printed)
}
