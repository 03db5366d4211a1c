//! Direct method requests and responses as JSON (`spec/service.md` 4).
//!
//! Payloads are never taken apart: what the caller wrote reaches the device byte for byte, and what
//! the device answered reaches the caller.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::Error;
use crate::ErrorCode::MessageTooLarge;

/// Largest payload of a request and of a response (`spec/service.md` 4).
pub const MAX_PAYLOAD_SIZE: usize = 128 * 1024;
/// How long a device may take to answer when the caller does not say.
pub const DEFAULT_RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// A call of a method on a device or module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodRequest {
    /// 1 to 100 characters, `spec/service.md` 4.
    pub name: String,
    /// JSON text as the caller wrote it; `None` when the caller sent no payload member.
    pub payload: Option<Bytes>,
    /// How long the device may take to answer once it has the request: 1 to 3600 s, 30 s by
    /// default.
    pub response_timeout: Duration,
    /// How long to wait for an offline device: 0 to 300 s, 0 by default.
    pub connect_timeout: Duration,
}

/// What a device answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodResponse {
    /// Chosen by the device.
    pub status: i32,
    /// JSON text; empty when the device sent none.
    pub payload: Bytes,
}

impl MethodRequest {
    /// A call without payload and with the default time limits. The name is checked by the hub.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            payload: None,
            response_timeout: DEFAULT_RESPONSE_TIMEOUT,
            connect_timeout: Duration::ZERO,
        }
    }

    /// Parses the body of `POST /twins/{id}/methods`. Member names ignore case, `timeoutInSeconds`
    /// is an older name of `responseTimeoutInSeconds`. 400006 when the body is not JSON, 413001
    /// when the payload is too large, 400004 for every other fault.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let wire: WireRequest<'_> = serde_json::from_slice(body).map_err(|e| {
            if e.is_data() {
                Error::argument_invalid(format!("the method call is not valid: {e}"))
            } else {
                Error::format(format!("the body is not JSON: {e}"))
            }
        })?;
        let name = wire
            .name
            .ok_or_else(|| Error::argument_invalid("methodName is missing"))?;
        check_name(&name)?;
        let payload = wire.payload.map(|raw| raw.get().as_bytes());
        if let Some(size) = payload
            .map(<[u8]>::len)
            .filter(|&size| size > MAX_PAYLOAD_SIZE)
        {
            let detail = format!("the payload has {size} bytes, more than {MAX_PAYLOAD_SIZE}");
            return Err(Error::new(MessageTooLarge, detail));
        }

        Ok(Self {
            name: name.into_owned(),
            payload: payload.map(Bytes::copy_from_slice),
            response_timeout: timeout("responseTimeoutInSeconds", wire.response, 1, 3600)?
                .unwrap_or(DEFAULT_RESPONSE_TIMEOUT),
            connect_timeout: timeout("connectTimeoutInSeconds", wire.connect, 0, 300)?
                .unwrap_or(Duration::ZERO),
        })
    }

    /// A Plug and Play command: the method that a device knows it by, with the body of the request
    /// as payload (`spec/service.md` 9, `spec/device.md` 15). No body is `null`, and the time limits
    /// are texts of the query. Refusals as [`Self::parse`].
    pub fn command(
        component: Option<&str>,
        name: &str,
        body: &[u8],
        connect_timeout: Option<&str>,
        response_timeout: Option<&str>,
    ) -> Result<Self, Error> {
        let name = match component {
            Some(component) => format!("{component}*{name}"),
            None => name.to_owned(),
        };
        check_name(&name)?;
        if body.len() > MAX_PAYLOAD_SIZE {
            let detail = format!(
                "the payload has {} bytes, more than {MAX_PAYLOAD_SIZE}",
                body.len()
            );
            return Err(Error::new(MessageTooLarge, detail));
        }
        let payload = body.trim_ascii();
        if !payload.is_empty() && !is_json(payload) {
            return Err(Error::format("the body is not JSON"));
        }
        let payload = if payload.is_empty() { b"null" } else { payload };
        let limit = |parameter: &str, text: Option<&str>, least, most| {
            let seconds = match text {
                None => None,
                Some(text) => Some(text.parse().map_err(|_| {
                    Error::argument_invalid(format!("{parameter} must be a number, not {text:?}"))
                })?),
            };
            timeout(parameter, seconds, least, most)
        };
        Ok(Self {
            name,
            payload: Some(Bytes::copy_from_slice(payload)),
            response_timeout: limit("responseTimeoutInSeconds", response_timeout, 1, 3600)?
                .unwrap_or(DEFAULT_RESPONSE_TIMEOUT),
            connect_timeout: limit("connectTimeoutInSeconds", connect_timeout, 0, 300)?
                .unwrap_or(Duration::ZERO),
        })
    }

    /// The body a caller sends.
    pub fn to_json(&self) -> Bytes {
        let name = serde_json::Value::from(self.name.as_str());
        let mut body = format!(r#"{{"methodName":{name}"#).into_bytes();
        if let Some(payload) = &self.payload {
            body.extend_from_slice(br#","payload":"#);
            body.extend_from_slice(payload);
        }
        let (response, connect) = (
            self.response_timeout.as_secs(),
            self.connect_timeout.as_secs(),
        );
        write!(
            body,
            r#","responseTimeoutInSeconds":{response},"connectTimeoutInSeconds":{connect}}}"#
        )
        .expect("writing to a vector does not fail");
        body.into()
    }
}

impl MethodResponse {
    /// From what the device sent: valid JSON is kept as it is, anything else becomes a JSON string
    /// (`spec/device.md` 18, Q13); nothing but white space is nothing.
    pub fn from_device(status: i32, payload: Bytes) -> Self {
        let payload = if payload.trim_ascii().is_empty() {
            Bytes::new()
        } else if is_json(&payload) {
            payload
        } else {
            serde_json::Value::from(String::from_utf8_lossy(&payload))
                .to_string()
                .into()
        };
        Self { status, payload }
    }

    /// `{"status":..,"payload":..}`, with `null` for an empty payload.
    pub fn to_json(&self) -> Bytes {
        let payload: &[u8] = if self.payload.is_empty() {
            b"null"
        } else {
            &self.payload
        };
        let mut body = Vec::with_capacity(payload.len() + 40);
        write!(body, r#"{{"status":{},"payload":"#, self.status)
            .expect("writing to a vector does not fail");
        body.extend_from_slice(payload);
        body.push(b'}');
        body.into()
    }

    /// Parses the body that the hub answers with; a `null` payload is an empty one.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let wire: WireResponse<'_> = serde_json::from_slice(body).ok()?;
        let payload = wire.payload.map_or("null", RawValue::get);
        let payload = if payload == "null" { "" } else { payload };
        Some(Self {
            status: wire.status,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        })
    }
}

/// 1 to 100 printable ASCII characters without the separators of `spec/service.md` 4. `$` is
/// allowed, since component commands use it (`spec/device.md` 6.3); `+` and `#` are not, since the
/// name becomes a level of a topic.
fn check_name(name: &str) -> Result<(), Error> {
    if !(1..=100).contains(&name.len()) {
        return Err(Error::argument_invalid(
            "methodName must have 1 to 100 characters",
        ));
    }
    let allowed = |b: u8| b.is_ascii_graphic() && !br#"()<>@,;:\"/[]?={}+#"#.contains(&b);
    match name.chars().find(|&c| !u8::try_from(c).is_ok_and(allowed)) {
        None => Ok(()),
        Some(c) => Err(Error::argument_invalid(format!(
            "methodName must not contain {c:?}"
        ))),
    }
}

fn timeout(
    name: &str,
    seconds: Option<f64>,
    least: u64,
    most: u64,
) -> Result<Option<Duration>, Error> {
    let Some(seconds) = seconds else {
        return Ok(None);
    };
    if seconds.fract() == 0.0 && seconds >= least as f64 && seconds <= most as f64 {
        Ok(Some(Duration::from_secs(seconds as u64)))
    } else {
        let detail = format!("{name} must be a whole number from {least} to {most}, not {seconds}");
        Err(Error::argument_invalid(detail))
    }
}

fn is_json(text: &[u8]) -> bool {
    // Skipping a value does not look at the encoding of its strings, so that is asked first.
    std::str::from_utf8(text).is_ok() && serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

/// The members of a request, borrowed from the body.
#[derive(Default)]
struct WireRequest<'a> {
    name: Option<Cow<'a, str>>,
    payload: Option<&'a RawValue>,
    response: Option<f64>,
    connect: Option<f64>,
}

#[derive(Deserialize)]
struct WireResponse<'a> {
    status: i32,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

enum Member {
    Name,
    Payload,
    ResponseTimeout,
    ConnectTimeout,
    Unknown,
}

impl<'de> Deserialize<'de> for WireRequest<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RequestVisitor)
    }
}

