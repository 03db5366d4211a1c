//! Chains: which registered authorities a certificate leads to, every signature on the way
//! verified.
//!
//! Says nothing about what that is worth: whether the authority counts, whether the time is right
//! and whose name the certificate bears is the hub's to judge. A verifier made for web servers would
//! not do: devices' certificates are often of X.509 version 1, which those refuse.

use std::sync::LazyLock;

use rustls::crypto::WebPkiSupportedAlgorithms;
use tokio_rustls::rustls;
use x509_parser::asn1_rs::{Any, FromDer};
use x509_parser::certificate::X509Certificate;

use iothub_hub::{CertificateFacts, Chain, TrustAnchor};
use iothub_protocol::Timestamp;

use super::client::{ClientCertificate, key_algorithm};

/// What the hub has to know of the certificates that a client presented, its own first; `None` if
/// there is none that can be read. `anchors` is asked only when there is something to verify.
pub fn certificate_facts(
    presented: &[Vec<u8>],
    anchors: impl FnOnce() -> Vec<TrustAnchor>,
) -> Option<CertificateFacts> {
    let leaf = ClientCertificate::parse(presented.first()?)?;
    let issued_by = chains(presented, &anchors());
    Some(leaf.facts(issued_by))
}

/// A certificate on the way up, and what is known of the way so far.
struct Step<'a> {
    certificate: &'a Parsed<'a>,
    /// Certificates between this one and the leaf that sign others, this one included.
    signers: u32,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// A certificate with the bytes that the signature is about.
struct Parsed<'a> {
    der: &'a [u8],
    x509: X509Certificate<'a>,
}

/// Every way from the first of `presented` to an anchor, over the others of them. Each is passed
/// once and no more than [`LONGEST_CHAIN`] are looked at, so that the work is bounded.
fn chains(presented: &[Vec<u8>], anchors: &[TrustAnchor]) -> Vec<Chain> {
    if anchors.is_empty() {
        return Vec::new();
    }
    let presented: Vec<_> = presented
        .iter()
        .take(LONGEST_CHAIN)
        .filter_map(|der| Parsed::parse(der))
        .collect();
    let anchors: Vec<_> = anchors
        .iter()
        .filter_map(|anchor| Some((anchor, Parsed::parse(&anchor.der)?)))
        .collect();
    let Some((leaf, mut others)) = presented.split_first().map(|(leaf, others)| {
        let others: Vec<_> = others.iter().collect();
        (leaf, others)
    }) else {
        return Vec::new();
    };

    let mut found = Vec::new();
    let mut steps = vec![Step {
        certificate: leaf,
        signers: 0,
        not_before: Timestamp::NEVER,
        not_after: Timestamp::MAX,
    }];
    while let Some(step) = steps.pop() {
        for (anchor, issuer) in &anchors {
            if issuer.may_issue(step.signers, true) && issuer.has_signed(step.certificate) {
                found.push(Chain {
                    authority: anchor.sha256.clone(),
                    not_before: step.not_before,
                    not_after: step.not_after,
                });
            }
        }
        others.retain(|issuer| {
            let goes_on =
                issuer.may_issue(step.signers, false) && issuer.has_signed(step.certificate);
            if goes_on {
                let (not_before, not_after) = issuer.validity();
                steps.push(Step {
                    certificate: issuer,
                    signers: step.signers + 1,
                    not_before: step.not_before.max(not_before),
                    not_after: step.not_after.min(not_after),
                });
            }
            !goes_on
        });
    }
    found
}

impl<'a> Parsed<'a> {
    fn parse(der: &'a [u8]) -> Option<Self> {
        let (rest, x509) = x509_parser::parse_x509_certificate(der).ok()?;
        rest.is_empty().then_some(Self { der, x509 })
    }

    /// Whether it may sign a certificate with `below` signing ones between that and the leaf
    /// (RFC 5280, 4.2.1.3 and 4.2.1.9). An anchor is known by itself: an old one without
    /// extensions signs, too.
    fn may_issue(&self, below: u32, is_anchor: bool) -> bool {
        let is_authority = match self.x509.basic_constraints() {
            Ok(Some(constraints)) => {
                let constraints = constraints.value;
                constraints.ca
                    && constraints
                        .path_len_constraint
                        .is_none_or(|longest| below <= longest)
            }
            Ok(None) => is_anchor,
            Err(_) => false,
        };
        let signs = match self.x509.key_usage() {
            Ok(Some(usage)) => usage.value.key_cert_sign(),
            Ok(None) => true,
            Err(_) => false,
        };
        is_authority && signs
    }

    fn has_signed(&self, other: &Self) -> bool {
        self.x509.subject().as_raw() == other.x509.issuer().as_raw()
            && self.verify(other).is_some_and(|verified| verified)
    }

