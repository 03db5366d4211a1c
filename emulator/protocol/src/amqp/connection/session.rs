//! Sessions: channels, windows, and their ends (AMQP 1.0 part 2, 2.5).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::disposition::Said;
use super::event::Event;
use super::link::Phase;
use super::terms::{LinkId, SessionId};
use super::unsettled::Unsettled;
use super::{Connection, Stage};
use crate::amqp::error::{AmqpError, condition};
use crate::amqp::performative::{self, Begin, Performative};

/// The highest handle that is told to peers at least (`spec/amqp.md` 2.3).
const MIN_HANDLE_MAX: u32 = 255;

/// Deliveries of a session that may be unsettled before no more are sent: what a peer that never
/// settles can make us keep.
pub(super) const MAX_UNSETTLED: usize = 64 * 1024;

/// A session.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Our channel.
    pub(super) channel: u16,
    /// The peer's channel; none before its begin.
    pub(super) peer_channel: Option<u16>,
    /// Whether our begin is written.
    pub(super) begun: bool,
    /// Whether our end is written: what the peer says but for its end is ignored.
    pub(super) ended: bool,

    /// The number of our next transfer.
    pub(super) next_outgoing_id: u32,
    /// Transfers that the peer takes.
    pub(super) window: u32,
    /// The number of our next delivery.
    pub(super) next_delivery: u64,
    /// Deliveries of ours that are not settled.
    pub(super) sent: Unsettled,
    /// Deliveries that wait for the window, in order.
    pub(super) waiting: VecDeque<Waiting>,
    /// Links whose credit lapses when theirs no longer wait.
    pub(super) lapsing: u32,

    /// The number of the peer's next transfer.
    pub(super) next_incoming_id: u32,
    /// Transfers that the peer may send.
    pub(super) incoming_left: u32,
    /// Our number for the peer's next delivery.
    pub(super) next_received: u64,
    /// Deliveries of the peer that are not settled.
    pub(super) received: Unsettled,

    /// The highest handle that the peer takes.
    pub(super) handle_max: u32,
    /// Links by our handle.
    pub(super) handles: BTreeMap<u32, LinkId>,
    /// Links by the peer's handle.
    pub(super) peer_handles: BTreeMap<u32, LinkId>,
    /// The highest handle that the peer has ever attached.
    pub(super) highest_peer_handle: Option<u32>,
    /// Links of ours that wait for the session to begin.
    pub(super) planned: Vec<LinkId>,
    /// Links of ours that the peer has not answered.
    pub(super) unanswered: u32,
    /// A disposition that may still grow.
    pub(super) said: Option<Said>,
}

/// A delivery, or the rest of one, that waits for the window.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Its link.
    pub(super) link: LinkId,
    /// Our handle of the link.
    pub(super) handle: u32,
    /// Its number.
    pub(super) id: u64,
    /// Its tag; taken by the first frame.
    pub(super) tag: Option<Bytes>,
    /// The message's format.
    pub(super) format: u32,
    /// Whether it is settled.
    pub(super) settled: bool,
    /// What has not been sent.
    pub(super) payload: Bytes,
}

/// The channels in use.
#[derive(Debug, Default)]
pub(super) struct Channels {
    /// Sessions by the peer's channel.
    pub(super) peer: BTreeMap<u16, SessionId>,
    /// Sessions by our channel.
    pub(super) ours: BTreeMap<u16, SessionId>,
    /// Channels of the peer whose sessions have ended: what still comes on them is ignored
    /// (`spec/amqp.md` 2.5). At most as many as channels are allowed.
    pub(super) ended: BTreeSet<u16>,
}

impl Channels {
    /// A channel of ours: the wanted one if it is free, else the first that is.
    fn free(&self, wanted: u16, max: u16) -> Option<u16> {
        if wanted <= max && !self.ours.contains_key(&wanted) {
            return Some(wanted);
        }
        (0..=max).find(|channel| !self.ours.contains_key(channel))
    }
}

