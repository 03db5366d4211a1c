//! Where a job's files are: what its URIs mean.

use std::path::{Path, PathBuf};

use iothub_protocol::storage::{ContainerName, Query, verify_sas};
use iothub_protocol::{Error, ErrorCode, Timestamp};
use percent_encoding::percent_decode_str;

use super::Failure;
use crate::blobs::{Blobs, Content};

/// A container of the emulator's own, or a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A container of the blob service.
    Container(ContainerName),
    /// A folder of this machine: an extension, for work without a storage client.
    Folder(PathBuf),
}

/// Which folders `file://` URIs may name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Folders {
    /// Any: whoever can connect is at this machine anyway.
    Anywhere,
    /// This one and those in it.
    Below(PathBuf),
    /// None.
    #[default]
    Nowhere,
}

/// What a URI has to prove.
#[derive(Clone, Copy, Debug)]
pub enum Access<'a> {
    /// That its holder may do one of these things now, unless the hub's own identity is to be used
    /// and the host is this one.
    Needs {
        /// Letters of permissions.
        permissions: &'a str,
        /// Whether the hub proves itself by its identity.
        identity_based: bool,
        /// The host that the caller believes to speak to.
        host: &'a str,
        /// When.
        now: Timestamp,
    },
    /// Nothing any more: it was checked when the job was created.
    Proved,
}

impl Location {
    /// What a URI names. Refuses with `BlobContainerValidationError`, and says why.
    pub fn resolve(uri: &str, blobs: &Blobs, access: Access<'_>) -> Result<Self, Error> {
        let (scheme, rest) = uri
            .split_once("://")
            .ok_or_else(|| refused("a container's URI has a scheme"))?;
        match scheme.to_ascii_lowercase().as_str() {
            "file" => folder(rest, &blobs.settings().folders).map(Self::Folder),
            "http" | "https" => container(rest, blobs, access).map(Self::Container),
            _ => Err(refused(format!(
                "{scheme}:// is no container's; use a container of this emulator, or file://"
            ))),
        }
    }

    /// Whether files can be put there.
    pub(crate) fn exists(&self, blobs: &Blobs) -> bool {
        match self {
            Self::Container(name) => blobs.has_container(name),
            Self::Folder(path) => path.is_dir(),
        }
    }

    /// Reads a file.
    pub(crate) fn open(&self, blobs: &Blobs, name: &str) -> Result<Content, Failure> {
        match self {
            Self::Container(container) => Ok(blobs.find(container, name)?.content.clone()),
            Self::Folder(folder) => {
                let path = inside(folder, name)?;
                let length = std::fs::metadata(&path)?.len();
                Ok(Content::file(path, length))
            }
        }
    }
}

/// A file of a folder, wherever links lead.
pub(super) fn inside(folder: &Path, name: &str) -> std::io::Result<PathBuf> {
    let path = folder.join(name);
    let parent = path.parent().unwrap_or(folder).canonicalize()?;
    let target = path.canonicalize().unwrap_or_else(|_| path.clone());
    let stays = |path: &Path| path.starts_with(folder);
    if stays(&parent) && stays(&target) {
        return Ok(target);
    }
    Err(std::io::Error::new(
        std::io::ErrorKind::PermissionDenied,
        format!("{name} leads out of the folder"),
    ))
}

/// `[localhost]/path`
fn folder(rest: &str, folders: &Folders) -> Result<PathBuf, Error> {
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = percent_decode_str(path.split('?').next().unwrap_or_default())
        .decode_utf8()
        .map_err(|_| refused("the folder's name is not UTF-8"))?;
    if !(host.is_empty() || host.eq_ignore_ascii_case("localhost")) || path.is_empty() {
        return Err(refused("a folder's URI is file:///path"));
    }
    // Before the folder is looked at: whether it is there is nobody's business.
    if *folders == Folders::Nowhere {
        return Err(refused(
            "file:// is off, since other machines can connect; --jobs-dir names the folder that it \
             may be used below",
        ));
    }
    let missing = |error| refused(format!("the folder {path}: {error}"));
    let found = Path::new(&*path).canonicalize().map_err(missing)?;
    match folders {
        Folders::Below(root) => {
            let root = root.canonicalize().map_err(missing)?;
            if !found.starts_with(&root) {
                return Err(refused(format!(
                    "the folder {path} is not below --jobs-dir"
                )));
            }
        }
        Folders::Anywhere | Folders::Nowhere => {}
    }
    if found.is_dir() {
        Ok(found)
    } else {
        Err(refused(format!("{path} is no folder")))
    }
}

