//! The service and device endpoints (REST) and the control API, over HTTP/1.1 (`spec/service.md`,
//! `spec/device.md` 8 and 9).
//!
//! [`Endpoint::serve`] is the entry point: one call per connection. `route` says what a path
//! means and `rest` who answers it: `service` does what a back end asks for, `device` what a
//! device, `blob` what a storage client, `control` what the people who run the emulator ask for,
//! before which stands `guard`, `websocket` hands a connection over to MQTT or AMQP, `dashboard`
//! holds the page that shows it all, `recorded` takes down what is said. Nothing here decides anything about devices: that
//! is the hub's.

mod answer;
mod auth;
mod blob;
mod body;
mod call;
mod control;
mod dashboard;
mod device;
mod endpoint;
mod error;
mod guard;
mod login;
mod message;
mod recorded;
mod request_id;
mod rest;
mod route;
mod service;
mod spelling;
mod websocket;

pub use blob::RESERVED as RESERVED_CONTAINERS;
pub use control::{EventsStrings, Info};
pub use endpoint::Endpoint;
pub use guard::{ControlAccess, Guard, HostPattern, HostPatternError};
