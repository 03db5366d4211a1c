//! A file upload in its three steps (`spec/device.md` 8).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use iothub_protocol::ClientId;
use serde_json::json;

use crate::Error;
use crate::document::{Document, unexpected};
use crate::transport::{self, Call, Transport};

/// Uploads `content`, and returns the blob's name. When writing fails, the hub is told, so that the
/// place is free again; the failure is what is returned.
pub(crate) async fn upload(
    transport: &Transport,
    device: &ClientId,
    blob_name: &str,
    content: Bytes,
    content_type: &str,
) -> Result<String, Error> {
    let place = Place::ask(transport, device, blob_name).await?;
    let written = place.write(transport, content, content_type).await;
    let status = match &written {
        Ok(()) => json!({"isSuccess": true, "statusCode": 200, "statusDescription": "OK"}),
        Err(error) => json!({
            "isSuccess": false,
            "statusCode": 500,
            "statusDescription": error.to_string(),
        }),
    };
    let told = place.finish(transport, device, status).await;
    written.and(told)?;
    Ok(place.blob_name)
}

/// Where the hub wants the file.
struct Place {
    correlation_id: String,
    blob_name: String,
    /// Of the blob, with the signature that opens it; only its path where that is at the hub.
    uri: String,
}

impl Place {
    async fn ask(transport: &Transport, device: &ClientId, name: &str) -> Result<Self, Error> {
        let path = transport::client_path("devices", device, &["files"]);
        let call = Call::new(Method::POST, &path)
            .header_if("host", transport.hub_host())
            .json(&json!({"blobName": name}));
        let answer = Document::read(&transport.send(call).await?, "a place for a file")?;
        let text = |member: &str| {
            answer
                .text(member)
                .map(str::to_owned)
                .ok_or_else(|| unexpected(format!("a place for a file without {member}")))
        };
        let blob_name = text("blobName")?;
        let host = text("hostName")?;
        // Where the hub keeps files itself, it is reached as it is for all the rest.
        let root = match Some(transport::without_port(&host)) == transport.hub_host() {
            true => String::new(),
            false => format!("https://{host}"),
        };
        let uri = format!(
            "{root}/{}/{}{}",
            text("containerName")?,
            encode_path(&blob_name),
            text("sasToken")?
        );
        Ok(Self {
            correlation_id: text("correlationId")?,
            blob_name,
            uri,
        })
    }

    /// Writes a small file at once, and a large one as blocks and their list.
    async fn write(
        &self,
        transport: &Transport,
        content: Bytes,
        content_type: &str,
    ) -> Result<(), Error> {
        if content.len() <= BLOCK {
            let put = self
                .put("")
                .header("x-ms-blob-type", "BlockBlob")
                .header("content-type", content_type)
                .body(content);
            return transport.send_unsigned(put).await;
        }
        let mut list = String::from(r#"<?xml version="1.0" encoding="utf-8"?><BlockList>"#);
        let mut rest = content;
        for number in 0.. {
            if rest.is_empty() {
                break;
            }
            let block = rest.split_to(rest.len().min(BLOCK));
            // Block ids must all be of one length.
            let id = STANDARD.encode(format!("{number:08}"));
            let parameters = format!("&comp=block&blockid={}", transport::encode(&id));
            let put = self
                .put(&parameters)
                .header("content-type", "application/octet-stream")
                .body(block);
            transport.send_unsigned(put).await?;
            list.push_str(&format!("<Latest>{id}</Latest>"));
        }
        list.push_str("</BlockList>");
        let put = self
            .put("&comp=blocklist")
            .header("x-ms-blob-content-type", content_type)
            .header("content-type", "application/xml")
            .body(list.into());
        transport.send_unsigned(put).await
    }

    fn put(&self, parameters: &str) -> Call {
        Call::to(Method::PUT, format!("{}{parameters}", self.uri))
            .header("x-ms-version", STORAGE_VERSION)
    }

    async fn finish(
        &self,
        transport: &Transport,
        device: &ClientId,
        mut status: serde_json::Value,
    ) -> Result<(), Error> {
        status["correlationId"] = self.correlation_id.as_str().into();
        let path = transport::client_path("devices", device, &["files", "notifications"]);
        let call = Call::new(Method::POST, &path)
            .header_if("host", transport.hub_host())
            .json(&status);
        transport.send(call).await.map(drop)
    }
}

/// Percent-encodes each segment of a blob's name.
fn encode_path(name: &str) -> String {
    name.split('/')
        .map(transport::encode)
        .collect::<Vec<_>>()
        .join("/")
}

/// What the Node SDK uploads at a time (`spec/device.md` 8.2).
const BLOCK: usize = 4 * 1024 * 1024;
const STORAGE_VERSION: &str = "2021-08-06";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_of_a_blob_name_stay() {
        assert_eq!(encode_path("d1/f/x y%.txt"), "d1/f/x%20y%25.txt");
    }
}