impl Session {
    /// A handle of ours: the wanted one if it is free, else another.
    pub(super) fn free_handle(&self, wanted: u32) -> Option<u32> {
        if wanted <= self.handle_max && !self.handles.contains_key(&wanted) {
            return Some(wanted);
        }
        let next = match self.handles.last_key_value() {
            Some((highest, _)) => highest.checked_add(1),
            None => Some(0),
        };
        next.filter(|handle| *handle <= self.handle_max)
            .or_else(|| (0..=self.handle_max).find(|handle| !self.handles.contains_key(handle)))
    }

    /// Takes what the peer's begin says.
    fn take_begin(&mut self, channel: u16, begin: &Begin) {
        self.peer_channel = Some(channel);
        self.next_incoming_id = begin.next_outgoing_id;
        self.window = begin.incoming_window;
        self.handle_max = begin.handle_max;
    }
}

impl Connection {
    /// The highest handle that is told to peers.
    pub(super) fn handle_max(&self) -> u32 {
        self.config.max_links.saturating_sub(1).max(MIN_HANDLE_MAX)
    }

    /// The highest channel that is told to the peer.
    pub(super) fn channel_max(&self) -> u16 {
        self.config.max_sessions.saturating_sub(1)
    }

    fn next_session_id(&mut self) -> SessionId {
        let id = SessionId(self.next_session);
        self.next_session = self.next_session.saturating_add(1);
        id
    }

    pub(super) fn begin_session(&mut self) -> SessionId {
        let id = self.next_session_id();
        if matches!(self.stage, Stage::Closing | Stage::Closed) {
            self.events.push_back(Event::SessionEnded(id, None));
            return id;
        }
        self.sessions.insert(
            id,
            Box::new(Session {
                handle_max: u32::MAX,
                ..Session::default()
            }),
        );
        if self.stage == Stage::Running {
            self.launch_session(id);
        } else {
            self.planned.push(id);
        }
        id
    }

    /// Writes the begin of a session of ours, and the attaches of links that waited for it.
    pub(super) fn launch_session(&mut self, id: SessionId) {
        if !self.sessions.contains_key(&id) {
            return;
        }
        let Some(channel) = self.channels.free(0, self.peer.channel_max) else {
            self.drop_session(id, Some(&limit_error("no channel is left")));
            return;
        };
        self.channels.ours.insert(channel, id);
        self.write_begin(id, channel, None);
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        for link in std::mem::take(&mut session.planned) {
            self.launch_link(link);
        }
    }

    fn write_begin(&mut self, id: SessionId, channel: u16, remote_channel: Option<u16>) {
        let begin = Begin {
            remote_channel,
            next_outgoing_id: 0,
            incoming_window: self.config.incoming_window,
            outgoing_window: self.config.incoming_window,
            handle_max: self.handle_max(),
            ..Begin::default()
        };
        if let Some(session) = self.sessions.get_mut(&id) {
            session.channel = channel;
            session.begun = true;
            session.incoming_left = self.config.incoming_window;
        }
        self.write(channel, &Performative::Begin(begin));
    }

    pub(super) fn on_begin(&mut self, channel: u16, begin: &Begin) {
        if channel > self.channel_max() {
            // AMQP 1.0 part 2, 2.7.1: a channel beyond what was told is a framing error.
            let text = format!("the channel {channel} is beyond channel-max");
            return self.fail(AmqpError::new(condition::FRAMING_ERROR, text));
        }
        if self.channels.peer.contains_key(&channel) {
            let text = format!("the channel {channel} has a session already");
            return self.fail(AmqpError::new(condition::NOT_ALLOWED, text));
        }
        let Some(ours) = begin.remote_channel else {
            return self.take_session(channel, begin);
        };
        let id = self.channels.ours.get(&ours).copied();
        let session = id.and_then(|id| self.sessions.get_mut(&id).map(|session| (id, session)));
        match session {
            Some((id, session)) if session.peer_channel.is_none() => {
                session.take_begin(channel, begin);
                let tell = !session.ended;
                self.map_channel(channel, id);
                if tell {
                    self.events.push_back(Event::SessionBegun(id));
                }
            }
            _ => {
                let text = format!("no begin on the channel {ours} waits for an answer");
                self.fail(AmqpError::new(condition::NOT_ALLOWED, text));
            }
        }
    }

