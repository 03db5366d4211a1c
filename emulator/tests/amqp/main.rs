//! The AMQP endpoint, frame by frame on a socket.
#![allow(clippy::unwrap_used, reason = "a test says what it needs")]

mod cbs;
mod client;
mod device_c2d;
mod device_methods;
mod device_sessions;
mod device_telemetry;
mod device_throttles;
mod device_twin;
mod events;
mod feedback;
mod file_notifications;
mod hostile;
mod hub;
mod independent;
mod links;
mod matrix;
#[path = "../mqtt/client.rs"]
mod mqtt;
mod open;
mod queues;
mod rest;
mod service_c2d;
mod timeline;
mod wire;

#[path = "../support/watcher.rs"]
mod watcher;
