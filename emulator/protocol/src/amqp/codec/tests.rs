use bytes::{Bytes, BytesMut};

use super::*;
use crate::amqp::value::{Array, Symbol};

fn round_trip(value: &Value) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(value, &mut out);
    let bytes = out.to_vec();
    let mut input = out.freeze();
    assert_eq!(decode(&mut input).as_ref(), Ok(value), "{bytes:02x?}");
    assert!(input.is_empty(), "{value:?}");
    bytes
}

fn refused(bytes: &[u8]) -> DecodeError {
    decode(&mut Bytes::copy_from_slice(bytes)).unwrap_err()
}

#[test]
fn every_type_comes_back_in_its_shortest_form() {
    use Value as V;
    let cases: &[(Value, &[u8])] = &[
        (V::Null, b"\x40"),
        (V::Bool(true), b"\x41"),
        (V::Bool(false), b"\x42"),
        (V::Ubyte(200), b"\x50\xc8"),
        (V::Ushort(256), b"\x60\x01\x00"),
        (V::Uint(0), b"\x43"),
        (V::Uint(255), b"\x52\xff"),
        (V::Uint(256), b"\x70\x00\x00\x01\x00"),
        (V::Ulong(0), b"\x44"),
        (V::Ulong(0x24), b"\x53\x24"),
        (V::Ulong(256), b"\x80\x00\x00\x00\x00\x00\x00\x01\x00"),
        (V::Byte(-1), b"\x51\xff"),
        (V::Short(-2), b"\x61\xff\xfe"),
        (V::Int(-1), b"\x54\xff"),
        (V::Int(200), b"\x71\x00\x00\x00\xc8"),
        (V::Long(-1), b"\x55\xff"),
        (V::Long(-129), b"\x81\xff\xff\xff\xff\xff\xff\xff\x7f"),
        (V::Float(1.5), b"\x72\x3f\xc0\x00\x00"),
        (V::Double(1.5), b"\x82\x3f\xf8\x00\x00\x00\x00\x00\x00"),
        (V::Decimal32(*b"abcd"), b"\x74abcd"),
        (V::Decimal64(*b"abcdefgh"), b"\x84abcdefgh"),
        (V::Decimal128(*b"abcdefghijklmnop"), b"\x94abcdefghijklmnop"),
        (V::Char('\u{20ac}'), b"\x73\x00\x00\x20\xac"),
        (V::Timestamp(-1), b"\x83\xff\xff\xff\xff\xff\xff\xff\xff"),
        (V::Uuid(*b"abcdefghijklmnop"), b"\x98abcdefghijklmnop"),
        (
            V::Binary(Bytes::from_static(b"\0\xff")),
            b"\xa0\x02\x00\xff",
        ),
        (V::from("h\u{e9}"), b"\xa1\x03h\xc3\xa9"),
        (V::Symbol(Symbol::of("amqp")), b"\xa3\x04amqp"),
        (V::List(vec![]), b"\x45"),
        (
            V::List(vec![V::Null, V::Bool(true)]),
            b"\xc0\x03\x02\x40\x41",
        ),
        (V::Map(vec![]), b"\xc1\x01\x00"),
        (
            V::Map(vec![(V::from("k"), V::Uint(0))]),
            b"\xc1\x05\x02\xa1\x01k\x43",
        ),
        (V::Array(Array(vec![])), b"\xe0\x02\x00\xa3"),
        (
            V::Array(Array(vec![V::from("0"), V::from("1")])),
            b"\xe0\x06\x02\xa1\x010\x011",
        ),
        (
            V::Array(Array(vec![V::Int(1), V::Int(-1)])),
            b"\xe0\x0a\x02\x71\x00\x00\x00\x01\xff\xff\xff\xff",
        ),
        (
            V::Described(Box::new((V::Symbol(Symbol::of("a:b")), V::from("c")))),
            b"\x00\xa3\x03a:b\xa1\x01c",
        ),
    ];
    for (value, bytes) in cases {
        assert_eq!(round_trip(value), *bytes, "{value:?}");
    }
}

#[test]
fn long_things_have_long_headers() {
    let text = "x".repeat(256);

    assert_eq!(round_trip(&Value::from(&*text))[..5], *b"\xb1\0\0\x01\0");
    assert_eq!(
        round_trip(&Value::Binary(Bytes::from(vec![7; 256])))[..5],
        *b"\xb0\0\0\x01\0"
    );
    assert_eq!(
        round_trip(&Value::List(vec![Value::from(&*text)]))[..9],
        *b"\xd0\0\0\x01\x09\0\0\0\x01"
    );
    assert_eq!(
        round_trip(&Value::List(vec![Value::Null; 256]))[..9],
        *b"\xd0\0\0\x01\x04\0\0\x01\0"
    );
    let pair = (Value::from("k"), Value::from(&*text));
    assert_eq!(
        round_trip(&Value::Map(vec![pair]))[..9],
        *b"\xd1\0\0\x01\x0c\0\0\0\x02"
    );
    let array = Array(vec![Value::from("a"), Value::from(&*text)]);
    assert_eq!(
        round_trip(&Value::Array(array))[..10],
        *b"\xf0\0\0\x01\x0e\0\0\0\x02\xb1"
    );
}

