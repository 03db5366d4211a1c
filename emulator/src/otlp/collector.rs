//! The way to the collector: one request, one answer, within a time.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::OtlpSettings;

/// How long the collector may take.
const LIMIT: Duration = Duration::from_secs(10);

/// A collector, with what is sent along.
pub(super) struct Collector {
    client: Client<HttpConnector, Full<Bytes>>,
    settings: OtlpSettings,
}

/// Why the collector has not taken something.
#[derive(Debug)]
pub(super) struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Collector {
    pub(super) fn new(settings: OtlpSettings) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(LIMIT));
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            settings,
        }
    }

    pub(super) fn settings(&self) -> &OtlpSettings {
        &self.settings
    }

    pub(super) async fn send_traces(&self, document: &Value) -> Result<(), Failure> {
        self.send(&self.settings.traces, document).await
    }

    pub(super) async fn send_metrics(&self, document: &Value) -> Result<(), Failure> {
        self.send(&self.settings.metrics, document).await
    }

    async fn send(&self, uri: &Uri, document: &Value) -> Result<(), Failure> {
        let mut request = Request::post(uri.clone())
            .body(Full::from(document.to_string()))
            .map_err(|error| Failure(error.to_string()))?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &self.settings.headers {
            headers.insert(name, value.clone());
        }
        let answer = tokio::time::timeout(LIMIT, self.client.request(request));
        match answer.await {
            Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
            Ok(Ok(answer)) => Err(Failure(format!("it answers {}", answer.status()))),
            Ok(Err(error)) => Err(Failure(reason(&error))),
            Err(_) => Err(Failure("it does not answer".into())),
        }
    }
}

/// The innermost cause: what is around it says only that a connection failed.
fn reason(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
