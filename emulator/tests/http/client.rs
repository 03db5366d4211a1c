//! An HTTP client of literal bytes.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// One connection. What a test writes goes out as it is.
pub struct Client {
    stream: DuplexStream,
    received: Vec<u8>,
}

/// What the hub answered.
#[derive(Debug, PartialEq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Client {
    pub fn new(stream: DuplexStream) -> Self {
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// Sends these bytes.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends as much of these bytes as the hub takes.
    pub async fn offer(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Sends a request with a body of known length, and reads the reply.
    pub async fn request(&mut self, head: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut text = format!(
            "{head} HTTP/1.1\r\nHost: hub\r\nContent-Length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        self.write(format!("{text}\r\n{body}")).await;
        self.reply().await
    }

    /// Reads one reply.
    pub async fn reply(&mut self) -> Reply {
        let head = self.head().await;
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let mut reply = Reply {
            status,
            headers,
            body: String::new(),
        };
        if reply.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await {
                reply.body.push_str(&chunk);
            }
        } else if let Some(length) = reply.header("content-length") {
            let length = length.parse().unwrap();
            reply.body = String::from_utf8(self.take(length).await).unwrap();
        }
        reply
    }

    /// Reads the status line and the headers.
    pub async fn head(&mut self) -> String {
        loop {
            let end = self
                .received
                .windows(4)
                .position(|bytes| bytes == b"\r\n\r\n");
            if let Some(end) = end {
                let head = self.take(end + 4).await;
                return String::from_utf8(head).unwrap().trim_end().to_owned();
            }
            assert!(self.receive().await, "the connection ended before a reply");
        }
    }

    /// Reads one chunk of a chunked body; `None` after the last.
    pub async fn chunk(&mut self) -> Option<String> {
        let size = self.line().await;
        let size = usize::from_str_radix(&size, 16).unwrap();
        let mut chunk = self.take(size + 2).await;
        chunk.truncate(size);
        (size > 0).then(|| String::from_utf8(chunk).unwrap())
    }

    /// Reads to the end of the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.receive().await {}
        std::mem::take(&mut self.received)
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.received.windows(2).position(|bytes| bytes == b"\r\n") {
                let mut line = self.take(end + 2).await;
                line.truncate(end);
                return String::from_utf8(line).unwrap();
            }
            assert!(self.receive().await, "the connection ended within a line");
        }
    }

    pub async fn bytes(&mut self, count: usize) -> Vec<u8> {
        self.take(count).await
    }

    async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.received.len() < count {
            assert!(self.receive().await, "the connection ended within a body");
        }
        self.received.drain(..count).collect()
    }

    async fn receive(&mut self) -> bool {
        self.stream.read_buf(&mut self.received).await.unwrap() > 0
    }
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The etag without its quotes, which must be there.
    pub fn etag(&self) -> String {
        let quoted = self.header("etag").expect("the reply has an etag");
        quoted
            .strip_prefix('"')
            .unwrap()
            .strip_suffix('"')
            .unwrap()
            .to_owned()
    }

    /// Status, `iothub-errorcode`, and what stands after `Message":"`: one line to compare.
    pub fn refusal(&self) -> String {
        let code = self.header("iothub-errorcode").unwrap_or("-");
        let message = self.json()["Message"].as_str().unwrap_or("-").to_owned();
        format!("{} {code} {message}", self.status)
    }
}
