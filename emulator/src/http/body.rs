//! Reading a request's body within limits of size and time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::EXPECT;
use http_body_util::BodyExt;
use hyper::body::Body;
use iothub_protocol::{Error, ErrorCode};

/// Enough for every request about one entity: twins and methods are limited to less.
pub(super) const ENTITY: usize = 512 * 1024;
/// Enough for a bulk call: a hundred identities; with twins, what a client may send of them.
pub(super) const BULK: usize = 1024 * 1024;
/// Enough for a fixture with tens of thousands of devices.
pub(super) const FIXTURE: usize = 64 * 1024 * 1024;

/// What is read and thrown away of a body that is too large, so that the client gets to see the
/// refusal before its connection ends.
const DISCARDED: usize = 4 * 1024 * 1024;
/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// The whole body; refuses with `MessageTooLarge` what is over `limit`, and with `RequestTimedOut`
/// what does not arrive.
pub(super) async fn read<B>(headers: &HeaderMap, body: B, limit: usize) -> Result<Bytes, Error>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    // Who waits for "100 Continue" has not sent anything yet, and need not.
    let announced = body.size_hint().lower();
    if announced > limit as u64 && headers.contains_key(EXPECT) {
        return Err(too_large(limit));
    }
    in_time(collect(body, limit)).await
}

async fn collect<B>(mut body: B, limit: usize) -> Result<Bytes, Error>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Error::new(
                ErrorCode::GenericBadRequest,
                format!("the body broke off: {error}"),
            )
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        seen += data.len();
        if seen > limit {
            if seen > limit + DISCARDED {
                break;
            }
        } else if seen == data.len() {
            // Nearly every body is one piece, which needs no copy.
            first = data;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
    }
    match seen {
        seen if seen > limit => Err(too_large(limit)),
        _ if all.is_empty() => Ok(first),
        _ => Ok(all.freeze()),
    }
}

/// A peer is slow in real time, whatever the hub's clock says.
async fn in_time(read: impl Future<Output = Result<Bytes, Error>>) -> Result<Bytes, Error> {
    tokio::time::timeout(PATIENCE, read)
        .await
        .unwrap_or_else(|_| {
            let detail = format!("the body did not arrive within {} s", PATIENCE.as_secs());
            Err(Error::new(ErrorCode::RequestTimedOut, detail))
        })
}

fn too_large(limit: usize) -> Error {
    let detail = format!("the body is larger than {limit} bytes");
    Error::new(ErrorCode::MessageTooLarge, detail)
}
