//! What a connection waits for beside its peer, as far as one of its nodes cares.

use std::future::pending;

use tokio::sync::watch;

use super::nodes::{Node, Wake};
use crate::handle::HubHandle;

/// What a connection waits for. A connection without such nodes is not woken.
#[derive(Default)]
pub(super) struct Signals {
    feedback: Option<Signal>,
    file_notifications: Option<Signal>,
}

struct Signal {
    receiver: watch::Receiver<u64>,
    /// Nodes that care.
    nodes: usize,
}

impl Signals {
    /// A node is there.
    pub(super) fn add(&mut self, handle: &HubHandle, node: &Node) {
        let Some((slot, wake)) = self.slot(node) else {
            return;
        };
        let receiver = match wake {
            Wake::Feedback => handle.feedback_ready(),
            Wake::FileNotifications => handle.file_notifications(),
            // The connection's own signal is waited for anyway.
            Wake::Own => return,
        };
        let signal = slot.get_or_insert(Signal { receiver, nodes: 0 });
        signal.nodes += 1;
    }

    /// A node is gone.
    pub(super) fn remove(&mut self, node: &Node) {
        let Some((slot, _)) = self.slot(node) else {
            return;
        };
        if let Some(signal) = slot {
            signal.nodes -= 1;
            if signal.nodes == 0 {
                *slot = None;
            }
        }
    }

    /// Completes when something has changed. Safe to drop half-way.
    pub(super) async fn changed(&mut self) -> Wake {
        tokio::select! {
            () = changed(&mut self.feedback) => Wake::Feedback,
            () = changed(&mut self.file_notifications) => Wake::FileNotifications,
        }
    }

    fn slot(&mut self, node: &Node) -> Option<(&mut Option<Signal>, Wake)> {
        match node {
            Node::Feedback(_) => Some((&mut self.feedback, Wake::Feedback)),
            Node::FileNotifications(_) => {
                Some((&mut self.file_notifications, Wake::FileNotifications))
            }
            Node::Cbs(_)
            | Node::Management(_)
            // Readers have a signal of their own for each partition.
            | Node::Events(_)
            | Node::ServiceC2d(_)
            | Node::Telemetry(_)
            | Node::C2d(_)
            | Node::Methods(_)
            | Node::Twin(_) => None,
        }
    }
}

async fn changed(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.receiver.changed().await.is_ok()
    {
        return;
    }
    // Without such a node; the sender lives in the handle, which the connection holds.
    pending().await
}
