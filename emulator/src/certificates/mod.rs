//! The local certificate authority, the server certificate that it signs, and what is read from
//! the certificates that devices present.
//!
//! Knows files, names and validity. Does not judge a device's certificate: the hub compares
//! thumbprints and names itself (`spec/device.md` 11). Start at [`Certificates::load_or_create`].

mod client;
mod directory;
mod issue;
mod server;

pub use client::{AnyClientCertificate, ClientCertificate, Thumbprints};
pub use server::{CertificateError, CertificateOptions, Certificates, KeyType};
