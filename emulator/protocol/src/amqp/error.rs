//! Errors on the wire (AMQP 1.0 part 2, 2.8.14), and which of ours is which.

use bytes::BytesMut;

use super::codec::{
    Compound, DecodeError, Fields, Reader, put_descriptor, put_map_or_null, put_optional,
    put_string, put_symbol,
};
use super::performative::descriptor as d;
use super::value::{Map, Symbol, Value};
use crate::Error;

/// Why a connection, session, link or delivery came to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct AmqpError {
    /// What kind of error it is; one of [`condition`], or another peer's own.
    pub condition: Symbol,
    /// For a person.
    pub description: Option<String>,
    /// More about it; keys are symbols.
    pub info: Map,
}

/// Conditions (`spec/amqp.md` 4.1).
pub mod condition {
    use super::Symbol;

    macro_rules! conditions {
        ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
            $($(#[$doc])* pub const $name: Symbol = Symbol::of($text);)*
        };
    }

    conditions! {
        /// There is no such node or entity.
        NOT_FOUND = "amqp:not-found";
        /// The credential does not allow it, or there is none.
        UNAUTHORIZED_ACCESS = "amqp:unauthorized-access";
        /// The operation is not allowed.
        NOT_ALLOWED = "amqp:not-allowed";
        /// A field's value makes no sense.
        INVALID_FIELD = "amqp:invalid-field";
        /// Bytes that cannot be read.
        DECODE_ERROR = "amqp:decode-error";
        /// Not emulated.
        NOT_IMPLEMENTED = "amqp:not-implemented";
        /// A fault of ours.
        INTERNAL_ERROR = "amqp:internal-error";
        /// A limit is reached.
        RESOURCE_LIMIT_EXCEEDED = "amqp:resource-limit-exceeded";
        /// The entity is gone.
        RESOURCE_DELETED = "amqp:resource-deleted";
        /// Somebody else has it.
        RESOURCE_LOCKED = "amqp:resource-locked";
        /// Another state was expected.
        PRECONDITION_FAILED = "amqp:precondition-failed";
        /// Frames that cannot be read.
        FRAMING_ERROR = "amqp:connection:framing-error";
        /// The connection is closed from here.
        CONNECTION_FORCED = "amqp:connection:forced";
        /// A transfer outside the session's window.
        WINDOW_VIOLATION = "amqp:session:window-violation";
        /// An attach to a handle that is in use.
        HANDLE_IN_USE = "amqp:session:handle-in-use";
        /// A frame for a handle that is not attached.
        UNATTACHED_HANDLE = "amqp:session:unattached-handle";
        /// Look elsewhere.
        LINK_REDIRECT = "amqp:link:redirect";
        /// The link is closed from here.
        DETACH_FORCED = "amqp:link:detach-forced";
        /// Another has taken the link's place.
        LINK_STOLEN = "amqp:link:stolen";
        /// More transfers than credit.
        TRANSFER_LIMIT_EXCEEDED = "amqp:link:transfer-limit-exceeded";
        /// The message is too large for the link.
        MESSAGE_SIZE_EXCEEDED = "amqp:link:message-size-exceeded";
        /// An argument makes no sense.
        ARGUMENT_ERROR = "com.microsoft:argument-error";
        /// The lock is lost.
        MESSAGE_LOCK_LOST = "com.microsoft:message-lock-lost";
        /// Try again later.
        SERVER_BUSY = "com.microsoft:server-busy";
        /// It took too long.
        TIMEOUT = "com.microsoft:timeout";
    }
}

impl AmqpError {
    /// An error with a sentence for a person.
    pub fn new(condition: Symbol, description: impl Into<String>) -> Self {
        Self {
            condition,
            description: Some(description.into()),
            info: Map::new(),
        }
    }

    /// Adds to what is told beside the sentence.
    #[must_use]
    pub fn with_info(mut self, key: Symbol, value: impl Into<Value>) -> Self {
        self.info.push((key.into(), value.into()));
        self
    }

    /// Reads the one behind its constructor.
    pub(super) fn read(r: &mut Reader<'_>, constructor: u8) -> Result<Self, DecodeError> {
        if constructor != 0 || d::named(r)? != Ok(d::ERROR) {
            return Err(DecodeError::invalid("an error is of an unknown type"));
        }
        let mut f = Fields::enter(r, "error")?;
        let error = Self {
            condition: f.symbol(r)?.ok_or_else(|| f.lacks("condition"))?,
            description: f.text(r)?,
            info: f.map(r)?,
        };
        f.leave(r);
        Ok(error)
    }

    /// Writes it at the end.
    pub(super) fn put(&self, out: &mut BytesMut) {
        put_descriptor(out, d::ERROR);
        let list = Compound::list(out);
        put_symbol(out, self.condition.as_str());
        put_optional(out, self.description.as_deref(), put_string);
        put_map_or_null(out, &self.info);
        list.finish(out, 3);
    }
}

impl From<&DecodeError> for AmqpError {
    fn from(error: &DecodeError) -> Self {
        let condition = match error {
            DecodeError::Framing(_) => condition::FRAMING_ERROR,
            DecodeError::TooMany => condition::RESOURCE_LIMIT_EXCEEDED,
            DecodeError::Truncated
            | DecodeError::TooDeep
            | DecodeError::UnknownConstructor(_)
            | DecodeError::Invalid(_) => condition::DECODE_ERROR,
        };
        Self::new(condition, error.to_string())
    }
}

impl From<&Error> for AmqpError {
    /// The one place where a refusal of the hub gets its condition.
    fn from(error: &Error) -> Self {
        Self::new(Symbol::from(error.code.amqp_condition()), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;

    #[test]
    fn what_cannot_be_read_has_the_condition_of_its_layer() {
        for (error, condition) in [
            (DecodeError::Framing("f".into()), condition::FRAMING_ERROR),
            (DecodeError::Truncated, condition::DECODE_ERROR),
            (DecodeError::Invalid("i".into()), condition::DECODE_ERROR),
            (DecodeError::TooMany, condition::RESOURCE_LIMIT_EXCEEDED),
        ] {
            assert_eq!(AmqpError::from(&error).condition, condition);
        }
    }

    #[test]
    fn a_refusal_of_the_hub_has_its_codes_condition_and_says_what_it_was_about() {
        let error = Error::new(ErrorCode::DeviceNotFound, "d1");

        let told = AmqpError::from(&error);

        assert_eq!(told.condition, condition::NOT_FOUND);
        assert_eq!(told.description, Some(error.to_string()));
    }
}
