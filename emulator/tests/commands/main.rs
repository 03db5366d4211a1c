//! The client commands, each group against a serving binary: what `az` users type, and what they
//! get.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test says what it needs")]

mod auth;
mod az_state;
mod configurations;
mod consumer_groups;
mod devices;
mod digital_twins;
mod identities;
mod jobs;
mod otlp;
mod queries;
mod routes;
mod timeline;
mod tokens;
mod top;
mod twins;

#[path = "../support/served.rs"]
mod served;

/// The words of a command line, split at spaces.
fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// The words of a command line with one more argument that may have spaces.
fn words_and<'a>(line: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&words(line)[..], more].concat()
}
