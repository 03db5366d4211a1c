//! Twins: patch and replace, versions and etags, and telling the device (`spec/service.md` 3,
//! `spec/device.md` 7). The algebra of sections is `iothub_protocol::twin`.

use std::ops::Bound;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use imbl::OrdMap;
use iothub_protocol::configuration::Plan;
use iothub_protocol::registry::{Authentication, IfMatch};
use iothub_protocol::twin::{self, Section, SectionKind, TwinPatch};
use iothub_protocol::{ClientId, DeviceId, Error, ErrorCode, Timestamp};
use serde_json::{Map, Value, json};

use crate::Hub;
use crate::access::{Permission, Principal};
use crate::cx::{Change, Cx, Delivery, Effect, Notice, TwinParts};
use crate::landmarks::Landmarks;
use crate::packed::PackedTwin;
use crate::registry::Identity;
use crate::sessions::{Feature, SessionId};
use crate::telemetry::EventSource;

/// A device's or module's twin.
#[derive(Clone, Debug, PartialEq)]
pub struct Twin {
    /// Whose it is.
    pub client: ClientId,
    /// For the back end's eyes only.
    pub tags: Map<String, Value>,
    /// Written by the back end, read by the device.
    pub desired: Section,
    /// Written by the device, read by the back end.
    pub reported: Section,
    /// Counts every change.
    pub version: u64,
    /// Counts changes of tags and desired properties; the etag is made of it.
    pub etag: u64,
    /// The model that the device said it implements when it connected.
    pub model_id: String,
}

#[derive(Clone, Default)]
pub(crate) struct Twins {
    twins: OrdMap<ClientId, PackedTwin>,
    landmarks: Landmarks,
}

/// What a write does with what is there.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum WriteMode {
    /// Keeps what is not named.
    Merge,
    /// Forgets it.
    Replace,
}

impl Hub {
    /// A twin as the service sees it, and its etag (unquoted).
    ///
    /// Refuses with `DeviceNotFound`, `ModuleNotFound`.
    pub fn twin(&self, caller: &Principal, client: &ClientId) -> Result<(Value, String), Error> {
        caller.require(Permission::ServiceConnect)?;
        self.twin_view(client)
    }

    /// Merges a patch into tags and desired properties.
    ///
    /// Refuses with `DeviceNotFound`, `ModuleNotFound`, `PreconditionFailed`, `ArgumentInvalid`.
    pub fn patch_twin(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        client: &ClientId,
        patch: TwinPatch,
        if_match: &IfMatch,
    ) -> Result<(Value, String), Error> {
        caller.require(Permission::ServiceConnect)?;
        self.write_twin(cx, client, patch, if_match, WriteMode::Merge)?;
        self.twin_view(client)
    }

    /// Replaces tags and desired properties, those of the two that are given.
    ///
    /// Refusals as [`Hub::patch_twin`].
    pub fn replace_twin(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        client: &ClientId,
        twin: TwinPatch,
        if_match: &IfMatch,
    ) -> Result<(Value, String), Error> {
        caller.require(Permission::ServiceConnect)?;
        self.write_twin(cx, client, twin, if_match, WriteMode::Replace)?;
        self.twin_view(client)
    }

    /// The twin as its own device sees it: JSON text of desired and reported with `$version`
    /// (`spec/device.md` 7.3).
    pub fn own_twin(&mut self, cx: &mut Cx<'_>, session: SessionId) -> Result<Bytes, Error> {
        let state = self.sessions.require(session)?;
        state.last_activity = cx.now();
        Ok(self.twins.require(&state.client)?.device_text().into())
    }

    /// Merges a patch into the session's own reported properties; answers their new version.
    ///
    /// Refuses with `ArgumentInvalid`, and with `PreconditionFailed` when `if_version` is not the
    /// current one (`spec/device.md` 7.5).
    pub fn patch_reported(
        &mut self,
        cx: &mut Cx<'_>,
        session: SessionId,
        patch: &Map<String, Value>,
        if_version: Option<u64>,
    ) -> Result<u64, Error> {
        let client = self.sessions.require(session)?.client.clone();
        let mut twin = self.twins.read(&client)?;
        if let Some(wanted) = if_version
            && wanted != twin.reported.version
        {
            let current = twin.reported.version;
            let detail = format!("reported properties are at version {current}, not {wanted}");
            return Err(Error::new(ErrorCode::PreconditionFailed, detail));
        }
        patch_section(
            &mut twin.reported,
            SectionKind::Reported,
            patch,
            WriteMode::Merge,
            cx.now(),
        )?;
        self.sessions.require(session)?.last_activity = cx.now();
        twin.version += 1;
        let version = twin.reported.version;
        let twin = self.store_twin(cx, twin);
        let written = TwinParts {
            reported: true,
            ..TwinParts::default()
        };
        cx.notice(Notice::TwinChanged { twin, written });
        self.reported_written(cx, &client, patch);
        self.configure(cx, &client);
        Ok(version)
    }

