//! Reading performatives.

use bytes::{Buf, Bytes};

use super::descriptor as d;
use super::{
    Attach, Begin, Close, Detach, Disposition, End, Flow, Open, Performative, ReceiverSettleMode,
    Role, SenderSettleMode, Source, Target, Transfer,
};
use crate::amqp::codec::{DecodeError, Fields, Reader};
use crate::amqp::error::AmqpError;
use crate::amqp::state::DeliveryState;

impl Performative {
    /// Reads one off the front; what is left of a transfer's frame is its payload.
    pub fn decode(input: &mut Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(input);
        let performative = Self::read(&mut reader)?;
        let read = reader.position();
        input.advance(read);
        Ok(performative)
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match d::expect(r, "performative")? {
            d::OPEN => Self::Open(open(r)?),
            d::BEGIN => Self::Begin(begin(r)?),
            d::ATTACH => Self::Attach(Box::new(attach(r)?)),
            d::FLOW => Self::Flow(flow(r)?),
            d::TRANSFER => Self::Transfer(transfer(r)?),
            d::DISPOSITION => Self::Disposition(disposition(r)?),
            d::DETACH => Self::Detach(detach(r)?),
            d::END => Self::End(End {
                error: only_error(r, "end")?,
            }),
            d::CLOSE => Self::Close(Close {
                error: only_error(r, "close")?,
            }),
            other => {
                let what = format!("{other:#04x} is not a performative");
                return Err(DecodeError::Invalid(what));
            }
        })
    }
}

fn open(r: &mut Reader<'_>) -> Result<Open, DecodeError> {
    let mut f = Fields::enter(r, "open")?;
    let open = Open {
        container_id: f.text(r)?.ok_or_else(|| f.lacks("container-id"))?,
        hostname: f.text(r)?,
        max_frame_size: f.uint(r)?.unwrap_or(u32::MAX),
        channel_max: f.ushort(r)?.unwrap_or(u16::MAX),
        idle_time_out: f.uint(r)?,
        outgoing_locales: f.symbols(r)?,
        incoming_locales: f.symbols(r)?,
        offered_capabilities: f.symbols(r)?,
        desired_capabilities: f.symbols(r)?,
        properties: f.map(r)?,
    };
    f.leave(r);
    Ok(open)
}

fn begin(r: &mut Reader<'_>) -> Result<Begin, DecodeError> {
    let mut f = Fields::enter(r, "begin")?;
    let begin = Begin {
        remote_channel: f.ushort(r)?,
        next_outgoing_id: f.uint(r)?.ok_or_else(|| f.lacks("next-outgoing-id"))?,
        incoming_window: f.uint(r)?.ok_or_else(|| f.lacks("incoming-window"))?,
        outgoing_window: f.uint(r)?.ok_or_else(|| f.lacks("outgoing-window"))?,
        handle_max: f.uint(r)?.unwrap_or(u32::MAX),
        offered_capabilities: f.symbols(r)?,
        desired_capabilities: f.symbols(r)?,
        properties: f.map(r)?,
    };
    f.leave(r);
    Ok(begin)
}

fn attach(r: &mut Reader<'_>) -> Result<Attach, DecodeError> {
    let mut f = Fields::enter(r, "attach")?;
    let attach = Attach {
        name: f.text(r)?.ok_or_else(|| f.lacks("name"))?,
        handle: f.uint(r)?.ok_or_else(|| f.lacks("handle"))?,
        role: role(&mut f, r)?,
        snd_settle_mode: match f.ubyte(r)? {
            Some(0) => SenderSettleMode::Unsettled,
            Some(1) => SenderSettleMode::Settled,
            None | Some(2) => SenderSettleMode::Mixed,
            Some(_) => return Err(DecodeError::invalid("attach: snd-settle-mode is above 2")),
        },
        rcv_settle_mode: receiver_settle_mode(&mut f, r)?.unwrap_or_default(),
        source: f.next(r, source)?,
        target: f.next(r, target)?,
        unsettled: f.map(r)?,
        incomplete_unsettled: f.flag(r)?,
        initial_delivery_count: f.uint(r)?,
        max_message_size: f.ulong(r)?,
        offered_capabilities: f.symbols(r)?,
        desired_capabilities: f.symbols(r)?,
        properties: f.map(r)?,
    };
    f.leave(r);
    Ok(attach)
}

fn flow(r: &mut Reader<'_>) -> Result<Flow, DecodeError> {
    let mut f = Fields::enter(r, "flow")?;
    let flow = Flow {
        next_incoming_id: f.uint(r)?,
        incoming_window: f.uint(r)?.ok_or_else(|| f.lacks("incoming-window"))?,
        next_outgoing_id: f.uint(r)?.ok_or_else(|| f.lacks("next-outgoing-id"))?,
        outgoing_window: f.uint(r)?.ok_or_else(|| f.lacks("outgoing-window"))?,
        handle: f.uint(r)?,
        delivery_count: f.uint(r)?,
        link_credit: f.uint(r)?,
        available: f.uint(r)?,
        drain: f.flag(r)?,
        echo: f.flag(r)?,
        properties: f.map(r)?,
    };
    f.leave(r);
    Ok(flow)
}

