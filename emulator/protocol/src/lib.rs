//! What is on the wire between a device, a back end and an IoT hub.
//!
//! This crate knows identities, tokens, topics, packets, JSON documents and error codes: how they
//! are spelled, parsed and printed. It does not know who holds which state, and it never waits,
//! reads a clock, opens a socket or touches a file.

pub mod amqp;
pub mod configuration;
pub mod connection_string;
pub mod digital_twin;
pub mod error;
pub mod feedback;
pub mod http;
pub mod identity;
pub mod job;
pub mod json;
pub mod message;
pub mod method;
pub mod mqtt;
pub mod pasted;
pub mod property_bag;
pub mod registry;
pub mod sas;
pub mod storage;
pub mod time;
pub mod twin;
pub mod upload;

pub use error::{Error, ErrorCode};
pub use identity::{ClientId, DeviceId, ModuleId};
pub use message::Message;
pub use time::{Clock, Timestamp};
