//! The HTTP endpoint, byte by byte, over in-memory pipes and a clock that stands.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "what fails in a test panics, and its modules are nobody's interface"
)]

mod auth;
mod blobs;
mod c2d;
mod certificates;
mod client;
mod configurations;
mod consumer_groups;
mod control;
mod device_telemetry;
mod digital_twins;
mod errors;
mod events;
mod feedback;
mod files;
mod guard;
mod hub;
mod jobs;
mod keys;
mod matrix;
mod methods;
mod metrics;
mod query;
mod queues;
mod registry;
mod registry_jobs;
mod routing;
mod stats;
mod throttles;
mod timeline;
mod transport;
mod twins;
mod views;
