//! What is to be written: chunks, and the frames of transfers, which are written in place.

use std::collections::VecDeque;
use std::mem;

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes after which a chunk takes no further transfer, so that other work comes between writes.
const CHUNK: usize = 256 * 1024;

/// Bytes of a delivery's tag (AMQP 1.0 part 2, 2.8.7).
pub(super) const MAX_TAG: usize = 32;

/// Bytes to write, in chunks that are each a write of its own.
#[derive(Debug, Default)]
pub(super) struct Output {
    sealed: VecDeque<Bytes>,
    open: BytesMut,
}

impl Output {
    /// Where the next frame is written.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.open
    }

    /// Where the next transfer is written. Only transfers begin a new chunk by themselves: whatever
    /// else belongs together stays together.
    pub(super) fn transfer_buffer(&mut self) -> &mut BytesMut {
        if self.open.len() >= CHUNK {
            self.seal();
        }
        &mut self.open
    }

    /// What follows goes into another write.
    pub(super) fn seal(&mut self) {
        if !self.open.is_empty() {
            self.sealed.push_back(mem::take(&mut self.open).freeze());
        }
    }

    /// Takes the next chunk.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        if let Some(chunk) = self.sealed.pop_front() {
            return Some(chunk);
        }
        self.sealed = VecDeque::new();
        (!self.open.is_empty()).then(|| mem::take(&mut self.open).freeze())
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.sealed.iter().map(Bytes::len).sum::<usize>() + self.open.len()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.open.is_empty()
    }
}

/// What the first frame of a delivery says beyond the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning<'a> {
    /// Numbers the delivery.
    pub(super) id: u32,
    /// Names it.
    pub(super) tag: &'a [u8],
    /// The message's format.
    pub(super) format: u32,
}

/// A transfer's frame that is being written: what precedes the payload is there.
///
/// The layout is fixed here instead of going through [`Transfer`] because this is where nearly all
/// bytes of a reader of events come from. A test compares the two.
///
/// [`Transfer`]: crate::amqp::performative::Transfer
#[derive(Clone, Copy, Debug)]
pub(super) struct TransferFrame {
    start: usize,
    more: usize,
    payload: usize,
}

const TRUE: u8 = 0x41;
const FALSE: u8 = 0x42;
const NULL: u8 = 0x40;

impl TransferFrame {
    /// Bytes that precede a payload at most: the frame's header of 8, the list's of 6, and 57 of
    /// fields.
    pub(super) const MAX_HEADER: usize = 72;

    /// Writes what precedes the payload. All eleven fields are there: a client looks for the
    /// payload behind the eleventh (`spec/amqp.md` 2.3).
    pub(super) fn begin(
        out: &mut BytesMut,
        channel: u16,
        handle: u32,
        beginning: Option<Beginning<'_>>,
        settled: bool,
    ) -> Self {
        let start = out.len();
        out.put_slice(&[0, 0, 0, 0, 2, 0]);
        out.put_u16(channel);
        out.put_slice(&[0x00, 0x53, 0x14, 0xc0, 0, 11]);
        let size = out.len() - 2;
        put_uint(out, handle);
        match beginning {
            Some(Beginning { id, tag, format }) => {
                let tag = &tag[..tag.len().min(MAX_TAG)];
                put_uint(out, id);
                out.put_slice(&[0xa0, u8::try_from(tag.len()).unwrap_or(0)]);
                out.put_slice(tag);
                put_uint(out, format);
            }
            None => out.put_slice(&[NULL, NULL, NULL]),
        }
        out.put_u8(if settled { TRUE } else { FALSE });
        let more = out.len();
        // more, rcv-settle-mode, state, resume, aborted, batchable.
        out.put_slice(&[FALSE, NULL, NULL, FALSE, FALSE, FALSE]);
        let length = out.len() - size - 1;
        // At most 61 bytes: a handle, an id and a format of 5 each, a tag of 34, 7 of one, the count.
        out[size] = u8::try_from(length).unwrap_or(u8::MAX);
        Self {
            start,
            more,
            payload: out.len(),
        }
    }

    /// Where the frame begins.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// Where the payload begins.
    pub(super) fn payload(&self) -> usize {
        self.payload
    }

    /// Bytes that precede the payload.
    pub(super) fn header_len(&self) -> usize {
        self.payload - self.start
    }

    /// Ends the frame behind the payload.
    pub(super) fn end(self, out: &mut BytesMut, more: bool) {
        if more {
            out[self.more] = TRUE;
        }
        let size = u32::try_from(out.len() - self.start).unwrap_or(u32::MAX);
        out[self.start..self.start + 4].copy_from_slice(&size.to_be_bytes());
    }
}

fn put_uint(out: &mut BytesMut, value: u32) {
    match value {
        0 => out.put_u8(0x43),
        1..=0xff => out.put_slice(&[0x52, value.to_be_bytes()[3]]),
        _ => {
            out.put_u8(0x70);
            out.put_u32(value);
        }
    }
}
