//! JSON in a block: members and elements one after the other, in their order.

use serde::{Serialize, Serializer};
use serde_json::{Map, Number, Value};

use super::bytes::{Reader, put_bytes, put_nested, put_number};

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const POSITIVE: u8 = 3;
const NEGATIVE: u8 = 4;
const FLOAT: u8 = 5;
const TEXT: u8 = 6;
const ARRAY: u8 = 7;
const OBJECT: u8 = 8;

/// A value in a block.
pub(crate) enum Node<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(&'a str),
    Array(Array<'a>),
    Object(Object<'a>),
}

/// An object in a block: the number of its members, then names and values by turns. An empty one
/// is nothing at all.
#[derive(Clone, Copy)]
pub(crate) struct Object<'a>(&'a [u8]);

/// An array in a block.
#[derive(Clone, Copy)]
pub(crate) struct Array<'a>(&'a [u8]);

impl<'a> Object<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(self, name: &str) -> Option<Node<'a>> {
        let mut input = Reader(self.0);
        if !input.is_at_end() {
            input.number();
        }
        while !input.is_at_end() {
            if input.bytes() == name.as_bytes() {
                return Some(value(&mut input));
            }
            skip(&mut input);
        }
        None
    }

    pub(crate) fn len(self) -> usize {
        if self.is_empty() {
            return 0;
        }
        Reader(self.0).number() as usize
    }

    /// Its members in their order.
    pub(crate) fn members(self) -> impl Iterator<Item = (&'a str, Node<'a>)> {
        let mut input = Reader(self.0);
        if !input.is_at_end() {
            input.number();
        }
        std::iter::from_fn(move || (!input.is_at_end()).then(|| (input.text(), value(&mut input))))
    }

    pub(crate) fn to_map(self) -> Map<String, Value> {
        let mut map = Map::with_capacity(self.len());
        for (name, value) in self.members() {
            map.insert(name.to_owned(), value.to_json());
        }
        map
    }
}

impl<'a> Array<'a> {
    pub(crate) fn get(self, index: usize) -> Option<Node<'a>> {
        self.elements().nth(index)
    }

    fn elements(self) -> impl Iterator<Item = Node<'a>> {
        let mut input = Reader(self.0);
        std::iter::from_fn(move || (!input.is_at_end()).then(|| value(&mut input)))
    }
}

impl Node<'_> {
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String((*text).to_owned()),
            Self::Array(array) => array.elements().map(|element| element.to_json()).collect(),
            Self::Object(object) => Value::Object(object.to_map()),
        }
    }
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.members())
    }
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Array(array) => serializer.collect_seq(array.elements()),
            Self::Object(object) => object.serialize(serializer),
        }
    }
}

pub(super) fn put_members(out: &mut Vec<u8>, members: &Map<String, Value>) {
    if !members.is_empty() {
        put_number(out, members.len() as u64);
    }
    for (name, value) in members {
        put_bytes(out, name.as_bytes());
        put_value(out, value);
    }
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(false) => out.push(FALSE),
        Value::Bool(true) => out.push(TRUE),
        Value::Number(number) => put_json_number(out, number),
        Value::String(text) => {
            out.push(TEXT);
            put_bytes(out, text.as_bytes());
        }
        Value::Array(elements) => {
            out.push(ARRAY);
            put_nested(out, |out| {
                elements.iter().for_each(|element| put_value(out, element));
            });
        }
        Value::Object(members) => {
            out.push(OBJECT);
            put_nested(out, |out| put_members(out, members));
        }
    }
}

fn put_json_number(out: &mut Vec<u8>, number: &Number) {
    if let Some(number) = number.as_u64() {
        out.push(POSITIVE);
        put_number(out, number);
    } else if let Some(number) = number.as_i64() {
        out.push(NEGATIVE);
        // Small ones are short, as positive ones are.
        put_number(out, !number as u64);
    } else {
        out.push(FLOAT);
        let number = number.as_f64().unwrap_or_default();
        out.extend_from_slice(&number.to_bits().to_le_bytes());
    }
}

fn value<'a>(input: &mut Reader<'a>) -> Node<'a> {
    match input.byte() {
        FALSE => Node::Bool(false),
        TRUE => Node::Bool(true),
        POSITIVE => Node::Number(input.number().into()),
        NEGATIVE => Node::Number((!(input.number() as i64)).into()),
        FLOAT => Number::from_f64(f64::from_bits(u64::from_le_bytes(input.eight())))
            .map_or(Node::Null, Node::Number),
        TEXT => Node::Text(input.text()),
        ARRAY => Node::Array(Array(input.bytes())),
        OBJECT => Node::Object(Object(input.bytes())),
        _ => Node::Null,
    }
}

fn skip(input: &mut Reader<'_>) {
    match input.byte() {
        POSITIVE | NEGATIVE => {
            input.number();
        }
        FLOAT => {
            input.eight();
        }
        TEXT | ARRAY | OBJECT => {
            input.bytes();
        }
        _ => {}
    }
}
