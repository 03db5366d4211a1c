//! Settings of `serve` about OpenTelemetry. Their variables are those that every program has.

use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::otlp::{OtlpSettings, SERVICE_NAME, parse_pairs};

#[derive(Debug, Args)]
pub(super) struct OtlpArgs {
    /// OpenTelemetry collector that is sent traces and metrics over HTTP, such as
    /// `http://127.0.0.1:4318` [default: nothing is sent].
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// Headers for the collector: NAME=VALUE,NAME=VALUE.
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_HEADERS",
        hide_env_values = true,
        value_name = "PAIRS"
    )]
    otlp_headers: Option<String>,
    /// What the collector is told that this emulator is called.
    #[arg(
        long,
        env = "OTEL_SERVICE_NAME",
        default_value = SERVICE_NAME,
        value_name = "NAME"
    )]
    otlp_service_name: String,
    /// What else the collector is told of it: NAME=VALUE,NAME=VALUE.
    #[arg(long, env = "OTEL_RESOURCE_ATTRIBUTES", value_name = "PAIRS")]
    otlp_attributes: Option<String>,
    /// Milliseconds between two times that the collector is sent metrics.
    #[arg(
        long,
        env = "OTEL_METRIC_EXPORT_INTERVAL",
        default_value_t = 60_000,
        value_name = "MILLISECONDS"
    )]
    otlp_interval: u64,
}

impl OtlpArgs {
    /// The collector that was asked for.
    pub(super) fn settings(&self) -> anyhow::Result<Option<OtlpSettings>> {
        let endpoint = self.otlp_endpoint.as_deref().map(str::trim);
        let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.is_empty()) else {
            return Ok(None);
        };
        let headers = parse_pairs(self.otlp_headers.as_deref().unwrap_or_default())
            .context("--otlp-headers")?;
        let attributes = parse_pairs(self.otlp_attributes.as_deref().unwrap_or_default())
            .context("--otlp-attributes")?;
        let settings = OtlpSettings::to(endpoint)
            .context("--otlp-endpoint")?
            .with_headers(headers)
            .context("--otlp-headers")?
            .with_attributes(attributes)
            .named(&self.otlp_service_name)
            .every(Duration::from_millis(self.otlp_interval));
        Ok(Some(settings))
    }
}
