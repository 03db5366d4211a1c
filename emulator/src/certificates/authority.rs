//! Certificates of authorities as people upload them: PEM text, or base64 of DER or of PEM text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls;

use iothub_hub::AuthorityCertificate;
use iothub_protocol::Timestamp;

use super::chain::can_issue;
use super::client::Thumbprints;

/// Reads an authority's certificate; refuses, in words for a person, what is no certificate or
/// says of itself that it signs no others.
pub fn parse_authority(text: &str) -> Result<AuthorityCertificate, String> {
    let der = decode(text)?;
    let (_, certificate) =
        x509_parser::parse_x509_certificate(&der).map_err(|_| "not an X.509 certificate")?;
    if !can_issue(&der) {
        return Err("not an authority's certificate: by its extensions it signs no others".into());
    }
    let time = |at: x509_parser::time::ASN1Time| Timestamp::from_unix_seconds(at.timestamp());
    let validity = certificate.validity();
    let (not_before, not_after) = (time(validity.not_before), time(validity.not_after));
    let subject = certificate.subject().to_string();
    let Thumbprints {
        sha1_hex,
        sha256_hex,
    } = Thumbprints::of(&der);
    Ok(AuthorityCertificate {
        subject,
        sha1: sha1_hex,
        sha256: sha256_hex,
        not_before,
        not_after,
        der: der.into(),
    })
}

/// The first certificate in the text, in DER form.
pub fn decode(text: &str) -> Result<Vec<u8>, String> {
    if text.contains(PEM_MARK) {
        return from_pem(text.as_bytes());
    }
    let compact: String = text.split_ascii_whitespace().collect();
    let bytes = STANDARD
        .decode(compact)
        .map_err(|_| "neither PEM text nor base64")?;
    if bytes.starts_with(PEM_MARK.as_bytes()) {
        return from_pem(&bytes);
    }
    Ok(bytes)
}

fn from_pem(text: &[u8]) -> Result<Vec<u8>, String> {
    match CertificateDer::from_pem_slice(text) {
        Ok(certificate) => Ok(certificate.to_vec()),
        Err(_) => Err("no certificate in the PEM text".into()),
    }
}

const PEM_MARK: &str = "-----BEGIN";

#[cfg(test)]
mod tests {
    use super::super::device::{DeviceAuthority, Validity};
    use super::super::server::KeyType;
    use super::*;

    #[test]
    fn every_form_of_upload_is_the_same_certificate() {
        let authority = DeviceAuthority::create("Root", KeyType::P256).unwrap();
        let pem = authority.certificate_pem();
        let der = decode(pem).unwrap();
        let base64 = STANDARD.encode(&der);
        let lines = format!("{}\r\n{}\n", &base64[..64], &base64[64..]);

        let expected = parse_authority(pem).unwrap();

        assert_eq!(expected.subject, "CN=Root");
        assert_eq!(expected.sha1, Thumbprints::of(&der).sha1_hex);
        for text in [&base64, &lines, &STANDARD.encode(pem)] {
            assert_eq!(parse_authority(text).as_ref(), Ok(&expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_authority_is_refused() {
        let root = DeviceAuthority::create("Root", KeyType::P256).unwrap();
        let life = Validity {
            not_before: Timestamp::UNIX_EPOCH,
            not_after: Timestamp::from_unix_seconds(2_000_000_000),
        };
        let leaf = root.issue("d1", KeyType::P256, life).unwrap();

        for (text, expected) in [
            ("", "not an X.509"),
            ("hello!", "neither PEM"),
            ("aGVsbG8=", "not an X.509"),
            ("-----BEGIN CERTIFICATE-----", "no certificate"),
            (&leaf.key_pem, "no certificate"),
            (&leaf.chain_pem, "signs no others"),
        ] {
            let refused = parse_authority(text).unwrap_err();
            assert!(refused.contains(expected), "{text:?}: {refused}");
        }
    }
}
