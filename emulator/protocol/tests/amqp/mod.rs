//! Values, performatives and messages of every shape.

use bytes::Bytes;
use iothub_protocol::amqp::error::AmqpError;
use iothub_protocol::amqp::message::{AmqpMessage, Body, Header, Properties};
use iothub_protocol::amqp::performative::{
    Attach, Begin, Close, Detach, Disposition, End, Flow, Open, Performative, ReceiverSettleMode,
    Role, SenderSettleMode, Source, Target, Transfer,
};
use iothub_protocol::amqp::sasl::{SaslCode, SaslFrame};
use iothub_protocol::amqp::state::DeliveryState;
use iothub_protocol::amqp::value::{Array, Map, Symbol, Value};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn text() -> BoxedStrategy<String> {
    prop_oneof![8 => ".{0,12}", 1 => ".{200,300}"].boxed()
}

fn symbol() -> BoxedStrategy<Symbol> {
    prop_oneof![8 => "[ -~]{0,12}", 1 => "[ -~]{250,300}"]
        .prop_map(Symbol::from)
        .boxed()
}

fn bytes() -> BoxedStrategy<Bytes> {
    prop_oneof![8 => vec(any::<u8>(), 0..12), 1 => vec(any::<u8>(), 250..300)]
        .prop_map(Bytes::from)
        .boxed()
}

/// A value without others in it. Not-a-number is left out: it does not equal itself.
fn scalar() -> BoxedStrategy<Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<u8>().prop_map(Value::Ubyte),
        any::<u16>().prop_map(Value::Ushort),
        prop_oneof![0..300_u32, any::<u32>()].prop_map(Value::Uint),
        prop_oneof![0..300_u64, any::<u64>()].prop_map(Value::Ulong),
        any::<i8>().prop_map(Value::Byte),
        any::<i16>().prop_map(Value::Short),
        prop_oneof![-200..200_i32, any::<i32>()].prop_map(Value::Int),
        prop_oneof![-200..200_i64, any::<i64>()].prop_map(Value::Long),
        (-1e30_f32..1e30).prop_map(Value::Float),
        (-1e300_f64..1e300).prop_map(Value::Double),
        any::<[u8; 4]>().prop_map(Value::Decimal32),
        any::<[u8; 8]>().prop_map(Value::Decimal64),
        any::<[u8; 16]>().prop_map(Value::Decimal128),
        any::<char>().prop_map(Value::Char),
        any::<i64>().prop_map(Value::Timestamp),
        any::<[u8; 16]>().prop_map(Value::Uuid),
        bytes().prop_map(Value::Binary),
        text().prop_map(Value::String),
        symbol().prop_map(Value::Symbol),
    ]
    .boxed()
}

fn descriptor() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u64>().prop_map(Value::Ulong),
        "[a-z:*-]{1,40}".prop_map(|name| Value::Symbol(name.into())),
    ]
}

/// Arrays hold values of one type, and those in them as well.
fn array() -> BoxedStrategy<Value> {
    let elements = prop_oneof![
        vec(Just(Value::Null), 0..3),
        vec(any::<bool>().prop_map(Value::Bool), 0..5),
        vec(any::<u8>().prop_map(Value::Ubyte), 0..40),
        vec(any::<u32>().prop_map(Value::Uint), 0..5),
        vec(any::<i64>().prop_map(Value::Long), 0..40),
        vec(any::<[u8; 16]>().prop_map(Value::Uuid), 0..5),
        vec(bytes().prop_map(Value::Binary), 0..5),
        vec(text().prop_map(Value::String), 0..5),
        vec(symbol().prop_map(Value::Symbol), 0..5),
        vec(vec(scalar(), 0..3).prop_map(Value::List), 0..4),
        vec(vec((scalar(), scalar()), 0..3).prop_map(Value::Map), 0..4),
        vec(
            vec(any::<i32>().prop_map(Value::Int), 0..3)
                .prop_map(|inner| Value::Array(Array(inner))),
            0..4,
        ),
        (descriptor(), vec(text().prop_map(Value::String), 0..4)).prop_map(|(by, inner)| {
            inner
                .into_iter()
                .map(|value| Value::Described(Box::new((by.clone(), value))))
                .collect()
        }),
    ];
    elements
        .prop_map(|elements| Value::Array(Array(elements)))
        .boxed()
}

/// A value of any type.
#[allow(
    dead_code,
    reason = "each test that uses this module uses another part of it"
)]
pub(crate) fn value() -> BoxedStrategy<Value> {
    prop_oneof![4 => scalar(), 1 => array()]
        .prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..6).prop_map(Value::List),
                vec((inner.clone(), inner.clone()), 0..6).prop_map(Value::Map),
                (descriptor(), inner).prop_map(|pair| Value::Described(Box::new(pair))),
            ]
        })
        .boxed()
}

fn map() -> BoxedStrategy<Map> {
    vec((scalar(), prop_oneof![3 => scalar(), 1 => value()]), 0..4).boxed()
}

fn symbols() -> BoxedStrategy<Vec<Symbol>> {
    vec(symbol(), 0..4).boxed()
}

