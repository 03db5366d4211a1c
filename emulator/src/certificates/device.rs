//! Certificates for devices, made here so that nobody needs other tools: self-signed, or by a test
//! authority of one's own that is then registered on the hub.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls;

use iothub_protocol::Timestamp;

use super::client::Thumbprints;
use super::directory::Directory;
use super::issue::{common_name, date_time, generate_key};
use super::server::{CertificateError, KeyType};

/// An authority that signs devices' certificates. Unlike the one that signs the server's, it is
/// trusted by a hub only where somebody registers it.
pub struct DeviceAuthority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    /// The certificates that lead up from here, this one's first; empty for a root.
    chain_pem: String,
}

/// When a certificate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Not earlier.
    pub not_before: Timestamp,
    /// Not later.
    pub not_after: Timestamp,
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Issued {
    /// The certificate, and behind it the intermediate ones, as PEM text.
    pub chain_pem: String,
    /// Its key (PKCS #8), as PEM text.
    pub key_pem: String,
}

impl DeviceAuthority {
    /// Makes a new root, valid from 2020 to 2049.
    pub fn create(name: &str, key_type: KeyType) -> Result<Self, CertificateError> {
        let key = generate_key(key_type)?;
        let params = authority_params(name, FOR_LIFE);
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate_pem,
            chain_pem: String::new(),
        })
    }

    /// The root that the directory holds, made when there is none yet.
    pub fn load_or_create(
        dir: &Path,
        name: &str,
        key_type: KeyType,
    ) -> Result<Self, CertificateError> {
        let directory = Directory::open(dir)?;
        let _lock = directory.lock()?;
        if let Some(certificate_pem) = directory.read(CERTIFICATE)? {
            let content = |file, expected| CertificateError::Content { file, expected };
            let key_pem = directory.read(KEY)?.unwrap_or_default();
            let key = KeyPair::from_pem(&key_pem).map_err(|_| content(KEY, "private key"))?;
            let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key)
                .map_err(|_| content(CERTIFICATE, "certificate"))?;
            return Ok(Self {
                issuer,
                certificate_pem,
                chain_pem: String::new(),
            });
        }
        let authority = Self::create(name, key_type)?;
        directory.write(KEY, &authority.issuer.key().serialize_pem())?;
        directory.write(CERTIFICATE, &authority.certificate_pem)?;
        Ok(authority)
    }

    /// The authority of devices for tests that the directory holds, made when there is none yet. Its
    /// own kind of key need not be its devices'.
    pub fn of_devices(dir: &Path) -> Result<Self, CertificateError> {
        Self::load_or_create(dir, "IoT devices' test CA", KeyType::P256)
    }

    /// Where [`Self::load_or_create`] keeps the certificate.
    pub fn file_in(dir: &Path) -> PathBuf {
        dir.join(CERTIFICATE)
    }

    /// An authority that this one vouches for.
    pub fn intermediate(&self, name: &str, validity: Validity) -> Result<Self, CertificateError> {
        let key = generate_key(KeyType::P256)?;
        let params = authority_params(name, validity);
        let certificate_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            chain_pem: format!("{certificate_pem}{}", self.chain_pem),
            certificate_pem,
        })
    }

    /// Signs a certificate for a device or module, or for a verification code: `name` is its common
    /// name. The key is new.
    pub fn issue(
        &self,
        name: &str,
        key_type: KeyType,
        validity: Validity,
    ) -> Result<Issued, CertificateError> {
        let key = generate_key(key_type)?;
        let mut params = leaf_params(name, validity);
        params.use_authority_key_identifier_extension = true;
        let certificate_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued {
            chain_pem: format!("{certificate_pem}{}", self.chain_pem),
            key_pem: key.serialize_pem(),
        })
    }

    /// The authority's certificate, to be registered on a hub.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }
}

/// A certificate that nobody vouches for: to be known by its thumbprint.
pub fn self_signed(
    name: &str,
    key_type: KeyType,
    validity: Validity,
) -> Result<Issued, CertificateError> {
    let key = generate_key(key_type)?;
    let chain_pem = leaf_params(name, validity).self_signed(&key)?.pem();
    Ok(Issued {
        chain_pem,
        key_pem: key.serialize_pem(),
    })
}

impl Issued {
    /// The certificates in DER form, the leaf's first.
    pub fn chain_der(&self) -> Vec<Vec<u8>> {
        CertificateDer::pem_slice_iter(self.chain_pem.as_bytes())
            .filter_map(Result::ok)
            .map(|certificate| certificate.to_vec())
            .collect()
    }

    /// What the hub is told of a self-signed certificate.
    pub fn thumbprints(&self) -> Thumbprints {
        let chain = self.chain_der();
        Thumbprints::of(chain.first().map_or(&[][..], Vec::as_slice))
    }

    /// Writes `{name}.pem` and `{name}-key.pem` into the directory and answers their paths; what a
    /// file name should not have becomes `_`.
    pub fn save(&self, dir: &Path, name: &str) -> Result<(PathBuf, PathBuf), CertificateError> {
        let directory = Directory::open(dir)?;
        let stem: String = name
            .chars()
            .map(|c| match c {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' => c,
                _ => '_',
            })
            .collect();
        let (certificate, key) = (format!("{stem}.pem"), format!("{stem}-key.pem"));
        directory.write(&key, &self.key_pem)?;
        directory.write(&certificate, &self.chain_pem)?;
        Ok((directory.file(&certificate), directory.file(&key)))
    }

    /// What a thief of the key could pretend to be.
    #[cfg(test)]
    pub(super) fn misused_as_authority(&self) -> DeviceAuthority {
        let key = KeyPair::from_pem(&self.key_pem).unwrap();
        DeviceAuthority {
            issuer: Issuer::from_ca_cert_pem(&self.chain_pem, key).unwrap(),
            certificate_pem: self.chain_pem.clone(),
            chain_pem: self.chain_pem.clone(),
        }
    }
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued")
            .field("chain_pem", &self.chain_pem)
            .finish_non_exhaustive()
    }
}

fn authority_params(name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time(validity.not_before);
    params.not_after = date_time(validity.not_after);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = common_name(name);
    params
}

fn leaf_params(name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time(validity.not_before);
    params.not_after = date_time(validity.not_after);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.distinguished_name = common_name(name);
    params
}

const CERTIFICATE: &str = "device-ca.pem";
const KEY: &str = "device-ca-key.pem";

/// From 2020 to the end of 2049, the last moment that all verifiers read alike.
const FOR_LIFE: Validity = Validity {
    not_before: Timestamp::from_unix_seconds(1_577_836_800),
    not_after: Timestamp::from_unix_seconds(2_524_521_600),
};
