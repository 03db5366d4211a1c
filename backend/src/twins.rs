//! Device and module twins (`spec/service.md` 3).

use http::Method;
use iothub_protocol::ClientId;
use iothub_protocol::registry::IfMatch;
use serde_json::{Map, Value, json};

use crate::transport::{self, Call, Transport};
use crate::{Error, ErrorKind};

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
        match self.transport.send(call).await?.json()? {
            Value::Object(document) => Ok(Twin { document }),
            _ => Err(Error::new(ErrorKind::UnexpectedAnswer(
                "a twin that is no object".into(),
            ))),
        }
    }
}

/// A twin document as the hub printed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Twin {
    document: Map<String, Value>,
}

impl Twin {
    /// The etag, without quotes: for [`IfMatch::ETag`].
    pub fn etag(&self) -> &str {
        self.document
            .get("etag")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The version of the whole document.
    pub fn version(&self) -> u64 {
        self.document
            .get("version")
            .and_then(Value::as_u64)
            .unwrap_or_default()
    }

    /// The tags; null when there are none.
    pub fn tags(&self) -> &Value {
        self.document.get("tags").unwrap_or(&Value::Null)
    }

    /// The desired properties, with `$metadata` and `$version`.
    pub fn desired(&self) -> &Value {
        self.section("desired")
    }

    /// The reported properties, with `$metadata` and `$version`.
    pub fn reported(&self) -> &Value {
        self.section("reported")
    }

    /// The whole document.
    pub fn as_json(&self) -> &Map<String, Value> {
        &self.document
    }

    /// The whole document.
    pub fn into_json(self) -> Value {
        Value::Object(self.document)
    }

    fn section(&self, name: &str) -> &Value {
        let properties = self.document.get("properties").unwrap_or(&Value::Null);
        properties.get(name).unwrap_or(&Value::Null)
    }
}
