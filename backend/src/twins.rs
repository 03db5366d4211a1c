//! Device and module twins (`spec/service.md` 3).

use http::Method;
use iothub_protocol::ClientId;
use iothub_protocol::registry::IfMatch;
use serde_json::{Map, Value, json};

use crate::Error;
use crate::document::Document;
use crate::transport::{self, Call, Transport};

/// The twins of a hub's devices and modules, each named as `"d1"` or `"d1/m1"`.
#[derive(Clone, Copy)]
pub struct Twins<'a> {
    transport: &'a Transport,
}

impl<'a> Twins<'a> {
    pub(crate) fn new(transport: &'a Transport) -> Self {
        Self { transport }
    }

    /// The twin as it is.
    pub async fn get(self, client: &(impl ToString + ?Sized)) -> Result<Twin, Error> {
        let client = transport::client_id(client)?;
        self.call(Method::GET, &client, &IfMatch::Absent, None)
            .await
    }

    /// Merges `patch`, which has `tags` and `properties.desired`, into the twin: members that are
    /// null are removed, others replaced. Returns the twin after it.
    pub async fn patch(
        self,
        client: &(impl ToString + ?Sized),
        patch: &Value,
        if_match: &IfMatch,
    ) -> Result<Twin, Error> {
        let client = transport::client_id(client)?;
        self.call(Method::PATCH, &client, if_match, Some(patch))
            .await
    }

    /// Merges `desired` into the desired properties, whatever their state.
    pub async fn patch_desired(
        self,
        client: &(impl ToString + ?Sized),
        desired: &Value,
    ) -> Result<Twin, Error> {
        let patch = json!({"properties": {"desired": desired}});
        self.patch(client, &patch, &IfMatch::Any).await
    }

    /// Replaces the sections that `twin` has: all of `tags`, all of `properties.desired`.
    pub async fn replace(
        self,
        client: &(impl ToString + ?Sized),
        twin: &Value,
        if_match: &IfMatch,
    ) -> Result<Twin, Error> {
        let client = transport::client_id(client)?;
        self.call(Method::PUT, &client, if_match, Some(twin)).await
    }

    async fn call(
        self,
        method: Method,
        client: &ClientId,
        if_match: &IfMatch,
        body: Option<&Value>,
    ) -> Result<Twin, Error> {
        let path = transport::client_path("twins", client, &[]);
        let mut call = Call::new(method, &path).if_match(if_match);
        if let Some(body) = body {
            call = call.json(body);
        }
        Document::read(&self.transport.send(call).await?, "a twin").map(Twin::from)
    }
}

/// A twin document as the hub printed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Twin {
    document: Document,
}

impl Twin {
    /// The device.
    pub fn device_id(&self) -> &str {
        self.document.text("deviceId").unwrap_or_default()
    }

    /// The module, if it is a module's twin.
    pub fn module_id(&self) -> Option<&str> {
        self.document.text("moduleId")
    }

    /// The etag, without quotes: for [`IfMatch::ETag`].
    pub fn etag(&self) -> &str {
        self.document.text("etag").unwrap_or_default()
    }

    /// The version of the whole document.
    pub fn version(&self) -> u64 {
        self.document.member("version").as_u64().unwrap_or_default()
    }

    /// The tags; null when there are none.
    pub fn tags(&self) -> &Value {
        self.document.member("tags")
    }

    /// The desired properties, with `$metadata` and `$version`.
    pub fn desired(&self) -> &Value {
        &self.document.member("properties")["desired"]
    }

    /// The reported properties, with `$metadata` and `$version`.
    pub fn reported(&self) -> &Value {
        &self.document.member("properties")["reported"]
    }

    /// The whole document.
    pub fn as_json(&self) -> &Map<String, Value> {
        &self.document.0
    }

    /// The whole document.
    pub fn into_json(self) -> Value {
        Value::Object(self.document.0)
    }
}

impl From<Document> for Twin {
    fn from(document: Document) -> Self {
        Self { document }
    }
}
