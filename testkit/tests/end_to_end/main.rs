//! The hub with its own clients and with raw MQTT, end to end in one process.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod back_end;
mod c2d;
mod certificates;
mod connections;
mod determinism;
mod events;
mod expectations;
mod faults;
mod hostile;
mod https;
mod isolation;
mod jobs;
mod methods;
mod quickstart;
mod routing;
mod side_by_side;
mod support;
mod telemetry;
mod time;
mod twins;
