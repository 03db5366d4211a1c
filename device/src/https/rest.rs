//! One request, one answer: the way to the hub over HTTPS, and from it to the blob storage that a
//! file goes to.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use iothub_protocol::{ClientId, Clock, http as rest};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio_rustls::rustls::ClientConfig;

use crate::credentials::Credentials;
use crate::trust::{self, ClientCertificate, Trust, is_untrusted};
use crate::{Error, ErrorKind, Refusal};

/// Where HTTPS is spoken. Connection strings carry no port (`spec/service.md` 10.3).
#[derive(Clone, Debug)]
pub(crate) enum RestAddress {
    /// On this port of the connection string's host.
    HttpsPort(u16),
    /// At `host:port`, whatever host the connection string names.
    Https(String),
    /// At `host:port`, in the clear; only an emulator listens like that.
    Http(String),
}

/// Everything that [`Rest`] is made of.
#[derive(Clone)]
pub(crate) struct RestSettings {
    /// Scheme, host, and port if it is not the scheme's own.
    pub(crate) base: String,
    pub(crate) client: ClientId,
    pub(crate) credentials: Credentials,
    pub(crate) trust: Trust,
    pub(crate) certificate: Option<ClientCertificate>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The way to the hub for one device or module. Connections are kept and used again.
pub(crate) struct Rest {
    settings: RestSettings,
    hub: Hyper,
    /// Made when a file is uploaded first.
    storage: OnceCell<Hyper>,
}

/// A request below the client's own path, which is added here and nowhere else.
pub(crate) struct Call {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: Bytes,
}

/// An answer, complete.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

type Hyper = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

impl RestAddress {
    /// Scheme and authority.
    pub(crate) fn base(&self, host: &str) -> Result<String, Error> {
        let (scheme, authority) = match self {
            Self::HttpsPort(443) => ("https", host.to_owned()),
            Self::HttpsPort(port) => ("https", format!("{host}:{port}")),
            Self::Https(address) => ("https", address.clone()),
            Self::Http(address) => ("http", address.clone()),
        };
        match authority.parse::<Authority>() {
            Ok(_) => Ok(format!("{scheme}://{authority}")),
            Err(error) => {
                let what = format!("not a host with an optional port: {authority:?}");
                Err(Error::caused_by(ErrorKind::Configuration(what), error))
            }
        }
    }
}

impl Call {
    /// A request for these segments below `/devices/{d}[/modules/{m}]`.
    pub(crate) fn new(method: Method, segments: &[&str]) -> Self {
        let path: String = segments
            .iter()
            .map(|segment| format!("/{}", encode(segment)))
            .collect();
        Self {
            method,
            target: format!("{path}?api-version={}", rest::API_VERSION),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// Adds a parameter without a value.
    pub(crate) fn flag(mut self, name: &str) -> Self {
        self.target.push('&');
        self.target.push_str(name);
        self
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &'static str, value: HeaderValue) -> Self {
        self.headers.insert(HeaderName::from_static(name), value);
        self
    }

    /// Adds headers.
    pub(crate) fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Adds a body of this media type.
    pub(crate) fn body(mut self, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        let media_type = HeaderValue::from_static(media_type);
        self.headers.insert(CONTENT_TYPE, media_type);
        self.body = body.into();
        self
    }

    /// Adds a JSON body.
    pub(crate) fn json(self, body: &Value) -> Self {
        self.body(rest::JSON_CONTENT_TYPE, body.to_string())
    }
}

impl Rest {
    pub(crate) fn new(settings: RestSettings) -> Result<Self, Error> {
        let tls = if settings.base.starts_with("https:") {
            let certificate = settings.certificate.as_ref();
            settings.trust.client_config(certificate)?
        } else {
            trust::trusting_nobody()
        };
        Ok(Self {
            hub: hyper_client(&tls),
            storage: OnceCell::new(),
            settings,
        })
    }

    /// Who asks.
    pub(crate) fn client(&self) -> &ClientId {
        &self.settings.client
    }

    /// Asks the hub; an answer that is not a success becomes the hub's refusal.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer, Error> {
        let uri = format!("{}{}{}", self.settings.base, self.path(), call.target);
        let uri: Uri = uri
            .parse()
            .expect("the authority was checked, the rest is encoded");
        let mut request = Request::new(Full::new(call.body));
        *request.method_mut() = call.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = call.headers;
        let password = self
            .settings
            .credentials
            .password(self.settings.clock.now());
        // Who has a certificate shows it in the TLS handshake instead (`spec/device.md` 11).
        if !password.text.is_empty() {
            let mut token = HeaderValue::try_from(password.text).map_err(|error| {
                let what = "the token has characters that no header can carry".into();
                Error::caused_by(ErrorKind::Configuration(what), error)
            })?;
            token.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, token);
        }
        let answer = exchange(&self.hub, request, &self.settings.base).await?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        Err(answer.refusal())
    }

