//! JSON objects as the hub printed them, of which a caller usually wants a few members.

use iothub_protocol::Timestamp;
use serde_json::{Map, Value};

use crate::transport::Answer;
use crate::{Error, ErrorKind};

/// An object of which nothing is lost: members that this crate does not know stay in it.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct Document(pub(crate) Map<String, Value>);

impl Document {
    /// The object of an answer; `what` names it for a person.
    pub(crate) fn read(answer: &Answer, what: &str) -> Result<Self, Error> {
        Self::from_value(answer.json()?, what)
    }

    /// The objects of an answer that is an array.
    pub(crate) fn read_all(answer: &Answer, what: &str) -> Result<Vec<Self>, Error> {
        Self::all_of(answer.json()?, what)
    }

    /// The objects of an array.
    pub(crate) fn all_of(value: Value, what: &str) -> Result<Vec<Self>, Error> {
        match value {
            Value::Array(items) => items
                .into_iter()
                .map(|item| Self::from_value(item, what))
                .collect(),
            _ => Err(unexpected(format!("a list of {what} that is no array"))),
        }
    }

    pub(crate) fn from_value(value: Value, what: &str) -> Result<Self, Error> {
        match value {
            Value::Object(members) => Ok(Self(members)),
            _ => Err(unexpected(format!("{what} that is no object"))),
        }
    }

    /// A member; null when it is not there.
    pub(crate) fn member(&self, name: &str) -> &Value {
        self.0.get(name).unwrap_or(&Value::Null)
    }

    /// A member that is text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.member(name).as_str()
    }

    /// A member that is a point in time.
    pub(crate) fn time(&self, name: &str) -> Option<Timestamp> {
        Timestamp::parse_iso(self.text(name)?)
    }
}

pub(crate) fn unexpected(what: String) -> Error {
    Error::new(ErrorKind::UnexpectedAnswer(what))
}
