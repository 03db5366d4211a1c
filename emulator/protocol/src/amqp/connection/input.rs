//! What comes in: frames off the front of the bytes, and whom each concerns.

use bytes::{Bytes, BytesMut};

use super::event::Event;
use super::terms::SessionId;
use super::{Connection, Stage};
use crate::amqp::codec::DecodeError;
use crate::amqp::error::{AmqpError, condition};
use crate::amqp::frame::{self, Frame};
use crate::amqp::performative::{Close, Performative};

impl Connection {
    /// Reads as much of the input as can be read now.
    pub(super) fn read(&mut self) {
        while self.step() {}
        if self.input.is_empty() {
            // An idle connection keeps no buffer.
            self.input = BytesMut::new();
        }
    }

    /// Reads one header or frame; whether there may be another.
    fn step(&mut self) -> bool {
        match self.stage {
            Stage::Closed | Stage::SaslDecision => return false,
            Stage::Header | Stage::SaslHeader(..) | Stage::ServerAmqpHeader | Stage::AmqpHeader => {
                let header = match frame::decode_header(&mut self.input) {
                    Ok(Some(header)) => Ok(header),
                    Ok(None) => return false,
                    Err(bytes) => Err(bytes),
                };
                self.on_header(header);
                return true;
            }
            Stage::SaslInit
            | Stage::SaslMechanisms(..)
            | Stage::SaslOutcome
            | Stage::Open
            | Stage::Running
            | Stage::Closing => {}
        }
        match self.next_frame() {
            Ok(Some(frame)) => {
                self.on_frame(frame);
                true
            }
            Ok(None) => false,
            Err(error) => {
                self.fail(error);
                false
            }
        }
    }

    fn next_frame(&mut self) -> Result<Option<Frame>, AmqpError> {
        let limit = self.config.max_frame_size as usize;
        frame::decode_frame(&mut self.input, limit).map_err(|error| {
            let condition = match error {
                DecodeError::Framing(_) => condition::FRAMING_ERROR,
                _ => condition::DECODE_ERROR,
            };
            AmqpError::new(condition, error.to_string())
        })
    }

    fn on_frame(&mut self, frame: Frame) {
        let secured = matches!(
            self.stage,
            Stage::SaslInit | Stage::SaslMechanisms(..) | Stage::SaslOutcome
        );
        match frame {
            Frame::Sasl(frame) if secured => self.on_sasl(frame),
            Frame::Amqp {
                channel,
                performative,
                payload,
            } if !secured => {
                // Without a performative: a sign of life.
                if let Some(performative) = performative {
                    self.on_performative(channel, performative, payload);
                }
            }
            Frame::Sasl(_) | Frame::Amqp { .. } => {
                let text = "a frame of another layer";
                self.fail(AmqpError::new(condition::FRAMING_ERROR, text));
            }
        }
    }

    fn on_performative(&mut self, channel: u16, performative: Performative, payload: Bytes) {
        match (&self.stage, performative) {
            (Stage::Open, Performative::Open(open)) => self.on_open(open),
            (Stage::Closing | Stage::Running, Performative::Close(close)) => self.on_close(close),
            // Our close is written: nothing but the peer's is of interest.
            (Stage::Closing, _) => {}
            (Stage::Running, Performative::Begin(begin)) => self.on_begin(channel, &begin),
            (Stage::Running, Performative::Open(_)) | (Stage::Open, _) => {
                let text = "open comes first and once";
                self.fail(AmqpError::new(condition::NOT_ALLOWED, text));
            }
            (_, performative) => {
                if let Some(session) = self.session_on(channel) {
                    self.on_session_performative(session, performative, payload);
                }
            }
        }
    }

    /// The session on a channel of the peer's, unless it is over.
    fn session_on(&mut self, channel: u16) -> Option<SessionId> {
        let session = self.channels.peer.get(&channel).copied();
        if session.is_none() && !self.channels.ended.contains(&channel) {
            let text = format!("the channel {channel} has no session");
            self.fail(AmqpError::new(condition::NOT_ALLOWED, text));
        }
        session
    }

    fn on_session_performative(
        &mut self,
        id: SessionId,
        performative: Performative,
        payload: Bytes,
    ) {
        let ended = self.sessions.get(&id).is_none_or(|session| session.ended);
        match performative {
            Performative::End(end) => self.on_end(id, end.error.as_ref()),
            // Our end is written: nothing but the peer's is of interest.
            _ if ended => {}
            Performative::Attach(attach) => self.on_attach(id, attach),
            Performative::Flow(flow) => self.on_flow(id, &flow),
            Performative::Transfer(transfer) => self.on_transfer(id, &transfer, payload),
            Performative::Disposition(disposition) => self.on_disposition(id, &disposition),
            Performative::Detach(detach) => self.on_detach(id, detach),
            Performative::Open(_) | Performative::Begin(_) | Performative::Close(_) => {}
        }
    }

    fn on_close(&mut self, close: Close) {
        if self.stage == Stage::Running {
            self.flush_all_said();
            self.write(0, &Performative::Close(Close::default()));
        }
        self.finish(close.error);
    }

    /// Closes the connection from here, for its owner.
    pub(super) fn close_connection(&mut self, error: Option<AmqpError>) {
        match self.stage {
            Stage::Closing | Stage::Closed => {}
            Stage::Running => {
                self.flush_all_said();
                let close = Close {
                    error: error.clone(),
                };
                self.write(0, &Performative::Close(close));
                self.drop_sessions(error.as_ref());
                self.stage = Stage::Closing;
                self.clocks.close_by = None;
            }
            Stage::Open => {
                self.write_open();
                let close = Close { error };
                self.write(0, &Performative::Close(close));
                self.finish(None);
            }
            // A client has sent its open already, or there is no layer yet that has a close.
            _ => self.finish(None),
        }
    }

    /// Ends the connection because the peer broke a rule. What it sends from now on is not read.
    pub(super) fn fail(&mut self, error: AmqpError) {
        if matches!(self.stage, Stage::Open | Stage::Running) {
            self.flush_all_said();
            self.write_open();
            let close = Close {
                error: Some(error.clone()),
            };
            self.write(0, &Performative::Close(close));
        }
        self.finish(Some(error));
    }

    /// The connection is over.
    pub(super) fn finish(&mut self, error: Option<AmqpError>) {
        if self.stage == Stage::Closed {
            return;
        }
        self.drop_sessions(error.as_ref());
        self.stage = Stage::Closed;
        self.input = BytesMut::new();
        self.events.push_back(Event::Closed(error));
    }
}
