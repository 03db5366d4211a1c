//! How a connection starts: headers, the security layer, open (AMQP 1.0 part 2, 2.2 and 2.4, and
//! part 5, 5.3; `spec/amqp.md` 2.1 and 2.2).

use bytes::Bytes;

use super::event::Event;
use super::terms::ClientSasl;
use super::{Connection, Stage};
use crate::amqp::error::{AmqpError, condition};
use crate::amqp::frame::{MIN_MAX_FRAME_SIZE, ProtocolHeader, encode_sasl};
use crate::amqp::performative::{Open, Performative};
use crate::amqp::sasl::{SaslCode, SaslFrame};
use crate::amqp::value::Symbol;

/// What the peer's open says.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Bytes of a frame: no more than either side takes, as the service does it.
    pub(super) max_frame_size: usize,
    /// The highest channel.
    pub(super) channel_max: u16,
    /// Milliseconds of our silence after which it gives up.
    pub(super) idle_time_out: Option<u32>,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            max_frame_size: MIN_MAX_FRAME_SIZE as usize,
            channel_max: u16::MAX,
            idle_time_out: None,
        }
    }
}

impl Connection {
    /// A client's first bytes.
    pub(super) fn start_client(&mut self, sasl: ClientSasl) {
        match sasl {
            ClientSasl::None => self.start_amqp(),
            ClientSasl::Mechanism {
                name,
                initial_response,
            } => {
                self.write_header(ProtocolHeader::Sasl);
                self.stage = Stage::SaslHeader(name, initial_response);
            }
        }
    }

    fn start_amqp(&mut self) {
        self.write_header(ProtocolHeader::Amqp);
        self.write_open();
        self.stage = Stage::AmqpHeader;
    }

    fn write_header(&mut self, header: ProtocolHeader) {
        self.output.buffer().extend_from_slice(&header.to_bytes());
    }

    /// Writes our open, once.
    pub(super) fn write_open(&mut self) {
        if self.open_written {
            return;
        }
        self.open_written = true;
        let idle_time_out = self
            .config
            .idle_timeout
            .map(|silence| u32::try_from(silence.as_millis() / 2).unwrap_or(u32::MAX));
        let open = Open {
            container_id: self.config.container_id.clone(),
            hostname: self.config.hostname.clone(),
            max_frame_size: self.config.max_frame_size,
            channel_max: self.channel_max(),
            idle_time_out,
            ..Open::default()
        };
        self.write(0, &Performative::Open(open));
    }

    pub(super) fn on_header(&mut self, header: Result<ProtocolHeader, [u8; 8]>) {
        let stage = std::mem::replace(&mut self.stage, Stage::Header);
        match (stage, header) {
            (Stage::Header, Ok(ProtocolHeader::Sasl))
                if !self.config.sasl_mechanisms.is_empty() =>
            {
                self.write_header(ProtocolHeader::Sasl);
                let mechanisms = self.config.sasl_mechanisms.clone();
                encode_sasl(&SaslFrame::Mechanisms(mechanisms), self.output.buffer());
                self.stage = Stage::SaslInit;
            }
            // Before any layer, or behind the security layer.
            (Stage::Header | Stage::ServerAmqpHeader, Ok(ProtocolHeader::Amqp)) => {
                self.write_header(ProtocolHeader::Amqp);
                self.stage = Stage::Open;
            }
            (Stage::SaslHeader(name, response), Ok(ProtocolHeader::Sasl)) => {
                self.stage = Stage::SaslMechanisms(name, response);
            }
            (Stage::AmqpHeader, Ok(ProtocolHeader::Amqp)) => self.stage = Stage::Open,
            (stage, header) => self.refuse_header(&stage, header),
        }
    }

