//! The client side of HTTP/1.1 on one kept connection: as little as measuring a server needs.

use anyhow::{Context, bail, ensure};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection that is kept between requests.
#[derive(Debug)]
pub(crate) struct HttpConnection {
    stream: TcpStream,
    input: BytesMut,
}

/// What a server has answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// The text of a request.
pub(crate) fn request(
    method: &str,
    path: &str,
    host: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Vec<u8> {
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

impl HttpConnection {
    /// Opens a connection to `host:port`.
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            input: BytesMut::with_capacity(4096),
        })
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn send(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        self.stream.write_all(request).await?;
        let head_size = loop {
            if let Some(at) = self.input.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.read().await?;
        };
        let head = Head::parse(&self.input[..head_size])?;
        self.input.advance(head_size);

        let mut body = Vec::new();
        if head.chunked {
            while self.chunk(&mut body).await? {}
        } else {
            while self.input.len() < head.length {
                self.read().await?;
            }
            body.extend_from_slice(&self.input[..head.length]);
            self.input.advance(head.length);
        }
        Ok(Answer {
            status: head.status,
            body,
        })
    }

    /// Sends a request and returns the body of an answer that tells of success.
    pub(crate) async fn expect_ok(&mut self, request: &[u8]) -> anyhow::Result<Vec<u8>> {
        let answer = self.send(request).await?;
        ensure!(
            (200..300).contains(&answer.status),
            "the hub answers {}: {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        Ok(answer.body)
    }

    /// Appends the next chunk; `false` after the last one.
    async fn chunk(&mut self, body: &mut Vec<u8>) -> anyhow::Result<bool> {
        let line_size = loop {
            if let Some(at) = self.input.windows(2).position(|two| two == b"\r\n") {
                break at + 2;
            }
            self.read().await?;
        };
        let line = std::str::from_utf8(&self.input[..line_size - 2])?;
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
            .context("the size of a chunk is no number")?;
        while self.input.len() < line_size + size + 2 {
            self.read().await?;
        }
        body.extend_from_slice(&self.input[line_size..line_size + size]);
        self.input.advance(line_size + size + 2);
        Ok(size > 0)
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.input).await? == 0 {
            bail!("the server has closed the HTTP connection");
        }
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    length: usize,
    chunked: bool,
}

impl Head {
    fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        let text = std::str::from_utf8(bytes)?;
        let mut lines = text.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .unwrap_or_default();
        let mut head = Self {
            status: status.parse().context("the answer is not HTTP")?,
            length: 0,
            chunked: false,
        };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                head.length = value
                    .trim()
                    .parse()
                    .context("Content-Length is no number")?;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                head.chunked = value.trim().eq_ignore_ascii_case("chunked");
            }
        }
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn answer_to(bytes: &'static [u8]) -> Answer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream
        });
        let mut connection = HttpConnection::open(&address).await.unwrap();
        let answer = connection.send(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        drop(server.await);
        answer
    }

    #[tokio::test]
    async fn a_body_of_known_length_is_read() {
        let answer = answer_to(b"HTTP/1.1 404 Not Found\r\ncontent-length: 3\r\n\r\nabc").await;

        assert_eq!(
            answer,
            Answer {
                status: 404,
                body: b"abc".to_vec()
            }
        );
    }

    #[tokio::test]
    async fn chunks_are_joined() {
        let answer = answer_to(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
        )
        .await;

        assert_eq!(
            answer,
            Answer {
                status: 200,
                body: b"abc0123456789".to_vec()
            }
        );
    }
}
