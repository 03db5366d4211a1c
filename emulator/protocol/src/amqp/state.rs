//! What became of a delivery (AMQP 1.0 part 3, 3.4).

use bytes::BytesMut;

use super::codec::{
    Compound, DecodeError, Fields, Reader, encode, put_bool, put_descriptor, put_map_or_null,
    put_optional, put_uint, put_ulong,
};
use super::error::AmqpError;
use super::performative::descriptor as d;
use super::value::{Map, Value};

/// The state of a delivery.
#[derive(Clone, Debug, PartialEq)]
pub enum DeliveryState {
    /// Partly received.
    Received {
        /// The section.
        section_number: u32,
        /// Bytes of it.
        section_offset: u64,
    },
    /// Taken.
    Accepted,
    /// Refused for good.
    Rejected(Option<AmqpError>),
    /// Given back, not looked at.
    Released,
    /// Given back, changed.
    Modified {
        /// Whether it counts as an attempt.
        delivery_failed: bool,
        /// Whether this receiver does not want it again.
        undeliverable_here: bool,
        /// What to add to its annotations.
        annotations: Map,
    },
    /// A state of an extension, as it was sent: a described value.
    Other(Value),
}

impl DeliveryState {
    /// Reads the one behind its constructor.
    pub(super) fn read(r: &mut Reader<'_>, constructor: u8) -> Result<Self, DecodeError> {
        if constructor != 0 {
            return Err(DecodeError::invalid("a delivery's state is not described"));
        }
        let code = match d::named(r)? {
            Ok(code) => code,
            Err(descriptor) => return Self::other(r, descriptor),
        };
        let name = match code {
            d::RECEIVED => "received",
            d::ACCEPTED => "accepted",
            d::REJECTED => "rejected",
            d::RELEASED => "released",
            d::MODIFIED => "modified",
            _ => return Self::other(r, Value::Ulong(code.into())),
        };
        let mut f = Fields::enter(r, name)?;
        let state = match code {
            d::RECEIVED => Self::Received {
                section_number: f.uint(r)?.ok_or_else(|| f.lacks("section-number"))?,
                section_offset: f.ulong(r)?.ok_or_else(|| f.lacks("section-offset"))?,
            },
            d::ACCEPTED => Self::Accepted,
            d::REJECTED => Self::Rejected(f.next(r, AmqpError::read)?),
            d::RELEASED => Self::Released,
            _ => Self::Modified {
                delivery_failed: f.flag(r)?,
                undeliverable_here: f.flag(r)?,
                annotations: f.map(r)?,
            },
        };
        f.leave(r);
        Ok(state)
    }

    fn other(r: &mut Reader<'_>, descriptor: Value) -> Result<Self, DecodeError> {
        let value = r.value()?;
        Ok(Self::Other(Value::Described(Box::new((descriptor, value)))))
    }

    /// Writes it at the end.
    pub(super) fn put(&self, out: &mut BytesMut) {
        let code = match self {
            Self::Received { .. } => d::RECEIVED,
            Self::Accepted => d::ACCEPTED,
            Self::Rejected(_) => d::REJECTED,
            Self::Released => d::RELEASED,
            Self::Modified { .. } => d::MODIFIED,
            Self::Other(value) => return encode(value, out),
        };
        put_descriptor(out, code);
        if matches!(self, Self::Accepted | Self::Released) {
            return encode(&Value::List(Vec::new()), out);
        }
        let list = Compound::list(out);
        let fields = match self {
            Self::Received {
                section_number,
                section_offset,
            } => {
                put_uint(out, *section_number);
                put_ulong(out, *section_offset);
                2
            }
            Self::Rejected(error) => {
                put_optional(out, error.as_ref(), |out, error| error.put(out));
                1
            }
            Self::Modified {
                delivery_failed,
                undeliverable_here,
                annotations,
            } => {
                put_bool(out, *delivery_failed);
                put_bool(out, *undeliverable_here);
                put_map_or_null(out, annotations);
                3
            }
            Self::Accepted | Self::Released | Self::Other(_) => 0,
        };
        list.finish(out, fields);
    }
}