    /// Verifies the signature of `other` with this certificate's key; `None` if one of the two is
    /// not of a kind that can be verified.
    fn verify(&self, other: &Self) -> Option<bool> {
        let key_algorithm = key_algorithm(&self.x509)?;
        let key = &self.x509.public_key().subject_public_key.data;
        let signature_algorithm = signature_algorithm(other.der)?;
        let message = other.x509.tbs_certificate.as_ref();
        let signature = &other.x509.signature_value.data;
        let mut fitting = ALGORITHMS.all.iter().filter(|algorithm| {
            algorithm.signature_alg_id().as_ref() == signature_algorithm
                && algorithm.public_key_alg_id().as_ref() == key_algorithm
        });
        Some(fitting.any(|algorithm| algorithm.verify_signature(key, message, signature).is_ok()))
    }

    fn validity(&self) -> (Timestamp, Timestamp) {
        let validity = self.x509.validity();
        let time = |at: x509_parser::time::ASN1Time| Timestamp::from_unix_seconds(at.timestamp());
        (time(validity.not_before), time(validity.not_after))
    }
}

/// Whether a certificate can be an authority's: it does not say the opposite.
pub(super) fn can_issue(der: &[u8]) -> bool {
    Parsed::parse(der).is_some_and(|certificate| certificate.may_issue(0, true))
}

/// The content of the outer `AlgorithmIdentifier`, which is how the verification algorithms name
/// the signatures that they take.
fn signature_algorithm(der: &[u8]) -> Option<&[u8]> {
    let (_, certificate) = Any::from_der(der).ok()?;
    let (after_tbs, _) = Any::from_der(certificate.data).ok()?;
    let (_, algorithm) = Any::from_der(after_tbs).ok()?;
    Some(algorithm.data)
}

static ALGORITHMS: LazyLock<WebPkiSupportedAlgorithms> =
    LazyLock::new(|| rustls::crypto::ring::default_provider().signature_verification_algorithms);

/// More certificates than any chain of devices' has.
const LONGEST_CHAIN: usize = 10;

#[cfg(test)]
mod tests {
    use super::super::authority::parse_authority;
    use super::super::device::{DeviceAuthority, Issued, Validity, self_signed};
    use super::super::server::KeyType;
    use super::*;

    const ALWAYS: Validity = Validity {
        not_before: Timestamp::from_unix_seconds(1_600_000_000),
        not_after: Timestamp::from_unix_seconds(2_000_000_000),
    };

    fn root(key_type: KeyType) -> DeviceAuthority {
        DeviceAuthority::create("root", key_type).unwrap()
    }

    fn anchor(authority: &DeviceAuthority) -> TrustAnchor {
        let certificate = parse_authority(authority.certificate_pem()).unwrap();
        TrustAnchor {
            sha256: certificate.sha256,
            der: certificate.der,
        }
    }

    fn found(issued: &Issued, anchors: &[&DeviceAuthority]) -> Vec<String> {
        found_in(&issued.chain_der(), anchors)
    }

    fn found_in(presented: &[Vec<u8>], anchors: &[&DeviceAuthority]) -> Vec<String> {
        let anchors: Vec<_> = anchors.iter().map(|authority| anchor(authority)).collect();
        let facts = certificate_facts(presented, || anchors).unwrap();
        facts
            .issued_by
            .into_iter()
            .map(|chain| chain.authority)
            .collect()
    }

    #[test]
    fn a_leaf_leads_to_the_authority_that_signed_it_and_to_no_other() {
        for key_type in [KeyType::P256, KeyType::Rsa2048] {
            let (ours, other) = (root(key_type), root(KeyType::P256));
            let leaf = ours.issue("d1", key_type, ALWAYS).unwrap();

            assert_eq!(found(&leaf, &[&other, &ours]), [anchor(&ours).sha256]);
            assert!(found(&leaf, &[&other]).is_empty(), "the same subject only");
            assert!(found(&leaf, &[]).is_empty());
        }
    }

    #[test]
    fn kinds_of_keys_mix() {
        let (rsa, ec) = (root(KeyType::Rsa2048), root(KeyType::P256));
        let by_rsa = rsa.issue("d1", KeyType::P256, ALWAYS).unwrap();
        let by_ec = ec.issue("d1", KeyType::Rsa2048, ALWAYS).unwrap();

        assert_eq!(found(&by_rsa, &[&rsa, &ec]), [anchor(&rsa).sha256]);
        assert_eq!(found(&by_ec, &[&rsa, &ec]), [anchor(&ec).sha256]);
    }

    #[test]
    fn presented_intermediates_lead_on_in_any_order() {
        let root = root(KeyType::P256);
        let first = root.intermediate("first", ALWAYS).unwrap();
        let second = first.intermediate("second", ALWAYS).unwrap();
        let leaf = second.issue("d1", KeyType::P256, ALWAYS).unwrap();
        let chain = leaf.chain_der();
        assert_eq!(chain.len(), 3);
        let shuffled = [&chain[0], &chain[2], &chain[1]].map(Clone::clone);

        assert_eq!(found_in(&chain, &[&root]), [anchor(&root).sha256]);
        assert_eq!(found_in(&shuffled, &[&root]), [anchor(&root).sha256]);
        assert!(found_in(&chain[..1], &[&root]).is_empty(), "a gap");
        assert_eq!(
            found_in(&chain[..1], &[&second]),
            [anchor(&second).sha256],
            "an intermediate may be registered itself"
        );
        assert_eq!(found_in(&chain, &[&first, &root]).len(), 2);
    }

