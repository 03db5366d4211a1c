//! The bodies that refusals are sent in (`spec/service.md` 0.6, `spec/device.md` 7.5).

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::{Error, ErrorCode, Timestamp, json as members};

/// Which of the two formats a route answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorFormat {
    /// `ErrorCode:Name;detail`: registry, twins, queries, configurations, jobs, authentication.
    Legacy,
    /// A JSON object as text inside `Message`: direct methods and component commands.
    Structured,
}

/// The body of a refusal. `tracking_id` is 32 hexadecimal digits, of the caller's making.
///
/// Over HTTP a caller never learns why it was not authorized (`spec/service.md` 1.1).
pub fn error_body(error: &Error, format: ErrorFormat, tracking_id: &str, now: Timestamp) -> String {
    let (message, exception) = match format {
        ErrorFormat::Legacy => (
            format!("ErrorCode:{};{}", error.code, public_detail(error)),
            format!(
                "Tracking ID:{tracking_id}-G:1-TimeStamp:{}",
                now.to_tracking()
            ),
        ),
        // Java parses both texts joined, so the second must be empty here.
        ErrorFormat::Structured => (
            structured(error, tracking_id, now).to_string(),
            String::new(),
        ),
    };
    json!({"Message": message, "ExceptionMessage": exception}).to_string()
}

/// The body that a device gets instead of a twin or of the answer to a reported patch.
pub fn twin_error_body(error: &Error, tracking_id: &str, now: Timestamp) -> String {
    json!({
        "errorCode": error.code.number(),
        "trackingId": format!("{tracking_id}-G:1-TimeStamp:{}", now.to_tracking()),
        "message": sentence(error),
        "timestampUtc": now.to_iso(),
    })
    .to_string()
}

/// What a refusal with this status, `iothub-errorcode` header and body says: the client's half of
/// [`error_body`]. The code is the most precise that the answer names; `Generic…` when it names
/// none.
pub fn parse_error_body(status: u16, header_code: Option<&str>, body: &[u8]) -> Error {
    let body: Option<Map<String, Value>> = serde_json::from_slice(body).ok();
    let message = body
        .as_ref()
        .and_then(|body| members::string(body, "Message").ok().flatten());
    let parsed =
        message.and_then(|message| parse_structured(message).or_else(|| parse_legacy(message)));
    let by_header = header_code.and_then(ErrorCode::from_name);
    let (code, detail, timeout) = match parsed {
        Some(Parsed {
            code,
            detail,
            timeout,
        }) => (code.or(by_header), detail, timeout),
        None => (by_header, message.unwrap_or_default().into(), None),
    };
    let code = code.unwrap_or_else(|| ErrorCode::generic(status));
    Error {
        code,
        detail,
        timeout,
    }
}

fn structured(error: &Error, tracking_id: &str, now: Timestamp) -> Value {
    let mut body = json!({
        "errorCode": error.code.number(),
        "trackingId": format!("{tracking_id}-TimeStamp:{}", now.to_tracking()),
        "message": sentence(error),
        "info": {"timeout": hours_minutes_seconds(error.timeout.unwrap_or_default())},
        "timestampUtc": now.to_iso(),
    });
    // Nothing that could run out of time (`spec/device.md` 8.4).
    if error.code == ErrorCode::DeviceMaximumActiveFileUploadLimitExceeded
        && let Some(body) = body.as_object_mut()
    {
        body.shift_remove("info");
    }
    body
}

/// What stands after `ErrorCode:Name;`. Never empty: the Node SDK wants both parts.
fn public_detail(error: &Error) -> &str {
    if hides_detail(error.code) {
        error.code.default_message()
    } else {
        error.message()
    }
}

/// As the other formats say it: where the legacy detail is but a name, a sentence is made of it.
fn sentence(error: &Error) -> String {
    let detail = public_detail(error);
    match error.code {
        ErrorCode::DeviceNotFound if !detail.contains(' ') => {
            format!("Device {detail} not registered")
        }
        ErrorCode::ModuleNotFound if !detail.contains(' ') => {
            format!("Module {detail} not registered")
        }
        ErrorCode::DeviceNotOnline | ErrorCode::GatewayTimeout => {
            error.code.default_message().into()
        }
        _ => detail.into(),
    }
}

const fn hides_detail(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::GenericUnauthorized
            | ErrorCode::IotHubUnauthorizedAccess
            | ErrorCode::IotHubUnauthorized
    )
}

