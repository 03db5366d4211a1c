//! What an expression can come to, and how two of them compare (`spec/service.md` 5.3).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;

use serde_json::{Number, Value};

use super::ast::{Comparison, Literal};
use crate::packed::Node;

/// A value while a query is worked out. Borrowed where the row has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item<'a> {
    /// There is no such thing.
    Undefined,
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    /// An array or object.
    Json(Cow<'a, Value>),
}

impl<'a> Item<'a> {
    pub(super) fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    pub(super) fn borrowed(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => Self::Number(number.clone()),
            Value::String(text) => Self::text(text),
            Value::Array(_) | Value::Object(_) => Self::Json(Cow::Borrowed(value)),
        }
    }

    pub(super) fn packed(value: Node<'a>) -> Self {
        match value {
            Node::Null => Self::Null,
            Node::Bool(value) => Self::Bool(value),
            Node::Number(number) => Self::Number(number),
            Node::Text(text) => Self::text(text),
            Node::Array(_) | Node::Object(_) => Self::Json(Cow::Owned(value.to_json())),
        }
    }

    pub(super) fn owned(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => Self::Number(number),
            Value::String(text) => Self::Text(Cow::Owned(text)),
            Value::Array(_) | Value::Object(_) => Self::Json(Cow::Owned(value)),
        }
    }

    /// A result of arithmetic: whole when it is, nothing when it is no finite number.
    pub(super) fn number(value: f64) -> Self {
        // Beyond this not every whole number is a double.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if value.fract() == 0.0 && value.abs() < EXACT {
            return Self::Number((value as i64).into());
        }
        Number::from_f64(value).map_or(Self::Undefined, Self::Number)
    }

    pub(super) fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => number.as_f64(),
            _ => None,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// `None` for what is neither true nor false.
    pub(super) fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn truth(value: Option<bool>) -> Self {
        value.map_or(Self::Undefined, Self::Bool)
    }

    /// Writes a text that is the same for the same values only.
    pub(super) fn write_key(&self, key: &mut String) {
        // No beginning of one kind is that of another: behind the digits of a number is the end of
        // its line, behind those of a text's length a quotation mark.
        let written = match self {
            Self::Undefined => writeln!(key, "?"),
            Self::Null => writeln!(key, "null"),
            Self::Bool(value) => writeln!(key, "{value}"),
            Self::Number(number) => writeln!(key, "{number}"),
            Self::Text(text) => write!(key, "{}\"{text}", text.len()),
            Self::Json(value) => writeln!(key, "{value}"),
        };
        debug_assert!(written.is_ok(), "a string takes all that is written");
    }

    /// As JSON; `None` when there is nothing.
    pub(super) fn into_json(self) -> Option<Value> {
        Some(match self {
            Self::Undefined => return None,
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Number(number) => Value::Number(number),
            Self::Text(text) => Value::String(text.into_owned()),
            Self::Json(value) => value.into_owned(),
        })
    }
}

impl<'a> From<&'a Literal> for Item<'a> {
    fn from(literal: &'a Literal) -> Self {
        match literal {
            Literal::Undefined => Self::Undefined,
            Literal::Null => Self::Null,
            Literal::Bool(value) => Self::Bool(*value),
            Literal::Number(number) => Self::Number(number.clone()),
            Literal::Text(text) => Self::text(text),
        }
    }
}

/// `None`: undefined. That is what a comparison with nothing, an array or an object comes to; and
/// an order between different types. Things of different types are not equal.
pub(super) fn compare(how: Comparison, left: &Item<'_>, right: &Item<'_>) -> Option<bool> {
    use Item::{Bool, Json, Null, Number, Text, Undefined};

    let order = match (left, right) {
        (Undefined | Json(_), _) | (_, Undefined | Json(_)) => return None,
        (Null, Null) => Some(Ordering::Equal),
        (Bool(left), Bool(right)) => Some(left.cmp(right)),
        (Number(left), Number(right)) => numbers(left, right),
        // By code point: UTF-8 sorts like its characters.
        (Text(left), Text(right)) => Some(left.as_bytes().cmp(right.as_bytes())),
        _ => None,
    };
    match how {
        Comparison::Equal => Some(order == Some(Ordering::Equal)),
        Comparison::NotEqual => Some(order != Some(Ordering::Equal)),
        Comparison::Less => order.map(Ordering::is_lt),
        Comparison::LessOrEqual => order.map(Ordering::is_le),
        Comparison::Greater => order.map(Ordering::is_gt),
        Comparison::GreaterOrEqual => order.map(Ordering::is_ge),
    }
}

pub(super) fn numbers(left: &Number, right: &Number) -> Option<Ordering> {
    if let (Some(left), Some(right)) = (left.as_i64(), right.as_i64()) {
        return Some(left.cmp(&right));
    }
    left.as_f64()?.partial_cmp(&right.as_f64()?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn comparison_follows_types() {
        let (object, array) = (json!({}), json!([1]));
        let items = [
            Item::Undefined,
            Item::borrowed(&object),
            Item::borrowed(&array),
        ];
        for item in &items {
            for how in [Comparison::Equal, Comparison::NotEqual, Comparison::Less] {
                assert_eq!(compare(how, item, &Item::number(1.0)), None);
                assert_eq!(compare(how, item, item), None);
            }
        }
        let (one, text) = (Item::number(1.0), Item::text("1"));
        assert_eq!(compare(Comparison::Equal, &one, &text), Some(false));
        assert_eq!(compare(Comparison::NotEqual, &one, &text), Some(true));
        assert_eq!(compare(Comparison::Less, &one, &text), None);
        assert_eq!(
            compare(Comparison::Equal, &Item::Null, &Item::Null),
            Some(true)
        );
        let decimal = Item::owned(json!(1.0));
        assert_eq!(compare(Comparison::Equal, &one, &decimal), Some(true));
    }
}
