//! Deliveries of ours: credit, the window, and the frames of what is sent.

use bytes::{Buf, Bytes, BytesMut};

use super::Connection;
use super::link::{End, Link, Phase, Sender};
use super::output::{Beginning, TransferFrame};
use super::session::{MAX_UNSETTLED, Waiting};
use super::terms::{DeliveryId, LinkId, SendError, SessionId};

/// A delivery that has its number and has used its credit.
#[derive(Clone, Copy, Debug)]
struct Begun {
    session: SessionId,
    handle: u32,
    id: u64,
}

impl Connection {
    pub(super) fn send_payload(
        &mut self,
        link: LinkId,
        tag: &[u8],
        format: u32,
        payload: Bytes,
        settled: bool,
    ) -> Result<DeliveryId, SendError> {
        let begun = self.begin_delivery(link, settled)?;
        let longest = self.peer.max_frame_size - TransferFrame::MAX_HEADER;
        let direct = self.sessions.get_mut(&begun.session).filter(|session| {
            payload.len() <= longest && session.window > 0 && session.waiting.is_empty()
        });
        if let Some(session) = direct {
            let out = self.output.transfer_buffer();
            let beginning = Beginning {
                id: wire(begun.id),
                tag,
                format,
            };
            let frame =
                TransferFrame::begin(out, session.channel, begun.handle, Some(beginning), settled);
            out.extend_from_slice(&payload);
            frame.end(out, false);
            session.count_transfer();
        } else {
            self.enqueue(link, begun, tag, format, payload, settled);
        }
        Ok(DeliveryId(begun.id))
    }

    pub(super) fn send_encoded(
        &mut self,
        link: LinkId,
        tag: &[u8],
        format: u32,
        settled: bool,
        encode: impl FnOnce(&mut BytesMut),
    ) -> Result<DeliveryId, SendError> {
        let begun = self.begin_delivery(link, settled)?;
        let direct = self
            .sessions
            .get_mut(&begun.session)
            .filter(|session| session.window > 0 && session.waiting.is_empty());
        let Some(session) = direct else {
            let mut payload = BytesMut::new();
            encode(&mut payload);
            self.enqueue(link, begun, tag, format, payload.freeze(), settled);
            return Ok(DeliveryId(begun.id));
        };
        let out = self.output.transfer_buffer();
        let beginning = Beginning {
            id: wire(begun.id),
            tag,
            format,
        };
        let frame =
            TransferFrame::begin(out, session.channel, begun.handle, Some(beginning), settled);
        encode(out);
        if out.len() - frame.start() <= self.peer.max_frame_size {
            frame.end(out, false);
            session.count_transfer();
        } else {
            // Longer than a frame: what was written becomes the payload of several.
            let payload = out.split_off(frame.payload()).freeze();
            out.truncate(frame.start());
            self.enqueue(link, begun, tag, format, payload, settled);
        }
        Ok(DeliveryId(begun.id))
    }

    fn begin_delivery(&mut self, id: LinkId, settled: bool) -> Result<Begun, SendError> {
        let Some(Link {
            session: session_id,
            phase: Phase::Attached,
            handle: Some(handle),
            end: End::Sender(sender),
            ..
        }) = self.links.get_mut(&id)
        else {
            return Err(SendError::NoLink);
        };
        if sender.credit == 0 {
            return Err(SendError::NoCredit);
        }
        let session = self.sessions.get_mut(session_id).ok_or(SendError::NoLink)?;
        sender.credit -= 1;
        sender.delivery_count = sender.delivery_count.wrapping_add(1);
        let delivery = session.next_delivery;
        session.next_delivery += 1;
        if !settled {
            session.sent.push(delivery, wire(delivery), id);
            sender.unsettled += 1;
        }
        Ok(Begun {
            session: *session_id,
            handle: *handle,
            id: delivery,
        })
    }

    fn enqueue(
        &mut self,
        link: LinkId,
        begun: Begun,
        tag: &[u8],
        format: u32,
        payload: Bytes,
        settled: bool,
    ) {
        if let Some(session) = self.sessions.get_mut(&begun.session) {
            session.waiting.push_back(Waiting {
                link,
                handle: begun.handle,
                id: begun.id,
                tag: Some(Bytes::copy_from_slice(tag)),
                format,
                settled,
                payload,
            });
            self.pump(begun.session);
        }
    }

