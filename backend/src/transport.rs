//! REST: one request, one answer, over HTTP or HTTPS.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MATCH};
use http::uri::Authority;
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use iothub_protocol::registry::IfMatch;
use iothub_protocol::{ClientId, Clock, http as rest};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio_rustls::rustls::ClientConfig;

use crate::credentials::Credentials;
use crate::{Error, ErrorKind, Refusal};

/// The way to one hub: its address, its connections, and the proof of who asks.
pub(crate) struct Transport {
    base: String,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Absent where no proof is asked for.
    credentials: Option<Credentials>,
    clock: Arc<dyn Clock>,
}

/// A request to be sent; path segments are encoded here and nowhere else.
pub(crate) struct Call {
    method: Method,
    target: String,
    if_match: Option<String>,
    headers: Vec<(String, String)>,
    body: Option<Bytes>,
}

/// The hub's answer, complete.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    /// A request of the REST surface: these segments, and the api-version.
    pub(crate) fn new(method: Method, segments: &[&str]) -> Self {
        let path: String = segments
            .iter()
            .map(|segment| format!("/{}", encode(segment)))
            .collect();
        let target = format!("{path}?api-version={}", rest::API_VERSION);
        Self::to(method, target)
    }

    /// A request of the emulator's control API, or of another host: `target` is encoded already.
    pub(crate) fn to(method: Method, target: String) -> Self {
        Self {
            method,
            target,
            if_match: None,
            headers: Vec::new(),
            body: None,
        }
    }

    /// Adds a query parameter.
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        let separator = if self.target.contains('?') { '&' } else { '?' };
        self.target.push(separator);
        self.target
            .push_str(&format!("{}={}", encode(name), encode(value)));
        self
    }

    /// Adds the condition. Clients send the star with quotes too (`spec/service.md` 2.3).
    pub(crate) fn if_match(mut self, condition: &IfMatch) -> Self {
        self.if_match = match condition {
            IfMatch::Absent => None,
            IfMatch::Any => Some("\"*\"".into()),
            IfMatch::ETag(etag) => Some(format!("\"{etag}\"")),
        };
        self
    }

    /// Adds a header; `content-type` replaces the one that bodies have by themselves.
    pub(crate) fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a header if there is something to say.
    pub(crate) fn header_if(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    /// Adds a JSON body.
    pub(crate) fn json(self, body: &Value) -> Self {
        self.body(body.to_string().into())
    }

    /// Adds a body that is JSON text already.
    pub(crate) fn body(mut self, body: Bytes) -> Self {
        self.body = Some(body);
        self
    }
}

impl Transport {
    pub(crate) fn new(
        base: &str,
        tls: ClientConfig,
        credentials: Option<Credentials>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let authority = base
            .split_once("://")
            .map_or(base, |(_, authority)| authority);
        authority.parse::<Authority>().map_err(|error| {
            let what = format!("not a host with an optional port: {authority:?}");
            Error::caused_by(ErrorKind::Configuration(what), error)
        })?;
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_LIMIT));
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_LIMIT)
            .build(connector);
        Ok(Self {
            base: base.to_owned(),
            client,
            credentials,
            clock,
        })
    }

    /// Sends the request; an answer that is not a success becomes the hub's refusal.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer, Error> {
        let answer = self.send_whatever_comes(call).await?;
        if (200..300).contains(&answer.status) {
            Ok(answer)
        } else {
            Err(answer.refusal())
        }
    }

    /// Sends the request; every answer is an answer.
    pub(crate) async fn send_whatever_comes(&self, call: Call) -> Result<Answer, Error> {
        let credentials = self.credentials.as_ref();
        let token = credentials.map(|credentials| credentials.token(self.clock.now()));
        let response = self.request(call, token.as_deref()).await?;
        Answer::read(response).await
    }

    /// Sends the request; the body of an answer that is a success, to be read as it comes.
    pub(crate) async fn open(&self, call: Call) -> Result<Incoming, Error> {
        let credentials = self.credentials.as_ref();
        let token = credentials.map(|credentials| credentials.token(self.clock.now()));
        let response = self.request(call, token.as_deref()).await?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        Err(Answer::read(response).await?.refusal())
    }

    /// Sends a request without saying who asks. Its target is a path of the hub, or names a host of
    /// its own.
    pub(crate) async fn send_unsigned(&self, call: Call) -> Result<(), Error> {
        let response = match call.target.starts_with('/') {
            true => self.request(call, None).await?,
            false => {
                let uri: Uri = call.target.parse().map_err(|error| {
                    let what = format!("an address that cannot be used: {}", call.target);
                    Error::caused_by(ErrorKind::UnexpectedAnswer(what), error)
                })?;
                let whom = uri.authority().map(ToString::to_string);
                self.dispatch(uri, call, None, &whom.unwrap_or_default())
                    .await?
            }
        };
        let answer = Answer::read(response).await?;
        match answer.status {
            200..300 => Ok(()),
            _ => Err(answer.refusal()),
        }
    }

    /// The hub by its own name, wherever it is reached: what a device calls it, whose token must be
    /// for the host that it speaks to.
    pub(crate) fn hub_host(&self) -> Option<&str> {
        let name = self.credentials.as_ref()?.resource()?;
        Some(without_port(name))
    }

    /// Waits on the clock that tokens are made by.
    pub(crate) async fn sleep(&self, duration: Duration) {
        self.clock.sleep_until(self.clock.now() + duration).await;
    }

    async fn request(&self, call: Call, token: Option<&str>) -> Result<Response<Incoming>, Error> {
        let uri = format!("{}{}", self.base, call.target);
        let uri: Uri = uri.parse().map_err(|error| {
            let what = format!("not a path: {}", call.target);
            Error::caused_by(ErrorKind::Configuration(what), error)
        })?;
        self.dispatch(uri, call, token, &self.base).await
    }

    async fn dispatch(
        &self,
        uri: Uri,
        call: Call,
        token: Option<&str>,
        whom: &str,
    ) -> Result<Response<Incoming>, Error> {
        let mut request = Request::builder().method(call.method).uri(uri);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        if let Some(condition) = &call.if_match {
            request = request.header(IF_MATCH, condition);
        }
        let says_what_it_is =
            |(name, _): &(String, String)| name.eq_ignore_ascii_case(CONTENT_TYPE.as_str());
        if call.body.is_some() && !call.headers.iter().any(says_what_it_is) {
            request = request.header(CONTENT_TYPE, rest::JSON_CONTENT_TYPE);
        }
        for (name, value) in &call.headers {
            // From bytes, since text is not refused for not being ASCII.
            request = request.header(
                name,
                HeaderValue::from_bytes(value.as_bytes()).map_err(unsendable)?,
            );
        }
        let request = request
            .body(Full::new(call.body.unwrap_or_default()))
            .map_err(unsendable)?;
        self.client.request(request).await.map_err(|error| {
            let kind = if error.is_connect() {
                ErrorKind::Unreachable(whom.to_owned())
            } else {
                ErrorKind::Interrupted
            };
            Error::caused_by(kind, error)
        })
    }
}

