//! The back end's whole handle against the hub: each group of `Backend` with a device where one is
//! needed.

mod amqp;
mod configurations;
mod digital_twins;
mod files;
mod identities;
mod jobs;
mod messages;
mod queries;
