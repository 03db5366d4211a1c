//! Reading without a buffer per idle connection.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};

/// The most that one read takes: a burst.
const BURST: usize = 64 * 1024;

thread_local! {
    /// Shared by all connections of a worker thread, so that ten thousand idle connections do not
    /// hold ten thousand buffers.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; BURST]);
}

/// Appends what is there to `buffer`, waiting until something is. Answers zero at the end of the
/// stream. Safe to drop half-way: nothing is taken from the stream before it is in `buffer`.
pub(crate) async fn read_burst<S>(stream: &mut S, buffer: &mut BytesMut) -> io::Result<usize>
where
    S: AsyncRead + Unpin,
{
    poll_fn(|cx| poll_burst(stream, cx, buffer)).await
}

/// As [`read_burst`], for who waits for something else at the same time.
pub(crate) fn poll_burst<S>(
    stream: &mut S,
    cx: &mut Context<'_>,
    buffer: &mut BytesMut,
) -> Poll<io::Result<usize>>
where
    S: AsyncRead + Unpin,
{
    SCRATCH.with_borrow_mut(|scratch| {
        let mut window = ReadBuf::new(scratch);
        ready!(Pin::new(stream).poll_read(cx, &mut window))?;
        buffer.extend_from_slice(window.filled());
        Poll::Ready(Ok(window.filled().len()))
    })
}