prop_compose! {
    fn error()(condition in symbol(), description in option::of(text()), info in map())
        -> AmqpError
    {
        AmqpError { condition, description, info }
    }
}

fn state() -> BoxedStrategy<DeliveryState> {
    // Descriptors from 0x34 on: those below are states of the standard.
    let other = prop_oneof![
        (0x34..=u64::MAX).prop_map(Value::Ulong),
        "[a-z]{1,8}:[a-z]{1,8}".prop_map(|name| Value::Symbol(name.into())),
    ];
    prop_oneof![
        (any::<u32>(), any::<u64>()).prop_map(|(section_number, section_offset)| {
            DeliveryState::Received {
                section_number,
                section_offset,
            }
        }),
        Just(DeliveryState::Accepted),
        Just(DeliveryState::Released),
        option::of(error().boxed()).prop_map(DeliveryState::Rejected),
        (any::<bool>(), any::<bool>(), map()).prop_map(
            |(delivery_failed, undeliverable_here, annotations)| DeliveryState::Modified {
                delivery_failed,
                undeliverable_here,
                annotations,
            }
        ),
        (other, scalar()).prop_map(|pair| DeliveryState::Other(Value::Described(Box::new(pair)))),
    ]
    .boxed()
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Sender), Just(Role::Receiver)]
}

fn receiver_settle_mode() -> impl Strategy<Value = ReceiverSettleMode> {
    prop_oneof![
        Just(ReceiverSettleMode::First),
        Just(ReceiverSettleMode::Second)
    ]
}

prop_compose! {
    fn open()(
        container_id in text(), hostname in option::of(text()), max_frame_size: u32,
        channel_max: u16, idle_time_out: Option<u32>,
        capabilities in (symbols(), symbols(), symbols(), symbols()), properties in map(),
    ) -> Open {
        let (outgoing_locales, incoming_locales, offered_capabilities, desired_capabilities) =
            capabilities;
        Open {
            container_id, hostname, max_frame_size, channel_max, idle_time_out, outgoing_locales,
            incoming_locales, offered_capabilities, desired_capabilities, properties,
        }
    }
}

prop_compose! {
    fn begin()(
        remote_channel: Option<u16>, next_outgoing_id: u32, windows: (u32, u32), handle_max: u32,
        offered_capabilities in symbols(), desired_capabilities in symbols(), properties in map(),
    ) -> Begin {
        let (incoming_window, outgoing_window) = windows;
        Begin {
            remote_channel, next_outgoing_id, incoming_window, outgoing_window, handle_max,
            offered_capabilities, desired_capabilities, properties,
        }
    }
}

prop_compose! {
    fn source()(
        address in option::of(text()), durable: u32, expiry_policy in option::of(symbol()),
        timeout: u32, dynamic: bool, dynamic_node_properties in map(),
        distribution_mode in option::of(symbol()), filter in map(),
        default_outcome in option::of(state().prop_map(Box::new)), outcomes in symbols(),
        capabilities in symbols(),
    ) -> Source {
        Source {
            address, durable, expiry_policy, timeout, dynamic, dynamic_node_properties,
            distribution_mode, filter, default_outcome, outcomes, capabilities,
        }
    }
}

prop_compose! {
    fn target()(
        coordinator: bool, address in option::of(text()), durable: u32,
        expiry_policy in option::of(symbol()), timeout: u32, dynamic: bool,
        dynamic_node_properties in map(), capabilities in symbols(),
    ) -> Target {
        if coordinator {
            return Target { coordinator, capabilities, ..Target::default() };
        }
        Target {
            address, durable, expiry_policy, timeout, dynamic, dynamic_node_properties,
            capabilities, coordinator,
        }
    }
}

prop_compose! {
    fn attach()(
        name in text(), handle: u32, role in role(),
        snd_settle_mode in prop_oneof![
            Just(SenderSettleMode::Unsettled),
            Just(SenderSettleMode::Settled),
            Just(SenderSettleMode::Mixed),
        ],
        rcv_settle_mode in receiver_settle_mode(), source in option::of(source().boxed()),
        target in option::of(target().boxed()), unsettled in map(), incomplete_unsettled: bool,
        numbers: (Option<u32>, Option<u64>), capabilities in (symbols(), symbols()),
        properties in map(),
    ) -> Attach {
        let (initial_delivery_count, max_message_size) = numbers;
        let (offered_capabilities, desired_capabilities) = capabilities;
        Attach {
            name, handle, role, snd_settle_mode, rcv_settle_mode, source, target, unsettled,
            incomplete_unsettled, initial_delivery_count, max_message_size, offered_capabilities,
            desired_capabilities, properties,
        }
    }
}

prop_compose! {
    fn flow()(
        next_incoming_id: Option<u32>, numbers: (u32, u32, u32),
        link: (Option<u32>, Option<u32>, Option<u32>, Option<u32>), drain: bool, echo: bool,
        properties in map(),
    ) -> Flow {
        let (incoming_window, next_outgoing_id, outgoing_window) = numbers;
        let (handle, delivery_count, link_credit, available) = link;
        Flow {
            next_incoming_id, incoming_window, next_outgoing_id, outgoing_window, handle,
            delivery_count, link_credit, available, drain, echo, properties,
        }
    }
}

