//! Who reads the timeline of an emulator.

use iothub_emulator::Emulator;
use iothub_emulator::timeline::{From, Reader, Viewer, Wish};
use iothub_protocol::ClientId;
use serde_json::Value;

/// Everything that is read from now on.
pub(crate) struct Watcher {
    reader: Reader,
    viewer: Viewer,
}

impl Watcher {
    pub(crate) fn of(emulator: &Emulator, kinds: &str, client: Option<&str>) -> Self {
        let mut wish = Wish::kinds(kinds).unwrap();
        if let Some(client) = client {
            wish = wish.about(ClientId::parse(client).unwrap());
        }
        let timeline = emulator.handle().timeline().clone();
        Self {
            reader: Reader::new(timeline, wish.clone(), From::Now),
            viewer: Viewer::new(wish, 16),
        }
    }

    pub(crate) fn lines(&mut self) -> Vec<Value> {
        let mut lines = Vec::new();
        while !self.reader.is_at_end() {
            let mut seen = Vec::new();
            for entry in self.reader.take(100).entries {
                self.viewer.look(entry, &mut seen);
            }
            for seen in seen {
                self.viewer.show(&seen, &mut |line| lines.push(line));
            }
        }
        lines
    }
}
