//! Names and rules of the REST surface that both sides share (`spec/service.md` 0).

use percent_encoding::percent_decode_str;

mod error_body;
mod event_batch;
mod message_headers;
mod server_sent;
mod trace_parent;

pub use error_body::{ErrorFormat, error_body, parse_error_body, twin_error_body};
pub use event_batch::{BATCH_CONTENT_TYPE, MAX_BATCH_MESSAGES, is_batch, parse_batch};
pub use message_headers::{push_batch_property, push_header};
pub use server_sent::{EventTooLong, ServerSent, ServerSentReader};
pub use trace_parent::{TRACEPARENT, TraceParent};

/// The `api-version` that our own clients send.
pub const API_VERSION: &str = "2021-04-12";
/// The query parameter of [`API_VERSION`].
pub const API_VERSION_PARAMETER: &str = "api-version";
/// What every body is, errors included; the Node SDK reads nothing else.
pub const JSON_CONTENT_TYPE: &str = "application/json; charset=utf-8";

/// The name of the refusal, beside the body.
pub const IOTHUB_ERRORCODE: &str = "iothub-errorcode";
/// A new one for every answer.
pub const X_MS_REQUEST_ID: &str = "x-ms-request-id";
/// How a query continues, in the answer and in the next request.
pub const X_MS_CONTINUATION: &str = "x-ms-continuation";
/// What a query returns: `twin`, `raw`, …
pub const X_MS_ITEM_TYPE: &str = "x-ms-item-type";
/// How many items a page of a query shall have.
pub const X_MS_MAX_ITEM_COUNT: &str = "x-ms-max-item-count";
/// The method that is meant, for clients that cannot send PATCH.
pub const X_HTTP_METHOD_OVERRIDE: &str = "x-http-method-override";
/// The status that a component command answered with.
pub const X_MS_COMMAND_STATUSCODE: &str = "x-ms-command-statuscode";
/// The prefix of application properties of messages that are sent over HTTP.
pub const IOTHUB_APP_PREFIX: &str = "iothub-app-";

/// Whether `text` is a version that the hub accepts: `20YY-MM-DD` from 2016 on, with or without
/// `-preview` (`spec/service.md` 0.3).
pub fn is_valid_api_version(text: &str) -> bool {
    let date = text.strip_suffix("-preview").unwrap_or(text).as_bytes();
    let pattern = b"20dd-dd-dd";
    date.len() == pattern.len()
        && date
            .iter()
            .zip(pattern)
            .all(|(byte, pattern)| match pattern {
                b'd' => byte.is_ascii_digit(),
                _ => byte == pattern,
            })
        && &date[..4] >= b"2016".as_slice()
}

/// The segments of a path, without its query. The whole path is decoded first and then split, since
/// a client encodes separators, too; one slash at the end is ignored; `+` is no space
/// (`spec/service.md` 0.2, items 1, 2 and 10). `None` when the path is not UTF-8.
pub fn path_segments(path: &str) -> Option<Vec<String>> {
    let path = percent_decode_str(path).decode_utf8().ok()?;
    let path = path.strip_prefix('/').unwrap_or(&path);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(Vec::new());
    }
    Some(path.split('/').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn api_versions_from_2016_on_are_accepted() {
        for good in [
            "2021-04-12",
            "2016-02-03",
            "2017-11-08-preview",
            "2099-12-31",
        ] {
            assert!(is_valid_api_version(good), "{good}");
        }
        for bad in [
            "",
            "2015-12-31",
            "2021-4-12",
            "2021-04-12x",
            "2021-04-12-Preview",
            "3021-04-12",
            "latest",
            "2021-04-1２",
        ] {
            assert!(!is_valid_api_version(bad), "{bad}");
        }
    }

    #[test]
    fn paths_are_decoded_before_they_are_split() {
        for (path, segments) in [
            ("/", &[][..]),
            ("", &[]),
            ("/devices", &["devices"]),
            ("/devices/", &["devices"]),
            ("/devices%2Fquery", &["devices", "query"]),
            (
                "/devices/a%2Bb+c/modules/%24edgeHub",
                &["devices", "a+b+c", "modules", "$edgeHub"],
            ),
            ("/devices//x", &["devices", "", "x"]),
            ("/devices/100%", &["devices", "100%"]),
        ] {
            assert_eq!(path_segments(path).unwrap(), segments, "{path}");
        }
        assert_eq!(path_segments("/%ff"), None);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,60}") {
            let _ = path_segments(&text);
            let _ = is_valid_api_version(&text);
        }
    }
}