prop_compose! {
    fn transfer()(
        handle: u32, delivery_id: Option<u32>, delivery_tag in option::of(bytes()),
        message_format: Option<u32>, settled: Option<bool>, more: bool,
        rcv_settle_mode in option::of(receiver_settle_mode()), state in option::of(state()),
        flags: (bool, bool, bool),
    ) -> Transfer {
        let (resume, aborted, batchable) = flags;
        Transfer {
            handle, delivery_id, delivery_tag, message_format, settled, more, rcv_settle_mode,
            state, resume, aborted, batchable,
        }
    }
}

prop_compose! {
    fn disposition()(
        role in role(), first: u32, last: Option<u32>, settled: bool,
        state in option::of(state()), batchable: bool,
    ) -> Disposition {
        Disposition { role, first, last, settled, state, batchable }
    }
}

/// A performative.
pub(crate) fn performative() -> impl Strategy<Value = Performative> {
    prop_oneof![
        open().prop_map(Performative::Open).boxed(),
        begin().prop_map(Performative::Begin).boxed(),
        attach()
            .prop_map(Box::new)
            .prop_map(Performative::Attach)
            .boxed(),
        flow().prop_map(Performative::Flow).boxed(),
        transfer().prop_map(Performative::Transfer).boxed(),
        disposition().prop_map(Performative::Disposition).boxed(),
        (any::<u32>(), any::<bool>(), option::of(error().boxed())).prop_map(
            |(handle, closed, error)| {
                Performative::Detach(Detach {
                    handle,
                    closed,
                    error,
                })
            }
        ),
        option::of(error().boxed()).prop_map(|error| Performative::End(End { error })),
        option::of(error().boxed()).prop_map(|error| Performative::Close(Close { error })),
    ]
}

/// A frame of the security layer.
#[allow(
    dead_code,
    reason = "each test that uses this module uses another part of it"
)]
pub(crate) fn sasl_frame() -> impl Strategy<Value = SaslFrame> {
    let code = prop_oneof![
        Just(SaslCode::Ok),
        Just(SaslCode::Auth),
        Just(SaslCode::Sys),
        Just(SaslCode::SysPerm),
        Just(SaslCode::SysTemp),
    ];
    prop_oneof![
        symbols().prop_map(SaslFrame::Mechanisms),
        (symbol(), option::of(bytes()), option::of(text())).prop_map(
            |(mechanism, initial_response, hostname)| SaslFrame::Init {
                mechanism,
                initial_response,
                hostname,
            }
        ),
        bytes().prop_map(SaslFrame::Challenge),
        bytes().prop_map(SaslFrame::Response),
        (code, option::of(bytes())).prop_map(|(code, additional_data)| SaslFrame::Outcome {
            code,
            additional_data,
        }),
    ]
}

fn id() -> impl Strategy<Value = Option<Value>> {
    option::of(prop_oneof![
        text().prop_map(Value::String),
        any::<u64>().prop_map(Value::Ulong),
        any::<[u8; 16]>().prop_map(Value::Uuid),
        bytes().prop_map(Value::Binary),
    ])
}

prop_compose! {
    fn header()(
        durable: Option<bool>, priority: Option<u8>, ttl: Option<u32>,
        first_acquirer: Option<bool>, delivery_count: Option<u32>,
    ) -> Header {
        Header { durable, priority, ttl, first_acquirer, delivery_count }
    }
}

prop_compose! {
    fn properties()(
        ids in (id().boxed(), id().boxed()), user_id in option::of(bytes()), to in option::of(text()),
        subject in option::of(text()), reply_to in option::of(text()),
        content in (option::of(symbol()), option::of(symbol())), times: (Option<i64>, Option<i64>),
        group_id in option::of(text()), group_sequence: Option<u32>,
        reply_to_group_id in option::of(text()),
    ) -> Properties {
        Properties {
            message_id: ids.0,
            user_id,
            to,
            subject,
            reply_to,
            correlation_id: ids.1,
            content_type: content.0,
            content_encoding: content.1,
            absolute_expiry_time: times.0,
            creation_time: times.1,
            group_id,
            group_sequence,
            reply_to_group_id,
        }
    }
}

fn body() -> BoxedStrategy<Body> {
    prop_oneof![
        vec(bytes(), 0..3).prop_map(Body::Data),
        vec(vec(value(), 0..3), 1..3).prop_map(Body::Sequence),
        value().prop_map(Body::Value),
    ]
    .boxed()
}

prop_compose! {
    /// A message.
    #[allow(dead_code, reason = "each test that uses this module uses another part of it")]
    pub(crate) fn message()(
        header in header().boxed(), annotations in (map(), map()),
        properties in properties().boxed(),
        application_properties in map(), body in body(), footer in map(),
    ) -> AmqpMessage {
        let (delivery_annotations, message_annotations) = annotations;
        AmqpMessage {
            header, delivery_annotations, message_annotations, properties, application_properties,
            body, footer,
        }
    }
}
