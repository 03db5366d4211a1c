//! Descriptors of the types of the standard, by number and by name.

use crate::amqp::codec::{DecodeError, Reader};
use crate::amqp::value::Value;

macro_rules! descriptors {
    ($($name:ident = $code:literal, $symbol:literal;)*) => {
        $(pub(in crate::amqp) const $name: u8 = $code;)*

        /// The number of a type by its name, which peers may use instead.
        pub(in crate::amqp) fn number_of(symbol: &str) -> Option<u64> {
            match symbol {
                $($symbol => Some($code),)*
                _ => None,
            }
        }
    };
}

descriptors! {
    OPEN = 0x10, "amqp:open:list";
    BEGIN = 0x11, "amqp:begin:list";
    ATTACH = 0x12, "amqp:attach:list";
    FLOW = 0x13, "amqp:flow:list";
    TRANSFER = 0x14, "amqp:transfer:list";
    DISPOSITION = 0x15, "amqp:disposition:list";
    DETACH = 0x16, "amqp:detach:list";
    END = 0x17, "amqp:end:list";
    CLOSE = 0x18, "amqp:close:list";
    ERROR = 0x1d, "amqp:error:list";
    RECEIVED = 0x23, "amqp:received:list";
    ACCEPTED = 0x24, "amqp:accepted:list";
    REJECTED = 0x25, "amqp:rejected:list";
    RELEASED = 0x26, "amqp:released:list";
    MODIFIED = 0x27, "amqp:modified:list";
    SOURCE = 0x28, "amqp:source:list";
    TARGET = 0x29, "amqp:target:list";
    COORDINATOR = 0x30, "amqp:coordinator:list";
    SASL_MECHANISMS = 0x40, "amqp:sasl-mechanisms:list";
    SASL_INIT = 0x41, "amqp:sasl-init:list";
    SASL_CHALLENGE = 0x42, "amqp:sasl-challenge:list";
    SASL_RESPONSE = 0x43, "amqp:sasl-response:list";
    SASL_OUTCOME = 0x44, "amqp:sasl-outcome:list";
    HEADER = 0x70, "amqp:header:list";
    DELIVERY_ANNOTATIONS = 0x71, "amqp:delivery-annotations:map";
    MESSAGE_ANNOTATIONS = 0x72, "amqp:message-annotations:map";
    PROPERTIES = 0x73, "amqp:properties:list";
    APPLICATION_PROPERTIES = 0x74, "amqp:application-properties:map";
    DATA = 0x75, "amqp:data:binary";
    SEQUENCE = 0x76, "amqp:amqp-sequence:list";
    VALUE = 0x77, "amqp:amqp-value:*";
    FOOTER = 0x78, "amqp:footer:map";
}

/// Reads a descriptor: its number, or what it is instead.
pub(in crate::amqp) fn read(reader: &mut Reader<'_>) -> Result<Result<u8, Value>, DecodeError> {
    if reader.byte()? != 0 {
        return Err(DecodeError::invalid("a described type is expected"));
    }
    named(reader)
}

/// Reads a descriptor behind the zero that announces it.
pub(in crate::amqp) fn named(reader: &mut Reader<'_>) -> Result<Result<u8, Value>, DecodeError> {
    let descriptor = reader.value()?;
    let number = match &descriptor {
        Value::Ulong(number) => Some(*number),
        Value::Symbol(symbol) => number_of(symbol.as_str()),
        _ => None,
    };
    Ok(number
        .and_then(|number| u8::try_from(number).ok())
        .ok_or(descriptor))
}

/// Reads the descriptor of one of the types that are expected.
pub(in crate::amqp) fn expect(reader: &mut Reader<'_>, what: &str) -> Result<u8, DecodeError> {
    read(reader)?.map_err(|_| DecodeError::Invalid(format!("an unknown type is no {what}")))
}
