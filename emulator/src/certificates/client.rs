//! Certificates that devices present: taken whatever their issuer, read for the hub to compare.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, SignatureScheme};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio_rustls::rustls;
use x509_parser::asn1_rs::{Any, FromDer};
use x509_parser::certificate::X509Certificate;

use iothub_hub::{CertificateFacts, Chain};
use iothub_protocol::Timestamp;

/// Asks every client for a certificate, requires none, and lets the hub judge the chain: a
/// thumbprint needs no issuer (`spec/device.md` 1.3 and 11).
///
/// That the client holds the certificate's key is verified here, over the certificate's public key
/// alone. Device certificates are often made by hand, as X.509 version 1 or with extensions of
/// their own, which a verifier of web servers' certificates would not even parse.
#[derive(Debug)]
pub struct AnyClientCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

/// What the hub compares of a device's certificate (`spec/device.md` 11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The digests of the whole certificate.
    pub thumbprints: Thumbprints,
    /// The subject's common name, which is the device id when an authority vouches for it.
    pub common_name: Option<String>,
    /// Not valid earlier.
    pub not_before: Timestamp,
    /// Not valid later.
    pub not_after: Timestamp,
    /// Who issued it, by its own account.
    pub issuer: String,
}

/// The digests of a certificate in DER form, as upper-case hexadecimal text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbprints {
    /// SHA-1, 40 digits.
    pub sha1_hex: String,
    /// SHA-256, 64 digits.
    pub sha256_hex: String,
}

impl ClientCertificate {
    /// Reads a certificate in DER form; `None` if it is not one.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let common_name = certificate.subject().iter_common_name().next();
        let seconds =
            |at: x509_parser::time::ASN1Time| Timestamp::from_unix_seconds(at.timestamp());
        Some(Self {
            thumbprints: Thumbprints::of(der),
            common_name: common_name
                .and_then(|name| name.as_str().ok())
                .map(str::to_owned),
            not_before: seconds(certificate.validity().not_before),
            not_after: seconds(certificate.validity().not_after),
            issuer: certificate.issuer().to_string(),
        })
    }

    /// What the hub has to know, given the authorities that the certificate was found to lead to.
    pub fn facts(self, issued_by: Vec<Chain>) -> CertificateFacts {
        CertificateFacts {
            sha1: self.thumbprints.sha1_hex,
            sha256: self.thumbprints.sha256_hex,
            common_name: self.common_name,
            not_before: self.not_before,
            not_after: self.not_after,
            issuer: self.issuer,
            issued_by,
        }
    }
}

impl Thumbprints {
    /// The thumbprints of a certificate in DER form.
    pub fn of(der: &[u8]) -> Self {
        Self {
            sha1_hex: hex(&Sha1::digest(der)),
            sha256_hex: hex(&Sha256::digest(der)),
        }
    }
}

impl AnyClientCertificate {
    /// Checks `signature` over `message` with the certificate's key. TLS 1.2 binds a scheme to no
    /// curve, so several algorithms may carry one scheme; TLS 1.3 means the first.
    fn verify(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
        candidates: usize,
    ) -> Result<HandshakeSignatureValid, Error> {
        let bad_encoding = || Error::from(rustls::CertificateError::BadEncoding);
        let (_, certificate) =
            x509_parser::parse_x509_certificate(certificate).map_err(|_| bad_encoding())?;
        let key_algorithm = key_algorithm(&certificate).ok_or_else(bad_encoding)?;
        let key = &certificate.public_key().subject_public_key.data;

        let algorithms = self
            .algorithms
            .mapping
            .iter()
            .find(|(scheme, _)| *scheme == signed.scheme)
            .map_or(&[][..], |(_, algorithms)| algorithms);
        algorithms
            .iter()
            .take(candidates)
            .find(|algorithm| algorithm.public_key_alg_id().as_ref() == key_algorithm)
            .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?
            .verify_signature(key, message, signed.signature())
            .map_err(|_| rustls::CertificateError::BadSignature)?;
        Ok(HandshakeSignatureValid::assertion())
    }
}

impl Default for AnyClientCertificate {
    fn default() -> Self {
        let provider = rustls::crypto::ring::default_provider();
        Self {
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ClientCertVerifier for AnyClientCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, cert, dss, usize::MAX)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // RFC 8446 4.4.3: PKCS #1 v1.5 and SHA-1 sign no handshake of TLS 1.3.
        if matches!(
            dss.scheme,
            SignatureScheme::RSA_PKCS1_SHA256
                | SignatureScheme::RSA_PKCS1_SHA384
                | SignatureScheme::RSA_PKCS1_SHA512
        ) {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        self.verify(message, cert, dss, 1)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The content of the `AlgorithmIdentifier` of the certificate's public key, which is how the
/// verification algorithms name the keys that they take.
pub(super) fn key_algorithm<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    let (_, key_info) = Any::from_der(certificate.public_key().raw).ok()?;
    let (_, algorithm) = Any::from_der(key_info.data).ok()?;
    Some(algorithm.data)
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digits = |byte: &u8| {
        [
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]
    };
    bytes.iter().flat_map(digits).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;

    use super::*;

    /// Made with `openssl x509 -req` and no extensions, which gives a version 1 certificate.
    fn device() -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(include_bytes!("testdata/device-v1.pem")).unwrap()
    }

    #[test]
    fn a_certificate_is_read_as_openssl_reads_it() {
        let thumbprints = Thumbprints {
            sha1_hex: "CF7F253546180EA5214722EB924FA756AF9BCAFB".to_owned(),
            sha256_hex: "299D3478FA1ED2D177104D8C4B9DC3DFBB369CC8393776985B0984E78E767168"
                .to_owned(),
        };

        let expected = ClientCertificate {
            thumbprints,
            common_name: Some("d1".to_owned()),
            not_before: Timestamp::from_unix_seconds(1_795_386_594),
            not_after: Timestamp::from_unix_seconds(2_426_106_594),
            issuer: "O=Example, CN=d1".to_owned(),
        };
        assert_eq!(ClientCertificate::parse(&device()), Some(expected));
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        let truncated = &device()[..100];

        for bytes in [
            &b""[..],
            b"hello",
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            truncated,
        ] {
            assert_eq!(ClientCertificate::parse(bytes), None, "{bytes:?}");
        }
    }
}
