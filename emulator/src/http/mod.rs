//! The service endpoint (REST) and the control API, over HTTP/1.1 (`spec/service.md` 0 to 4).
//!
//! [`Endpoint::serve`] is the entry point: one call per connection. `route` says what a path
//! means, `service` does what a back end asks for, `control` what the people who run the emulator
//! ask for, `websocket` hands a connection over to MQTT. Nothing here decides anything about
//! devices: that is the hub's.

mod answer;
mod auth;
mod body;
mod control;
mod endpoint;
mod error;
mod request_id;
mod route;
mod service;
mod websocket;

pub use control::Info;
pub use endpoint::Endpoint;
