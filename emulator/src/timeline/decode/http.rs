//! HTTP requests and answers.

use bytes::Bytes;
use iothub_protocol::ClientId;
use serde_json::{Map, Value, json};

use super::super::render::show_excerpt;
use super::super::wire::Direction;
use super::{Packet, client_of_path, secret};

/// What is known of a connection.
#[derive(Debug, Default)]
pub(super) struct Speech {
    /// The request that has no answer yet.
    asked: String,
    /// Whom it is about.
    about: Option<ClientId>,
}

/// Characters of a request's line.
const LINE: usize = 120;

impl Speech {
    /// One message.
    pub(super) fn read(&mut self, direction: Direction, bytes: Bytes, cut: u64) -> Packet {
        let (head, body) = split(&bytes);
        let head = String::from_utf8_lossy(head);
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let headers: Map<String, Value> = lines.filter_map(header).collect();
        let length = body.len() as u64 + cut;
        let (summary, mut detail, speaker) = match direction {
            Direction::In => {
                let mut words = first.splitn(3, ' ');
                let (method, target) = (words.next().unwrap_or_default(), words.next());
                let target = secret::shown(target.unwrap_or_default());
                self.asked = short(&format!("{method} {target}"));
                let speaker = speaker(method, &target);
                self.about.clone_from(&speaker);
                let detail = json!({"type": "request", "method": method, "target": target});
                (self.asked.clone(), detail, speaker)
            }
            Direction::Out => {
                let status = first.split_once(' ').map_or("", |it| it.1);
                let to = std::mem::take(&mut self.asked);
                let summary = match to.is_empty() {
                    true => short(status),
                    false => format!("{} to {to}", short(status)),
                };
                (
                    summary,
                    json!({"type": "answer", "status": status, "to": to}),
                    self.about.take(),
                )
            }
        };
        detail["headers"] = Value::Object(headers);
        let excerpt = secret::excerpt(body, usize::try_from(length).unwrap_or(usize::MAX));
        show_excerpt(&mut detail, "body", &excerpt);
        let size = match length {
            0 => String::new(),
            length => format!(" · {length} B"),
        };
        Packet {
            speaker,
            ..Packet::new(format!("{summary}{size}"), detail, bytes)
        }
    }
}

/// Head and body.
fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    end.map_or((bytes, &[]), |end| (&bytes[..end], &bytes[end + 4..]))
}

fn header(line: &str) -> Option<(String, Value)> {
    let (name, value) = line.split_once(':')?;
    let value = value.trim();
    let shown = match name.to_ascii_lowercase().as_str() {
        "authorization" => secret::credential(value),
        "cookie" | "set-cookie" => secret::hidden(value).into(),
        _ => secret::shown(value).into(),
    };
    Some((name.to_owned(), shown))
}

/// The client that a path is about.
fn speaker(method: &str, target: &str) -> Option<ClientId> {
    let path = target.split('?').next().unwrap_or_default();
    let words = path.trim_matches('/');
    // Neither names anybody.
    let nobody = method == "POST" && words.eq_ignore_ascii_case("devices/query");
    let root = words.split('/').next().unwrap_or_default();
    let about_one = ["devices", "twins", "digitaltwins"]
        .iter()
        .any(|known| root.eq_ignore_ascii_case(known));
    (about_one && !nobody)
        .then(|| client_of_path(path))
        .flatten()
}

fn short(text: &str) -> String {
    match text.char_indices().nth(LINE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
