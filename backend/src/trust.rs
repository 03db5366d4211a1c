//! Which certificates are believed: the system's, or one given authority.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::{Error, ErrorKind};

/// Where trust comes from.
#[derive(Clone, Default)]
pub(crate) enum Trust {
    /// The system's store; `SSL_CERT_FILE` and `SSL_CERT_DIR` replace it.
    #[default]
    System,
    /// These PEM certificates and no others.
    Only(Vec<u8>),
}

impl Trust {
    /// Reads the certificates of a PEM file.
    pub(crate) fn from_file(path: &Path) -> Result<Self, Error> {
        std::fs::read(path).map(Self::Only).map_err(|error| {
            let what = format!("read the certificate authority {}", path.display());
            Error::caused_by(ErrorKind::Configuration(what), error)
        })
    }

    /// A TLS configuration that believes what this says.
    pub(crate) fn client_config(&self) -> Result<ClientConfig, Error> {
        Ok(with_roots(self.roots()?))
    }

    fn roots(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        match self {
            Self::System => {
                let loaded = rustls_native_certs::load_native_certs();
                for error in &loaded.errors {
                    tracing::warn!(%error, "load the system's certificates");
                }
                roots.add_parsable_certificates(loaded.certs);
            }
            Self::Only(pem) => {
                let unusable =
                    || ErrorKind::Configuration("the certificate authority is not PEM".into());
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate =
                        certificate.map_err(|error| Error::caused_by(unusable(), error))?;
                    roots
                        .add(certificate)
                        .map_err(|error| Error::caused_by(unusable(), error))?;
                }
                if roots.is_empty() {
                    return Err(Error::new(unusable()));
                }
            }
        }
        Ok(roots)
    }
}

/// A configuration for plain HTTP, where nothing is ever verified because TLS is never spoken.
pub(crate) fn trusting_nobody() -> ClientConfig {
    with_roots(RootCertStore::empty())
}

fn with_roots(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the ring provider has suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}
