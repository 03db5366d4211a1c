//! JSON as `az` writes it, byte for byte: four spaces, members in order, nothing beyond ASCII.

use std::io;

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

const INDENT: &[u8] = b"    ";

/// Writes a value that stands `depth` levels below the file's own braces.
pub(super) fn write(to: &mut impl io::Write, mut value: Value, depth: usize) -> io::Result<()> {
    value.sort_all_objects();
    let mut text = Vec::new();
    let formatter = AsciiFormatter(PrettyFormatter::with_indent(INDENT));
    value.serialize(&mut Serializer::with_formatter(&mut text, formatter))?;
    let line = [b"\n".as_slice(), &INDENT.repeat(depth)].concat();
    for (number, part) in text.split(|&byte| byte == b'\n').enumerate() {
        if number > 0 {
            to.write_all(&line)?;
        }
        to.write_all(part)?;
    }
    Ok(())
}

/// Begins a line at a depth.
pub(super) fn line(to: &mut impl io::Write, depth: usize) -> io::Result<()> {
    to.write_all(b"\n")?;
    to.write_all(&INDENT.repeat(depth))
}

/// The pretty form, with escapes for what is not printable ASCII.
struct AsciiFormatter(PrettyFormatter<'static>);

/// Hands a call on to the pretty form.
macro_rules! pretty {
    ($($name:ident($($argument:ident: $kind:ty),*);)*) => {
        $(
            fn $name<W: ?Sized + io::Write>(
                &mut self,
                writer: &mut W,
                $($argument: $kind),*
            ) -> io::Result<()> {
                self.0.$name(writer, $($argument),*)
            }
        )*
    };
}

impl Formatter for AsciiFormatter {
    pretty! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        begin_object_value();
        end_object_value();
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut plain = 0;
        for (at, character) in fragment.char_indices() {
            if matches!(character, ' '..='~') {
                continue;
            }
            writer.write_all(&fragment.as_bytes()[plain..at])?;
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            plain = at + character.len_utf8();
        }
        writer.write_all(&fragment.as_bytes()[plain..])
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_what_python_writes() {
        let value = json!({
            "b": {"ä": "Grüße 🌡 \u{7f}\n\"", "A": []},
            "a": [1, 2.5, null, {}],
        });
        let mut text = Vec::new();

        write(&mut text, value, 1).unwrap();

        let wanted = concat!(
            "{\n        \"a\": [\n            1,\n            2.5,\n            null,\n",
            "            {}\n        ],\n        \"b\": {\n            \"A\": [],\n",
            "            \"\\u00e4\": \"Gr\\u00fc\\u00dfe \\ud83c\\udf21 \\u007f\\n\\\"\"\n",
            "        }\n    }",
        );
        assert_eq!(String::from_utf8(text).unwrap(), wanted);
    }
}
