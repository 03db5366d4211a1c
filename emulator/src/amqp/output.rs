//! Writing while the peer may be writing, too.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::transport::poll_burst;

/// What is read ahead while a write waits.
const READ_AHEAD: usize = 256 * 1024;

/// Writes a chunk to the end. While that waits, what the peer sends is kept in `input`, up to a
/// limit: both ends writing, and neither reading before it is done, would wait for each other.
pub(super) async fn write_all<S>(
    stream: &mut S,
    mut chunk: Bytes,
    input: &mut BytesMut,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut ended = false;
    poll_fn(|cx| match poll_written(stream, cx, &mut chunk) {
        Poll::Ready(written) => Poll::Ready(written),
        Poll::Pending => {
            while !ended && input.len() < READ_AHEAD {
                match poll_burst(stream, cx, input) {
                    // An end of reading is not yet one of writing; it is met again by who reads.
                    Poll::Ready(read) => ended = read? == 0,
                    Poll::Pending => break,
                }
            }
            Poll::Pending
        }
    })
    .await
}

fn poll_written<S>(stream: &mut S, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>>
where
    S: AsyncWrite + Unpin,
{
    while chunk.has_remaining() {
        let written = ready!(Pin::new(&mut *stream).poll_write(cx, chunk))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        chunk.advance(written);
    }
    Pin::new(stream).poll_flush(cx)
}
