//! The same hub over HTTP, as much of it as it takes to compare.

use std::time::Duration;

use iothub_emulator::Emulator;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long to wait for an answer that must come.
const LIMIT: Duration = Duration::from_secs(20);

/// Sends a request with more headers; answers head and body.
pub(crate) async fn request(
    emulator: &Emulator,
    head: &str,
    token: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (String, String) {
    let more: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let request = format!(
        "{head}?api-version=2021-04-12 HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n\
         {more}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let port = emulator.ports().http;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    let read = tokio::time::timeout(LIMIT, read).await;
    read.expect("no answer in time").unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    (head.to_owned(), body.to_owned())
}

/// The value of a header of an answer.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}
