//! Get Blob, Get Blob Properties, Get Block List.

use std::ops::Range;

use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::TryStreamExt;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, RANGE};
use iothub_protocol::storage::ContainerName;
use md5::{Digest, Md5};

use super::Request;
use super::access::Authorized;
use super::answer::{self, escape, put};
use super::error::{Fault, StorageError};
use super::write::conditions;
use crate::blobs::{Blob, BlobError, Content};

/// Bytes of a range that an MD5 can be asked for.
const SUMMED_RANGE: u64 = 4 * 1024 * 1024;

/// `GET /{container}/{blob}`, whole or a range.
pub(super) async fn get(
    request: &Request<'_>,
    grant: &Authorized,
    container: &ContainerName,
    blob: &str,
) -> Result<Response, StorageError> {
    grant.require("r")?;
    let blob = request.blobs().find(container, blob)?;
    conditions(request).check_read(&blob)?;
    let length = blob.content.len();
    let wanted = request
        .header("x-ms-range")
        .or_else(|| request.header(RANGE.as_str()));
    let range = match wanted.and_then(|text| parse_range(text, length)) {
        Some(range) if range.is_empty() => {
            return Err(StorageError::new(
                Fault::InvalidRange,
                format!("the blob has {length} bytes"),
            ));
        }
        range => range,
    };
    let span = range.clone().unwrap_or(0..length);
    let mut response = Response::new(Body::from_stream(blob.content.stream(span.clone())));
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    let headers = response.headers_mut();
    answer::describe(headers, &blob);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(span.end - span.start));
    let whole_md5 = blob.headers.content_md5.as_deref();
    if range.is_some() {
        let text = format!("bytes {}-{}/{length}", span.start, span.end - 1);
        put(headers, CONTENT_RANGE.as_str(), &text);
        if let Some(md5) = whole_md5 {
            put(headers, "x-ms-blob-content-md5", md5);
        }
        let sum = request.header("x-ms-range-get-content-md5");
        if sum.is_some_and(|sum| sum.eq_ignore_ascii_case("true")) {
            let md5 = range_md5(&blob, span).await?;
            put(headers, "content-md5", &md5);
        }
    } else if let Some(md5) = whole_md5 {
        put(headers, "content-md5", md5);
    }
    Ok(response)
}

/// `HEAD /{container}/{blob}`
pub(super) fn head(
    request: &Request<'_>,
    grant: &Authorized,
    container: &ContainerName,
    blob: &str,
) -> Result<Response, StorageError> {
    grant.require("r")?;
    let blob = request.blobs().find(container, blob)?;
    conditions(request).check_read(&blob)?;
    let mut response = answer::status(StatusCode::OK);
    let headers = response.headers_mut();
    answer::describe(headers, &blob);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(blob.content.len()));
    if let Some(md5) = &blob.headers.content_md5 {
        put(headers, "content-md5", md5);
    }
    Ok(response)
}

/// `GET /{container}/{blob}?comp=blocklist`
pub(super) fn block_list(
    request: &Request<'_>,
    grant: &Authorized,
    container: &ContainerName,
    name: &str,
) -> Result<Response, StorageError> {
    grant.require("r")?;
    let waiting = request.blobs().waiting_blocks(container, name);
    let blob = match request.blobs().find(container, name) {
        Ok(blob) => Some(blob),
        Err(BlobError::BlobNotFound) if !waiting.is_empty() => None,
        Err(error) => return Err(error.into()),
    };
    let kind = request.query.value("blocklisttype").to_ascii_lowercase();
    let (committed, uncommitted) = match kind.as_str() {
        "" | "committed" => (true, false),
        "uncommitted" => (false, true),
        "all" => (true, true),
        _ => {
            return Err(StorageError::new(
                Fault::InvalidQueryParameterValue,
                "blocklisttype is committed, uncommitted or all",
            ));
        }
    };
    let mut document = "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>".to_owned();
    if committed {
        let blocks = blob.as_ref().map_or(&[][..], |blob| &blob.blocks);
        push_blocks(&mut document, "CommittedBlocks", blocks);
    }
    if uncommitted {
        push_blocks(&mut document, "UncommittedBlocks", &waiting);
    }
    document.push_str("</BlockList>");
    let mut response = answer::xml(document);
    if let Some(blob) = blob {
        let headers = response.headers_mut();
        answer::identity(headers, &blob);
        let length = blob.content.len().to_string();
        put(headers, "x-ms-blob-content-length", &length);
    }
    Ok(response)
}

/// All bytes of a range that is known to be small.
pub(super) async fn collect(content: &Content, range: Range<u64>) -> Result<Vec<u8>, StorageError> {
    let read = content
        .stream(range)
        .try_fold(Vec::new(), |mut all, piece| async move {
            all.extend_from_slice(&piece);
            Ok(all)
        });
    Ok(read.await.map_err(BlobError::Io)?)
}

async fn range_md5(blob: &Blob, range: Range<u64>) -> Result<String, StorageError> {
    if range.end - range.start > SUMMED_RANGE {
        return Err(StorageError::new(
            Fault::OutOfRangeQueryParameterValue,
            format!("an MD5 is made of at most {SUMMED_RANGE} bytes"),
        ));
    }
    let bytes = collect(&blob.content, range).await?;
    Ok(STANDARD.encode(Md5::digest(&bytes)))
}

fn push_blocks(document: &mut String, element: &str, blocks: &[(String, u64)]) {
    document.push_str(&format!("<{element}>"));
    for (id, size) in blocks {
        let id = escape(id);
        document.push_str(&format!(
            "<Block><Name>{id}</Name><Size>{size}</Size></Block>"
        ));
    }
    document.push_str(&format!("</{element}>"));
}

/// `bytes=a-b` or `bytes=a-`; `None` for what is no range, which is then ignored; an empty range
/// when it begins beyond the end.
fn parse_range(text: &str, length: u64) -> Option<Range<u64>> {
    let (from, to) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    let from: u64 = from.trim().parse().ok()?;
    let end = match to.trim() {
        "" => length,
        to => to.parse::<u64>().ok()?.saturating_add(1).min(length),
    };
    if from >= length {
        return Some(0..0);
    }
    (from < end).then_some(from..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_blob() {
        for (text, range) in [
            ("bytes=0-3", Some(0..4)),
            ("bytes=2-", Some(2..10)),
            ("bytes=5-99999999999999999999", None),
            ("bytes=5-99", Some(5..10)),
            ("bytes=9-9", Some(9..10)),
            ("bytes=10-", Some(0..0)),
            ("bytes=4-3", None),
            ("bytes=-3", None),
            ("lines=0-3", None),
        ] {
            assert_eq!(parse_range(text, 10), range, "{text}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Some(0..0));
    }
}
