//! What goes over the wire by AMQP, and what becomes of a lost connection: against a peer that says
//! what it is told to.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod clock;
mod events;
mod messages;
mod peer;
mod queues;
mod tokens;
