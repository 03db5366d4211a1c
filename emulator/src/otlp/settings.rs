//! Where the collector is, and what it is told about who sends.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::uri::{Scheme, Uri};
use percent_encoding::percent_decode_str;

/// Where to send traces and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpSettings {
    /// Where traces go.
    pub(super) traces: Uri,
    /// Where metrics go.
    pub(super) metrics: Uri,
    /// Sent with each request, such as the key of a collector.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// What this emulator is called.
    pub(super) service_name: String,
    /// What else is told of it.
    pub(super) attributes: Vec<(String, String)>,
    /// How often metrics are sent.
    pub(super) interval: Duration,
}

/// Why a setting makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSetting(String);

/// What the emulator is called unless set otherwise.
pub const SERVICE_NAME: &str = "iothub-emulator";

impl OtlpSettings {
    /// To the collector at this base URL, such as `http://127.0.0.1:4318`.
    pub fn to(endpoint: &str) -> Result<Self, InvalidSetting> {
        let base = endpoint.trim_end_matches('/');
        let uri = |path: &str| {
            let text = format!("{base}/v1/{path}");
            let uri: Uri = text
                .parse()
                .map_err(|error| InvalidSetting(format!("{endpoint:?} is no URL: {error}")))?;
            if uri.scheme() != Some(&Scheme::HTTP) || uri.host().is_none_or(str::is_empty) {
                return Err(InvalidSetting(format!(
                    "{endpoint:?}: expected http://HOST[:PORT], the address of a collector that \
                     speaks OTLP over HTTP in the clear"
                )));
            }
            Ok(uri)
        };
        Ok(Self {
            traces: uri("traces")?,
            metrics: uri("metrics")?,
            headers: Vec::new(),
            service_name: SERVICE_NAME.into(),
            attributes: Vec::new(),
            interval: Duration::from_secs(60),
        })
    }

    /// With these headers.
    pub fn with_headers(mut self, pairs: Vec<(String, String)>) -> Result<Self, InvalidSetting> {
        for (name, value) in pairs {
            let header = name.parse::<HeaderName>().ok().zip(value.parse().ok());
            let header = header
                .ok_or_else(|| InvalidSetting(format!("{name:?} makes no header of HTTP")))?;
            self.headers.push(header);
        }
        Ok(self)
    }

    /// Under another name.
    #[must_use]
    pub fn named(mut self, service_name: impl Into<String>) -> Self {
        self.service_name = service_name.into();
        self
    }

    /// With these attributes of the sender.
    #[must_use]
    pub fn with_attributes(mut self, attributes: Vec<(String, String)>) -> Self {
        self.attributes = attributes;
        self
    }

    /// With metrics so often; no more often than ten times a second.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(100));
        self
    }
}

/// `name=value,name=value`, the values percent-encoded, as OpenTelemetry's variables have it.
pub fn parse_pairs(text: &str) -> Result<Vec<(String, String)>, InvalidSetting> {
    text.split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair
                .split_once('=')
                .filter(|(name, _)| !name.trim().is_empty())
                .ok_or_else(|| InvalidSetting(format!("{pair:?}: expected NAME=VALUE")))?;
            let value = percent_decode_str(value.trim()).decode_utf8_lossy();
            Ok((name.trim().to_owned(), value.into_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_gets_the_paths_of_the_protocol() {
        for text in ["http://collector:4318", "http://collector:4318/"] {
            let settings = OtlpSettings::to(text).unwrap();

            assert_eq!(settings.traces, "http://collector:4318/v1/traces");
            assert_eq!(settings.metrics, "http://collector:4318/v1/metrics");
        }
    }

    #[test]
    fn what_cannot_be_sent_to_is_refused_in_words() {
        for text in [
            "",
            "collector:4318",
            "https://collector",
            "http://",
            "grpc://a b",
        ] {
            let refused = OtlpSettings::to(text).unwrap_err().to_string();
            assert!(refused.contains(&format!("{text:?}")), "{refused}");
        }
    }

    #[test]
    fn pairs_are_split_and_decoded() {
        let pairs = parse_pairs("a=1, b.c = x%20y ,").unwrap();

        let wanted = [("a", "1"), ("b.c", "x y")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(pairs, wanted);
        assert!(parse_pairs("a").is_err());
        assert!(parse_pairs("=a").is_err());
    }
}
