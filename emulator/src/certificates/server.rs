//! What the listeners present: loaded when it still fits, issued when it does not.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls;

use iothub_protocol::Timestamp;

use super::client::AnyClientCertificate;
use super::directory::Directory;
use super::issue::{Authority, Leaf, Name};

/// Names of the server certificate that every client may use without asking for them: the loopback
/// interface, real hub and Event Hubs names sent here by a hosts file, and the usual names of a
/// container (`spec/sdk-connectivity.md`, "What the emulator must offer").
const STANDARD_NAMES: [&str; 7] = [
    "localhost",
    "127.0.0.1",
    "::1",
    "*.azure-devices.net",
    "*.servicebus.windows.net",
    "emulator",
    "iothub-emulator",
];

/// Where certificates are kept and what they must offer.
#[derive(Clone, Debug, Default)]
pub struct CertificateOptions {
    /// The directory of `ca.pem`, `ca-key.pem` and `server.pem`; `None` keeps all in memory.
    pub dir: Option<PathBuf>,
    /// The kind of the server's key.
    pub key_type: KeyType,
    /// Names (DNS or IP) beyond the standard ones.
    pub names: Vec<String>,
}

/// The kind of the server's key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyType {
    /// ECDSA on P-256: made in a moment, cheap in every handshake.
    #[default]
    P256,
    /// RSA with 2048 bits, for stacks without ECDSA (`spec/device.md` 1.3).
    Rsa2048,
}

/// The authority that clients trust, and a server configuration that it vouches for.
#[derive(Clone)]
pub struct Certificates {
    ca_pem: String,
    ca_der: CertificateDer<'static>,
    ca_file: Option<PathBuf>,
    server_config: Arc<ServerConfig>,
}

impl Certificates {
    /// Loads what the directory holds and makes what is missing or no longer fits.
    ///
    /// The authority is kept for ever, since people paste it into trust stores
    /// (`spec/sdk-connectivity.md`). The server certificate is issued anew, by the same authority,
    /// when it lacks a wanted name, has another kind of key or is about to expire. Processes that
    /// start at once on one directory end up with one authority.
    ///
    /// # Errors
    ///
    /// When a file cannot be read or written, holds something else than its name says, or a wanted
    /// name is neither a DNS name nor an IP address.
    pub fn load_or_create(
        options: &CertificateOptions,
        now: Timestamp,
    ) -> Result<Self, CertificateError> {
        let names = wanted_names(&options.names)?;
        let Some(dir) = &options.dir else {
            let authority = Authority::create(options.key_type)?;
            let leaf = authority.issue(options.key_type, &names, now)?;
            return Self::assemble(authority.certificate_pem(), None, &leaf);
        };

        let directory = Directory::open(dir)?;
        let fits =
            |leaf: &Leaf, ca: &CertificateDer<'_>| leaf.fits(ca, options.key_type, &names, now);
        if let Some((ca_pem, leaf)) = stored(&directory, fits)? {
            return Self::assemble(&ca_pem, Some(directory.file(CA)), &leaf);
        }

        let _lock = directory.lock()?;
        if let Some((ca_pem, leaf)) = stored(&directory, fits)? {
            return Self::assemble(&ca_pem, Some(directory.file(CA)), &leaf);
        }
        let authority = stored_or_new_authority(&directory, options.key_type)?;
        let leaf = authority.issue(options.key_type, &with_earlier(&directory, names)?, now)?;
        directory.write(SERVER, &leaf.to_pem())?;
        Self::assemble(authority.certificate_pem(), Some(directory.file(CA)), &leaf)
    }

