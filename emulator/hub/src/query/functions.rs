//! The functions of the language; the two dialects differ in names (`spec/service.md` 5.2).

use std::borrow::Cow;

use iothub_protocol::message::MAX_TELEMETRY_SIZE;
use serde_json::Value;

use super::ast::{Comparison, Expr};
use super::item::{Item, compare};

/// Which language it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Queries over twins and jobs.
    Twins {
        /// Only the functions that are documented for it.
        strict: bool,
    },
    /// Conditions of message routes.
    Routes,
}

/// Where a function is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    Everywhere,
    /// In strict twin queries, too, and not in routes.
    Twins,
    /// In routes, and in twin queries that are not strict.
    RoutesAndLenient,
    Routes,
}

macro_rules! functions {
    ($($function:ident = $name:literal, $least:literal..=$most:literal, $known:ident;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Function {
            $($function,)*
        }

        impl Function {
            const ALL: &'static [(Self, &'static str, usize, usize, Known)] = &[
                $((Self::$function, $name, $least, $most, Known::$known),)*
            ];
        }
    };
}

functions! {
    IsDefined = "IS_DEFINED", 1..=1, Everywhere;
    IsNull = "IS_NULL", 1..=1, Everywhere;
    IsBool = "IS_BOOL", 1..=1, Everywhere;
    IsNumber = "IS_NUMBER", 1..=1, Everywhere;
    IsString = "IS_STRING", 1..=1, Everywhere;
    IsObject = "IS_OBJECT", 1..=1, Everywhere;
    IsArray = "IS_ARRAY", 1..=1, Everywhere;
    IsPrimitive = "IS_PRIMITIVE", 1..=1, Everywhere;
    TwinStartsWith = "STARTSWITH", 2..=2, Twins;
    TwinEndsWith = "ENDSWITH", 2..=2, Twins;
    StartsWith = "STARTS_WITH", 2..=2, Routes;
    EndsWith = "ENDS_WITH", 2..=2, Routes;
    ArrayContains = "ARRAY_CONTAINS", 2..=2, Twins;
    Contains = "CONTAINS", 2..=2, RoutesAndLenient;
    Abs = "ABS", 1..=1, RoutesAndLenient;
    Exp = "EXP", 1..=1, RoutesAndLenient;
    Power = "POWER", 2..=2, RoutesAndLenient;
    Square = "SQUARE", 1..=1, RoutesAndLenient;
    Ceiling = "CEILING", 1..=1, RoutesAndLenient;
    Floor = "FLOOR", 1..=1, RoutesAndLenient;
    Sign = "SIGN", 1..=1, RoutesAndLenient;
    Sqrt = "SQRT", 1..=1, RoutesAndLenient;
    AsNumber = "AS_NUMBER", 1..=1, RoutesAndLenient;
    Concat = "CONCAT", 2..=100, RoutesAndLenient;
    Length = "LENGTH", 1..=1, RoutesAndLenient;
    Lower = "LOWER", 1..=1, RoutesAndLenient;
    Upper = "UPPER", 1..=1, RoutesAndLenient;
    Substring = "SUBSTRING", 2..=3, RoutesAndLenient;
    IndexOf = "INDEX_OF", 2..=2, RoutesAndLenient;
}

impl Function {
    /// The function with this name, whatever its case; refuses with a text for people.
    pub(super) fn find(name: &str, dialect: Dialect) -> Result<Self, String> {
        let found = Self::ALL
            .iter()
            .find(|(_, known, ..)| known.eq_ignore_ascii_case(name));
        let Some((function, _, _, _, known)) = found else {
            return Err(format!("there is no function {name}"));
        };
        let is_known = match dialect {
            Dialect::Routes => *known != Known::Twins,
            Dialect::Twins { strict: true } => matches!(known, Known::Everywhere | Known::Twins),
            Dialect::Twins { strict: false } => *known != Known::Routes,
        };
        if is_known {
            return Ok(*function);
        }
        let other = match function {
            Self::StartsWith => "; it is STARTSWITH here",
            Self::EndsWith => "; it is ENDSWITH here",
            Self::TwinStartsWith => "; it is STARTS_WITH here",
            Self::TwinEndsWith => "; it is ENDS_WITH here",
            _ => "",
        };
        Err(format!(
            "there is no function {name} in this kind of query{other}"
        ))
    }

    /// Whether this is what it can be called with.
    pub(super) fn check<P>(self, of: &[Expr<P>]) -> Result<(), String> {
        let (_, name, least, most, _) = Self::ALL[self as usize];
        if (least..=most).contains(&of.len()) {
            if self == Self::IsDefined && !matches!(of[0], Expr::Path(_)) {
                return Err(format!("{name} takes a property"));
            }
            return Ok(());
        }
        let wanted = if least == most {
            least.to_string()
        } else {
            format!("{least} to {most}")
        };
        Err(format!("{name} takes {wanted} arguments, not {}", of.len()))
    }