    /// Sends what waits, as far as the window allows.
    pub(super) fn pump(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.waiting.is_empty() {
            return;
        }
        while session.window > 0 {
            let Some(front) = session.waiting.front_mut() else {
                break;
            };
            let out = self.output.transfer_buffer();
            let tag = front.tag.take();
            let beginning = tag.as_ref().map(|tag| Beginning {
                id: wire(front.id),
                tag,
                format: front.format,
            });
            // Whether it is settled stands in every frame: a client looks for it in the last.
            let frame =
                TransferFrame::begin(out, session.channel, front.handle, beginning, front.settled);
            let room = self.peer.max_frame_size - frame.header_len();
            let part = front.payload.len().min(room);
            out.extend_from_slice(&front.payload[..part]);
            front.payload.advance(part);
            let more = !front.payload.is_empty();
            frame.end(out, more);
            session.count_transfer();
            if !more {
                session.waiting.pop_front();
            }
        }
        if session.waiting.is_empty() {
            session.waiting = std::collections::VecDeque::new();
        }
        if session.lapsing > 0 {
            self.lapse_links(id);
        }
    }

    /// Lets the credit of links lapse whose deliveries no longer wait.
    fn lapse_links(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let ready: Vec<LinkId> = session
            .handles
            .values()
            .filter(|link| {
                matches!(
                    self.links.get(link),
                    Some(Link {
                        end: End::Sender(Sender { lapsing: true, .. }),
                        ..
                    })
                ) && !session.waits(**link)
            })
            .copied()
            .collect();
        for link in ready {
            self.lapse(link);
        }
    }

    fn lapse(&mut self, id: LinkId) {
        let Some(sender) = self.sender_mut(id) else {
            return;
        };
        sender.delivery_count = sender.delivery_count.wrapping_add(sender.credit);
        sender.credit = 0;
        sender.drain = false;
        let was_lapsing = std::mem::take(&mut sender.lapsing);
        if was_lapsing
            && let Some(link) = self.links.get(&id)
            && let Some(session) = self.sessions.get_mut(&link.session)
        {
            session.lapsing = session.lapsing.saturating_sub(1);
        }
        self.write_link_flow(id, true);
    }

    pub(super) fn end_drain(&mut self, id: LinkId) {
        let Some(Link {
            session,
            phase: Phase::Attached,
            end: End::Sender(sender),
            ..
        }) = self.links.get_mut(&id)
        else {
            return;
        };
        if !sender.drain || sender.lapsing {
            return;
        }
        if let Some(session) = self.sessions.get_mut(session) {
            if session.waits(id) {
                // The count that the answer tells includes what waits.
                sender.lapsing = true;
                session.lapsing += 1;
                return;
            }
            if session.window == 0 && sender.credit > 0 {
                // The owner could not send what it may have; it is asked again.
                return;
            }
        }
        self.lapse(id);
    }

    pub(super) fn credit_of(&self, id: LinkId) -> u32 {
        match self.links.get(&id) {
            Some(Link {
                phase: Phase::Attached,
                end: End::Sender(sender),
                ..
            }) => sender.credit,
            _ => 0,
        }
    }

    pub(super) fn sendable_on(&self, id: LinkId) -> u32 {
        let credit = self.credit_of(id);
        let session = self
            .links
            .get(&id)
            .and_then(|link| self.sessions.get(&link.session));
        match session {
            Some(session) if session.waiting.is_empty() => {
                let room = MAX_UNSETTLED.saturating_sub(session.sent.len());
                let room = u32::try_from(room).unwrap_or(u32::MAX);
                credit.min(session.window).min(room)
            }
            _ => 0,
        }
    }

    fn sender_mut(&mut self, id: LinkId) -> Option<&mut Sender> {
        match self.links.get_mut(&id) {
            Some(Link {
                end: End::Sender(sender),
                ..
            }) => Some(sender),
            _ => None,
        }
    }

    /// An event about an open window has been taken.
    pub(super) fn announcement_taken(&mut self, id: LinkId) {
        if let Some(sender) = self.sender_mut(id) {
            sender.announced = false;
        }
    }
}

impl super::session::Session {
    fn count_transfer(&mut self) {
        self.next_outgoing_id = self.next_outgoing_id.wrapping_add(1);
        self.window -= 1;
    }

    fn waits(&self, link: LinkId) -> bool {
        self.waiting.iter().any(|waiting| waiting.link == link)
    }
}

/// A delivery's number on the wire: the low half.
pub(super) fn wire(id: u64) -> u32 {
    (id & u64::from(u32::MAX)) as u32
}
