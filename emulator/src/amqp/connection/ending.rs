//! The end of a connection: who is told, and what is still said to the peer.

use std::time::Duration;

use iothub_hub::End;
use iothub_protocol::Clock;
use iothub_protocol::amqp::AmqpError;
use iothub_protocol::amqp::error::condition;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::{Ending, Serving};
use crate::amqp::devices;
use crate::transport::read_burst;

/// How long a peer has to close its side once ours is closed.
const LINGER: Duration = Duration::from_secs(5);
/// What is read of it meanwhile, unseen.
const LINGER_BYTES: usize = 1024 * 1024;

impl<S> Serving<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    /// Tells the peer, the nodes and the hub that it is over.
    pub(super) async fn end(mut self, ending: Ending, shutdown: &CancellationToken) {
        let address = self.shared.peer.address;
        let (how, last_words) = match ending {
            Ending::Closed(None) => (End::Goodbye, true),
            Ending::Closed(Some(error)) => {
                tracing::info!(peer = %address, ?error, "connection closed");
                self.shared.parting = Some(format!("closed with {}", error.condition));
                (End::Lost, true)
            }
            Ending::ByUs(error) => {
                tracing::info!(peer = %address, ?error, "closing the connection");
                self.shared.parting.clone_from(&error.description);
                self.shared.machine.close(Some(error));
                (End::Lost, true)
            }
            Ending::Lost(reason) => {
                tracing::debug!(peer = %address, reason, "connection lost");
                self.shared.parting = Some(reason);
                (End::Lost, false)
            }
            Ending::Refused => (End::Goodbye, true),
            Ending::Shutdown => {
                let text = "the emulator stops";
                self.shared.parting = Some(text.to_owned());
                let error = AmqpError::new(condition::CONNECTION_FORCED, text);
                self.shared.machine.close(Some(error));
                (End::Goodbye, true)
            }
        };
        // First, so that nobody waits for a peer that does not read.
        for (link, place) in std::mem::take(&mut self.nodes) {
            place.node.close(&mut self.shared, link).await;
        }
        devices::close(&mut self.shared, how).await;
        if last_words {
            self.say_last_words(shutdown).await;
        }
    }

    /// Best effort: the peer may be gone already. What it still sends is read, or the close would
    /// be lost on the way to it.
    async fn say_last_words(&mut self, shutdown: &CancellationToken) {
        let stopping = shutdown.is_cancelled();
        let clock = self.shared.handle.clock().clone();
        let deadline = clock.now() + LINGER;
        let words = async {
            if let Some(first) = self.shared.machine.next_output()
                && self.write_from(first).await.is_err()
            {
                return;
            }
            if self.stream.shutdown().await.is_err() {
                return;
            }
            let mut left = LINGER_BYTES;
            while left > 0 {
                self.input.clear();
                match read_burst(&mut self.stream, &mut self.input).await {
                    Ok(0) | Err(_) => return,
                    Ok(read) => left = left.saturating_sub(read),
                }
            }
        };
        tokio::select! {
            () = words => {}
            () = shutdown.cancelled(), if !stopping => {}
            () = clock.sleep_until(deadline) => {}
        }
    }
}
