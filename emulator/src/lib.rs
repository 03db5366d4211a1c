//! A local Azure IoT Hub.
//!
//! This crate is the process: listeners, endpoints, store, clock. What the hub decides is in
//! `iothub-hub`, what is on the wire in `iothub-protocol`. [`Emulator`] is the entry point.

pub mod activity;
pub mod amqp;
pub mod blobs;
pub mod certificates;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
pub mod config;
pub mod doctor;
pub mod emulator;
pub mod faults;
pub mod handle;
mod hex;
pub mod http;
pub mod mailbox;
pub mod metrics;
pub mod mqtt;
#[cfg(feature = "observer")]
pub mod observer;
pub mod otlp;
pub mod registry_jobs;
pub mod routes;
pub mod secret;
pub mod settings;
pub mod stats;
pub mod store;
pub mod throttling;
pub mod timeline;
pub mod transport;
mod workers;

pub use config::Config;
pub use emulator::{Emulator, Ports};
pub use handle::HubHandle;
pub use settings::Setting;