fn transfer(r: &mut Reader<'_>) -> Result<Transfer, DecodeError> {
    let mut f = Fields::enter(r, "transfer")?;
    let transfer = Transfer {
        handle: f.uint(r)?.ok_or_else(|| f.lacks("handle"))?,
        delivery_id: f.uint(r)?,
        delivery_tag: f.binary(r)?,
        message_format: f.uint(r)?,
        settled: f.bool(r)?,
        more: f.flag(r)?,
        rcv_settle_mode: receiver_settle_mode(&mut f, r)?,
        state: f.next(r, DeliveryState::read)?,
        resume: f.flag(r)?,
        aborted: f.flag(r)?,
        batchable: f.flag(r)?,
    };
    f.leave(r);
    Ok(transfer)
}

fn disposition(r: &mut Reader<'_>) -> Result<Disposition, DecodeError> {
    let mut f = Fields::enter(r, "disposition")?;
    let disposition = Disposition {
        role: role(&mut f, r)?,
        first: f.uint(r)?.ok_or_else(|| f.lacks("first"))?,
        last: f.uint(r)?,
        settled: f.flag(r)?,
        state: f.next(r, DeliveryState::read)?,
        batchable: f.flag(r)?,
    };
    f.leave(r);
    Ok(disposition)
}

fn detach(r: &mut Reader<'_>) -> Result<Detach, DecodeError> {
    let mut f = Fields::enter(r, "detach")?;
    let detach = Detach {
        handle: f.uint(r)?.ok_or_else(|| f.lacks("handle"))?,
        closed: f.flag(r)?,
        error: f.next(r, AmqpError::read)?,
    };
    f.leave(r);
    Ok(detach)
}

fn only_error(r: &mut Reader<'_>, name: &'static str) -> Result<Option<AmqpError>, DecodeError> {
    let mut f = Fields::enter(r, name)?;
    let error = f.next(r, AmqpError::read)?;
    f.leave(r);
    Ok(error)
}

/// A boolean on the wire: true is the receiver.
fn role(f: &mut Fields, r: &mut Reader<'_>) -> Result<Role, DecodeError> {
    match f.bool(r)? {
        Some(true) => Ok(Role::Receiver),
        Some(false) => Ok(Role::Sender),
        None => Err(f.lacks("role")),
    }
}

fn receiver_settle_mode(
    f: &mut Fields,
    r: &mut Reader<'_>,
) -> Result<Option<ReceiverSettleMode>, DecodeError> {
    match f.ubyte(r)? {
        None => Ok(None),
        Some(0) => Ok(Some(ReceiverSettleMode::First)),
        Some(1) => Ok(Some(ReceiverSettleMode::Second)),
        Some(_) => Err(DecodeError::invalid("rcv-settle-mode is above 1")),
    }
}

fn source(r: &mut Reader<'_>, constructor: u8) -> Result<Source, DecodeError> {
    if described(r, constructor)? != d::SOURCE {
        return Err(DecodeError::invalid("the source is of an unknown type"));
    }
    let mut f = Fields::enter(r, "source")?;
    let source = Source {
        address: f.text(r)?,
        durable: f.uint(r)?.unwrap_or(0),
        expiry_policy: f.symbol(r)?,
        timeout: f.uint(r)?.unwrap_or(0),
        dynamic: f.flag(r)?,
        dynamic_node_properties: f.map(r)?,
        distribution_mode: f.symbol(r)?,
        filter: f.map(r)?,
        default_outcome: f.next(r, DeliveryState::read)?.map(Box::new),
        outcomes: f.symbols(r)?,
        capabilities: f.symbols(r)?,
    };
    f.leave(r);
    Ok(source)
}

fn target(r: &mut Reader<'_>, constructor: u8) -> Result<Target, DecodeError> {
    match described(r, constructor)? {
        d::TARGET => {
            let mut f = Fields::enter(r, "target")?;
            let target = Target {
                address: f.text(r)?,
                durable: f.uint(r)?.unwrap_or(0),
                expiry_policy: f.symbol(r)?,
                timeout: f.uint(r)?.unwrap_or(0),
                dynamic: f.flag(r)?,
                dynamic_node_properties: f.map(r)?,
                capabilities: f.symbols(r)?,
                coordinator: false,
            };
            f.leave(r);
            Ok(target)
        }
        d::COORDINATOR => {
            let mut f = Fields::enter(r, "coordinator")?;
            let target = Target {
                capabilities: f.symbols(r)?,
                coordinator: true,
                ..Target::default()
            };
            f.leave(r);
            Ok(target)
        }
        _ => Err(DecodeError::invalid("the target is of an unknown type")),
    }
}

fn described(r: &mut Reader<'_>, constructor: u8) -> Result<u8, DecodeError> {
    if constructor != 0 {
        return Err(DecodeError::invalid("an end of a link is not described"));
    }
    d::named(r)?.map_err(|_| DecodeError::invalid("an end of a link is of an unknown type"))
}
