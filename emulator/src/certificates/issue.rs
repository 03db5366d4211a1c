//! Keys and certificates: how the authority is made and what it signs.
//!
//! The extensions are those that strict verifiers ask for, such as Python 3.13's
//! (`spec/sdk-connectivity.md`, "Consequences").

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use rsa::pkcs8::EncodePrivateKey;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, DnsName, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};
use tokio_rustls::rustls;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_PKCS1_RSAENCRYPTION;

use iothub_protocol::Timestamp;

use super::server::{CertificateError, KeyType};

/// Apple's verifiers take no certificate of a private authority that is valid for more than 825
/// days.
const LEAF_LIFE: Duration = Duration::days(820);
/// A certificate with less than this left is replaced at the next start.
const LEAF_MARGIN: Duration = Duration::days(30);
/// Clients whose clock is behind ours accept a fresh certificate all the same.
const BACKDATE: Duration = Duration::days(1);

/// The local certificate authority.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

/// A server certificate with its key.
pub(super) struct Leaf {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

/// A name that a server certificate vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// In lower case; the first label may be `*`.
    Dns(String),
    Ip(IpAddr),
}

impl Authority {
    /// Makes a new authority, valid until the end of 2049: the last moment that all verifiers read
    /// alike.
    pub(super) fn create(key_type: KeyType) -> Result<Self, CertificateError> {
        let key = generate_key(key_type)?;
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2049, 12, 31);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = common_name(&format!("IoT Hub emulator CA {}", tag(&key)));
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate_pem,
        })
    }

    /// The authority that an earlier start, or the user, left.
    pub(super) fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, CertificateError> {
        let certificate =
            CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|_| {
                CertificateError::Content {
                    file: "ca.pem",
                    expected: "certificate",
                }
            })?;
        let key = KeyPair::from_pem(key_pem).map_err(|_| CertificateError::Content {
            file: "ca-key.pem",
            expected: "private key",
        })?;
        let belongs = parse(&certificate)
            .is_some_and(|ca| ca.public_key().raw == key.subject_public_key_info());
        if !belongs {
            return Err(CertificateError::KeyMismatch);
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self {
            issuer,
            certificate_pem: certificate_pem.to_owned(),
        })
    }

    /// Signs a server certificate for `names`, with a new key.
    pub(super) fn issue(
        &self,
        key_type: KeyType,
        names: &[Name],
        now: Timestamp,
    ) -> Result<Leaf, CertificateError> {
        let key = generate_key(key_type)?;
        let now = date_time(now);
        let mut params = CertificateParams::default();
        params.not_before = now.saturating_sub(BACKDATE);
        params.not_after = now.saturating_add(LEAF_LIFE);
        params.distinguished_name = common_name("iothub-emulator");
        params.subject_alt_names = names.iter().map(Name::to_san).collect::<Result<_, _>>()?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if key_type == KeyType::Rsa2048 {
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?.into();
        Ok(Leaf {
            certificate,
            key: key.serialize_der().into(),
        })
    }

    pub(super) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    pub(super) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    pub(super) fn is_rsa(&self) -> bool {
        self.issuer.key().algorithm() == &rcgen::PKCS_RSA_SHA256
    }
}

impl Leaf {
    /// Reads [`Self::to_pem`]; `None` if the text is something else.
    pub(super) fn from_pem(pem: &str) -> Option<Self> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).ok()?;
        parse(&certificate)?;
        Some(Self { certificate, key })
    }

    /// Certificate and key, one after the other.
    pub(super) fn to_pem(&self) -> String {
        pem_block("CERTIFICATE", &self.certificate)
            + &pem_block("PRIVATE KEY", self.key.secret_pkcs8_der())
    }

    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(super) fn key(&self) -> &PrivatePkcs8KeyDer<'static> {
        &self.key
    }

    /// Whether the certificate can go on being used.
    pub(super) fn fits(
        &self,
        ca: &CertificateDer<'_>,
        key_type: KeyType,
        wanted: &[Name],
        now: Timestamp,
    ) -> bool {
        let (Some(leaf), Some(ca)) = (parse(&self.certificate), parse(ca)) else {
            return false;
        };
        let names = names_of(&leaf);
        let now = now.unix_seconds();
        leaf.issuer().as_raw() == ca.subject().as_raw()
            && authority_key_id(&leaf) == subject_key_id(&ca)
            && is_rsa(&leaf) == (key_type == KeyType::Rsa2048)
            && wanted.iter().all(|name| names.contains(name))
            && leaf.validity().not_before.timestamp() <= now
            && now < leaf.validity().not_after.timestamp() - LEAF_MARGIN.whole_seconds()
    }

    /// The names that the certificate vouches for.
    pub(super) fn names(&self) -> Vec<Name> {
        parse(&self.certificate)
            .map(|leaf| names_of(&leaf))
            .unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn is_rsa(&self) -> bool {
        parse(&self.certificate).is_some_and(|leaf| is_rsa(&leaf))
    }
}

