//! The observer bus as MQTT clients see it, friendly and hostile ones.
#![cfg(feature = "observer")]
#![allow(clippy::unwrap_used, reason = "a test says what it needs")]

mod door;
mod endurance;
mod state;
mod told;
mod world;
