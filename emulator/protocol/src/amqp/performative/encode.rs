//! Writing performatives: every field is there, and the list is never the empty one
//! (`spec/amqp.md` 2.3).

use bytes::BytesMut;

use super::descriptor as d;
use super::{
    Attach, Begin, Detach, Disposition, Flow, Open, Performative, ReceiverSettleMode, Role,
    SenderSettleMode, Source, Target, Transfer,
};
use crate::amqp::codec::{
    Compound, encode, put_binary, put_bool, put_descriptor, put_map_or_null, put_optional,
    put_string, put_symbol, put_symbols, put_ubyte, put_uint, put_ulong, put_ushort,
};
use crate::amqp::error::AmqpError;
use crate::amqp::value::{Symbol, Value};

impl Performative {
    /// Writes it at the end, at full length.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Open(open) => put_open(out, open),
            Self::Begin(begin) => put_begin(out, begin),
            Self::Attach(attach) => put_attach(out, attach),
            Self::Flow(flow) => put_flow(out, flow),
            Self::Transfer(transfer) => put_transfer(out, transfer),
            Self::Disposition(disposition) => put_disposition(out, disposition),
            Self::Detach(detach) => put_detach(out, detach),
            Self::End(end) => put_only_error(out, d::END, end.error.as_ref()),
            Self::Close(close) => put_only_error(out, d::CLOSE, close.error.as_ref()),
        }
    }
}

fn begin_list(out: &mut BytesMut, code: u8) -> Compound {
    put_descriptor(out, code);
    Compound::list(out)
}

fn put_open(out: &mut BytesMut, open: &Open) {
    let list = begin_list(out, d::OPEN);
    put_string(out, &open.container_id);
    put_optional(out, open.hostname.as_deref(), put_string);
    put_uint(out, open.max_frame_size);
    put_ushort(out, open.channel_max);
    put_optional(out, open.idle_time_out, put_uint);
    put_symbols(out, &open.outgoing_locales);
    put_symbols(out, &open.incoming_locales);
    put_symbols(out, &open.offered_capabilities);
    put_symbols(out, &open.desired_capabilities);
    // A map even when empty: clients look into it.
    encode(&Value::Map(open.properties.clone()), out);
    list.finish(out, 10);
}

fn put_begin(out: &mut BytesMut, begin: &Begin) {
    let list = begin_list(out, d::BEGIN);
    put_optional(out, begin.remote_channel, put_ushort);
    put_uint(out, begin.next_outgoing_id);
    put_uint(out, begin.incoming_window);
    put_uint(out, begin.outgoing_window);
    put_uint(out, begin.handle_max);
    put_symbols(out, &begin.offered_capabilities);
    put_symbols(out, &begin.desired_capabilities);
    put_map_or_null(out, &begin.properties);
    list.finish(out, 8);
}

fn put_attach(out: &mut BytesMut, attach: &Attach) {
    let list = begin_list(out, d::ATTACH);
    put_string(out, &attach.name);
    put_uint(out, attach.handle);
    put_role(out, attach.role);
    put_ubyte(
        out,
        match attach.snd_settle_mode {
            SenderSettleMode::Unsettled => 0,
            SenderSettleMode::Settled => 1,
            SenderSettleMode::Mixed => 2,
        },
    );
    put_receiver_settle_mode(out, attach.rcv_settle_mode);
    put_optional(out, attach.source.as_ref(), put_source);
    put_optional(out, attach.target.as_ref(), put_target);
    put_map_or_null(out, &attach.unsettled);
    put_bool(out, attach.incomplete_unsettled);
    put_optional(out, attach.initial_delivery_count, put_uint);
    put_optional(out, attach.max_message_size, put_ulong);
    put_symbols(out, &attach.offered_capabilities);
    put_symbols(out, &attach.desired_capabilities);
    put_map_or_null(out, &attach.properties);
    list.finish(out, 14);
}

