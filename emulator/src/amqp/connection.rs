//! The IO loop of one connection: its stream, its timers, and whom an event concerns.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::Settings;
use crate::handle::HubHandle;
use crate::transport::Peer;

/// Serves a connection to its end.
pub(super) async fn serve<S>(
    handle: &HubHandle,
    settings: &Arc<Settings>,
    stream: S,
    peer: Peer,
    shutdown: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _ = (handle, settings, stream, peer, shutdown);
}
