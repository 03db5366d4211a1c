//! The security layer's frames (AMQP 1.0 part 5, 5.3).

use bytes::{Bytes, BytesMut};

use super::codec::{
    Compound, DecodeError, Fields, Reader, put_binary, put_descriptor, put_optional, put_string,
    put_symbol, put_symbols, put_ubyte,
};
use super::performative::descriptor as d;
use super::value::Symbol;

/// A frame of the security layer.
#[derive(Clone, Debug, PartialEq)]
pub enum SaslFrame {
    /// The server's mechanisms.
    Mechanisms(Vec<Symbol>),
    /// The client's choice.
    Init {
        /// The mechanism.
        mechanism: Symbol,
        /// Its first message.
        initial_response: Option<Bytes>,
        /// The host that the client believes to speak to.
        hostname: Option<String>,
    },
    /// The server's next message.
    Challenge(Bytes),
    /// The client's next message.
    Response(Bytes),
    /// How it ended.
    Outcome {
        /// How.
        code: SaslCode,
        /// The server's last message.
        additional_data: Option<Bytes>,
    },
}

/// How the security layer's exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslCode {
    /// The peer is let in.
    Ok,
    /// The credentials are refused.
    Auth,
    /// A fault of the server's.
    Sys,
    /// A fault that lasts.
    SysPerm,
    /// A fault that passes.
    SysTemp,
}

impl SaslFrame {
    /// Reads the body of a frame.
    pub(super) fn decode(body: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let frame = Self::read(&mut reader)?;
        if reader.is_empty() {
            Ok(frame)
        } else {
            Err(DecodeError::Framing(
                "bytes follow a SASL frame's body".into(),
            ))
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let code = d::expect(r, "SASL frame")?;
        let mut f = Fields::enter(r, "a SASL frame")?;
        let frame = match code {
            d::SASL_MECHANISMS => Self::Mechanisms(f.symbols(r)?),
            d::SASL_INIT => Self::Init {
                mechanism: f.symbol(r)?.ok_or_else(|| f.lacks("mechanism"))?,
                initial_response: f.binary(r)?,
                hostname: f.text(r)?,
            },
            d::SASL_CHALLENGE => Self::Challenge(f.binary(r)?.ok_or_else(|| f.lacks("challenge"))?),
            d::SASL_RESPONSE => Self::Response(f.binary(r)?.ok_or_else(|| f.lacks("response"))?),
            d::SASL_OUTCOME => Self::Outcome {
                code: match f.ubyte(r)? {
                    Some(0) => SaslCode::Ok,
                    Some(1) => SaslCode::Auth,
                    Some(2) => SaslCode::Sys,
                    Some(3) => SaslCode::SysPerm,
                    Some(4) => SaslCode::SysTemp,
                    Some(_) => return Err(DecodeError::invalid("a SASL code is above 4")),
                    None => return Err(f.lacks("code")),
                },
                additional_data: f.binary(r)?,
            },
            other => {
                let what = format!("{other:#04x} is not a SASL frame");
                return Err(DecodeError::Invalid(what));
            }
        };
        f.leave(r);
        Ok(frame)
    }

    /// Writes the body of a frame at the end.
    pub(super) fn put(&self, out: &mut BytesMut) {
        put_descriptor(
            out,
            match self {
                Self::Mechanisms(_) => d::SASL_MECHANISMS,
                Self::Init { .. } => d::SASL_INIT,
                Self::Challenge(_) => d::SASL_CHALLENGE,
                Self::Response(_) => d::SASL_RESPONSE,
                Self::Outcome { .. } => d::SASL_OUTCOME,
            },
        );
        let list = Compound::list(out);
        let fields = match self {
            Self::Mechanisms(mechanisms) => {
                put_symbols(out, mechanisms);
                1
            }
            Self::Init {
                mechanism,
                initial_response,
                hostname,
            } => {
                put_symbol(out, mechanism.as_str());
                put_optional(out, initial_response.as_deref(), put_binary);
                put_optional(out, hostname.as_deref(), put_string);
                3
            }
            Self::Challenge(bytes) | Self::Response(bytes) => {
                put_binary(out, bytes);
                1
            }
            Self::Outcome {
                code,
                additional_data,
            } => {
                put_ubyte(
                    out,
                    match code {
                        SaslCode::Ok => 0,
                        SaslCode::Auth => 1,
                        SaslCode::Sys => 2,
                        SaslCode::SysPerm => 3,
                        SaslCode::SysTemp => 4,
                    },
                );
                put_optional(out, additional_data.as_deref(), put_binary);
                2
            }
        };
        list.finish(out, fields);
    }
}
