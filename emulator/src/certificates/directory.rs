//! The directory of certificates: private to its owner, and never seen half-written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::server::CertificateError;

/// A directory that keeps secrets.
pub(super) struct Directory {
    path: PathBuf,
}

/// Holds other processes off while files are made; released on drop.
pub(super) struct Lock {
    _file: Option<File>,
}

impl Directory {
    /// Makes the directory, for its owner only, unless it exists.
    pub(super) fn open(path: &Path) -> Result<Self, CertificateError> {
        private_directory(path).map_err(failed("create directory", path))?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// The path of a file in the directory.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The text of a file, `None` if it is not there.
    pub(super) fn read(&self, name: &str) -> Result<Option<String>, CertificateError> {
        let path = self.file(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("read", &path)(e)),
        }
    }

    /// Replaces a file at once: readers see the old text or the new one, and so does the next
    /// start after a crash. To be called under [`Self::lock`].
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), CertificateError> {
        let path = self.file(name);
        let temporary = self.file(&format!(".{name}.new"));
        let write = || {
            let mut file = private_file(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        write().map_err(failed("write", &path))
    }

    /// Waits until no other process makes files here.
    pub(super) fn lock(&self) -> Result<Lock, CertificateError> {
        let path = self.file(".lock");
        let file = private_file(&path).map_err(failed("create", &path))?;
        match file.lock() {
            Ok(()) => Ok(Lock { _file: Some(file) }),
            // Some network file systems know no locks; alone on the directory all is well.
            Err(e) if e.kind() == io::ErrorKind::Unsupported => Ok(Lock { _file: None }),
            Err(e) => Err(failed("lock", &path)(e)),
        }
    }
}

fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CertificateError {
    let path = path.to_owned();
    move |source| CertificateError::File {
        attempt,
        path,
        source,
    }
}

fn private_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
