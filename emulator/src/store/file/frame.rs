//! Frames: a payload between checksums, so that what was half written shows.

use std::io::{self, Read};

use bytes::Bytes;

/// Length, checksum of the payload, checksum of these two and of the frame's place in the file; each
/// 32 bits, little endian. The place is in it so that a frame inside a payload (a device may send
/// what it likes) is not taken for one.
pub(super) const HEADER: usize = 12;

/// What comes next in a file.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// A whole frame.
    Frame {
        /// Where it begins.
        at: u64,
        /// What is in it.
        payload: Bytes,
    },
    /// The file ends where a frame ends.
    End,
    /// No whole frame begins here.
    Bad {
        /// Where it would.
        at: u64,
        /// Whether a whole frame begins anywhere behind it: damage, not an interrupted write.
        followed: bool,
    },
}

/// Frames of a file, one after another.
pub(super) struct Frames<R> {
    input: R,
    at: u64,
    end: u64,
}

/// Starts a frame at the end of `out`; what is appended until [`finish`] is its payload.
pub(super) fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    start
}

/// Ends the frame that `start` began and that will be at offset `at` of its file. Refuses a payload
/// of 4 GiB or more.
pub(super) fn finish(out: &mut [u8], start: usize, at: u64) -> io::Result<()> {
    let (header, payload) = out[start..].split_at_mut(HEADER);
    let length = u32::try_from(payload.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a commit of 4 GiB or more"))?;
    header[0..4].copy_from_slice(&length.to_le_bytes());
    header[4..8].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    let check = check(&header[0..8], at);
    header[8..12].copy_from_slice(&check.to_le_bytes());
    Ok(())
}

impl<R: Read> Frames<R> {
    /// Frames from `input`, which is at offset `at` of a file that is `end` long.
    pub(super) fn new(input: R, at: u64, end: u64) -> Self {
        Self { input, at, end }
    }

    /// Reads on. Not to be called again after anything but [`Next::Frame`].
    pub(super) fn next(&mut self) -> io::Result<Next> {
        let left = self.end.saturating_sub(self.at);
        if left == 0 {
            return Ok(Next::End);
        }
        let mut header = [0; HEADER];
        if left < HEADER as u64 {
            return Ok(Next::Bad {
                at: self.at,
                followed: false,
            });
        }
        self.input.read_exact(&mut header)?;
        let fits = |length: &u32| u64::from(*length) <= left - HEADER as u64;
        let Some(length) = parse_header(&header, self.at).filter(fits) else {
            return self.bad(header.to_vec());
        };
        // The checksum of the header is right, so the length is what was written.
        let mut payload = vec![0; length as usize];
        self.input.read_exact(&mut payload)?;
        if crc32fast::hash(&payload).to_le_bytes() != header[4..8] {
            return self.bad([&header[..], &payload].concat());
        }
        let at = self.at;
        self.at += (HEADER + payload.len()) as u64;
        Ok(Next::Frame {
            at,
            payload: payload.into(),
        })
    }

    fn bad(&mut self, mut read: Vec<u8>) -> io::Result<Next> {
        let rest = self.end - self.at - read.len() as u64;
        self.input.by_ref().take(rest).read_to_end(&mut read)?;
        let followed =
            (1..read.len()).any(|start| is_frame(&read[start..], self.at + start as u64));
        Ok(Next::Bad {
            at: self.at,
            followed,
        })
    }
}

/// The length of the payload, if this is the header of a frame at `at`.
fn parse_header(header: &[u8], at: u64) -> Option<u32> {
    let word = |at: usize| -> Option<u32> {
        Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?))
    };
    let (length, found) = (word(0)?, word(8)?);
    (check(&header[0..8], at) == found).then_some(length)
}

fn check(header: &[u8], at: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(&at.to_le_bytes());
    hasher.finalize()
}

fn is_frame(bytes: &[u8], at: u64) -> bool {
    let Some(length) = parse_header(bytes, at) else {
        return false;
    };
    bytes
        .get(HEADER..)
        .and_then(|rest| rest.get(..length as usize))
        .is_some_and(|payload| crc32fast::hash(payload).to_le_bytes() == bytes[4..8])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(payloads: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for payload in payloads {
            let start = begin(&mut out);
            out.extend_from_slice(payload);
            finish(&mut out, start, start as u64).unwrap();
        }
        out
    }

    /// The payloads before the end, and the end.
    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Next) {
        let mut frames = Frames::new(bytes, 0, bytes.len() as u64);
        let mut payloads = Vec::new();
        loop {
            match frames.next().unwrap() {
                Next::Frame { payload, .. } => payloads.push(payload.to_vec()),
                end => return (payloads, end),
            }
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let bytes = file(&[b"one", b"", b"three"]);

        let (payloads, end) = read(&bytes);

        assert_eq!(payloads, [&b"one"[..], b"", b"three"]);
        assert_eq!(end, Next::End);
    }

    #[test]
    fn every_truncation_leaves_the_frames_before_it() {
        let bytes = file(&[b"one", b"", b"three"]);
        let ends = [0, 15, 27, 44];

        for length in 0..=bytes.len() {
            let (payloads, end) = read(&bytes[..length]);

            let whole = ends.iter().filter(|&&end| end <= length).count() - 1;
            assert_eq!(payloads.len(), whole, "cut at {length}");
            let at = ends[whole] as u64;
            let expected = match at == length as u64 {
                true => Next::End,
                false => Next::Bad {
                    at,
                    followed: false,
                },
            };
            assert_eq!(end, expected, "cut at {length}");
        }
    }

    #[test]
    fn a_flipped_bit_is_found_and_is_damage_unless_it_is_in_the_last_frame() {
        let bytes = file(&[b"one", b"two", b"three"]);

        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);

            let (payloads, end) = read(&flipped);

            let frame = (bit / 8 / 15).min(2);
            assert_eq!(payloads.len(), frame, "bit {bit}");
            assert_eq!(
                end,
                Next::Bad {
                    at: frame as u64 * 15,
                    followed: frame < 2
                },
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_frame_inside_a_torn_frame_is_not_taken_for_one() {
        let inner = file(&[b"inner"]);
        let outer = file(&[&inner]);

        let (_, end) = read(&outer[..outer.len() - 1]);

        assert_eq!(
            end,
            Next::Bad {
                at: 0,
                followed: false
            }
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            read(&bytes);
        }
    }
}