fn put_flow(out: &mut BytesMut, flow: &Flow) {
    let list = begin_list(out, d::FLOW);
    put_optional(out, flow.next_incoming_id, put_uint);
    put_uint(out, flow.incoming_window);
    put_uint(out, flow.next_outgoing_id);
    put_uint(out, flow.outgoing_window);
    put_optional(out, flow.handle, put_uint);
    put_optional(out, flow.delivery_count, put_uint);
    put_optional(out, flow.link_credit, put_uint);
    put_optional(out, flow.available, put_uint);
    put_bool(out, flow.drain);
    put_bool(out, flow.echo);
    put_map_or_null(out, &flow.properties);
    list.finish(out, 11);
}

fn put_transfer(out: &mut BytesMut, transfer: &Transfer) {
    let list = begin_list(out, d::TRANSFER);
    put_uint(out, transfer.handle);
    put_optional(out, transfer.delivery_id, put_uint);
    put_optional(out, transfer.delivery_tag.as_deref(), put_binary);
    put_optional(out, transfer.message_format, put_uint);
    put_optional(out, transfer.settled, put_bool);
    put_bool(out, transfer.more);
    put_optional(out, transfer.rcv_settle_mode, put_receiver_settle_mode);
    put_optional(out, transfer.state.as_ref(), |out, state| state.put(out));
    put_bool(out, transfer.resume);
    put_bool(out, transfer.aborted);
    put_bool(out, transfer.batchable);
    list.finish(out, 11);
}

fn put_disposition(out: &mut BytesMut, disposition: &Disposition) {
    let list = begin_list(out, d::DISPOSITION);
    put_role(out, disposition.role);
    put_uint(out, disposition.first);
    put_optional(out, disposition.last, put_uint);
    put_bool(out, disposition.settled);
    put_optional(out, disposition.state.as_ref(), |out, state| state.put(out));
    put_bool(out, disposition.batchable);
    list.finish(out, 6);
}

fn put_detach(out: &mut BytesMut, detach: &Detach) {
    let list = begin_list(out, d::DETACH);
    put_uint(out, detach.handle);
    put_bool(out, detach.closed);
    put_optional(out, detach.error.as_ref(), |out, error| error.put(out));
    list.finish(out, 3);
}

fn put_only_error(out: &mut BytesMut, code: u8, error: Option<&AmqpError>) {
    let list = begin_list(out, code);
    put_optional(out, error, |out, error| error.put(out));
    list.finish(out, 1);
}

fn put_role(out: &mut BytesMut, role: Role) {
    put_bool(out, role == Role::Receiver);
}

fn put_receiver_settle_mode(out: &mut BytesMut, mode: ReceiverSettleMode) {
    put_ubyte(
        out,
        match mode {
            ReceiverSettleMode::First => 0,
            ReceiverSettleMode::Second => 1,
        },
    );
}

fn put_source(out: &mut BytesMut, source: &Source) {
    let list = begin_list(out, d::SOURCE);
    put_optional(out, source.address.as_deref(), put_string);
    put_uint(out, source.durable);
    put_optional(out, source.expiry_policy.as_ref(), put_name);
    put_uint(out, source.timeout);
    put_bool(out, source.dynamic);
    put_map_or_null(out, &source.dynamic_node_properties);
    put_optional(out, source.distribution_mode.as_ref(), put_name);
    put_map_or_null(out, &source.filter);
    put_optional(out, source.default_outcome.as_deref(), |out, state| {
        state.put(out);
    });
    put_symbols(out, &source.outcomes);
    put_symbols(out, &source.capabilities);
    list.finish(out, 11);
}

fn put_target(out: &mut BytesMut, target: &Target) {
    if target.coordinator {
        let list = begin_list(out, d::COORDINATOR);
        put_symbols(out, &target.capabilities);
        return list.finish(out, 1);
    }
    let list = begin_list(out, d::TARGET);
    put_optional(out, target.address.as_deref(), put_string);
    put_uint(out, target.durable);
    put_optional(out, target.expiry_policy.as_ref(), put_name);
    put_uint(out, target.timeout);
    put_bool(out, target.dynamic);
    put_map_or_null(out, &target.dynamic_node_properties);
    put_symbols(out, &target.capabilities);
    list.finish(out, 7);
}

fn put_name(out: &mut BytesMut, symbol: &Symbol) {
    put_symbol(out, symbol.as_str());
}
