//! Certificate authorities that devices' certificates may come from (`spec/device.md` 11,
//! `spec/service.md` 12).
//!
//! An authority counts once somebody has proved to hold its key: by signing a certificate whose
//! common name is a code that the hub made up. Signatures are verified outside; what the hub gets
//! are facts, and what it decides is what they are worth.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imbl::OrdMap;
use iothub_protocol::registry::IfMatch;
use iothub_protocol::{ClientId, Error, ErrorCode, Timestamp};
use serde_json::{Value, json};

use crate::access::{CertificateFacts, Chain, Permission, Principal};
use crate::cx::{Change, Cx};
use crate::documents::{Document, DocumentKind};
use crate::{Entropy, Hub};

/// What the hub needs to know of an authority's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityCertificate {
    /// The certificate itself, in DER form.
    pub der: Arc<[u8]>,
    /// Its subject, as people write it: `CN=Root, O=Example`.
    pub subject: String,
    /// SHA-1, 40 hexadecimal digits: the thumbprint that people compare.
    pub sha1: String,
    /// SHA-256, 64 hexadecimal digits: what a [`Chain`] names it by.
    pub sha256: String,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
}

/// A certificate authority, as somebody registered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// What it is called on this hub.
    pub name: Arc<str>,
    /// Its certificate.
    pub certificate: AuthorityCertificate,
    /// Changes with every change; unquoted.
    pub etag: String,
    /// Whether possession of its key has been proved, or taken on trust.
    pub is_verified: bool,
    /// What the proof has to be about, once somebody asked for it.
    pub verification_code: Option<String>,
    /// When it was registered.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
}

/// A registered authority's certificate, for those who verify signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustAnchor {
    /// SHA-256 of the certificate, 64 hexadecimal digits.
    pub sha256: String,
    /// The certificate in DER form.
    pub der: Arc<[u8]>,
}

/// The authorities by name.
#[derive(Clone, Default)]
pub(crate) struct Authorities {
    by_name: OrdMap<Arc<str>, Arc<Authority>>,
}

impl Hub {
    /// Every registered authority, by name.
    pub fn authorities(&self, caller: &Principal) -> Result<Vec<Arc<Authority>>, Error> {
        caller.require(Permission::RegistryRead)?;
        Ok(self.authorities.by_name.values().cloned().collect())
    }

    /// One authority; refuses with `CertificateNotFound`.
    pub fn authority(&self, caller: &Principal, name: &str) -> Result<Arc<Authority>, Error> {
        caller.require(Permission::RegistryRead)?;
        self.authorities.require(name).cloned()
    }

    /// Registers an authority or, with an `If-Match`, gives it another certificate. It counts as
    /// verified when the caller says so; otherwise a certificate that is not the old one has to be
    /// proved anew.
    ///
    /// Refuses with `ArgumentInvalid` (the name), `CertificateNotFound`, `PreconditionFailed` (there
    /// is one already, or it is not the one expected), `IotHubQuotaExceeded`.
    pub fn put_authority(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        name: &str,
        certificate: AuthorityCertificate,
        is_verified: Option<bool>,
        if_match: &IfMatch,
    ) -> Result<Arc<Authority>, Error> {
        caller.require(Permission::RegistryWrite)?;
        check_name(name)?;
        let old = match if_match {
            IfMatch::Absent => {
                self.check_room_for(name)?;
                None
            }
            IfMatch::Any | IfMatch::ETag(_) => Some(self.authorities.matching(name, if_match)?),
        };
        let unchanged = old
            .as_ref()
            .filter(|old| old.certificate.sha256 == certificate.sha256);
        let is_verified =
            is_verified.unwrap_or_else(|| unchanged.is_some_and(|same| same.is_verified));
        let verification_code = unchanged.and_then(|same| same.verification_code.clone());
        let authority = Authority {
            name: name.into(),
            certificate,
            etag: authority_etag(&mut self.entropy),
            is_verified,
            verification_code,
            created: old.map_or(cx.now(), |old| old.created),
            updated: cx.now(),
        };
        Ok(self.store_authority(cx, authority))
    }

    /// Forgets an authority. Connections that it vouched for stay until they end.
    ///
    /// Refuses with `CertificateNotFound`, `PreconditionFailed`.
    pub fn delete_authority(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        name: &str,
        if_match: &IfMatch,
    ) -> Result<(), Error> {
        caller.require(Permission::RegistryWrite)?;
        let authority = self.authorities.matching(name, if_match)?;
        self.authorities.by_name.remove(name);
        cx.change(Change::DeleteDocument(
            DocumentKind::Authority,
            authority.name.clone(),
        ));
        Ok(())
    }