    pub(crate) fn create_twin(&mut self, cx: &mut Cx<'_>, client: ClientId) {
        self.store_twin(cx, Twin::new(client));
    }

    /// Writes what a patch or replacement asks for, without a look at permissions.
    pub(crate) fn write_twin(
        &mut self,
        cx: &mut Cx<'_>,
        client: &ClientId,
        patch: TwinPatch,
        if_match: &IfMatch,
        mode: WriteMode,
    ) -> Result<(), Error> {
        self.registry.require(client)?;
        let old = self.twins.require(client)?;
        let etag = etag_text(old.etag());
        if !if_match.matches(&etag) {
            return Err(Error::precondition_failed(&etag));
        }
        if patch == TwinPatch::default() {
            return Ok(());
        }
        let told = self
            .routes_want(EventSource::TwinChange)
            .then(|| patch.clone());
        let mut twin = old.unpack(client.clone());
        let has_tags = patch.tags.is_some();
        if let Some(tags) = patch.tags {
            let (tags, mode) = or_cleared(tags, mode);
            patch_tags(&mut twin.tags, &tags, mode)?;
        }
        let written = TwinParts {
            tags: has_tags,
            desired: patch.desired.is_some(),
            reported: false,
        };
        let mut notify = None;
        if let Some(desired) = patch.desired {
            let (desired, mode) = or_cleared(desired, mode);
            patch_section(
                &mut twin.desired,
                SectionKind::Desired,
                &desired,
                mode,
                cx.now(),
            )?;
            // A replacement is told as a whole, as it turned out (`spec/device.md` 7.4).
            notify = Some(match mode {
                WriteMode::Merge => desired,
                WriteMode::Replace => twin.desired.value.clone(),
            });
        }
        twin.version += 1;
        twin.etag += 1;
        if let Some(patch) = notify {
            self.tell_desired(cx, &twin, patch);
        }
        let twin = self.store_twin(cx, twin);
        cx.notice(Notice::TwinChanged { twin, written });
        if let Some(patch) = told {
            self.twin_written(cx, client, &patch, mode);
        }
        // Whom a configuration targets does not depend on desired properties.
        if has_tags {
            self.configure(cx, client);
        }
        Ok(())
    }

    /// Merges what configurations want into the desired properties, and tells the device as of any
    /// change (`spec/service.md` 7).
    pub(crate) fn write_configured(
        &mut self,
        cx: &mut Cx<'_>,
        client: &ClientId,
        plan: &Plan,
    ) -> Result<(), Error> {
        let mut twin = self.twins.read(client)?;
        let (kind, mode) = (SectionKind::Desired, WriteMode::Merge);
        patch_section(&mut twin.desired, kind, &plan.patch, mode, cx.now())?;
        plan.sign(&mut twin.desired.metadata);
        twin.version += 1;
        twin.etag += 1;
        self.tell_desired(cx, &twin, plan.patch.clone());
        let twin = self.store_twin(cx, twin);
        let written = TwinParts {
            desired: true,
            ..TwinParts::default()
        };
        cx.notice(Notice::TwinChanged { twin, written });
        if self.routes_want(EventSource::TwinChange) {
            let patch = TwinPatch {
                tags: None,
                desired: Some(Some(plan.patch.clone())),
            };
            self.twin_written(cx, client, &patch, mode);
        }
        Ok(())
    }

    /// Records the model that a device says it implements; each connect decides anew
    /// (`spec/device.md` 15).
    pub(crate) fn set_model_id(&mut self, cx: &mut Cx<'_>, client: &ClientId, model_id: &str) {
        if let Ok(old) = self.twins.require(client)
            && old.model_id() != model_id
        {
            let twin = Twin {
                model_id: model_id.into(),
                ..old.unpack(client.clone())
            };
            self.store_twin(cx, twin);
            self.configure(cx, client);
        }
    }