    /// AMQP 1.0 part 2, 2.2: a server answers a header that it does not take with one that it takes.
    fn refuse_header(&mut self, stage: &Stage, header: Result<ProtocolHeader, [u8; 8]>) {
        match stage {
            Stage::Header if !self.config.sasl_mechanisms.is_empty() => {
                self.write_header(ProtocolHeader::Sasl);
            }
            Stage::Header | Stage::ServerAmqpHeader => self.write_header(ProtocolHeader::Amqp),
            _ => {}
        }
        let text = match header {
            Ok(header) => format!("the protocol header {header:?} is not taken here"),
            Err(bytes) => format!("no protocol header: {:?}", Bytes::copy_from_slice(&bytes)),
        };
        self.finish(Some(AmqpError::new(condition::FRAMING_ERROR, text)));
    }

    pub(super) fn on_sasl(&mut self, frame: SaslFrame) {
        let stage = std::mem::replace(&mut self.stage, Stage::Header);
        match (stage, frame) {
            (
                Stage::SaslInit,
                SaslFrame::Init {
                    mechanism,
                    initial_response,
                    hostname,
                },
            ) => {
                self.stage = Stage::SaslDecision;
                if self.config.sasl_mechanisms.contains(&mechanism) {
                    self.events.push_back(Event::SaslInit {
                        mechanism,
                        initial_response,
                        hostname,
                    });
                } else {
                    self.decide_sasl(SaslCode::Auth);
                }
            }
            (Stage::SaslMechanisms(name, response), SaslFrame::Mechanisms(offered)) => {
                self.choose_mechanism(name, response, &offered);
            }
            (Stage::SaslOutcome, SaslFrame::Outcome { code, .. }) => {
                self.events.push_back(Event::SaslEnded(code));
                if code == SaslCode::Ok {
                    self.start_amqp();
                } else {
                    let text = format!("the security layer ended with {code:?}");
                    let error = AmqpError::new(condition::UNAUTHORIZED_ACCESS, text);
                    self.finish(Some(error));
                }
            }
            (_, frame) => {
                let text = format!("a frame of the security layer out of order: {frame:?}");
                self.finish(Some(AmqpError::new(condition::NOT_ALLOWED, text)));
            }
        }
    }

    fn choose_mechanism(&mut self, name: Symbol, response: Option<Bytes>, offered: &[Symbol]) {
        if !offered.contains(&name) {
            let text = format!("the mechanism {} is not offered", name.as_str());
            let error = AmqpError::new(condition::UNAUTHORIZED_ACCESS, text);
            return self.finish(Some(error));
        }
        let init = SaslFrame::Init {
            mechanism: name,
            initial_response: response,
            hostname: self.config.hostname.clone(),
        };
        encode_sasl(&init, self.output.buffer());
        self.stage = Stage::SaslOutcome;
    }

    /// A server's decision about the peer.
    pub(super) fn decide_sasl(&mut self, code: SaslCode) {
        if self.stage != Stage::SaslDecision {
            return;
        }
        let outcome = SaslFrame::Outcome {
            code,
            additional_data: None,
        };
        encode_sasl(&outcome, self.output.buffer());
        if code == SaslCode::Ok {
            self.stage = Stage::ServerAmqpHeader;
            self.read();
        } else {
            let text = "the credentials are refused";
            self.finish(Some(AmqpError::new(condition::UNAUTHORIZED_ACCESS, text)));
        }
    }

    pub(super) fn on_open(&mut self, open: Open) {
        self.write_open();
        let theirs = open.max_frame_size.max(MIN_MAX_FRAME_SIZE);
        self.peer = Peer {
            max_frame_size: theirs.min(self.config.max_frame_size.max(MIN_MAX_FRAME_SIZE)) as usize,
            channel_max: open.channel_max,
            idle_time_out: open.idle_time_out.filter(|limit| *limit > 0),
        };
        self.stage = Stage::Running;
        self.events.push_back(Event::Opened(Box::new(open)));
        for session in std::mem::take(&mut self.planned) {
            self.launch_session(session);
        }
    }
}
