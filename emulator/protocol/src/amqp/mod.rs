//! AMQP 1.0 (OASIS standard of 2012) as IoT Hub and Event Hubs speak it (`spec/amqp.md`).
//!
//! Layers, each knowing only those above it in this list: values and their encoding, performatives,
//! frames, SASL; then [`Connection`], the rules of connections, sessions and links for both peers,
//! which turns bytes into events and calls into bytes and never waits; beside them what travels
//! within: messages, addresses, the selector of event positions, `$cbs` and `$management`.

pub mod address;
pub mod cbs;
pub mod codec;
pub mod connection;
pub mod error;
pub mod frame;
pub mod management;
pub mod mapping;
pub mod message;
pub mod performative;
pub mod sasl;
pub mod selector;
pub mod state;
pub mod value;

pub use connection::{Connection, ConnectionConfig, Event, LinkId, SessionId};
pub use error::AmqpError;
pub use state::DeliveryState;
pub use value::{Array, Map, Symbol, Value};
