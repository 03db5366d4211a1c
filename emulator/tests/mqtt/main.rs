//! The MQTT endpoint, byte by byte on a socket.
#![allow(clippy::unwrap_used, reason = "a test says what it needs")]

mod c2d;
mod choices;
mod client;
mod connect;
mod modules;
mod throttles;
mod timeline;
mod traffic;

#[path = "../support/watcher.rs"]
mod watcher;
