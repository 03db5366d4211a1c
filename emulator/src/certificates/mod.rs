//! The local certificate authority, the server certificate that it signs, and what is read from
//! the certificates that devices present.
//!
//! Knows files, names, validity and signatures. Does not judge a device's certificate: the hub
//! compares thumbprints and names itself, and says which authorities count (`spec/device.md` 11).
//! Start at [`Certificates::load_or_create`] and [`certificate_facts`].

mod authority;
mod chain;
mod client;
mod description;
mod device;
mod directory;
mod issue;
mod server;

pub use authority::{decode, parse_authority};
pub use chain::certificate_facts;
pub use client::{AnyClientCertificate, ClientCertificate, Thumbprints};
pub use description::{Description, decode_chain, describe};
pub use device::{DeviceAuthority, Issued, Validity, self_signed};
pub use server::{CertificateError, CertificateOptions, Certificates, KeyType};
