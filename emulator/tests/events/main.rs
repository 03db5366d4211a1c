//! The Event Hubs-compatible endpoint, over a socket, with the project's own half of the protocol as
//! the client (`spec/amqp.md` 6).
#![allow(clippy::unwrap_used, reason = "a test says what it needs")]

mod client;
mod management;
mod readers;
mod reading;
mod redirect;