    #[test]
    fn validity_on_the_way_is_told() {
        let root = root(KeyType::P256);
        let short = Validity {
            not_before: Timestamp::from_unix_seconds(1_700_000_000),
            not_after: Timestamp::from_unix_seconds(1_700_000_100),
        };
        let intermediate = root.intermediate("short", short).unwrap();
        let leaf = intermediate.issue("d1", KeyType::P256, ALWAYS).unwrap();

        let facts = certificate_facts(&leaf.chain_der(), || vec![anchor(&root)]).unwrap();

        assert_eq!(facts.not_before, ALWAYS.not_before);
        assert_eq!(facts.issued_by[0].not_before, short.not_before);
        assert_eq!(facts.issued_by[0].not_after, short.not_after);
        assert_eq!(facts.issuer, "CN=short");
    }

    #[test]
    fn a_leaf_issues_nothing() {
        let root = root(KeyType::P256);
        let leaf = root.issue("d1", KeyType::P256, ALWAYS).unwrap();
        let forged = leaf
            .misused_as_authority()
            .issue("d2", KeyType::P256, ALWAYS);

        let forged = forged.unwrap();

        assert_eq!(forged.chain_der().len(), 2);
        assert!(found(&forged, &[&root]).is_empty());
    }

    #[test]
    fn a_changed_certificate_is_nobodys() {
        let root = root(KeyType::P256);
        let leaf = root.issue("d1", KeyType::P256, ALWAYS).unwrap();
        let mut der = leaf.chain_der().remove(0);
        let name = der.windows(2).rposition(|bytes| bytes == b"d1").unwrap();
        der[name + 1] = b'2';

        let facts = certificate_facts(&[der], || vec![anchor(&root)]).unwrap();

        assert_eq!(facts.common_name.as_deref(), Some("d2"));
        assert!(facts.issued_by.is_empty());
    }

    #[test]
    fn nobody_is_asked_for_anchors_of_a_client_without_a_certificate() {
        let asked = || unreachable!("there is nothing to verify");

        assert_eq!(certificate_facts(&[], asked), None);
        assert_eq!(certificate_facts(&[b"hello".to_vec()], asked), None);
    }

    #[test]
    fn many_certificates_are_bounded_work() {
        let root = root(KeyType::P256);
        let one = self_signed("x", KeyType::P256, ALWAYS).unwrap();
        let many = vec![one.chain_der().remove(0); 1000];

        assert!(found_in(&many, &[&root]).is_empty());
    }

    /// Made with `openssl x509 -req`, without extensions: version 1 throughout.
    #[test]
    fn version_1_is_taken_as_openssl_makes_it() {
        let device = include_bytes!("testdata/device-v1-signed.pem");
        let authority = include_str!("testdata/root-v1.pem");
        let device = super::super::authority::decode(std::str::from_utf8(device).unwrap()).unwrap();
        let authority = parse_authority(authority).unwrap();
        let anchor = TrustAnchor {
            sha256: authority.sha256.clone(),
            der: authority.der,
        };

        let facts = certificate_facts(&[device], || vec![anchor]).unwrap();

        assert_eq!(facts.common_name.as_deref(), Some("d1"));
        assert_eq!(facts.issued_by[0].authority, authority.sha256);
    }

    proptest::proptest! {
        #[test]
        fn damaged_certificates_never_panic_and_prove_nothing(
            at in 0_usize..1500,
            byte: u8,
            noise in proptest::collection::vec(proptest::num::u8::ANY, 0..64),
        ) {
            let text = include_str!("testdata/device-v1-signed.pem");
            let good = super::super::authority::decode(text).unwrap();
            let root = parse_authority(include_str!("testdata/root-v1.pem")).unwrap();
            let anchors = || vec![TrustAnchor { sha256: root.sha256.clone(), der: root.der.clone() }];
            let mut damaged = good.clone();
            let at = at % damaged.len();
            damaged[at] = byte;

            let facts = certificate_facts(&[damaged.clone(), good.clone()], anchors);

            // Whatever is still read as a certificate is one whose signature no longer fits.
            let vouched = facts.is_some_and(|facts| !facts.issued_by.is_empty());
            proptest::prop_assert!(!vouched || damaged == good);
            proptest::prop_assert_eq!(certificate_facts(std::slice::from_ref(&noise), anchors), None);
            let _ = parse_authority(&String::from_utf8_lossy(&noise));
            let _ = can_issue(&damaged);
        }
    }
}