    /// The authority's certificate, as PEM text.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The authority's certificate, as DER.
    pub fn ca_der(&self) -> &CertificateDer<'static> {
        &self.ca_der
    }

    /// The file that holds [`Self::ca_pem`], unless all is in memory.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// The TLS configuration of every listener: versions 1.2 and 1.3, resumption by tickets, and a
    /// client certificate that is asked for, never required (`spec/device.md` 1.3).
    ///
    /// No ALPN protocol is chosen, so a client's offer, whatever it is, is passed over.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.server_config.clone()
    }

    fn assemble(
        ca_pem: &str,
        ca_file: Option<PathBuf>,
        leaf: &Leaf,
    ) -> Result<Self, CertificateError> {
        let ca_der = certificate_in(ca_pem, CA)?;
        let server_config = Arc::new(server_config(leaf)?);
        Ok(Self {
            ca_pem: ca_pem.to_owned(),
            ca_der,
            ca_file,
            server_config,
        })
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates")
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

/// Why there is no server certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The directory or a file in it cannot be used.
    #[error("{attempt} {}", path.display())]
    File {
        /// What was attempted, such as `read`.
        attempt: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the machine said.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what its name says.
    #[error("{file} holds no {expected} in PEM form")]
    Content {
        /// The file's name in the directory.
        file: &'static str,
        /// What was looked for.
        expected: &'static str,
    },
    /// The authority's two files do not belong together.
    #[error("ca-key.pem is not the key of ca.pem; remove both to start anew")]
    KeyMismatch,
    /// A wanted name of the server certificate is neither a DNS name nor an IP address.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    Name(String),
    /// A key or a certificate could not be made.
    #[error("issue certificate")]
    Issue(#[from] rcgen::Error),
    /// An RSA key could not be made.
    #[error("generate RSA key: {0}")]
    RsaKey(String),
    /// The TLS library refuses the certificate or its key.
    #[error("configure TLS")]
    Tls(#[from] rustls::Error),
}

const CA: &str = "ca.pem";
const CA_KEY: &str = "ca-key.pem";
/// Certificate and key in one file, so that one rename replaces both.
const SERVER: &str = "server.pem";

/// The authority's certificate and a server certificate that fits, if both are in the directory.
fn stored(
    directory: &Directory,
    fits: impl Fn(&Leaf, &CertificateDer<'_>) -> bool,
) -> Result<Option<(String, Leaf)>, CertificateError> {
    let (Some(ca_pem), Some(server_pem)) = (directory.read(CA)?, directory.read(SERVER)?) else {
        return Ok(None);
    };
    let ca = certificate_in(&ca_pem, CA)?;
    Ok(Leaf::from_pem(&server_pem)
        .filter(|leaf| fits(leaf, &ca))
        .map(|leaf| (ca_pem, leaf)))
}

/// The key is written first: `ca.pem` appears only when everything that it promises is there.
fn stored_or_new_authority(
    directory: &Directory,
    key_type: KeyType,
) -> Result<Authority, CertificateError> {
    if let Some(ca_pem) = directory.read(CA)? {
        let key_pem = directory.read(CA_KEY)?.ok_or(CertificateError::Content {
            file: CA_KEY,
            expected: "private key",
        })?;
        let authority = Authority::from_pem(&ca_pem, &key_pem)?;
        if key_type == KeyType::Rsa2048 && !authority.is_rsa() {
            tracing::warn!(
                "the server key is RSA but the authority in {} is ECDSA: a client without ECDSA \
                 needs another certificate directory",
                directory.file(CA).display()
            );
        }
        return Ok(authority);
    }
    let authority = Authority::create(key_type)?;
    directory.write(CA_KEY, &authority.key_pem())?;
    directory.write(CA, authority.certificate_pem())?;
    Ok(authority)
}

/// Names asked for in earlier runs stay, so that two configurations on one directory do not take
/// the certificate from each other in turn.
fn with_earlier(
    directory: &Directory,
    mut names: Vec<Name>,
) -> Result<Vec<Name>, CertificateError> {
    let earlier = directory.read(SERVER)?.and_then(|pem| Leaf::from_pem(&pem));
    for name in earlier.map(|leaf| leaf.names()).unwrap_or_default() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn wanted_names(extra: &[String]) -> Result<Vec<Name>, CertificateError> {
    let mut names = Vec::with_capacity(STANDARD_NAMES.len() + extra.len());
    for text in STANDARD_NAMES
        .into_iter()
        .chain(extra.iter().map(String::as_str))
    {
        let name = Name::parse(text).ok_or_else(|| CertificateError::Name(text.to_owned()))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn certificate_in(
    pem: &str,
    file: &'static str,
) -> Result<CertificateDer<'static>, CertificateError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| CertificateError::Content {
        file,
        expected: "certificate",
    })
}

fn server_config(leaf: &Leaf) -> Result<ServerConfig, CertificateError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_client_cert_verifier(Arc::new(AnyClientCertificate::default()))
        .with_single_cert(
            vec![leaf.certificate().clone()],
            PrivateKeyDer::Pkcs8(leaf.key().clone_key()),
        )?;
    config.ticketer = rustls::crypto::ring::Ticketer::new()?;
    // One ticket serves a client that reconnects one connection; two would be made for nothing.
    config.send_tls13_tickets = 1;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustls::pki_types::ServerName;

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_767_225_600);
    const DAY: i64 = 24 * 60 * 60;

    fn options(dir: &Path) -> CertificateOptions {
        CertificateOptions {
            dir: Some(dir.to_owned()),
            ..CertificateOptions::default()
        }
    }

    fn later(days: i64) -> Timestamp {
        Timestamp::from_unix_seconds(NOW.unix_seconds() + days * DAY)
    }

    fn read(dir: &Path, file: &str) -> String {
        fs::read_to_string(dir.join(file)).unwrap()
    }

    /// What a strict client library says about the server certificate under `name`.
    fn verify(dir: &Path, name: &str, at: Timestamp) -> Result<(), rustls::Error> {
        use rustls::client::danger::ServerCertVerifier;

        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(certificate_in(&read(dir, CA), CA).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .unwrap();
        let leaf = certificate_in(&read(dir, SERVER), SERVER).unwrap();
        let now = rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(
            u64::try_from(at.unix_seconds()).unwrap(),
        ));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier
            .verify_server_cert(&leaf, &[], &name, &[], now)
            .map(|_| ())
    }

    #[test]
    fn the_server_certificate_serves_every_standard_name() {
        let dir = tempfile::tempdir().unwrap();

        Certificates::load_or_create(&options(dir.path()), NOW).unwrap();

        for name in [
            "localhost",
            "127.0.0.1",
            "::1",
            "myhub.azure-devices.net",
            "myhub.servicebus.windows.net",
            "emulator",
            "iothub-emulator",
        ] {
            assert_eq!(verify(dir.path(), name, NOW), Ok(()), "{name}");
        }
        assert!(verify(dir.path(), "example.com", NOW).is_err());
    }

    #[test]
    fn a_second_start_changes_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let first = Certificates::load_or_create(&options(dir.path()), NOW).unwrap();
        let server = read(dir.path(), SERVER);

        let second = Certificates::load_or_create(&options(dir.path()), later(100)).unwrap();

        assert_eq!(second.ca_pem(), first.ca_pem());
        assert_eq!(second.ca_file(), Some(dir.path().join(CA).as_path()));
        assert_eq!(read(dir.path(), SERVER), server);
    }

    #[test]
    fn a_new_name_reissues_the_server_certificate_and_keeps_the_authority_and_the_old_names() {
        let dir = tempfile::tempdir().unwrap();
        let start = |names: &[&str]| {
            let names = names.iter().map(|&name| name.to_owned()).collect();
            Certificates::load_or_create(
                &CertificateOptions {
                    names,
                    ..options(dir.path())
                },
                NOW,
            )
            .unwrap()
            .ca_pem()
            .to_owned()
        };

        let first = start(&["hub.example"]);
        let second = start(&["192.0.2.7"]);

        assert_eq!(first, second);
        assert_eq!(verify(dir.path(), "hub.example", NOW), Ok(()));
        assert_eq!(verify(dir.path(), "192.0.2.7", NOW), Ok(()));
    }

    #[test]
    fn a_server_certificate_near_its_end_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let first = Certificates::load_or_create(&options(dir.path()), NOW).unwrap();
        let server = read(dir.path(), SERVER);

        let second = Certificates::load_or_create(&options(dir.path()), later(810)).unwrap();

        assert_eq!(second.ca_pem(), first.ca_pem());
        assert_ne!(read(dir.path(), SERVER), server);
        assert_eq!(verify(dir.path(), "localhost", later(1000)), Ok(()));
    }

    #[test]
    fn another_key_type_reissues_the_server_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let first = Certificates::load_or_create(&options(dir.path()), NOW).unwrap();
        let rsa = CertificateOptions {
            key_type: KeyType::Rsa2048,
            ..options(dir.path())
        };

        let second = Certificates::load_or_create(&rsa, NOW).unwrap();

        assert_eq!(second.ca_pem(), first.ca_pem());
        assert!(Leaf::from_pem(&read(dir.path(), SERVER)).unwrap().is_rsa());
        assert_eq!(verify(dir.path(), "localhost", NOW), Ok(()));
    }

    #[test]
    fn a_directory_started_with_rsa_is_rsa_throughout() {
        let dir = tempfile::tempdir().unwrap();
        let rsa = CertificateOptions {
            key_type: KeyType::Rsa2048,
            ..options(dir.path())
        };

        Certificates::load_or_create(&rsa, NOW).unwrap();

        assert!(
            Authority::from_pem(&read(dir.path(), CA), &read(dir.path(), CA_KEY))
                .unwrap()
                .is_rsa()
        );
        assert_eq!(verify(dir.path(), "localhost", NOW), Ok(()));
    }

    #[test]
    fn a_damaged_server_certificate_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        Certificates::load_or_create(&options(dir.path()), NOW).unwrap();
        fs::write(
            dir.path().join(SERVER),
            "-----BEGIN CERTIFICATE-----\nAAAA\n",
        )
        .unwrap();

        Certificates::load_or_create(&options(dir.path()), NOW).unwrap();

        assert_eq!(verify(dir.path(), "localhost", NOW), Ok(()));
    }

    #[test]
    fn an_authority_without_its_key_is_refused_rather_than_replaced() {
        let dir = tempfile::tempdir().unwrap();
        Certificates::load_or_create(&options(dir.path()), NOW).unwrap();
        fs::remove_file(dir.path().join(CA_KEY)).unwrap();
        fs::remove_file(dir.path().join(SERVER)).unwrap();

        let refused = Certificates::load_or_create(&options(dir.path()), NOW).unwrap_err();

        assert_eq!(
            refused.to_string(),
            "ca-key.pem holds no private key in PEM form"
        );
    }

    #[test]
    fn a_key_of_another_authority_is_refused() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Certificates::load_or_create(&options(dir.path()), NOW).unwrap();
        Certificates::load_or_create(&options(other.path()), NOW).unwrap();
        fs::copy(other.path().join(CA_KEY), dir.path().join(CA_KEY)).unwrap();
        fs::remove_file(dir.path().join(SERVER)).unwrap();

        let refused = Certificates::load_or_create(&options(dir.path()), NOW).unwrap_err();

        assert!(
            matches!(refused, CertificateError::KeyMismatch),
            "{refused:?}"
        );
    }

    #[test]
    fn concurrent_first_starts_agree_on_one_authority() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("not/yet/there");

        let seen: Vec<String> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        Certificates::load_or_create(&options(&dir), NOW)
                            .unwrap()
                            .ca_pem()
                            .to_owned()
                    })
                })
                .collect();
            starts
                .into_iter()
                .map(|start| start.join().unwrap())
                .collect()
        });

        assert!(seen.iter().all(|ca| *ca == read(&dir, CA)));
    }

    #[cfg(unix)]
    #[test]
    fn files_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;

        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("certificates");

        Certificates::load_or_create(&options(&dir), NOW).unwrap();

        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        for file in fs::read_dir(&dir).unwrap() {
            let path = file.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let options = CertificateOptions {
            names: vec!["not a name".to_owned()],
            ..Default::default()
        };

        let refused = Certificates::load_or_create(&options, NOW).unwrap_err();

        assert_eq!(
            refused.to_string(),
            "\"not a name\" is neither a DNS name nor an IP address"
        );
    }

    #[test]
    fn in_memory_certificates_leave_no_file() {
        let certificates =
            Certificates::load_or_create(&CertificateOptions::default(), NOW).unwrap();

        assert_eq!(certificates.ca_file(), None);
        assert!(
            certificates
                .ca_pem()
                .starts_with("-----BEGIN CERTIFICATE-----")
        );
    }
}