/// `host/container?signature`, or with the account's name before the container.
fn container(rest: &str, blobs: &Blobs, access: Access<'_>) -> Result<ContainerName, Error> {
    let account = &blobs.settings().account;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    let path = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| refused("the container's name is not UTF-8"))?;
    let path = path.trim_end_matches('/');
    let name = path
        .strip_prefix(account.name.as_str())
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(path);
    let name = ContainerName::parse(name).map_err(|error| refused(error.to_string()))?;
    let Access::Needs {
        permissions,
        identity_based,
        host: ours,
        now,
    } = access
    else {
        return Ok(name);
    };
    if identity_based {
        if is_this_host(host, ours) {
            return Ok(name);
        }
        return Err(refused(format!(
            "{host} is not this emulator, which connects to nobody else's storage"
        )));
    }
    // A signature by the account's key says whose container it is, whatever the host is called.
    let grant = verify_sas(account, &Query::parse(query), Some(&name), None, now);
    let grant = grant.map_err(|fault| {
        refused(format!(
            "the URI is not signed by this emulator's storage account, and it connects to nobody \
             else's: {fault}"
        ))
    })?;
    if grant.allows(permissions) {
        Ok(name)
    } else {
        Err(refused(format!(
            "the signature grants none of {permissions:?}"
        )))
    }
}

fn is_this_host(host: &str, ours: &str) -> bool {
    let without_port = |host: &str| {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        name.trim_matches(['[', ']']).to_ascii_lowercase()
    };
    let host = without_port(host);
    host == without_port(ours) || matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1")
}

fn refused(why: impl Into<String>) -> Error {
    Error::new(ErrorCode::BlobContainerValidationError, why)
}

#[cfg(test)]
mod tests {
    use iothub_protocol::sas::SymmetricKey;

    use super::*;
    use crate::blobs::BlobSettings;

    fn blobs(folders: Folders) -> Blobs {
        Blobs::in_memory(BlobSettings {
            folders,
            ..BlobSettings::with_key(SymmetricKey::from_bytes([7; 32]))
        })
    }

    fn resolve(uri: &str, folders: Folders, identity_based: bool) -> Result<Location, String> {
        let access = Access::Needs {
            permissions: "w",
            identity_based,
            host: "hub.example:8443",
            now: Timestamp::UNIX_EPOCH,
        };
        Location::resolve(uri, &blobs(folders), access).map_err(|error| {
            assert_eq!(error.code, ErrorCode::BlobContainerValidationError);
            error.detail
        })
    }

    #[test]
    fn containers_are_the_emulators_own() {
        let own = Ok(Location::Container(ContainerName::parse("jobs1").unwrap()));
        for uri in [
            "https://hub.example/jobs1",
            "http://localhost:8080/jobs1/",
            "https://[::1]:443/iothubemulator/jobs1",
        ] {
            assert_eq!(resolve(uri, Folders::Nowhere, true), own, "{uri}");
            assert!(resolve(uri, Folders::Nowhere, false).is_err(), "{uri}");
        }
        for uri in [
            "https://account.blob.core.windows.net/jobs1?sv=2018-03-28&sr=c&sig=AAAA&se=x&sp=w",
            "https://elsewhere/jobs1",
            "https://hub.example/",
            "ftp://hub.example/jobs1",
            "jobs1",
            "",
        ] {
            assert!(resolve(uri, Folders::Nowhere, true).is_err(), "{uri}");
            assert!(resolve(uri, Folders::Nowhere, false).is_err(), "{uri}");
        }
    }

    #[test]
    fn folders_are_those_that_are_allowed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("in side");
        std::fs::create_dir(&folder).unwrap();
        let uri = format!("file://{}/in%20side", root.path().display());
        let below = Folders::Below(root.path().to_owned());
        let found = Ok(Location::Folder(folder.canonicalize().unwrap()));

        assert_eq!(resolve(&uri, Folders::Anywhere, false), found);
        assert_eq!(resolve(&uri, below.clone(), false), found);
        assert!(resolve(&uri, Folders::Nowhere, false).is_err());
        assert!(resolve("file:///", below.clone(), false).is_err());
        assert!(resolve(&format!("{uri}/../.."), below, false).is_err());
        assert!(resolve(&format!("{uri}/none"), Folders::Anywhere, false).is_err());
        assert!(resolve("file://server/share", Folders::Anywhere, false).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn links_do_not_lead_out_of_a_folder() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().canonicalize().unwrap().join("jobs");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(root.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink("../secret", folder.join("devices.txt")).unwrap();

        assert!(inside(&folder, "devices.txt").is_err());
        assert!(inside(&folder, "../secret").is_err());
        assert!(inside(&folder, "new.txt").is_ok());
    }
}