fn unsendable(error: impl Into<http::Error>) -> Error {
    let what = "a token, an etag or a property has characters that no header can carry".into();
    Error::caused_by(ErrorKind::Configuration(what), error.into())
}

impl Answer {
    async fn read(response: Response<Incoming>) -> Result<Self, Error> {
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_LIMIT)
            .collect()
            .await
            .map_err(|error| Error::caused_by(ErrorKind::Interrupted, error))?
            .to_bytes();
        Ok(Self {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }

    /// A header's value, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The `ETag` header, without its quotes.
    pub(crate) fn etag(&self) -> Option<&str> {
        Some(self.header(ETAG.as_str())?.trim_matches('"'))
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value, Error> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = format!("status {} with a body that is not JSON", self.status);
            Error::caused_by(ErrorKind::UnexpectedAnswer(what), error)
        })
    }

    /// What the hub says no with.
    pub(crate) fn refusal(&self) -> Error {
        let name = self.header(rest::IOTHUB_ERRORCODE);
        let error = rest::parse_error_body(self.status, name, &self.body);
        Error::new(ErrorKind::Refused(Refusal {
            status: self.status,
            code: error.code,
            message: error.message().to_owned(),
        }))
    }
}

/// The client that the text or value names.
pub(crate) fn client_id(client: &(impl ToString + ?Sized)) -> Result<ClientId, Error> {
    let text = client.to_string();
    ClientId::parse(&text).map_err(|_| Error::new(ErrorKind::InvalidId(text)))
}

/// The path of a device or module below `root`, with `tail` behind it.
pub(crate) fn client_path<'a>(
    root: &'a str,
    client: &'a ClientId,
    tail: &[&'a str],
) -> Vec<&'a str> {
    let mut segments = vec![root, client.device.as_str()];
    if let Some(module) = &client.module {
        segments.extend(["modules", module.as_str()]);
    }
    segments.extend(tail);
    segments
}

/// A host without the port that may stand behind it.
pub(crate) fn without_port(host: &str) -> &str {
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// Percent-encodes one path segment or query value: all but unreserved characters.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// A full list of a thousand identities is about one megabyte.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_segments_are_encoded_and_followed_by_the_api_version() {
        let client = client_id("a#b%/m+1").unwrap();
        let call = Call::new(Method::POST, &client_path("twins", &client, &["methods"]));

        assert_eq!(
            call.target,
            "/twins/a%23b%25/modules/m%2B1/methods?api-version=2021-04-12"
        );
    }

    #[test]
    fn query_values_are_encoded() {
        let call = Call::new(Method::GET, &["devices"]).query("top", "a&b");

        assert_eq!(call.target, "/devices?api-version=2021-04-12&top=a%26b");
    }

    #[test]
    fn conditions_are_quoted() {
        let header = |condition| {
            Call::new(Method::PUT, &["devices"])
                .if_match(&condition)
                .if_match
        };

        assert_eq!(header(IfMatch::Absent), None);
        assert_eq!(header(IfMatch::Any).unwrap(), "\"*\"");
        assert_eq!(header(IfMatch::ETag("MA==".into())).unwrap(), "\"MA==\"");
    }

    #[test]
    fn names_that_no_client_has_are_refused() {
        for bad in ["", "a b", "a/b/c"] {
            let error = client_id(bad).err().unwrap();
            assert_eq!(error.kind(), &ErrorKind::InvalidId(bad.into()));
        }
    }
}
