//! Which certificates are believed, and which one is shown.

use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

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

/// A certificate with its key, both PEM (`spec/device.md` 11).
#[derive(Clone)]
pub(crate) struct ClientCertificate {
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl Trust {
    /// Reads the certificates of a PEM file.
    pub(crate) fn from_file(path: &Path) -> Result<Self, Error> {
        std::fs::read(path).map(Self::Only).map_err(|error| {
            let what = format!("read the certificate authority {}", path.display());
            Error::caused_by(ErrorKind::Configuration(what), error)
        })
    }

    /// A TLS configuration that believes what this says, and shows `certificate`.
    pub(crate) fn client_config(
        &self,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Arc<ClientConfig>, Error> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the ring provider has suites for TLS 1.2 and 1.3")
            .with_root_certificates(self.roots()?);
        let config = match certificate {
            None => config.with_no_client_auth(),
            Some(certificate) => {
                let (chain, key) = certificate.parse()?;
                config
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| unusable("the client certificate and its key", error))?
            }
        };
        Ok(Arc::new(config))
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
                let what = "the certificate authority";
                for certificate in CertificateDer::pem_slice_iter(pem) {
                    let certificate = certificate.map_err(|error| unusable(what, error))?;
                    roots
                        .add(certificate)
                        .map_err(|error| unusable(what, error))?;
                }
                if roots.is_empty() {
                    let what = format!("{what} holds no certificate");
                    return Err(Error::new(ErrorKind::Configuration(what)));
                }
            }
        }
        Ok(roots)
    }
}

impl ClientCertificate {
    fn parse(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
        let chain = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unusable("the client certificate", error))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|error| unusable("the key of the client certificate", error))?;
        Ok((chain, key))
    }
}

/// For connections in the clear, which show and check nothing.
pub(crate) fn trusting_nobody() -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the ring provider has suites for TLS 1.2 and 1.3")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Arc::new(config)
}

/// Whether the reason, however deep, is a certificate.
pub(crate) fn is_untrusted(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidCertificate(_)) = error.downcast_ref() {
            return true;
        }
        // An IO error hides the error that it carries from `source`.
        let carried = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match carried {
            Some(carried) => Some(carried),
            None => error.source(),
        };
    }
    false
}

fn unusable(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::caused_by(
        ErrorKind::Configuration(format!("{what} cannot be used")),
        error,
    )
}
