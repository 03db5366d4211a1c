//! What the hub says no with, over AMQP (`spec/amqp.md` 4.1).

use iothub_protocol::ErrorCode;
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::value::Symbol;
use iothub_protocol::amqp::{AmqpError, DeliveryState};

use super::wire::{Ended, LinkEnd, describe};
use crate::{Error, ErrorKind, Refusal};

/// What the end of a link means to who used it.
pub(crate) fn of_link(end: LinkEnd) -> Error {
    match end {
        LinkEnd::Connection(ended) => of_connection(ended),
        LinkEnd::Detached(Some(error)) => of_error(&error),
        LinkEnd::Detached(None) => Error::new(ErrorKind::Interrupted),
    }
}

/// What the end of a connection means to who used it.
pub(crate) fn of_connection(ended: Ended) -> Error {
    match &ended {
        Ended::Closed(Some(error)) if !is_passing(error) => of_error(error),
        Ended::Sasl(_) => Error::new(ErrorKind::Refused(Refusal {
            status: 401,
            code: ErrorCode::generic(401),
            message: ended.to_string(),
        })),
        Ended::Closed(_) | Ended::Broken(_) => Error::caused_by(ErrorKind::Interrupted, ended),
    }
}

/// What an error on the wire means.
pub(crate) fn of_error(error: &AmqpError) -> Error {
    if error.condition == condition::LINK_STOLEN {
        let what = error.description.clone().unwrap_or_default();
        return Error::new(ErrorKind::Displaced(what));
    }
    let text = error.description.as_deref().unwrap_or_default();
    let code = named_code(text).unwrap_or_else(|| code_of(&error.condition));
    Error::new(ErrorKind::Refused(Refusal {
        status: code.http_status(),
        code,
        message: match text {
            "" => describe(error),
            _ => message_of(text).to_owned(),
        },
    }))
}

/// What the status of an answer means.
pub(crate) fn of_status(status: i32, description: &str) -> Error {
    let status = u16::try_from(status).unwrap_or_default();
    Error::new(ErrorKind::Refused(Refusal {
        status,
        code: named_code(description).unwrap_or_else(|| ErrorCode::generic(status)),
        message: message_of(description).to_owned(),
    }))
}

/// The refusal in an outcome, unless it is none.
pub(crate) fn unless_accepted(outcome: DeliveryState) -> Result<(), Error> {
    match outcome {
        DeliveryState::Accepted => Ok(()),
        DeliveryState::Rejected(Some(error)) => Err(of_error(&error)),
        DeliveryState::Rejected(None) => Err(of_error(&AmqpError::new(
            condition::NOT_ALLOWED,
            "the hub rejected the message without a word",
        ))),
        DeliveryState::Released
        | DeliveryState::Modified { .. }
        | DeliveryState::Received { .. }
        | DeliveryState::Other(_) => Err(of_error(&AmqpError::new(
            condition::SERVER_BUSY,
            "the hub did not take the message",
        ))),
    }
}

/// Something that is not what was asked for.
pub(crate) fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let what = "an AMQP message that cannot be read".into();
    Error::caused_by(ErrorKind::UnexpectedAnswer(what), error)
}

/// Whether trying again may help: a link or connection that the service ended for reasons of its
/// own (`spec/amqp.md` 4.1, "retried").
pub(crate) fn is_passing(error: &AmqpError) -> bool {
    let passing = [
        condition::DETACH_FORCED,
        condition::CONNECTION_FORCED,
        condition::INTERNAL_ERROR,
        condition::SERVER_BUSY,
        condition::TIMEOUT,
        Symbol::of("com.microsoft:operation-cancelled"),
        Symbol::of("com.microsoft:container-close"),
    ];
    passing.contains(&error.condition)
}

/// The code that a description begins with: `DeviceNotFound (404001): …`.
fn named_code(description: &str) -> Option<ErrorCode> {
    let (name, _) = description.split_once(" (")?;
    ErrorCode::from_name(name)
}

/// What stands behind the code.
fn message_of(description: &str) -> &str {
    match named_code(description).and(description.split_once("): ")) {
        Some((_, message)) => message,
        None => description,
    }
}

/// The code of a condition without one, in the middle of those that it stands for.
fn code_of(wanted: &Symbol) -> ErrorCode {
    let status = [
        (condition::NOT_FOUND, 404),
        (condition::UNAUTHORIZED_ACCESS, 401),
        (condition::RESOURCE_LIMIT_EXCEEDED, 403),
        (condition::MESSAGE_SIZE_EXCEEDED, 413),
        (condition::MESSAGE_LOCK_LOST, 412),
        (condition::PRECONDITION_FAILED, 412),
        (condition::NOT_ALLOWED, 400),
        (condition::INVALID_FIELD, 400),
        (condition::ARGUMENT_ERROR, 400),
        (condition::SERVER_BUSY, 503),
    ]
    .into_iter()
    .find(|(known, _)| known == wanted)
    .map_or(500, |(_, status)| status);
    ErrorCode::generic(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(condition: Symbol, description: &str) -> Refusal {
        match of_error(&AmqpError::new(condition, description)).kind() {
            ErrorKind::Refused(refusal) => refusal.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_description_that_names_a_code_is_that_refusal() {
        let error = iothub_protocol::Error::new(ErrorCode::DeviceNotFound, "d1 (really): no");

        let refusal = refusal(condition::NOT_FOUND, &error.to_string());

        assert_eq!(refusal.code, ErrorCode::DeviceNotFound);
        assert_eq!(
            (refusal.status, &*refusal.message),
            (404, "d1 (really): no")
        );
    }

    #[test]
    fn a_condition_by_itself_is_a_refusal_of_its_kind() {
        let refusal = refusal(condition::RESOURCE_LIMIT_EXCEEDED, "quota exceeded");

        assert_eq!((refusal.status, &*refusal.message), (403, "quota exceeded"));
    }

    #[test]
    fn a_stolen_link_is_a_displacement() {
        let error = of_error(&AmqpError::new(condition::LINK_STOLEN, "a higher epoch"));

        assert_eq!(error.kind(), &ErrorKind::Displaced("a higher epoch".into()));
    }

    #[test]
    fn a_service_that_goes_away_is_an_interruption() {
        let closed = AmqpError::new(condition::CONNECTION_FORCED, "shutting down");

        let error = of_connection(Ended::Closed(Some(closed)));

        assert_eq!(error.kind(), &ErrorKind::Interrupted);
    }
}
