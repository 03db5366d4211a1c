//! What the client's handle asks of its connection task.

use bytes::Bytes;
use iothub_protocol::mqtt::topic::Feature;
use tokio::sync::{mpsc, oneshot};

use crate::c2d::Delivery;
use crate::{Error, Twin};

/// Tells the caller how it went. A caller that went away is not told, and not served again.
pub(crate) type Done<T> = oneshot::Sender<Result<T, Error>>;

/// A request to the connection task.
#[derive(Debug)]
pub(crate) enum Command {
    /// Do something that the hub answers.
    Perform(Operation),
    /// Have the hub send what belongs to a feature; done when the hub granted it.
    Subscribe(Feature, Done<()>),
    /// As `Subscribe`, for cloud-to-device messages or those for inputs, which go to this channel
    /// from now on.
    Receive(Feature, mpsc::Sender<Delivery>, Done<()>),
}

/// Something that the hub answers. Begun anew on the next connection when one is lost.
#[derive(Debug)]
pub(crate) enum Operation {
    /// Answered by PUBACK, that is: stored.
    SendTelemetry {
        topic: String,
        body: Bytes,
        done: Done<()>,
    },
    GetTwin {
        done: Done<Twin>,
    },
    /// Answered by the new version of the reported properties.
    PatchReported {
        patch: Bytes,
        done: Done<u64>,
    },
    /// Find out which desired changes were missed.
    Resynchronize,
}

impl Operation {
    /// Whether nobody waits for it any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        match self {
            Self::SendTelemetry { done, .. } => done.is_closed(),
            Self::GetTwin { done } => done.is_closed(),
            Self::PatchReported { done, .. } => done.is_closed(),
            Self::Resynchronize => false,
        }
    }

    /// Tells the caller that it will not happen.
    pub(crate) fn fail(self, error: Error) {
        // A caller that went away does not mind.
        match self {
            Self::SendTelemetry { done, .. } => drop(done.send(Err(error))),
            Self::GetTwin { done } => drop(done.send(Err(error))),
            Self::PatchReported { done, .. } => drop(done.send(Err(error))),
            Self::Resynchronize => tracing::warn!(%error, "read the twin after reconnecting"),
        }
    }
}
