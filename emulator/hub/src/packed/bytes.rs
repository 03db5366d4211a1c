//! Numbers and texts in a block: seven bits of a number to a byte, texts behind their length.

/// Reads a block from its beginning. Blocks are made next door and nowhere else, so that reading
/// one does not fail.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn is_at_end(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let (&first, rest) = self
            .0
            .split_first()
            .expect("a block ends with its last value");
        self.0 = rest;
        first
    }

    pub(super) fn number(&mut self) -> u64 {
        let mut number = 0;
        let mut shift = 0;
        loop {
            let byte = self.byte();
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return number;
            }
            shift += 7;
        }
    }

    pub(super) fn eight(&mut self) -> [u8; 8] {
        let (first, rest) = self
            .0
            .split_first_chunk()
            .expect("a block ends with its last value");
        self.0 = rest;
        *first
    }

    /// What was written by [`put_bytes`] or [`put_nested`].
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let length = self.number() as usize;
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    pub(super) fn text(&mut self) -> &'a str {
        std::str::from_utf8(self.bytes()).expect("a text was written here")
    }
}

pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// What `write` writes, behind its length.
pub(super) fn put_nested(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    // Most lengths are a byte.
    out.push(0);
    write(out);
    let length = out.len() - at - 1;
    match u8::try_from(length) {
        Ok(length @ 0..0x80) => out[at] = length,
        Ok(_) | Err(_) => {
            let mut prefix = Vec::new();
            put_number(&mut prefix, length as u64);
            out.splice(at..=at, prefix);
        }
    }
}
