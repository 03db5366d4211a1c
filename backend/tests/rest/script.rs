//! A server that plays a script, and keeps what it was asked.

use std::sync::{Arc, Mutex};

use iothub_backend::Backend;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const CONNECTION_STRING: &str = "HostName=hub.example;SharedAccessKeyName=service;\
     SharedAccessKey=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";

/// Answers each request with the next of `answers`, and keeps what was asked.
pub(crate) struct Script {
    pub(crate) address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Script {
    pub(crate) async fn play(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                seen.lock().unwrap().push(request);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { address, requests }
    }

    pub(crate) fn backend(&self) -> Backend {
        Backend::builder(CONNECTION_STRING)
            .http_address(&self.address)
            .build()
            .unwrap()
    }

    pub(crate) fn request(&self, index: usize) -> String {
        self.requests.lock().unwrap()[index].clone()
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk).await.unwrap();
        text.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = header(head, "content-length").map_or(0, |value| value.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        assert_ne!(read, 0, "the request ended early: {text}");
    }
}

pub(crate) fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    let head = request.split("\r\n\r\n").next()?;
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

pub(crate) fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}connection: close\r\n\r\n{body}"
    )
}

/// 200 with a JSON body.
pub(crate) fn ok(body: &str) -> String {
    answer("200 OK", "content-type: application/json\r\n", body)
}

/// 204.
pub(crate) fn no_content() -> String {
    "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".into()
}

/// Where a request went: its first line without the version.
pub(crate) fn line(request: &str) -> &str {
    let line = request.lines().next().unwrap_or_default();
    line.strip_suffix(" HTTP/1.1").unwrap_or(line)
}
