//! The documents of file uploads: what a device asks and tells, and what a back end is told
//! (`spec/device.md` 8, `spec/service.md` 8).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::storage::check_blob_name;
use crate::{DeviceId, Error, ErrorCode, Timestamp, json as members};

/// The name of the file, from the body that starts an upload; the blob's name is
/// [`blob_name`] of it.
///
/// Refused: what is not JSON (400006), a name that is missing or that no blob can have (400004).
pub fn parse_start(body: &[u8], device: &DeviceId) -> Result<String, Error> {
    let request = members::parse_object(body)?;
    let file = members::string(&request, "blobName")?.unwrap_or_default();
    if file.is_empty() {
        return Err(Error::argument_invalid("blobName is missing or empty"));
    }
    let name = blob_name(device, file);
    check_blob_name(&name).map_err(|error| Error::argument_invalid(error.to_string()))?;
    Ok(name)
}

/// Files of a device lie below its id.
pub fn blob_name(device: &DeviceId, file: &str) -> String {
    format!("{device}/{file}")
}

/// How a device says that an upload ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadEnd {
    /// Which upload.
    pub correlation_id: String,
    /// Whether the file is there.
    pub success: bool,
    /// What storage answered, as the device says.
    pub status_code: Option<i64>,
    /// The same in words.
    pub status_description: Option<String>,
}

impl UploadEnd {
    /// Parses the body; the older form has the correlation id in the path instead
    /// (`spec/device.md` 8.3).
    ///
    /// Refused: what is not JSON (400006), a correlation id that is missing (400015), members that
    /// tell no status (400019).
    pub fn parse(body: &[u8], in_path: Option<&str>) -> Result<Self, Error> {
        let request = members::parse_object(body)?;
        let in_body = members::string(&request, "correlationId").map_err(|_| unknown(""))?;
        let correlation_id = in_path.or(in_body).unwrap_or_default();
        if correlation_id.is_empty() {
            return Err(unknown(correlation_id));
        }
        let status =
            |detail: &str| Error::new(ErrorCode::InvalidFileUploadCompletionStatus, detail);
        let success = members::field(&request, "isSuccess")
            .and_then(Value::as_bool)
            .ok_or_else(|| status("isSuccess must be true or false"))?;
        let status_code = match members::non_null(&request, "statusCode") {
            None => None,
            Some(code) => Some(
                code.as_i64()
                    .ok_or_else(|| status("statusCode must be a whole number"))?,
            ),
        };
        let status_description = members::string(&request, "statusDescription")
            .map_err(|_| status("statusDescription must be a string"))?
            .map(str::to_owned);
        Ok(Self {
            correlation_id: correlation_id.to_owned(),
            success,
            status_code,
            status_description,
        })
    }
}

/// Base64 of `yyyyMMddHHmm_{guid}_{blob name}_ver2.0` (`spec/device.md` 8.1).
pub fn correlation_id(started: Timestamp, guid: &str, blob: &str) -> String {
    let minute: String = started
        .to_iso()
        .chars()
        .filter(char::is_ascii_digit)
        .take(12)
        .collect();
    STANDARD.encode(format!("{minute}_{guid}_{blob}_ver2.0"))
}

/// When the upload with this correlation id started, to the minute; `None` when no hub made it.
pub fn correlation_started(id: &str) -> Option<Timestamp> {
    let text = String::from_utf8(STANDARD.decode(id).ok()?).ok()?;
    let (minute, rest) = text.split_once('_')?;
    if minute.len() != 12 || !minute.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    rest.strip_suffix("_ver2.0")?;
    let part = |from: usize, to: usize| &minute[from..to];
    Timestamp::parse_iso(&format!(
        "{}-{}-{}T{}:{}:00Z",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12)
    ))
}

/// Code 400015.
pub fn unknown(correlation_id: &str) -> Error {
    Error::new(
        ErrorCode::InvalidFileUploadCorrelationId,
        correlation_id.get(..200).unwrap_or(correlation_id),
    )
}

/// The media type of a notification (`spec/amqp.md` 5.3).
pub const FILE_NOTIFICATION_CONTENT_TYPE: &str =
    "application/vnd.microsoft.iothub.filenotification.json";

/// What a back end is told of a file that arrived (`spec/service.md` 8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileNotification {
    /// The device that sent it.
    pub device: DeviceId,
    /// Where it is.
    pub blob_uri: String,
    /// Its blob's name: device id, slash, file.
    pub blob_name: String,
    /// When it was last written.
    pub last_updated: Timestamp,
    /// How long it is.
    pub size: u64,
    /// When the hub was told that it is complete.
    pub enqueued: Timestamp,
}

impl FileNotification {
    /// The record; the two times are spelled differently, as on the real hub.
    pub fn to_json(&self) -> Value {
        let updated = self.last_updated.to_iso_seconds();
        json!({
            "deviceId": self.device.as_str(),
            "blobUri": self.blob_uri,
            "blobName": self.blob_name,
            "lastUpdatedTime": format!("{}+00:00", updated.trim_end_matches('Z')),
            "blobSizeInBytes": self.size,
            "enqueuedTimeUtc": self.enqueued.to_iso(),
        })
    }