impl Name {
    /// A DNS name, possibly with `*` as its first label, or an IP address, possibly in brackets.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bare = text
            .strip_prefix('[')
            .and_then(|t| t.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(ip) = bare.parse() {
            return Some(Self::Ip(ip));
        }
        DnsName::try_from(text.strip_prefix("*.").unwrap_or(text)).ok()?;
        Some(Self::Dns(text.to_ascii_lowercase()))
    }

    fn to_san(&self) -> Result<SanType, rcgen::Error> {
        Ok(match self {
            Self::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
            Self::Ip(ip) => SanType::IpAddress(*ip),
        })
    }

    fn from_general(name: &GeneralName<'_>) -> Option<Self> {
        match name {
            GeneralName::DNSName(name) => Some(Self::Dns(name.to_ascii_lowercase())),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let v6 = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
                v4.or(v6).ok().map(Self::Ip)
            }
            _ => None,
        }
    }
}

pub(super) fn generate_key(key_type: KeyType) -> Result<KeyPair, CertificateError> {
    match key_type {
        KeyType::P256 => Ok(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?),
        KeyType::Rsa2048 => {
            let pkcs8 = rsa_pkcs8().map_err(CertificateError::RsaKey)?;
            Ok(KeyPair::from_pkcs8_der_and_sign_algo(
                &pkcs8,
                &rcgen::PKCS_RSA_SHA256,
            )?)
        }
    }
}

/// ring signs with RSA keys but makes none.
fn rsa_pkcs8() -> Result<PrivatePkcs8KeyDer<'static>, String> {
    use rsa::rand_core::UnwrapErr;
    use rsa::sha2::digest::common::getrandom::SysRng;

    let key = rsa::RsaPrivateKey::new(&mut UnwrapErr(SysRng), 2048).map_err(|e| e.to_string())?;
    let der = key.to_pkcs8_der().map_err(|e| e.to_string())?;
    Ok(der.as_bytes().to_vec().into())
}

/// Tells authorities apart in a trust store's list, and keeps their subjects distinct: verifiers
/// look an issuer up by subject.
fn tag(key: &KeyPair) -> String {
    let digest = Sha256::digest(key.subject_public_key_info());
    digest[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

pub(super) fn common_name(name: &str) -> rcgen::DistinguishedName {
    let mut subject = rcgen::DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

pub(super) fn date_time(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.unix_seconds()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn pem_block(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    let text = STANDARD.encode(der);
    let mut block = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        block.extend(line.iter().map(|&byte| char::from(byte)));
        block.push('\n');
    }
    block + &format!("-----END {label}-----\n")
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    x509_parser::parse_x509_certificate(certificate)
        .ok()
        .map(|(_, certificate)| certificate)
}

fn names_of(certificate: &X509Certificate<'_>) -> Vec<Name> {
    match certificate.subject_alternative_name() {
        Ok(Some(san)) => san
            .value
            .general_names
            .iter()
            .filter_map(Name::from_general)
            .collect(),
        Ok(None) | Err(_) => Vec::new(),
    }
}

fn is_rsa(certificate: &X509Certificate<'_>) -> bool {
    certificate.public_key().algorithm.algorithm == OID_PKCS1_RSAENCRYPTION
}

fn authority_key_id<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                id.key_identifier.as_ref().map(|id| id.0)
            }
            _ => None,
        })
}

fn subject_key_id<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
            _ => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_names_or_addresses() {
        let dns = |name: &str| Some(Name::Dns(name.to_owned()));
        let ip = |text: &str| Some(Name::Ip(text.parse().unwrap()));

        assert_eq!(Name::parse("Hub.Example"), dns("hub.example"));
        assert_eq!(
            Name::parse("*.azure-devices.net"),
            dns("*.azure-devices.net")
        );
        assert_eq!(Name::parse("my_hub"), dns("my_hub"));
        assert_eq!(Name::parse("192.0.2.1"), ip("192.0.2.1"));
        assert_eq!(Name::parse("[::1]"), ip("::1"));
        for wrong in ["", "*", "a b", "a/b", "*.*.net", "hub:443"] {
            assert_eq!(Name::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_certificate_without_the_authoritys_key_identifier_does_not_fit() {
        let now = Timestamp::from_unix_seconds(1_767_225_600);
        let ours = Authority::create(KeyType::P256).unwrap();
        let theirs = Authority::create(KeyType::P256).unwrap();
        let der = |authority: &Authority| {
            CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap()
        };

        let leaf = ours.issue(KeyType::P256, &[], now).unwrap();

        assert!(leaf.fits(&der(&ours), KeyType::P256, &[], now));
        assert!(!leaf.fits(&der(&theirs), KeyType::P256, &[], now));
    }
}
