//! Reads the fields of one packet, front to back.

use super::DecodeError::{self, Malformed};

/// What is left of a packet.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.0.split_first().ok_or(Malformed("a byte is missing"))?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn number(&mut self) -> Result<u16, DecodeError> {
        let (bytes, rest) = self
            .0
            .split_first_chunk()
            .ok_or(Malformed("a two-byte number is missing"))?;
        self.0 = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    /// [MQTT-2.3.1-1]: a packet id is not 0.
    pub(super) fn packet_id(&mut self) -> Result<u16, DecodeError> {
        match self.number()? {
            0 => Err(Malformed("the packet id is 0")),
            id => Ok(id),
        }
    }

    /// Bytes behind their length.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = usize::from(self.number()?);
        let (bytes, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Malformed("a field is longer than its packet"))?;
        self.0 = rest;
        Ok(bytes)
    }

    /// Text behind its length.
    pub(super) fn text(&mut self) -> Result<&'a str, DecodeError> {
        check_text(self.bytes()?)
    }

    /// A topic or filter: [MQTT-4.7.3-1] at least one character.
    pub(super) fn topic(&mut self) -> Result<&'a str, DecodeError> {
        match self.text()? {
            "" => Err(Malformed("a topic is empty")),
            topic => Ok(topic),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Nothing may follow the last field.
    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed("bytes after the last field"))
        }
    }
}

/// [MQTT-1.5.3-1], [MQTT-1.5.3-2]: well-formed UTF-8 without U+0000.
fn check_text(bytes: &[u8]) -> Result<&str, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed("text is not UTF-8"))?;
    if bytes.contains(&0) {
        Err(Malformed("text contains U+0000"))
    } else {
        Ok(text)
    }
}
