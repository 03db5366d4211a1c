//! What is known of a link.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::terms::{AttachLink, SessionId};
use crate::amqp::performative::{Attach, Role};

/// A link.
#[derive(Debug)]
pub(super) struct Link {
    /// Its session.
    pub(super) session: SessionId,
    /// Its name.
    pub(super) name: Arc<str>,
    /// Whether it was attached from here.
    pub(super) ours: bool,
    /// How far it is.
    pub(super) phase: Phase,
    /// Our handle; none before our attach.
    pub(super) handle: Option<u32>,
    /// The peer's handle; none before its attach.
    pub(super) peer_handle: Option<u32>,
    /// What we do.
    pub(super) end: End,
}

/// How far a link is.
#[derive(Debug)]
pub(super) enum Phase {
    /// Ours, for a session that has not begun.
    Planned(Box<AttachLink>),
    /// The peer's; the owner has not answered.
    Asked(Box<Attach>),
    /// Ours; the peer has not answered.
    Attaching,
    /// Both have attached.
    Attached,
    /// Detached from here; what the peer says of it but for its detach is ignored.
    Detaching,
}

/// Our end of a link.
#[derive(Debug)]
pub(super) enum End {
    /// We send.
    Sender(Sender),
    /// We receive.
    Receiver(Receiver),
}

/// What a sender knows.
#[derive(Debug, Default)]
pub(super) struct Sender {
    /// Deliveries so far, and credit that has lapsed.
    pub(super) delivery_count: u32,
    /// Deliveries that the peer takes.
    pub(super) credit: u32,
    /// Deliveries that are not settled.
    pub(super) unsettled: u32,
    /// Whether the peer waits for its credit to be used up or to lapse.
    pub(super) drain: bool,
    /// Whether the credit lapses as soon as deliveries of the link no longer wait.
    pub(super) lapsing: bool,
    /// Whether an event about an open window waits to be taken.
    pub(super) announced: bool,
}

/// What a receiver knows.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    /// The peer's count of deliveries.
    pub(super) delivery_count: u32,
    /// Deliveries that the peer has been told to send and has not sent.
    pub(super) credit: u32,
    /// Deliveries that it may send without a breach: more than the credit after that was lowered,
    /// as what is under way was sent under the former.
    pub(super) allowance: u32,
    /// The credit that is restored as deliveries are settled.
    pub(super) refill: u32,
    /// Deliveries that are not settled.
    pub(super) unsettled: u32,
    /// Bytes of a delivery that are taken.
    pub(super) max_message_size: Option<u64>,
    /// A delivery of which not all has come.
    pub(super) partial: Option<Box<Partial>>,
}

/// A delivery of which not all has come.
#[derive(Debug)]
pub(super) struct Partial {
    /// Its number on the wire.
    pub(super) wire: u32,
    /// Its tag.
    pub(super) tag: Bytes,
    /// The message's format.
    pub(super) format: u32,
    /// Whether the sender has settled.
    pub(super) settled: bool,
    /// What has come.
    pub(super) payload: BytesMut,
}

impl Link {
    /// What we do.
    pub(super) fn role(&self) -> Role {
        match self.end {
            End::Sender(_) => Role::Sender,
            End::Receiver(_) => Role::Receiver,
        }
    }
}

impl End {
    /// An end that has done nothing.
    pub(super) fn new(role: Role) -> Self {
        match role {
            Role::Sender => Self::Sender(Sender::default()),
            Role::Receiver => Self::Receiver(Receiver::default()),
        }
    }
}

impl Receiver {
    /// Sets the credit.
    pub(super) fn grant(&mut self, credit: u32) {
        self.credit = credit;
        self.allowance = self.allowance.max(credit);
    }

    /// The credit to tell the peer now, if enough deliveries have been settled.
    pub(super) fn due_credit(&self) -> Option<u32> {
        if self.refill == 0 {
            return None;
        }
        let held = self.unsettled + u32::from(self.partial.is_some());
        let credit = self.refill.saturating_sub(held);
        let step = (self.refill / 2).max(1);
        (credit >= self.credit.saturating_add(step)).then_some(credit)
    }

    /// The peer's count has advanced, by deliveries or by credit that lapsed.
    pub(super) fn advance(&mut self, count: u32) {
        self.delivery_count = self.delivery_count.wrapping_add(count);
        self.credit = self.credit.saturating_sub(count);
        self.allowance = self.allowance.saturating_sub(count);
    }
}

#[cfg(test)]
mod tests {
    use super::Link;
    use crate::amqp::connection::Connection;
    use crate::amqp::connection::session::Session;

    /// There may be thousands of each, and most are idle.
    #[test]
    fn what_is_idle_is_small() {
        assert!(size_of::<Link>() <= 128, "{}", size_of::<Link>());
        assert!(size_of::<Session>() <= 512, "{}", size_of::<Session>());
        assert!(
            size_of::<Connection>() <= 640,
            "{}",
            size_of::<Connection>()
        );
    }
}