    fn take_session(&mut self, channel: u16, begin: &Begin) {
        let full = self.sessions.len() >= usize::from(self.config.max_sessions)
            || self.next_session == u32::MAX;
        // The same number for both directions, where it is free: simple for people who read traces.
        let ours = self.channels.free(channel, self.peer.channel_max);
        let Some(ours) = ours.filter(|_| !full) else {
            return self.fail(limit_error("too many sessions"));
        };
        let id = self.next_session_id();
        let mut session = Box::<Session>::default();
        session.take_begin(channel, begin);
        self.sessions.insert(id, session);
        self.channels.ours.insert(ours, id);
        self.map_channel(channel, id);
        self.write_begin(id, ours, Some(channel));
        self.events.push_back(Event::SessionBegun(id));
    }

    fn map_channel(&mut self, channel: u16, id: SessionId) {
        self.channels.ended.remove(&channel);
        self.channels.peer.insert(channel, id);
    }

    pub(super) fn on_end(&mut self, id: SessionId, error: Option<&AmqpError>) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        if !session.ended {
            self.write_on(id, &Performative::End(performative::End::default()));
        }
        self.drop_session(id, error);
    }

    /// Ends a session from here.
    pub(super) fn end_session(&mut self, id: SessionId, error: Option<AmqpError>) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        if session.ended {
            return;
        }
        if !session.begun {
            return self.drop_session(id, error.as_ref());
        }
        self.write_on(
            id,
            &Performative::End(performative::End {
                error: error.clone(),
            }),
        );
        self.drop_links(id, error.as_ref());
        if let Some(session) = self.sessions.get_mut(&id) {
            // Only the channels are of interest from now on.
            **session = Session {
                channel: session.channel,
                peer_channel: session.peer_channel,
                begun: true,
                ended: true,
                ..Session::default()
            };
        }
        self.events.push_back(Event::SessionEnded(id, error));
    }

    /// Forgets a session; tells the owner unless it knows.
    fn drop_session(&mut self, id: SessionId, error: Option<&AmqpError>) {
        self.drop_links(id, error);
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        if session.begun {
            self.channels.ours.remove(&session.channel);
        }
        if let Some(channel) = session.peer_channel {
            self.channels.peer.remove(&channel);
            self.channels.ended.insert(channel);
        }
        if !session.ended {
            self.events
                .push_back(Event::SessionEnded(id, error.cloned()));
        }
    }

    /// Forgets a session's links; tells the owner of those that it does not know to be over.
    fn drop_links(&mut self, id: SessionId, error: Option<&AmqpError>) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let mut links: Vec<LinkId> = session
            .handles
            .values()
            .chain(session.peer_handles.values())
            .chain(&session.planned)
            .copied()
            .collect();
        links.sort_unstable();
        links.dedup();
        for link in links {
            let over = self.forget_link(link);
            if over.is_some_and(|over| !matches!(over.phase, Phase::Detaching)) {
                self.events.push_back(Event::LinkDetached {
                    link,
                    closed: false,
                    error: error.cloned(),
                });
            }
        }
    }

    /// Forgets every session and link.
    pub(super) fn drop_sessions(&mut self, error: Option<&AmqpError>) {
        let mut ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.drop_session(id, error);
        }
        self.planned.clear();
    }
}

/// A limit is reached.
pub(super) fn limit_error(text: &str) -> AmqpError {
    AmqpError::new(condition::RESOURCE_LIMIT_EXCEEDED, text)
}
