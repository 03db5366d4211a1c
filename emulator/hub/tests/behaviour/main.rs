//! What the hub does, one behaviour per test, seen from outside; a file for each module of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod access;
mod audience;
mod authorities;
mod bulk;
mod c2d;
mod census;
mod configurations;
mod consumers;
mod deployments;
mod digital_twins;
mod edge;
mod feedback;
mod file_notifications;
#[path = "../fixture/mod.rs"]
mod fixture;
mod jobs;
mod keys;
mod lifecycle;
mod methods;
mod notices;
mod query;
mod registry;
mod registry_jobs;
mod route_conditions;
mod routing;
mod sessions;
mod telemetry;
mod throttles;
mod twins;
mod upcoming;
mod uploads;
