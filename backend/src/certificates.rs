//! Certificate authorities for devices. The real hub has them under its management API; an emulator
//! has the same names and bodies under its control API, which is what is asked here.

use http::Method;
use iothub_protocol::registry::IfMatch;
use serde_json::{Value, json};

use crate::transport::{Call, Transport};
use crate::{EmulatorAddress, Error};

/// The certificate authorities of a running emulator. Answers are the resources as
/// `az iot hub certificate` prints them.
pub struct EmulatorCertificates {
    transport: Transport,
}

impl EmulatorCertificates {
    /// Those of this emulator; a URL of its HTTP or HTTPS listener will do.
    pub fn at(emulator: impl Into<EmulatorAddress>) -> Result<Self, Error> {
        Ok(Self {
            transport: emulator.into().transport()?,
        })
    }

    /// All of them, in `value`.
    pub async fn list(&self) -> Result<Value, Error> {
        self.ask(Call::new(Method::GET, &ROOT)).await
    }

    /// One of them; refuses with `CertificateNotFound`.
    pub async fn show(&self, name: &str) -> Result<Value, Error> {
        self.ask(Call::new(Method::GET, &path(name, &[]))).await
    }

    /// Registers an authority by its certificate (PEM text, or base64 of DER), or changes it when
    /// there is a condition. `is_verified` takes on trust that the caller holds its key.
    pub async fn put(
        &self,
        name: &str,
        certificate: &str,
        is_verified: Option<bool>,
        if_match: &IfMatch,
    ) -> Result<Value, Error> {
        let mut properties = json!({"certificate": certificate});
        if let Some(is_verified) = is_verified {
            properties["isVerified"] = is_verified.into();
        }
        let call = Call::new(Method::PUT, &path(name, &[]))
            .if_match(if_match)
            .json(&json!({"properties": properties}));
        self.ask(call).await
    }

    /// Forgets one.
    pub async fn delete(&self, name: &str, if_match: &IfMatch) -> Result<(), Error> {
        let call = Call::new(Method::DELETE, &path(name, &[])).if_match(if_match);
        self.transport.send(call).await.map(drop)
    }

    /// Has the hub make up a code; it is in `properties.verificationCode`.
    pub async fn generate_verification_code(
        &self,
        name: &str,
        if_match: &IfMatch,
    ) -> Result<Value, Error> {
        let call = Call::new(Method::POST, &path(name, &["generateVerificationCode"]));
        self.ask(call.if_match(if_match)).await
    }

    /// Proves possession: by a certificate that the authority signed and whose common name is the
    /// code.
    pub async fn verify(
        &self,
        name: &str,
        certificate: &str,
        if_match: &IfMatch,
    ) -> Result<Value, Error> {
        let call = Call::new(Method::POST, &path(name, &["verify"]))
            .if_match(if_match)
            .json(&json!({"certificate": certificate}));
        self.ask(call).await
    }

    async fn ask(&self, call: Call) -> Result<Value, Error> {
        self.transport.send(call).await?.json()
    }
}

fn path<'a>(name: &'a str, tail: &[&'a str]) -> Vec<&'a str> {
    let mut segments = ROOT.to_vec();
    segments.push(name);
    segments.extend(tail);
    segments
}

const ROOT: [&str; 2] = ["_emulator", "certificates"];
