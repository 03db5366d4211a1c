//! Sends traces and metrics to an OpenTelemetry collector, only when one is set: OTLP over HTTP,
//! in its JSON form. The one place from which the emulator connects to anything.

mod collector;
mod document;
mod exporter;
mod settings;

pub(crate) use exporter::run;
pub use settings::{InvalidSetting, OtlpSettings, SERVICE_NAME, parse_pairs};
