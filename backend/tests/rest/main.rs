//! What goes over the wire, and what the answers become: against a server that plays a script.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod basics;
mod configurations;
mod digital_twins;
mod jobs;
mod messages;
mod on_behalf;
mod queries;
mod registry;
mod script;
