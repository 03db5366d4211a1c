//! Server-sent events, read from bytes as they arrive (WHATWG HTML 9.2.6).

/// An event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerSent {
    /// Its name; empty: the usual one.
    pub event: String,
    /// The last id that the stream gave, at this event or before.
    pub id: String,
    /// What it tells.
    pub data: String,
}

/// An event is longer than the reader takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {limit} bytes")]
pub struct EventTooLong {
    /// How long one may be.
    pub limit: usize,
}

/// Takes bytes and gives events.
#[derive(Clone, Debug)]
pub struct ServerSentReader {
    limit: usize,
    received: Vec<u8>,
    /// Bytes of `received` that are known to end no line.
    searched: usize,
    /// Whether a line feed that comes next ended its line already.
    skips_line_feed: bool,
    pending: ServerSent,
    has_data: bool,
}

impl ServerSentReader {
    /// Of events that are no longer than so many bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            received: Vec::new(),
            searched: 0,
            skips_line_feed: false,
            pending: ServerSent::default(),
            has_data: false,
        }
    }

    /// Takes what has arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// The next event that has arrived completely.
    pub fn next_event(&mut self) -> Result<Option<ServerSent>, EventTooLong> {
        while let Some(line) = self.line() {
            if let Some(event) = self.take_line(&line) {
                return Ok(Some(event));
            }
            self.check()?;
        }
        self.check()?;
        Ok(None)
    }

    fn check(&self) -> Result<(), EventTooLong> {
        let waiting = self.received.len().min(self.searched);
        if waiting + self.pending.data.len() > self.limit {
            return Err(EventTooLong { limit: self.limit });
        }
        Ok(())
    }

    fn line(&mut self) -> Option<String> {
        if self.skips_line_feed && !self.received.is_empty() {
            self.skips_line_feed = false;
            if self.received[0] == b'\n' {
                self.received.remove(0);
            }
        }
        let rest = &self.received[self.searched..];
        let Some(length) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            self.searched = self.received.len();
            return None;
        };
        let end = self.searched + length;
        self.skips_line_feed = self.received[end] == b'\r';
        let line = String::from_utf8_lossy(&self.received[..end]).into_owned();
        self.received.drain(..=end);
        self.searched = 0;
        Some(line)
    }

    fn take_line(&mut self, line: &str) -> Option<ServerSent> {
        if line.is_empty() {
            let event = ServerSent {
                id: self.pending.id.clone(),
                ..std::mem::take(&mut self.pending)
            };
            self.pending.id.clone_from(&event.id);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.pending.data.push('\n');
                }
                self.pending.data.push_str(value);
            }
            "event" => value.clone_into(&mut self.pending.event),
            "id" if !value.contains('\0') => value.clone_into(&mut self.pending.id),
            // Comments, and what later standards add.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(pieces: &[&[u8]]) -> Vec<ServerSent> {
        let mut reader = ServerSentReader::new(1000);
        let mut events = Vec::new();
        for piece in pieces {
            reader.push(piece);
            while let Some(event) = reader.next_event().unwrap() {
                events.push(event);
            }
        }
        events
    }

    fn event(event: &str, id: &str, data: &str) -> ServerSent {
        ServerSent {
            event: event.into(),
            id: id.into(),
            data: data.into(),
        }
    }

    #[test]
    fn events_have_names_ids_and_lines_of_data() {
        let text =
            b"id: 7\ndata: a\ndata:b\n\n: hello\nevent: missed\ndata: {}\n\ndata\n\n\nid: 8\n";

        let wanted = [
            event("", "7", "a\nb"),
            event("missed", "7", "{}"),
            event("", "7", ""),
        ];
        assert_eq!(all(&[text]), wanted);
    }

    #[test]
    fn it_does_not_matter_where_the_bytes_are_parted_or_how_lines_end() {
        for text in [
            "data: a\r\n\r\ndata: b\r\n\r\n",
            "data: a\r\rdata: b\r\r",
            "data: a\n\ndata: b\n\n",
        ] {
            let single: Vec<_> = text.as_bytes().chunks(1).collect();

            let wanted = [event("", "", "a"), event("", "", "b")];
            assert_eq!(all(&single), wanted, "{text:?}");
            assert_eq!(all(&[text.as_bytes()]), wanted, "{text:?}");
        }
    }

    #[test]
    fn what_never_ends_is_refused() {
        for line in ["data: x", "data: x\n"] {
            let mut reader = ServerSentReader::new(1000);
            let refused = (0..1000).find_map(|_| {
                reader.push(line.as_bytes());
                reader.next_event().err()
            });
            assert_eq!(refused, Some(EventTooLong { limit: 1000 }), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_alike_however_they_are_parted(
            text in prop::collection::vec(prop::sample::select(b"data: id\r\n\0x\xff".to_vec()), 0..200),
            size in 1_usize..9,
        ) {
            let pieces: Vec<_> = text.chunks(size).collect();
            prop_assert_eq!(all(&pieces), all(&[&text]));
        }
    }
}