    /// Makes up a new code for the proof of possession; an earlier one is worth nothing any more.
    ///
    /// Refuses with `CertificateNotFound`, `PreconditionFailed`.
    pub fn generate_verification_code(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        name: &str,
        if_match: &IfMatch,
    ) -> Result<Arc<Authority>, Error> {
        caller.require(Permission::RegistryWrite)?;
        let old = self.authorities.matching(name, if_match)?;
        let authority = Authority {
            etag: authority_etag(&mut self.entropy),
            verification_code: Some(self.entropy.hex(VERIFICATION_CODE_BYTES).to_uppercase()),
            updated: cx.now(),
            ..(*old).clone()
        };
        Ok(self.store_authority(cx, authority))
    }

    /// Takes a certificate as proof that its maker holds the authority's key: the authority signed
    /// it, and its common name is the code.
    ///
    /// Refuses with `CertificateNotFound`, `PreconditionFailed`, `ArgumentInvalid`.
    pub fn verify_authority(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        name: &str,
        proof: &CertificateFacts,
        if_match: &IfMatch,
    ) -> Result<Arc<Authority>, Error> {
        caller.require(Permission::RegistryWrite)?;
        let old = self.authorities.matching(name, if_match)?;
        check_proof(cx.now(), &old, proof)?;
        let authority = Authority {
            etag: authority_etag(&mut self.entropy),
            is_verified: true,
            verification_code: None,
            updated: cx.now(),
            ..(*old).clone()
        };
        Ok(self.store_authority(cx, authority))
    }

    /// The certificates that a chain may lead to, verified or not, so that a refusal can tell the
    /// two apart. Empty on a hub without authorities: there is nothing to verify then.
    pub fn trust_anchors(&self) -> Vec<TrustAnchor> {
        let anchor = |authority: &Arc<Authority>| TrustAnchor {
            sha256: authority.certificate.sha256.clone(),
            der: authority.certificate.der.clone(),
        };
        self.authorities.by_name.values().map(anchor).collect()
    }

    /// Whether a verified authority vouches for the certificate, and for this client by name:
    /// the exact device id, or `{device}/{module}` (`spec/device.md` 11).
    pub(crate) fn check_issued(
        &self,
        now: Timestamp,
        client: &ClientId,
        facts: &CertificateFacts,
    ) -> Result<(), Error> {
        let mut refusal = None;
        for chain in &facts.issued_by {
            match self.check_chain(now, chain) {
                Ok(()) => return check_subject(client, facts),
                Err(error) => refusal = Some(error),
            }
        }
        Err(refusal.unwrap_or_else(|| {
            Error::unauthorized(format!(
                "the certificate of {client} chains to no registered certificate authority: \
                 {} is none, or did not sign it",
                facts.issuer
            ))
        }))
    }

    fn check_chain(&self, now: Timestamp, chain: &Chain) -> Result<(), Error> {
        let mut found = self
            .authorities
            .by_name
            .values()
            .filter(|authority| authority.certificate.sha256 == chain.authority);
        let Some(first) = found.next() else {
            // It went while the signatures were being verified.
            return Err(Error::unauthorized("the certificate authority is gone"));
        };
        let name = &first.name;
        if !first.is_verified && !found.any(|other| other.is_verified) {
            return Err(Error::unauthorized(format!(
                "the certificate authority {name} is registered but not verified: nobody has \
                 proved to hold its key"
            )));
        }
        let certificate = &first.certificate;
        let not_before = chain.not_before.max(certificate.not_before);
        let not_after = chain.not_after.min(certificate.not_after);
        if now < not_before || now > not_after {
            return Err(Error::unauthorized(format!(
                "the certificates up to the authority {name} are valid together from \
                 {not_before} to {not_after} only"
            )));
        }
        Ok(())
    }

    fn check_room_for(&self, name: &str) -> Result<(), Error> {
        if let Some(there) = self.authorities.by_name.get(name) {
            return Err(Error::precondition_failed(&there.etag));
        }
        let limit = self.config.limits.authorities;
        if self.authorities.by_name.len() >= limit {
            return Err(Error::new(
                ErrorCode::IotHubQuotaExceeded,
                format!("the hub has {limit} certificates"),
            ));
        }
        Ok(())
    }

    fn store_authority(&mut self, cx: &mut Cx<'_>, authority: Authority) -> Arc<Authority> {
        let authority = Arc::new(authority);
        self.authorities.put(authority.clone());
        cx.change(Change::PutDocument(Document {
            kind: DocumentKind::Authority,
            key: authority.name.clone(),
            value: Arc::new(authority.to_document()),
        }));
        if let Some(counter) = self.entropy.take_used() {
            cx.change(Change::PutEntropy(counter));
        }
        authority
    }
}

impl Authority {
    /// The resource as the management API of the real hub prints it; the code only where it has
    /// just been asked for.
    pub fn to_json(&self, with_code: bool) -> Value {
        let certificate = &self.certificate;
        let mut properties = json!({
            "subject": certificate.subject,
            "expiry": certificate.not_after.to_rfc1123(),
            "thumbprint": certificate.sha1,
            "isVerified": self.is_verified,
            "created": self.created.to_rfc1123(),
            "updated": self.updated.to_rfc1123(),
            "certificate": STANDARD.encode(&certificate.der),
        });
        if let Some(code) = self.verification_code.as_ref().filter(|_| with_code) {
            properties["verificationCode"] = code.as_str().into();
        }
        json!({
            "name": &*self.name,
            "type": "Microsoft.Devices/IotHubs/Certificates",
            "etag": self.etag,
            "properties": properties,
        })
    }

