//! Reading JSON the way the hub does: member names ignore case (`spec/service.md` 0.2 item 5).

use serde_json::{Map, Value};

use crate::Error;

/// The member called `name`: spelled exactly so if there is one, otherwise ignoring ASCII case.
pub fn field<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    map.get(name).or_else(|| {
        map.iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    })
}

/// As [`field`], and `null` counts as absent.
pub fn non_null<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    field(map, name).filter(|value| !value.is_null())
}

/// The text of the member called `name`; `None` when it is absent or `null`, 400004 when it is
/// something else than a string.
pub fn string<'a>(map: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Error> {
    match non_null(map, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong_type(name, "a string", other)),
    }
}

/// The object that is the member called `name`; `None` when it is absent or `null`, 400004 when it
/// is something else than an object.
pub fn object<'a>(
    map: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<&'a Map<String, Value>>, Error> {
    match non_null(map, name) {
        None => Ok(None),
        Some(Value::Object(members)) => Ok(Some(members)),
        Some(other) => Err(wrong_type(name, "an object", other)),
    }
}

/// Parses a body: 400006 when it is not JSON.
pub fn parse(body: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(body).map_err(|e| Error::format(format!("the body is not JSON: {e}")))
}

/// Parses a body that must be an object: 400006 when it is not JSON, 400004 when it is another kind
/// of JSON.
pub fn parse_object(body: &[u8]) -> Result<Map<String, Value>, Error> {
    match parse(body)? {
        Value::Object(members) => Ok(members),
        other => Err(wrong_type("the body", "an object", &other)),
    }
}

fn wrong_type(name: &str, expected: &str, found: &Value) -> Error {
    Error::argument_invalid(format!("{name} must be {expected}, not {}", kind(found)))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;

    #[test]
    fn the_exact_name_wins_over_another_case() {
        let members = parse_object(br#"{"ETAG":1,"etag":2}"#).unwrap();

        assert_eq!(field(&members, "etag"), Some(&Value::from(2)));
        assert_eq!(field(&members, "eTag"), Some(&Value::from(1)));
        assert_eq!(field(&members, "tag"), None);
    }

    #[test]
    fn null_is_absent_and_a_wrong_type_is_refused() {
        let members = parse_object(br#"{"a":null,"b":1}"#).unwrap();

        assert_eq!(string(&members, "A"), Ok(None));
        assert_eq!(
            string(&members, "b").unwrap_err().code,
            ErrorCode::ArgumentInvalid
        );
        assert_eq!(
            object(&members, "b").unwrap_err().code,
            ErrorCode::ArgumentInvalid
        );
    }

    #[test]
    fn text_that_is_not_json_differs_from_json_of_the_wrong_kind() {
        assert_eq!(
            parse_object(b"{").unwrap_err().code,
            ErrorCode::IotHubFormatError
        );
        assert_eq!(
            parse_object(b"[]").unwrap_err().code,
            ErrorCode::ArgumentInvalid
        );
    }
}
