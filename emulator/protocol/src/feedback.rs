//! What a back end learns of the cloud-to-device messages it sent (`spec/device.md` 5.6,
//! `spec/service.md` 8).

use serde_json::{Map, Value};

use crate::{ClientId, DeviceId, ModuleId, Timestamp};

/// The media type of a batch of records.
pub const FEEDBACK_CONTENT_TYPE: &str = "application/vnd.microsoft.iothub.feedback.json";

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FeedbackStatus {
    /// The device took it.
    Success,
    /// Its time ran out.
    Expired,
    /// It was given back too often.
    DeliveryCountExceeded,
    /// The device refused it.
    Rejected,
    /// A back end emptied the queue.
    Purged,
}

/// Of which endings a sender wants to learn: the property `iothub-ack`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AckRequest {
    /// Of none.
    #[default]
    None,
    /// When the device took it.
    Positive,
    /// When it was lost in some way.
    Negative,
    /// In any case.
    Full,
}

/// What became of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedbackRecord {
    /// The id that the sender gave the message; empty when it gave none.
    pub original_message_id: String,
    /// When it ended.
    pub enqueued: Timestamp,
    /// How it ended.
    pub status: FeedbackStatus,
    /// Whom it was for.
    pub client: ClientId,
    /// The generation of the device or module that it was for.
    pub generation: String,
}

impl FeedbackStatus {
    /// Every status.
    pub const ALL: [Self; 5] = [
        Self::Success,
        Self::Expired,
        Self::DeliveryCountExceeded,
        Self::Rejected,
        Self::Purged,
    ];

    /// The text of `statusCode`, and of `description`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Expired => "Expired",
            Self::DeliveryCountExceeded => "DeliveryCountExceeded",
            Self::Rejected => "Rejected",
            Self::Purged => "Purged",
        }
    }

    /// The status with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

impl AckRequest {
    /// Every wish.
    pub const ALL: [Self; 4] = [Self::None, Self::Positive, Self::Negative, Self::Full];

    /// The value of `iothub-ack`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Positive => "positive",
            Self::Negative => "negative",
            Self::Full => "full",
        }
    }

    /// The wish with this name, ignoring case: .NET spells `Full`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|wish| wish.name().eq_ignore_ascii_case(name))
    }

    /// Whether an ending makes a record.
    pub fn wants(self, status: FeedbackStatus) -> bool {
        let is_success = status == FeedbackStatus::Success;
        match self {
            Self::None => false,
            Self::Positive => is_success,
            Self::Negative => !is_success,
            Self::Full => true,
        }
    }
}

impl FeedbackRecord {
    /// The JSON object of a batch. Modules are named by a member of their own.
    pub fn to_json(&self) -> Value {
        let mut record = Map::new();
        let mut put = |name: &str, value: &str| record.insert(name.to_owned(), value.into());
        put("originalMessageId", &self.original_message_id);
        put("enqueuedTimeUtc", &self.enqueued.to_iso());
        put("statusCode", self.status.name());
        put("description", self.status.name());
        put("deviceId", self.client.device.as_str());
        if let Some(module) = &self.client.module {
            put("moduleId", module.as_str());
        }
        put("deviceGenerationId", &self.generation);
        Value::Object(record)
    }

    /// Reads what [`Self::to_json`] makes; `None` when a member is missing or not valid.
    pub fn from_json(record: &Value) -> Option<Self> {
        let text = |name: &str| record.get(name).and_then(Value::as_str);
        Some(Self {
            original_message_id: text("originalMessageId")?.to_owned(),
            enqueued: Timestamp::parse_iso(text("enqueuedTimeUtc")?)?,
            status: FeedbackStatus::from_name(text("statusCode")?)?,
            client: ClientId {
                device: DeviceId::parse(text("deviceId")?).ok()?,
                module: text("moduleId").map(ModuleId::parse).transpose().ok()?,
            },
            generation: text("deviceGenerationId")?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(client: &str) -> FeedbackRecord {
        FeedbackRecord {
            original_message_id: "0987654321".into(),
            enqueued: Timestamp::parse_iso("2015-07-28T16:24:48.789Z").unwrap(),
            status: FeedbackStatus::Success,
            client: ClientId::parse(client).unwrap(),
            generation: "637".into(),
        }
    }

    #[test]
    fn records_have_the_members_of_the_reference_in_its_order() {
        assert_eq!(
            record("123").to_json().to_string(),
            r#"{"originalMessageId":"0987654321","enqueuedTimeUtc":"2015-07-28T16:24:48.7890000Z","statusCode":"Success","description":"Success","deviceId":"123","deviceGenerationId":"637"}"#
        );
    }

    #[test]
    fn records_round_trip() {
        for client in ["d1", "d1/m1"] {
            for status in FeedbackStatus::ALL {
                let record = FeedbackRecord {
                    status,
                    ..record(client)
                };
                assert_eq!(FeedbackRecord::from_json(&record.to_json()), Some(record));
            }
        }
        assert_eq!(FeedbackRecord::from_json(&Value::Null), None);
    }

    #[test]
    fn wishes_name_the_endings_that_they_want() {
        let wanted = |wish: &str| -> Vec<&str> {
            let wish = AckRequest::from_name(wish).unwrap();
            let statuses = FeedbackStatus::ALL.into_iter();
            statuses
                .filter(|status| wish.wants(*status))
                .map(FeedbackStatus::name)
                .collect()
        };

        assert_eq!(wanted("none"), [""; 0]);
        assert_eq!(wanted("positive"), ["Success"]);
        assert_eq!(
            wanted("Negative"),
            ["Expired", "DeliveryCountExceeded", "Rejected", "Purged"]
        );
        assert_eq!(wanted("FULL").len(), 5);
        assert_eq!(AckRequest::from_name("perhaps"), None);
    }
}
