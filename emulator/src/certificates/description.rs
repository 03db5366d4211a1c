//! What a certificate says, for people who look at it.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls;
use x509_parser::certificate::X509Certificate;
use x509_parser::public_key::PublicKey;

use iothub_protocol::Timestamp;

use super::authority::decode;
use super::client::Thumbprints;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Whose it is: `CN=d1`.
    pub subject: String,
    /// The common name in it.
    pub common_name: Option<String>,
    /// Who issued it, by its own account.
    pub issuer: String,
    /// 1 or 3.
    pub version: u32,
    /// `RSA, 2048 bits`, `EC, 256 bits`.
    pub key: String,
    /// Whether it says of itself that it signs others.
    pub is_authority: bool,
    /// Not valid earlier.
    pub not_before: Timestamp,
    /// Not valid later.
    pub not_after: Timestamp,
    /// Its digests.
    pub thumbprints: Thumbprints,
}

/// Reads a certificate in DER form; `None` if it is not one.
pub fn describe(der: &[u8]) -> Option<Description> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let time = |at: x509_parser::time::ASN1Time| Timestamp::from_unix_seconds(at.timestamp());
    let common_name = certificate.subject().iter_common_name().next();
    let constraints = certificate.basic_constraints().ok().flatten();
    Some(Description {
        subject: certificate.subject().to_string(),
        common_name: common_name
            .and_then(|name| name.as_str().ok())
            .map(str::to_owned),
        issuer: certificate.issuer().to_string(),
        version: certificate.version().0.saturating_add(1),
        key: key(&certificate),
        is_authority: constraints.is_some_and(|constraints| constraints.value.ca),
        not_before: time(certificate.validity().not_before),
        not_after: time(certificate.validity().not_after),
        thumbprints: Thumbprints::of(der),
    })
}

/// The certificates in the text, in DER form, the first ones of very many: PEM text, or base64 of
/// one.
pub fn decode_chain(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let chain: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(text.as_bytes())
        .take(LONGEST)
        .filter_map(Result::ok)
        .map(|certificate| certificate.to_vec())
        .collect();
    if chain.is_empty() {
        return decode(text).map(|one| vec![one]);
    }
    Ok(chain)
}

fn key(certificate: &X509Certificate<'_>) -> String {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA, {} bits", key.key_size()),
        Ok(PublicKey::EC(point)) => format!("EC, {} bits", point.key_size()),
        Ok(_) | Err(_) => "of another kind".to_owned(),
    }
}

/// More than any chain of devices' has.
const LONGEST: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_of_version_1_is_described() {
        let text = include_str!("testdata/device-v1.pem");
        let chain = decode_chain(text).unwrap();

        let one = describe(&chain[0]).unwrap();

        assert_eq!(chain.len(), 1);
        assert_eq!((one.version, one.is_authority), (1, false));
        assert_eq!(one.common_name.as_deref(), Some("d1"));
        assert!(one.key.starts_with("RSA") || one.key.starts_with("EC"));
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        assert!(decode_chain("-----BEGIN CERTIFICATE-----").is_err());
        assert_eq!(describe(b"hello"), None);
    }
}