fn hours_minutes_seconds(span: Duration) -> String {
    let seconds = span.as_secs();
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

struct Parsed {
    code: Option<ErrorCode>,
    detail: String,
    timeout: Option<Duration>,
}

fn parse_structured(message: &str) -> Option<Parsed> {
    let map: Map<String, Value> = serde_json::from_str(message).ok()?;
    let number = members::field(&map, "errorCode")?.as_u64()?;
    let info = members::object(&map, "info").ok().flatten();
    let timeout = info.and_then(|info| members::string(info, "timeout").ok().flatten());
    Some(Parsed {
        code: u32::try_from(number).ok().and_then(ErrorCode::from_number),
        detail: members::string(&map, "message")
            .ok()
            .flatten()
            .unwrap_or_default()
            .into(),
        timeout: timeout.and_then(parse_span).filter(|span| !span.is_zero()),
    })
}

fn parse_legacy(message: &str) -> Option<Parsed> {
    let (name, detail) = message.strip_prefix("ErrorCode:")?.split_once(';')?;
    Some(Parsed {
        code: ErrorCode::from_name(name),
        detail: detail.into(),
        timeout: None,
    })
}

fn parse_span(text: &str) -> Option<Duration> {
    let mut parts = text.splitn(3, ':').map(|part| part.parse::<u32>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    let minutes = u64::from(hours) * 60 + u64::from(minutes);
    Some(Duration::from_secs(minutes * 60 + u64::from(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "1bc30319a4294a7d89ba1511f14f0b5b";

    fn now() -> Timestamp {
        Timestamp::parse_iso("2024-03-14T09:54:49.6536567Z").unwrap()
    }

    #[test]
    fn the_legacy_body_is_spelled_as_the_service_spells_it() {
        let error = Error::new(ErrorCode::DeviceNotFound, "dev-1");

        assert_eq!(
            error_body(&error, ErrorFormat::Legacy, ID, now()),
            concat!(
                r#"{"Message":"ErrorCode:DeviceNotFound;dev-1","ExceptionMessage":"#,
                r#""Tracking ID:1bc30319a4294a7d89ba1511f14f0b5b-G:1-TimeStamp:03/14/2024 09:54:49"}"#,
            )
        );
    }

    #[test]
    fn the_structured_body_is_spelled_as_the_service_spells_it() {
        let error = Error::new(ErrorCode::DeviceNotOnline, "d1").with_timeout(Duration::ZERO);

        assert_eq!(
            error_body(&error, ErrorFormat::Structured, ID, now()),
            concat!(
                r#"{"Message":"{\"errorCode\":404103,\"trackingId\":"#,
                r#"\"1bc30319a4294a7d89ba1511f14f0b5b-TimeStamp:03/14/2024 09:54:49\","#,
                r#"\"message\":\"The operation failed because the requested device isn't online or "#,
                r#"hasn't registered the direct method callback. To learn more, see "#,
                r#"https://aka.ms/iothub404103\",\"info\":{\"timeout\":\"00:00:00\"},"#,
                r#"\"timestampUtc\":\"2024-03-14T09:54:49.6536567Z\"}","ExceptionMessage":""}"#,
            )
        );
    }

    #[test]
    fn twin_errors_are_flat() {
        let body = twin_error_body(&Error::argument_invalid("no"), ID, now());

        assert_eq!(
            body,
            concat!(
                r#"{"errorCode":400004,"trackingId":"1bc30319a4294a7d89ba1511f14f0b5b-G:1-"#,
                r#"TimeStamp:03/14/2024 09:54:49","message":"no","#,
                r#""timestampUtc":"2024-03-14T09:54:49.6536567Z"}"#
            )
        );
    }

    #[test]
    fn a_caller_does_not_learn_why_it_is_not_authorized() {
        let error = Error::unauthorized("the token of d1 expired 3 min ago");

        for format in [ErrorFormat::Legacy, ErrorFormat::Structured] {
            let body = error_body(&error, format, ID, now());
            assert!(
                body.contains("Unauthorized") && !body.contains("expired"),
                "{body}"
            );
        }
    }

    #[test]
    fn every_code_survives_both_formats() {
        for &code in ErrorCode::ALL {
            for format in [ErrorFormat::Legacy, ErrorFormat::Structured] {
                let body = error_body(&Error::new(code, ""), format, ID, now());
                let parsed = parse_error_body(code.http_status(), None, body.as_bytes());
                assert_eq!(parsed.code, code);
                assert!(!parsed.detail.is_empty(), "{code}");
            }
        }
    }

    #[test]
    fn the_time_limit_survives() {
        let limit = Duration::from_secs(3723);
        let error = Error::new(ErrorCode::GatewayTimeout, "").with_timeout(limit);

        let body = error_body(&error, ErrorFormat::Structured, ID, now());

        assert!(body.contains(r#"\"timeout\":\"01:02:03\""#), "{body}");
        assert_eq!(
            parse_error_body(504, None, body.as_bytes()).timeout,
            Some(limit)
        );
    }

    #[test]
    fn an_answer_of_someone_else_still_has_a_code() {
        let by_header = parse_error_body(404, Some("ModuleNotFound"), b"<html>");
        let by_status = parse_error_body(503, Some("?"), b"");
        let by_message = parse_error_body(400, None, br#"{"Message":"no"}"#);

        assert_eq!(by_header.code, ErrorCode::ModuleNotFound);
        assert_eq!(by_status.code, ErrorCode::GenericServiceUnavailable);
        assert_eq!(by_message, Error::new(ErrorCode::GenericBadRequest, "no"));
    }

    proptest! {
        #[test]
        fn arbitrary_answers_never_panic(status: u16, header in ".{0,20}", message in ".{0,60}") {
            let body = json!({"Message": message}).to_string();
            let _ = parse_error_body(status, Some(&header), body.as_bytes());
            let _ = parse_error_body(status, None, message.as_bytes());
        }
    }
}
