//! The blob service that devices' files go to, as much of it as the storage clients need for files
//! and for import and export (`spec/device.md` 8.2; otherwise the REST reference of Azure Storage).
//!
//! It is served by the same listeners as everything else, since a client finds it at
//! `https://{hostName}/{containerName}/{blobName}` with the host name that it knows. A path is a
//! blob's when its first segment may be a container's name, is none of [`RESERVED`], and there is
//! such a container or the request looks like one for storage; everything else stays with REST.
//! Below `/{account}/…` there are blobs only, as on a local storage emulator.

mod access;
mod answer;
mod container;
mod error;
mod read;
mod write;

use axum::response::Response;
use http::Method;
use http::header::AUTHORIZATION;
use http::request::Parts;
use hyper::body::Incoming;
use iothub_protocol::storage::{ContainerName, Query};
use iothub_protocol::{Clock, Timestamp};
use percent_encoding::percent_decode_str;

use crate::blobs::Blobs;
use crate::handle::HubHandle;

use error::{Fault, StorageError};

/// First segments of the service's and devices' own paths, which no container may have as a name.
pub const RESERVED: &[&str] = &[
    "configurations",
    "devices",
    "digitaltwins",
    "jobs",
    "messages",
    "statistics",
    "twins",
];

/// What a request to storage is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    container: Option<ContainerName>,
    blob: Option<String>,
}

/// A request to storage, once it is known to be one.
struct Request<'a> {
    handle: &'a HubHandle,
    parts: &'a Parts,
    query: Query,
    target: &'a Target,
    now: Timestamp,
}

/// What storage is asked for, when it is; `None`: the request is for someone else.
pub(super) fn target(handle: &HubHandle, parts: &Parts) -> Option<Target> {
    let blobs = handle.blobs();
    let path = percent_decode_str(parts.uri.path()).decode_utf8().ok()?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    if let Some(rest) = below(path, &blobs.settings().account.name) {
        return Target::parse(rest);
    }
    let target = Target::parse(path)?;
    let container = target.container.as_ref()?;
    if RESERVED.contains(&container.as_str()) {
        return None;
    }
    (blobs.has_container(container) || looks_like_storage(parts)).then_some(target)
}

/// Answers a request to storage.
pub(super) async fn respond(
    handle: &HubHandle,
    parts: &Parts,
    target: &Target,
    body: Incoming,
) -> Response {
    let request = Request {
        handle,
        parts,
        query: Query::parse(parts.uri.query().unwrap_or_default()),
        target,
        now: handle.clock().now(),
    };
    let answered = match access::authorize(&request).await {
        Ok(grant) => request.perform(&grant, body).await,
        Err(refused) => Err(refused),
    };
    let response = answered.unwrap_or_else(|refused| error::refusal(&request, &refused));
    answer::finish(&request, response)
}

impl Target {
    /// `{container}/{blob}`, both optional.
    fn parse(path: &str) -> Option<Self> {
        let (container, blob) = match path.split_once('/') {
            Some((container, blob)) => (container, Some(blob).filter(|blob| !blob.is_empty())),
            None => (path, None),
        };
        if container.is_empty() {
            return blob.is_none().then_some(Self {
                container: None,
                blob: None,
            });
        }
        Some(Self {
            container: Some(ContainerName::parse(container).ok()?),
            blob: blob.map(str::to_owned),
        })
    }
}

impl Request<'_> {
    async fn perform(
        &self,
        grant: &access::Authorized,
        body: Incoming,
    ) -> Result<Response, StorageError> {
        let comp = self.query.value("comp").to_ascii_lowercase();
        let restype = self.query.value("restype").to_ascii_lowercase();
        let verb = &self.parts.method;
        let Some(container) = &self.target.container else {
            return match (verb, comp.as_str()) {
                (&Method::GET, "list") => container::list_containers(self, grant),
                _ => Err(self.not_emulated()),
            };
        };
        let Some(blob) = self.target.blob.as_deref() else {
            return match (verb, restype.as_str(), comp.as_str()) {
                (&Method::PUT, "container", "") => container::create(self, grant, container).await,
                (&Method::DELETE, "container", "") => {
                    container::delete(self, grant, container).await
                }
                (&Method::GET | &Method::HEAD, "container", "" | "metadata") => {
                    container::properties(self, grant, container)
                }
                (&Method::GET, "container", "list") => {
                    container::list_blobs(self, grant, container)
                }
                _ => Err(self.not_emulated()),
            };
        };
        match (verb, comp.as_str()) {
            (&Method::PUT, "") => write::put_blob(self, grant, container, blob, body).await,
            (&Method::PUT, "block") => write::put_block(self, grant, container, blob, body).await,
            (&Method::PUT, "blocklist") => {
                write::put_block_list(self, grant, container, blob, body).await
            }
            (&Method::PUT, "metadata") => write::put_metadata(self, grant, container, blob).await,
            (&Method::DELETE, "") => write::delete(self, grant, container, blob).await,
            (&Method::GET, "") => read::get(self, grant, container, blob).await,
            (&Method::HEAD, "" | "metadata") => read::head(self, grant, container, blob),
            (&Method::GET, "blocklist") => read::block_list(self, grant, container, blob),
            _ => Err(self.not_emulated()),
        }
    }

    fn blobs(&self) -> &Blobs {
        self.handle.blobs()
    }

    /// A header's value, when it is text.
    fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// What the real service can do and this one cannot: counted, and refused.
    fn not_emulated(&self) -> StorageError {
        let what = format!(
            "storage: {} restype={} comp={}",
            self.parts.method,
            readable(self.query.value("restype")),
            readable(self.query.value("comp")),
        );
        self.handle.activity().record_not_emulated(&what);
        StorageError::new(
            Fault::UnsupportedQueryParameter,
            format!("not emulated: {what}"),
        )
    }
}

/// What a parameter says, as it may stand in a log.
fn readable(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_alphanumeric())
        .take(20)
        .collect()
}

/// What follows `root/`; the empty text for `root` itself.
fn below<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(root)?;
    if rest.is_empty() {
        return Some("");
    }
    rest.strip_prefix('/')
}

fn looks_like_storage(parts: &Parts) -> bool {
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let shared_key = || {
        let authorization = parts.headers.get(AUTHORIZATION);
        authorization.is_some_and(|value| value.as_bytes().starts_with(b"SharedKey "))
    };
    query.find("sig").is_some() || parts.headers.contains_key("x-ms-version") || shared_key()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_containers_and_blobs_of_any_name() {
        let parsed = |path| {
            let target = Target::parse(path)?;
            let container = target.container.map(|name| name.to_string());
            Some((container.unwrap_or_default(), target.blob))
        };

        assert_eq!(
            parsed("uploads/d1/f/x y.txt"),
            Some(("uploads".into(), Some("d1/f/x y.txt".into())))
        );
        assert_eq!(parsed("uploads"), Some(("uploads".into(), None)));
        assert_eq!(parsed("uploads/"), Some(("uploads".into(), None)));
        assert_eq!(
            parsed("uploads//x/"),
            Some(("uploads".into(), Some("/x/".into())))
        );
        assert_eq!(parsed(""), Some((String::new(), None)));
        assert_eq!(parsed("Uploads/x"), None);
        assert_eq!(parsed("_emulator/info"), None);
    }

    #[test]
    fn an_account_is_a_whole_segment() {
        assert_eq!(below("acct/c/b", "acct"), Some("c/b"));
        assert_eq!(below("acct", "acct"), Some(""));
        assert_eq!(below("acctx/c", "acct"), None);
    }
}
