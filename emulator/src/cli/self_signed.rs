//! A certificate for a device that has none: as `az` makes one when it is not given a thumbprint.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use iothub_protocol::Clock;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use sha1::{Digest, Sha1};
use time::OffsetDateTime;

use super::output::progress;
use crate::clock::HubClock;

/// Writes `{name}-cert.pem` and `{name}-key.pem` into the directory, and returns the certificate's
/// thumbprint.
pub(super) fn create(name: &str, days: u32, dir: &Path) -> anyhow::Result<String> {
    let key = KeyPair::generate().context("make a key")?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // By the world's time: the certificate outlives any time of the emulator's.
    let now = OffsetDateTime::from_unix_timestamp(HubClock::system().now().unix_seconds())?;
    params.not_before = now;
    params.not_after = now + Duration::from_secs(u64::from(days) * 24 * 3600);
    let certificate = params.self_signed(&key).context("sign the certificate")?;

    std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    // A module's name has the device's before it.
    let name = name.replace('/', "-");
    let (certificate_file, key_file) = (
        dir.join(format!("{name}-cert.pem")),
        dir.join(format!("{name}-key.pem")),
    );
    write_private(&key_file, &key.serialize_pem())?;
    std::fs::write(&certificate_file, certificate.pem())
        .with_context(|| format!("write {}", certificate_file.display()))?;
    progress(format_args!(
        "made {} and {}",
        certificate_file.display(),
        key_file.display()
    ));
    let thumbprint = Sha1::digest(certificate.der());
    Ok(thumbprint
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect())
}

/// Writes a file that nobody else may read.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("write {}", path.display()))
}