    /// Puts something into the blob storage, whose URL carries its own proof. An answer that is
    /// not a success becomes the storage's refusal.
    pub(crate) async fn put_blob(
        &self,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(), Error> {
        let uri: Uri = url.parse().map_err(|error| {
            let what = "a place for a file whose URL cannot be read".into();
            Error::caused_by(ErrorKind::UnexpectedAnswer(what), error)
        })?;
        let address = uri.authority().map_or(String::new(), Authority::to_string);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let storage = self
            .storage
            .get_or_try_init(async || {
                // The device's certificate is for the hub alone.
                let tls = self.settings.trust.client_config(None)?;
                Ok(hyper_client(&tls))
            })
            .await?;
        let answer = exchange(storage, request, &address).await?;
        if (200..300).contains(&answer.status) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::StorageRefused {
            status: answer.status,
            message: storage_message(&answer),
        }))
    }

    fn path(&self) -> String {
        let ClientId { device, module } = &self.settings.client;
        let device = encode(device.as_str());
        match module {
            None => format!("/devices/{device}"),
            Some(module) => format!("/devices/{device}/modules/{}", encode(module.as_str())),
        }
    }
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value, Error> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = format!("status {} with a body that is not JSON", self.status);
            Error::caused_by(ErrorKind::UnexpectedAnswer(what), error)
        })
    }

    /// The text of a header, if it is there and is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What the hub says no with.
    fn refusal(&self) -> Error {
        let code = self.header(rest::IOTHUB_ERRORCODE);
        let error = rest::parse_error_body(self.status, code, &self.body);
        Error::new(ErrorKind::Refused(Refusal {
            status: self.status,
            code: Some(error.code),
            message: error.message().to_owned(),
        }))
    }
}

/// Percent-encodes one path segment or query value: all but unreserved characters.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

async fn exchange(
    client: &Hyper,
    request: Request<Full<Bytes>>,
    address: &str,
) -> Result<Answer, Error> {
    let response = client.request(request).await.map_err(|error| {
        let kind = if is_untrusted(&error) {
            ErrorKind::Untrusted(address.to_owned())
        } else if error.is_connect() {
            ErrorKind::Unreachable(address.to_owned())
        } else {
            ErrorKind::Interrupted
        };
        Error::caused_by(kind, error)
    })?;
    read(response).await
}

async fn read(response: Response<Incoming>) -> Result<Answer, Error> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_LIMIT)
        .collect()
        .await
        .map_err(|error: Box<dyn StdError + Send + Sync>| {
            Error::caused_by(ErrorKind::Interrupted, Broken(error))
        })?
        .to_bytes();
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body,
    })
}

/// How the reading of an answer ended.
#[derive(Debug)]
struct Broken(Box<dyn StdError + Send + Sync>);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the answer broke off: {}", self.0)
    }
}

impl StdError for Broken {}

fn hyper_client(tls: &ClientConfig) -> Hyper {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_LIMIT));
    tcp.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls.clone())
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_LIMIT)
        .build(connector)
}

/// The code that the storage names, and if it names none, what it said.
fn storage_message(answer: &Answer) -> String {
    const LONGEST: usize = 300;
    match answer.header("x-ms-error-code") {
        Some(code) => code.to_owned(),
        None => String::from_utf8_lossy(&answer.body)
            .chars()
            .take(LONGEST)
            .collect(),
    }
}

const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// More than a cloud-to-device message or any other answer has.
const ANSWER_LIMIT: usize = 1024 * 1024;