    fn tell_desired(&self, cx: &mut Cx<'_>, twin: &Twin, mut patch: Map<String, Value>) {
        let Some((session, state)) = self.sessions.find(&twin.client) else {
            return;
        };
        if state.subscriptions.get(Feature::DesiredChanges).is_none() {
            return;
        }
        let version = twin.desired.version;
        patch.insert("$version".into(), version.into());
        let patch = Value::Object(patch).to_string().into();
        cx.emit(Effect::Deliver(
            session,
            Delivery::DesiredChanged { version, patch },
        ));
    }

    fn store_twin(&mut self, cx: &mut Cx<'_>, twin: Twin) -> Arc<Twin> {
        let packed = PackedTwin::pack(&twin);
        let before = self.twins.put(&twin.client, packed.clone());
        cx.change(Change::PutTwin(twin.client.clone(), packed));
        if let Some(before) = before {
            self.digital_twin_written(cx, &before, &twin);
        }
        Arc::new(twin)
    }

    fn twin_view(&self, client: &ClientId) -> Result<(Value, String), Error> {
        let identity = self.registry.require(client)?;
        let twin = self.twins.read(client)?;
        let present = self.sessions.find(client);
        let present = present.map(|(_, state)| state.last_activity);
        let etag = etag_text(twin.etag);
        Ok((self.twin_document(identity, twin, present), etag))
    }

    /// The document of a twin, whose client is connected when it is `present`: since its last
    /// activity then.
    pub(crate) fn twin_document(
        &self,
        identity: &Identity,
        twin: Twin,
        present: Option<Timestamp>,
    ) -> Value {
        let last_activity = present.unwrap_or(identity.last_activity);
        let waiting = self.c2d.count(&identity.client);
        let mut document = document(identity, twin, present.is_some(), last_activity, waiting);
        if let Some(configurations) = self.configuration_status(&identity.client) {
            document["configurations"] = Value::Object(configurations);
        }
        document
    }
}

impl Twin {
    /// A fresh twin as captured (`spec/service.md` 3.1): version 2, etag 1.
    pub(crate) fn new(client: ClientId) -> Self {
        let section = Section::new(Timestamp::NEVER);
        Self {
            client,
            tags: Map::new(),
            desired: section.clone(),
            reported: section,
            version: 2,
            etag: 1,
            model_id: String::new(),
        }
    }
}

impl Twins {
    /// Every twin as it is now; costs the same whatever their number.
    pub(crate) fn snapshot(&self) -> OrdMap<ClientId, PackedTwin> {
        self.twins.clone()
    }

    /// Twins in order of their clients.
    pub(crate) fn range(
        &self,
        range: (Bound<ClientId>, Bound<ClientId>),
    ) -> impl Iterator<Item = (&ClientId, &PackedTwin)> {
        self.twins.range(range)
    }

    /// A device's twin and those of its modules.
    pub(crate) fn family(
        &self,
        device: &DeviceId,
    ) -> impl Iterator<Item = (&ClientId, &PackedTwin)> + use<'_> {
        let device = device.clone();
        let start = Bound::Included(ClientId::device(device.clone()));
        self.range((start, Bound::Unbounded))
            .take_while(move |(client, _)| client.device == device)
    }

    /// Answers what was there before.
    pub(crate) fn put(&mut self, client: &ClientId, twin: PackedTwin) -> Option<PackedTwin> {
        let before = self.twins.insert(client.clone(), twin);
        if before.is_none() {
            self.landmarks.add(client);
        }
        before
    }

    pub(crate) fn remove(&mut self, client: &ClientId) {
        self.twins.remove(client);
        self.landmarks.remove(client);
    }

    /// Where all of them can be divided.
    pub(crate) fn landmarks(&self) -> &Landmarks {
        &self.landmarks
    }

    pub(crate) fn find(&self, client: &ClientId) -> Option<&PackedTwin> {
        self.twins.get(client)
    }

    pub(crate) fn require(&self, client: &ClientId) -> Result<&PackedTwin, Error> {
        self.twins
            .get(client)
            .ok_or_else(|| Error::client_not_found(client))
    }

    /// The twin, to be looked at as a whole or to be changed.
    pub(crate) fn read(&self, client: &ClientId) -> Result<Twin, Error> {
        Ok(self.require(client)?.unpack(client.clone()))
    }
}