#[test]
fn arrays_of_everything_come_back() {
    let described = |n| Value::Described(Box::new((Value::Ulong(9), Value::Uint(n))));
    for elements in [
        vec![Value::Null; 3],
        vec![Value::Bool(true), Value::Bool(false)],
        vec![Value::List(vec![Value::Uint(1)]), Value::List(vec![])],
        vec![
            Value::Map(vec![(Value::from("a"), Value::Null)]),
            Value::Map(vec![]),
        ],
        vec![
            Value::Array(Array(vec![Value::from("a")])),
            Value::Array(Array(vec![Value::Long(1)])),
            Value::Array(Array(vec![])),
        ],
        vec![described(1), described(2)],
    ] {
        assert_eq!(round_trip(&Value::Array(Array(elements)))[0], 0xe0);
    }
}

#[test]
fn an_array_of_several_types_is_written_as_a_list() {
    let mut out = BytesMut::new();
    encode(
        &Value::Array(Array(vec![Value::Uint(1), Value::Null])),
        &mut out,
    );

    assert_eq!(out, b"\xc0\x04\x02\x52\x01\x40"[..]);
}

#[test]
fn every_long_form_of_the_standard_is_read() {
    for (bytes, value) in [
        (&b"\x56\x01"[..], Value::Bool(true)),
        (b"\x56\x00", Value::Bool(false)),
        (b"\x70\0\0\0\x01", Value::Uint(1)),
        (b"\x80\0\0\0\0\0\0\0\x01", Value::Ulong(1)),
        (
            b"\xd0\0\0\0\x05\0\0\0\x01\x40",
            Value::List(vec![Value::Null]),
        ),
        (b"\xc0\x01\x00", Value::List(vec![])),
        (b"\xb1\0\0\0\x01a", Value::from("a")),
        (b"\xd1\0\0\0\x04\0\0\0\0", Value::Map(vec![])),
    ] {
        assert_eq!(decode(&mut Bytes::from_static(bytes)), Ok(value));
    }
}

#[test]
fn what_breaks_a_rule_is_refused() {
    use DecodeError as E;
    for bytes in [
        &b""[..],
        b"\x70\0\0",
        b"\xa1\x05ab",
        b"\xb0\xff\xff\xff\xff",
        b"\xc0\x05\x01",
        b"\xd0\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xd0\0\0\0\x05\0\0\0\x09\x40",
        b"\x00\x53",
        b"\xe0\x01\x00",
    ] {
        assert_eq!(refused(bytes), E::Truncated, "{bytes:02x?}");
    }
    assert_eq!(refused(b"\x3f"), E::UnknownConstructor(0x3f));
    for bytes in [
        &b"\x56\x02"[..],
        b"\x73\x00\x11\x00\x00",
        b"\xa1\x01\xff",
        b"\xa3\x02\xc3\xa9",
        b"\xc0\x00\x00",
        b"\xc1\x02\x01\x40",
        b"\xc0\x03\x01\x40\x40",
        b"\xe0\x05\x01\x00\x40\x40\x40",
    ] {
        assert!(matches!(refused(bytes), E::Invalid(_)), "{bytes:02x?}");
    }
}

#[test]
fn nesting_is_limited() {
    let nested = |levels: usize| {
        let mut value = Value::Null;
        for _ in 0..levels {
            value = Value::List(vec![value]);
        }
        let mut out = BytesMut::new();
        encode(&value, &mut out);
        decode(&mut out.freeze())
    };

    assert!(nested(MAX_DEPTH).is_ok());
    assert_eq!(nested(MAX_DEPTH + 1), Err(DecodeError::TooDeep));
    assert_eq!(refused(&[0; 100_000]), DecodeError::TooDeep);
}

#[test]
fn elements_that_take_no_bytes_are_limited() {
    assert_eq!(
        refused(b"\xf0\0\0\0\x05\xff\xff\xff\xff\x40"),
        DecodeError::TooMany
    );
    assert_eq!(
        refused(b"\xf0\0\0\0\x05\xff\xff\xff\xff\x45"),
        DecodeError::TooMany
    );
    assert_eq!(
        refused(b"\xf0\0\0\0\x09\xff\xff\xff\xff\x00\x53\x01\x00\x44\x40"),
        DecodeError::TooMany
    );
}

#[test]
fn values_are_limited_in_number() {
    let mut bytes = vec![0xd0];
    bytes.extend((MAX_VALUES as u32 + 4).to_be_bytes());
    bytes.extend((MAX_VALUES as u32).to_be_bytes());
    bytes.extend([0x40; MAX_VALUES]);

    assert_eq!(refused(&bytes), DecodeError::TooMany);
}

#[test]
fn bytes_that_are_read_refer_to_the_input() {
    let mut input = Bytes::from(b"\xa0\x03abc\x41".to_vec());
    let origin = input.as_ptr();

    let value = decode(&mut input).unwrap();

    let Value::Binary(bytes) = value else {
        panic!("{value:?}")
    };
    assert_eq!(bytes.as_ptr(), origin.wrapping_add(2));
    assert_eq!(input, b"\x41"[..]);
}