    fn to_document(&self) -> Value {
        let certificate = &self.certificate;
        json!({
            "certificate": STANDARD.encode(&certificate.der),
            "subject": certificate.subject,
            "sha1": certificate.sha1,
            "sha256": certificate.sha256,
            "notBefore": certificate.not_before.ticks(),
            "notAfter": certificate.not_after.ticks(),
            "etag": self.etag,
            "isVerified": self.is_verified,
            "verificationCode": self.verification_code,
            "created": self.created.ticks(),
            "updated": self.updated.ticks(),
        })
    }

    fn from_document(name: &str, document: &Value) -> Option<Self> {
        let text = |member: &str| document[member].as_str().map(str::to_owned);
        let time = |member: &str| document[member].as_i64().map(Timestamp::from_ticks);
        Some(Self {
            name: name.into(),
            certificate: AuthorityCertificate {
                der: STANDARD.decode(text("certificate")?).ok()?.into(),
                subject: text("subject")?,
                sha1: text("sha1")?,
                sha256: text("sha256")?,
                not_before: time("notBefore")?,
                not_after: time("notAfter")?,
            },
            etag: text("etag")?,
            is_verified: document["isVerified"].as_bool()?,
            verification_code: text("verificationCode"),
            created: time("created")?,
            updated: time("updated")?,
        })
    }
}

impl Authorities {
    pub(crate) fn restore_authority(&mut self, key: &str, document: Option<&Value>) {
        match document.and_then(|document| Authority::from_document(key, document)) {
            Some(authority) => self.put(Arc::new(authority)),
            None => drop(self.by_name.remove(key)),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Authority>> {
        self.by_name.values()
    }

    fn put(&mut self, authority: Arc<Authority>) {
        self.by_name.insert(authority.name.clone(), authority);
    }

    fn require(&self, name: &str) -> Result<&Arc<Authority>, Error> {
        self.by_name.get(name).ok_or_else(|| {
            let detail = format!("there is no certificate {name:?}");
            Error::new(ErrorCode::CertificateNotFound, detail)
        })
    }

    /// The authority that the caller means, if it is still as the caller knows it.
    fn matching(&self, name: &str, if_match: &IfMatch) -> Result<Arc<Authority>, Error> {
        let authority = self.require(name)?;
        if if_match.matches(&authority.etag) {
            return Ok(authority.clone());
        }
        Err(Error::precondition_failed(&authority.etag))
    }
}

fn check_subject(client: &ClientId, facts: &CertificateFacts) -> Result<(), Error> {
    let expected = client.to_string();
    if facts.common_name.as_deref() == Some(expected.as_str()) {
        return Ok(());
    }
    Err(Error::unauthorized(format!(
        "the certificate's common name is {:?}, expected {expected:?}",
        facts.common_name.as_deref().unwrap_or_default()
    )))
}

fn check_proof(
    now: Timestamp,
    authority: &Authority,
    proof: &CertificateFacts,
) -> Result<(), Error> {
    let Some(code) = &authority.verification_code else {
        return Err(Error::argument_invalid(
            "there is no verification code yet: generate one first",
        ));
    };
    if proof.common_name.as_ref() != Some(code) {
        return Err(Error::argument_invalid(format!(
            "the common name of the verification certificate is {:?}, not the verification code",
            proof.common_name.as_deref().unwrap_or_default()
        )));
    }
    let signed = |chain: &Chain| chain.authority == authority.certificate.sha256;
    if !proof.issued_by.iter().any(signed) {
        return Err(Error::argument_invalid(format!(
            "the verification certificate is not signed by {}",
            authority.certificate.subject
        )));
    }
    if now < proof.not_before || now > proof.not_after {
        return Err(Error::argument_invalid(format!(
            "the verification certificate is valid from {} to {}",
            proof.not_before, proof.not_after
        )));
    }
    Ok(())
}

/// Names as the management API has them.
fn check_name(name: &str) -> Result<(), Error> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if (1..=64).contains(&name.len()) && name.bytes().all(is_allowed) {
        return Ok(());
    }
    Err(Error::argument_invalid(
        "a certificate's name is 1 to 64 letters, digits, hyphens, dots and underscores",
    ))
}

/// Eight bytes, of which the real hub counts up the lower ones.
fn authority_etag(entropy: &mut Entropy) -> String {
    let block = entropy.block();
    STANDARD.encode([0, 0, 0, 0, block[0], block[1], block[2], block[3]])
}

/// The real hub's codes have 48 hexadecimal digits.
const VERIFICATION_CODE_BYTES: usize = 24;