/// `null` in place of a whole section empties it.
fn or_cleared(
    given: Option<Map<String, Value>>,
    mode: WriteMode,
) -> (Map<String, Value>, WriteMode) {
    match given {
        Some(map) => (map, mode),
        None => (Map::new(), WriteMode::Replace),
    }
}

fn patch_tags(
    tags: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    mode: WriteMode,
) -> Result<(), Error> {
    twin::validate(SectionKind::Tags, patch)?;
    let before = twin::size(tags);
    if mode == WriteMode::Replace {
        tags.clear();
    }
    twin::merge(tags, patch);
    twin::check_growth(SectionKind::Tags, before, twin::size(tags))
}

pub(crate) fn patch_section(
    section: &mut Section,
    kind: SectionKind,
    patch: &Map<String, Value>,
    mode: WriteMode,
    now: Timestamp,
) -> Result<(), Error> {
    twin::validate(kind, patch)?;
    let before = twin::size(&section.value);
    match mode {
        WriteMode::Merge => section.patch(patch, now),
        WriteMode::Replace => section.replace(patch, now),
    }
    twin::check_growth(kind, before, twin::size(&section.value))
}

/// Base64 of the counter's eight bytes: `AAAAAAAAAAE=` is the first (`spec/service.md` 0.5).
pub(crate) fn etag_text(etag: u64) -> String {
    STANDARD.encode(etag.to_be_bytes())
}

/// How a twin says that its client authenticates: system modules do not.
pub(crate) fn authentication_type(identity: &Identity) -> &'static str {
    match &identity.client.module {
        Some(module) if module.is_system() => "none",
        _ => identity.authentication.type_name(),
    }
}

/// What a twin tells of its client's certificates; the members are there also when there are none.
pub(crate) fn thumbprints(identity: &Identity) -> Value {
    let (primary, secondary) = match &identity.authentication {
        Authentication::SelfSigned { primary, secondary } => {
            (Some(primary.as_str()), secondary.as_deref())
        }
        Authentication::Sas { .. }
        | Authentication::CertificateAuthority
        | Authentication::None => (None, None),
    };
    json!({"primaryThumbprint": primary, "secondaryThumbprint": secondary})
}

/// The document of `spec/service.md` 3.1, in its order.
fn document(
    identity: &Identity,
    twin: Twin,
    connected: bool,
    last_activity: Timestamp,
    waiting: u64,
) -> Value {
    let is_device = identity.client.module.is_none();
    let mut document = Map::new();
    let mut put = |name: &str, value: Value| {
        document.insert(name.to_owned(), value);
    };
    put("deviceId", identity.client.device.as_str().into());
    if let Some(module) = &identity.client.module {
        put("moduleId", module.as_str().into());
    }
    put("etag", etag_text(twin.etag).into());
    put("deviceEtag", identity.etag.as_str().into());
    put("status", identity.status.as_str().into());
    if let Some(reason) = &identity.status_reason {
        put("statusReason", reason.as_str().into());
    }
    put("statusUpdateTime", identity.status_updated.to_iso().into());
    put(
        "connectionState",
        if connected {
            "Connected"
        } else {
            "Disconnected"
        }
        .into(),
    );
    put("lastActivityTime", last_activity.to_iso().into());
    put("cloudToDeviceMessageCount", waiting.into());
    put("authenticationType", authentication_type(identity).into());
    put("x509Thumbprint", thumbprints(identity));
    put("modelId", twin.model_id.into());
    put("version", twin.version.into());
    if !twin.tags.is_empty() {
        put("tags", Value::Object(twin.tags));
    }
    put(
        "properties",
        json!({
            "desired": twin.desired.into_service_json(SectionKind::Desired),
            "reported": twin.reported.into_service_json(SectionKind::Reported),
        }),
    );
    if is_device {
        put("capabilities", json!({"iotEdge": identity.iot_edge}));
        if let Some(scope) = &identity.device_scope {
            put("deviceScope", scope.as_str().into());
        }
        put("parentScopes", json!(identity.parent_scopes));
    }
    Value::Object(document)
}