struct RequestVisitor;

impl<'de> Visitor<'de> for RequestVisitor {
    type Value = WireRequest<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with methodName")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut request = WireRequest::default();
        while let Some(member) = members.next_key()? {
            match member {
                Member::Name => request.name = members.next_value::<Text<'de>>()?.0,
                Member::Payload => request.payload = Some(members.next_value()?),
                Member::ResponseTimeout => request.response = members.next_value()?,
                Member::ConnectTimeout => request.connect = members.next_value()?,
                Member::Unknown => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(request)
    }
}

/// A string or `null`, borrowed unless it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Option<Cow<'a, str>>);

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(MemberVisitor)
    }
}

struct MemberVisitor;

impl Visitor<'_> for MemberVisitor {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Member, E> {
        const MEMBERS: [(&str, Member); 5] = [
            ("methodName", Member::Name),
            ("payload", Member::Payload),
            ("responseTimeoutInSeconds", Member::ResponseTimeout),
            ("timeoutInSeconds", Member::ResponseTimeout),
            ("connectTimeoutInSeconds", Member::ConnectTimeout),
        ];
        let known = MEMBERS
            .into_iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        Ok(known.map_or(Member::Unknown, |(_, member)| member))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorCode;
    use proptest::prelude::*;

    fn code(body: &str) -> ErrorCode {
        MethodRequest::parse(body.as_bytes()).unwrap_err().code
    }

    #[test]
    fn a_command_is_a_method_named_after_its_component() {
        let command = |component, body: &str, connect, response| {
            MethodRequest::command(component, "reboot", body.as_bytes(), connect, response)
        };

        let root = command(None, "", None, None).unwrap();
        assert_eq!((&*root.name, root.payload), ("reboot", Some("null".into())));
        assert_eq!(root.response_timeout, DEFAULT_RESPONSE_TIMEOUT);

        let of_component = command(Some("a1"), " [1.50] ", Some("5"), Some("7")).unwrap();
        assert_eq!(of_component.name, "a1*reboot");
        assert_eq!(of_component.payload, Some("[1.50]".into()));
        assert_eq!(of_component.connect_timeout, Duration::from_secs(5));
        assert_eq!(of_component.response_timeout, Duration::from_secs(7));

        let code = |request: Result<MethodRequest, Error>| request.unwrap_err().code;
        assert_eq!(
            code(command(None, "{", None, None)),
            ErrorCode::IotHubFormatError
        );
        assert_eq!(
            code(command(Some("a b"), "", None, None)),
            ErrorCode::ArgumentInvalid
        );
        assert_eq!(
            code(command(None, "", Some("x"), None)),
            ErrorCode::ArgumentInvalid
        );
        assert_eq!(
            code(command(None, "", None, Some("NaN"))),
            ErrorCode::ArgumentInvalid
        );
        let large = format!("\"{}\"", "x".repeat(MAX_PAYLOAD_SIZE));
        assert_eq!(
            code(command(None, &large, None, None)),
            ErrorCode::MessageTooLarge
        );
    }

    #[test]
    fn the_payload_text_is_not_altered() {
        let body = br#"{ "payload" : { "b" : 1.00,  "a":"\u00e4" } , "methodName":"reboot" }"#;

        let request = MethodRequest::parse(body).unwrap();

        assert_eq!(request.payload.unwrap(), r#"{ "b" : 1.00,  "a":"\u00e4" }"#);
    }

    #[test]
    fn an_absent_payload_differs_from_null() {
        let absent = MethodRequest::parse(br#"{"methodName":"m"}"#).unwrap();
        let null = MethodRequest::parse(br#"{"methodName":"m","payload":null}"#).unwrap();

        assert_eq!(absent, MethodRequest::new("m"));
        assert_eq!(null.payload.unwrap(), "null");
    }

    #[test]
    fn member_names_ignore_case_and_the_old_timeout_name_is_known() {
        let body =
            br#"{"MethodName":"m","TIMEOUTINSECONDS":7,"connecttimeoutinseconds":5,"x":[1]}"#;

        let request = MethodRequest::parse(body).unwrap();

        assert_eq!(request.response_timeout, Duration::from_secs(7));
        assert_eq!(request.connect_timeout, Duration::from_secs(5));
    }

    #[test]
    fn null_timeouts_mean_the_defaults() {
        let body =
            br#"{"methodName":"m","responseTimeoutInSeconds":null,"connectTimeoutInSeconds":null}"#;

        assert_eq!(MethodRequest::parse(body).unwrap(), MethodRequest::new("m"));
    }

    #[test]
    fn bad_requests_are_refused_with_the_right_code() {
        for (body, expected) in [
            ("", ErrorCode::IotHubFormatError),
            ("{", ErrorCode::IotHubFormatError),
            (r#"{"methodName":"m"}x"#, ErrorCode::IotHubFormatError),
            ("[]", ErrorCode::ArgumentInvalid),
            ("{}", ErrorCode::ArgumentInvalid),
            (r#"{"methodName":null}"#, ErrorCode::ArgumentInvalid),
            (r#"{"methodName":7}"#, ErrorCode::ArgumentInvalid),
            (r#"{"methodName":""}"#, ErrorCode::ArgumentInvalid),
            (r#"{"methodName":"a/b"}"#, ErrorCode::ArgumentInvalid),
            (r#"{"methodName":"a b"}"#, ErrorCode::ArgumentInvalid),
            (r#"{"methodName":"ä"}"#, ErrorCode::ArgumentInvalid),
            ("{\"methodName\":\"#\"}", ErrorCode::ArgumentInvalid),
            (
                r#"{"methodName":"m","responseTimeoutInSeconds":0}"#,
                ErrorCode::ArgumentInvalid,
            ),
            (
                r#"{"methodName":"m","responseTimeoutInSeconds":3601}"#,
                ErrorCode::ArgumentInvalid,
            ),
            (
                r#"{"methodName":"m","responseTimeoutInSeconds":1.5}"#,
                ErrorCode::ArgumentInvalid,
            ),
            (
                r#"{"methodName":"m","responseTimeoutInSeconds":"9"}"#,
                ErrorCode::ArgumentInvalid,
            ),
            (
                r#"{"methodName":"m","connectTimeoutInSeconds":-1}"#,
                ErrorCode::ArgumentInvalid,
            ),
            (
                r#"{"methodName":"m","connectTimeoutInSeconds":301}"#,
                ErrorCode::ArgumentInvalid,
            ),
        ] {
            assert_eq!(code(body), expected, "{body}");
        }
        assert_eq!(
            code(&format!(r#"{{"methodName":"{}"}}"#, "x".repeat(101))),
            ErrorCode::ArgumentInvalid
        );
        let large = "x".repeat(MAX_PAYLOAD_SIZE - 1);
        assert_eq!(
            code(&format!(r#"{{"methodName":"m","payload":"{large}"}}"#)),
            ErrorCode::MessageTooLarge
        );
    }

    #[test]
    fn component_commands_are_names() {
        for name in ["thermostat1*getMaxMinReport", "$iothub", "a.b-c_d"] {
            let body = format!(r#"{{"methodName":"{name}"}}"#);
            assert_eq!(MethodRequest::parse(body.as_bytes()).unwrap().name, name);
        }
    }

    #[test]
    fn a_response_keeps_valid_json_and_quotes_the_rest() {
        for (sent, json) in [
            (
                &br#"{"a": 1.0}"#[..],
                r#"{"status":200,"payload":{"a": 1.0}}"#,
            ),
            (b"", r#"{"status":200,"payload":null}"#),
            (b" ", r#"{"status":200,"payload":null}"#),
            (b"null", r#"{"status":200,"payload":null}"#),
            (
                b"it \"works\"",
                r#"{"status":200,"payload":"it \"works\""}"#,
            ),
            (b"{} {}", r#"{"status":200,"payload":"{} {}"}"#),
            (
                b"\"\xff\"",
                "{\"status\":200,\"payload\":\"\\\"\u{fffd}\\\"\"}",
            ),
        ] {
            let response = MethodResponse::from_device(200, Bytes::copy_from_slice(sent));
            assert_eq!(response.to_json(), json);
        }
    }

    proptest! {
        #[test]
        fn requests_round_trip(
            name in "[a-zA-Z0-9_.*$-]{1,100}",
            payload in proptest::option::of(".{0,40}"),
            response in 1..=3600_u64,
            connect in 0..=300_u64,
        ) {
            let request = MethodRequest {
                name,
                payload: payload.map(|text| serde_json::Value::from(text).to_string().into()),
                response_timeout: Duration::from_secs(response),
                connect_timeout: Duration::from_secs(connect),
            };
            prop_assert_eq!(MethodRequest::parse(&request.to_json()), Ok(request));
        }

        #[test]
        fn whatever_a_device_sends_becomes_json(
            status: i32,
            payload in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let response = MethodResponse::from_device(status, payload.into());
            let body = response.to_json();

            prop_assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
            prop_assert_eq!(MethodResponse::parse(&body).unwrap().status, status);
        }

        #[test]
        fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = MethodRequest::parse(&body);
            let _ = MethodResponse::parse(&body);
        }
    }
}