    /// What it comes to; arguments of other types than it takes make nothing.
    pub(super) fn call<'a>(self, of: &[Item<'a>]) -> Item<'a> {
        let text = |index: usize| of.get(index).and_then(Item::as_text);
        let number = |index: usize| of.get(index).and_then(Item::as_number);
        let math = |f: fn(f64) -> f64| number(0).map_or(Item::Undefined, |it| Item::number(f(it)));
        let texts =
            |f: fn(&str, &str) -> bool| Item::truth(text(0).zip(text(1)).map(|(a, b)| f(a, b)));
        let first = &of[0];
        match self {
            Self::IsDefined => Item::Bool(!matches!(first, Item::Undefined)),
            Self::IsNull => Item::Bool(matches!(first, Item::Null)),
            Self::IsBool => Item::Bool(matches!(first, Item::Bool(_))),
            Self::IsNumber => Item::Bool(matches!(first, Item::Number(_))),
            Self::IsString => Item::Bool(matches!(first, Item::Text(_))),
            Self::IsObject => Item::Bool(matches!(first, Item::Json(it) if it.is_object())),
            Self::IsArray => Item::Bool(matches!(first, Item::Json(it) if it.is_array())),
            Self::IsPrimitive => Item::Bool(!matches!(first, Item::Json(_) | Item::Undefined)),
            Self::StartsWith | Self::TwinStartsWith => texts(|text, start| text.starts_with(start)),
            Self::EndsWith | Self::TwinEndsWith => texts(|text, end| text.ends_with(end)),
            Self::Contains => texts(|text, part| text.contains(part)),
            Self::ArrayContains => array_contains(first, &of[1]),
            Self::Abs => math(f64::abs),
            Self::Exp => math(f64::exp),
            Self::Square => math(|it| it * it),
            Self::Ceiling => math(f64::ceil),
            Self::Floor => math(f64::floor),
            Self::Sqrt => math(f64::sqrt),
            Self::Sign => math(|it| if it == 0.0 { 0.0 } else { it.signum() }),
            Self::Power => match (number(0), number(1)) {
                (Some(base), Some(exponent)) => Item::number(base.powf(exponent)),
                _ => Item::Undefined,
            },
            Self::AsNumber => match first {
                Item::Number(number) => Item::Number(number.clone()),
                Item::Text(text) => text.trim().parse().map_or(Item::Undefined, Item::number),
                _ => Item::Undefined,
            },
            Self::Concat => concat(of),
            Self::Length => match first {
                Item::Text(text) => Item::number(text.chars().count() as f64),
                _ => Item::Undefined,
            },
            Self::Lower => text(0).map_or(Item::Undefined, |it| owned_text(it.to_lowercase())),
            Self::Upper => text(0).map_or(Item::Undefined, |it| owned_text(it.to_uppercase())),
            Self::Substring => match (text(0), number(1)) {
                (Some(text), Some(start)) => substring(text, start, of.get(2).map(Item::as_number)),
                _ => Item::Undefined,
            },
            Self::IndexOf => match (text(0), text(1)) {
                (Some(text), Some(part)) => Item::number(match text.find(part) {
                    Some(at) => text[..at].chars().count() as f64,
                    None => -1.0,
                }),
                _ => Item::Undefined,
            },
        }
    }
}

/// Nothing also when it would be longer than any message: a condition that repeats a long property
/// must not fill the memory.
fn concat<'a>(of: &[Item<'a>]) -> Item<'a> {
    let mut all = String::new();
    for part in of {
        match part.as_text() {
            Some(part) if all.len() + part.len() <= MAX_TELEMETRY_SIZE => all += part,
            Some(_) | None => return Item::Undefined,
        }
    }
    owned_text(all)
}

fn owned_text<'a>(text: String) -> Item<'a> {
    Item::Text(Cow::Owned(text))
}

fn array_contains<'a>(array: &Item<'a>, wanted: &Item<'a>) -> Item<'a> {
    let Item::Json(array) = array else {
        return Item::Undefined;
    };
    let (Value::Array(elements), false) = (&**array, matches!(wanted, Item::Undefined)) else {
        return Item::Undefined;
    };
    let is_wanted = |element: &Value| match wanted {
        // Whole arrays and objects are compared only here.
        Item::Json(wanted) => *element == **wanted,
        wanted => compare(Comparison::Equal, &Item::borrowed(element), wanted) == Some(true),
    };
    Item::Bool(elements.iter().any(is_wanted))
}

/// `length`: `None` when there is no third argument, `Some(None)` when it is no number.
fn substring<'a>(text: &str, start: f64, length: Option<Option<f64>>) -> Item<'a> {
    let length = match length {
        None => usize::MAX,
        Some(Some(length)) if length >= 0.0 => length as usize,
        Some(_) => return Item::Undefined,
    };
    if start < 0.0 {
        return Item::Undefined;
    }
    owned_text(text.chars().skip(start as usize).take(length).collect())
}