    /// Reads what [`Self::to_json`] prints; `None` when it is something else.
    pub fn parse(value: &Value) -> Option<Self> {
        let map = value.as_object()?;
        let text = |name: &str| members::string(map, name).ok().flatten();
        Some(Self {
            device: DeviceId::parse(text("deviceId")?).ok()?,
            blob_uri: text("blobUri")?.to_owned(),
            blob_name: text("blobName")?.to_owned(),
            last_updated: Timestamp::parse_iso(text("lastUpdatedTime")?)?,
            size: members::field(map, "blobSizeInBytes")?.as_u64()?,
            enqueued: Timestamp::parse_iso(text("enqueuedTimeUtc")?)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn device() -> DeviceId {
        DeviceId::parse("d1").unwrap()
    }

    #[test]
    fn a_blob_lies_below_its_device() {
        assert_eq!(
            parse_start(br#"{"BlobName":"f/x y.txt"}"#, &device()).unwrap(),
            "d1/f/x y.txt"
        );
        for (body, code) in [
            ("", ErrorCode::IotHubFormatError),
            ("{}", ErrorCode::ArgumentInvalid),
            (r#"{"blobName":""}"#, ErrorCode::ArgumentInvalid),
            (r#"{"blobName":7}"#, ErrorCode::ArgumentInvalid),
        ] {
            assert_eq!(
                parse_start(body.as_bytes(), &device()).unwrap_err().code,
                code
            );
        }
        let long = format!(r#"{{"blobName":"{}"}}"#, "x".repeat(1022));
        assert!(parse_start(long.as_bytes(), &device()).is_err());
    }

    #[test]
    fn an_end_needs_an_id_and_a_status() {
        let full =
            br#"{"correlationId":"a=","isSuccess":true,"statusCode":200,"statusDescription":"ok"}"#;
        let end = UploadEnd::parse(full, None).unwrap();
        assert_eq!(end.correlation_id, "a=");
        assert_eq!(end.status_code, Some(200));
        let older = br#"{"isSuccess":false,"statusCode":null}"#;
        assert_eq!(
            UploadEnd::parse(older, Some("b")).unwrap().correlation_id,
            "b"
        );

        for (body, code) in [
            ("[]", ErrorCode::ArgumentInvalid),
            (
                r#"{"isSuccess":true}"#,
                ErrorCode::InvalidFileUploadCorrelationId,
            ),
            (
                r#"{"correlationId":"a"}"#,
                ErrorCode::InvalidFileUploadCompletionStatus,
            ),
            (
                r#"{"correlationId":"a","isSuccess":"yes"}"#,
                ErrorCode::InvalidFileUploadCompletionStatus,
            ),
            (
                r#"{"correlationId":"a","isSuccess":true,"statusCode":"x"}"#,
                ErrorCode::InvalidFileUploadCompletionStatus,
            ),
        ] {
            let refused = UploadEnd::parse(body.as_bytes(), None).unwrap_err();
            assert_eq!(refused.code, code, "{body}");
        }
    }

    #[test]
    fn a_correlation_id_says_when_it_was_made() {
        let started = Timestamp::parse_iso("2026-01-02T03:04:05Z").unwrap();

        let id = correlation_id(started, "guid", "d1/a_b");

        assert_eq!(
            STANDARD.decode(&id).unwrap(),
            b"202601020304_guid_d1/a_b_ver2.0"
        );
        assert_eq!(
            correlation_started(&id),
            Timestamp::parse_iso("2026-01-02T03:04:00Z")
        );
        assert_eq!(correlation_started("bm9uc2Vuc2U="), None);
    }

    #[test]
    fn a_notification_is_printed_as_documented() {
        let time = Timestamp::parse_iso("2026-01-02T03:04:05.5Z").unwrap();
        let notification = FileNotification {
            device: device(),
            blob_uri: "https://h/c/d1/f.txt".into(),
            blob_name: "d1/f.txt".into(),
            last_updated: Timestamp::parse_iso("2026-01-02T03:04:05Z").unwrap(),
            size: 1,
            enqueued: time,
        };

        let json = notification.to_json();

        assert_eq!(
            json.to_string(),
            concat!(
                r#"{"deviceId":"d1","blobUri":"https://h/c/d1/f.txt","blobName":"d1/f.txt","#,
                r#""lastUpdatedTime":"2026-01-02T03:04:05+00:00","blobSizeInBytes":1,"#,
                r#""enqueuedTimeUtc":"2026-01-02T03:04:05.5000000Z"}"#
            )
        );
        assert_eq!(FileNotification::parse(&json), Some(notification));
    }

    proptest! {
        #[test]
        fn arbitrary_input_never_panics(body in ".{0,60}", id in ".{0,40}") {
            let _ = parse_start(body.as_bytes(), &device());
            let _ = UploadEnd::parse(body.as_bytes(), Some(&id));
            let _ = correlation_started(&id);
            let _ = correlation_started(&STANDARD.encode(&id));
            let _ = unknown(&id);
        }
    }
}
