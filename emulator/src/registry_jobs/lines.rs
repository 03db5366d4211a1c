//! Lines of a file that comes piece by piece.

use bytes::{Bytes, BytesMut};

/// Bytes of the longest line: a device with full twins has less than a tenth of it.
pub(super) const LONGEST: usize = 1024 * 1024;

/// Gathers lines.
#[derive(Default)]
pub(super) struct Lines {
    /// The beginning of a line whose end has not come yet.
    begun: BytesMut,
    /// Whether that line is longer than lines may be, and what is left of it is skipped.
    skipping: bool,
}

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Its bytes, without what ends it.
    Whole(Bytes),
    /// It is longer than lines may be.
    TooLong,
}

impl Lines {
    /// The lines that end in this piece.
    pub(super) fn push(&mut self, piece: &[u8], found: &mut Vec<Line>) {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            self.extend(&rest[..end]);
            self.end(found);
            rest = &rest[end + 1..];
        }
        self.extend(rest);
    }

    /// The last line, when nothing ends it.
    pub(super) fn finish(&mut self, found: &mut Vec<Line>) {
        self.end(found);
    }

    fn extend(&mut self, bytes: &[u8]) {
        if self.begun.len() + bytes.len() > LONGEST {
            self.skipping = true;
        }
        if self.skipping {
            self.begun.clear();
        } else {
            self.begun.extend_from_slice(bytes);
        }
    }

    /// Empty lines are none.
    fn end(&mut self, found: &mut Vec<Line>) {
        if std::mem::take(&mut self.skipping) {
            found.push(Line::TooLong);
            return;
        }
        let line = self.begun.split().freeze();
        if !line.trim_ascii().is_empty() {
            found.push(Line::Whole(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Line> {
        let mut found = Vec::new();
        let mut lines = Lines::default();
        for piece in pieces {
            lines.push(piece, &mut found);
        }
        lines.finish(&mut found);
        found
    }

    fn whole(text: &'static str) -> Line {
        Line::Whole(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn lines_end_wherever_pieces_do() {
        assert_eq!(
            lines(&[b"on", b"e\ntwo\n\n \nth", b"ree"]),
            [whole("one"), whole("two"), whole("three")]
        );
        assert_eq!(lines(&[b"one\n"]), [whole("one")]);
        assert_eq!(lines(&[]), []);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped() {
        let long = vec![b'x'; LONGEST];

        assert_eq!(
            lines(&[&long, b"x", b"x\ntwo"]),
            [Line::TooLong, whole("two")]
        );
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "[ab\n]{0,40}", cut in 0_usize..40) {
            let bytes = text.as_bytes();
            let (first, second) = bytes.split_at(cut.min(bytes.len()));

            prop_assert_eq!(lines(&[first, second]), lines(&[bytes]));
        }
    }
}
