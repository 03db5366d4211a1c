//! The AMQP endpoint, frame by frame on a socket.
#![allow(clippy::unwrap_used, reason = "a test says what it needs")]

mod cbs;
mod client;
mod hostile;
mod hub;
mod links;
mod open;
mod wire;
