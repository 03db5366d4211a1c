//! What can be chosen by name: numbers and rules for which documentation leaves a choice, or which
//! people who test want otherwise. `docs/settings.md` is the list for people; a test keeps it and
//! this table together.
//!
//! Strict, the default, is what the real hub does as far as it is known. Lenient takes what the
//! real hub closes connections for and logs it.

use std::time::Duration;

use iothub_hub::{BeforeSubscription, ConnectionEvents, CountedReturns, ExpiredCertificates};

use crate::Config;
use crate::mqtt::{ForeignWill, UnknownFilter, UnknownTopic};

/// Something that `--set NAME=VALUE` sets.
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Its values: names with `|` between them, `seconds` or `number`.
    pub values: &'static str,
    /// Its value when nothing is said.
    pub strict: &'static str,
    /// Its value with `--lenient`.
    pub lenient: &'static str,
    /// Puts a value into a configuration, unless it is none of the values.
    apply: fn(&mut Config, &str) -> Option<()>,
    /// The value in a configuration.
    show: fn(&Config) -> String,
}

/// Why a setting was not taken: for the person who gave it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingError(String);

impl Setting {
    /// Every setting.
    pub const ALL: &'static [Self] = SETTINGS;

    /// Sets what `NAME=VALUE` says.
    pub fn set(config: &mut Config, text: &str) -> Result<(), SettingError> {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| SettingError(format!("{text:?} is not NAME=VALUE")))?;
        let setting = Self::ALL
            .iter()
            .find(|setting| setting.name == name.trim())
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|setting| setting.name).collect();
                SettingError(format!("{name:?} is none of {}", known.join(", ")))
            })?;
        (setting.apply)(config, value.trim())
            .ok_or_else(|| SettingError(format!("{name}: {value:?}, expected {}", setting.values)))
    }

    /// Sets everything to what it is with `--lenient`.
    pub fn set_lenient(config: &mut Config) {
        for setting in Self::ALL {
            (setting.apply)(config, setting.lenient)
                .expect("a test sets every setting to its lenient value");
        }
    }

    /// The value in a configuration, as [`Setting::set`] takes it.
    pub fn shown(&self, config: &Config) -> String {
        (self.show)(config)
    }
}

/// A setting whose values are variants of an enum.
macro_rules! choice {
    ($name:literal, strict $strict:literal, lenient $lenient:literal,
     $field:ident $(. $more:ident)* : $($value:literal = $variant:expr),+) => {
        Setting {
            name: $name,
            values: concat_values!($($value),+),
            strict: $strict,
            lenient: $lenient,
            apply: |config, value| {
                config.$field $(. $more)* = match value {
                    $($value => $variant,)+
                    _ => return None,
                };
                Some(())
            },
            show: |config| {
                let value = &config.$field $(. $more)*;
                $(if *value == $variant {
                    return $value.to_owned();
                })+
                String::new()
            },
        }
    };
}

macro_rules! concat_values {
    ($first:literal $(, $value:literal)*) => { concat!($first $(, "|", $value)*) };
}

/// A setting that is a time in whole seconds.
macro_rules! seconds {
    ($name:literal, $default:literal, $field:ident $(. $more:ident)*) => {
        Setting {
            name: $name,
            values: "seconds",
            strict: $default,
            lenient: $default,
            apply: |config, value| {
                config.$field $(. $more)* = Duration::from_secs(bounded(value)?);
                Some(())
            },
            show: |config| config.$field $(. $more)*.as_secs().to_string(),
        }
    };
}

/// A setting that is a count.
macro_rules! number {
    ($name:literal, $default:literal, $field:ident $(. $more:ident)*) => {
        Setting {
            name: $name,
            values: "number",
            strict: $default,
            lenient: $default,
            apply: |config, value| {
                config.$field $(. $more)* = bounded(value)?.try_into().ok()?;
                Some(())
            },
            show: |config| config.$field $(. $more)*.to_string(),
        }
    };
}

/// In the order of `docs/settings.md`.
const SETTINGS: &[Setting] = &[
    choice!("unknown_topic", strict "close", lenient "drop", mqtt.unknown_topic:
        "close" = UnknownTopic::Close, "drop" = UnknownTopic::Drop),
    choice!("unknown_filter", strict "close", lenient "refuse", mqtt.unknown_filter:
        "close" = UnknownFilter::Close, "refuse" = UnknownFilter::Refuse),
    Setting {
        name: "topic_filters",
        values: "number|any",
        strict: "5",
        lenient: "any",
        apply: |config, value| {
            config.mqtt.topic_filters = match value {
                "any" => None,
                number => Some(bounded(number)?.try_into().ok()?),
            };
            Some(())
        },
        show: |config| match config.mqtt.topic_filters {
            None => "any".to_owned(),
            Some(number) => number.to_string(),
        },
    },
    choice!("will_topic", strict "refuse", lenient "drop", mqtt.foreign_will:
        "refuse" = ForeignWill::Refuse, "drop" = ForeignWill::Drop),
    choice!("expired_thumbprint", strict "refuse", lenient "accept", limits.expired_certificates:
        "refuse" = ExpiredCertificates::Refuse, "accept" = ExpiredCertificates::Accept),
    choice!("disabled_connack", strict "5", lenient "5", mqtt.disabled_connack:
        "5" = super::mqtt::DisabledConnack::NotAuthorized,
        "3" = super::mqtt::DisabledConnack::ServerUnavailable),
    choice!("connection_events", strict "first_use", lenient "first_use", limits.connection_events:
        "first_use" = ConnectionEvents::FirstUse, "connect" = ConnectionEvents::Connect),
    choice!("query_functions", strict "any", lenient "any", limits.strict_queries:
        "any" = false, "documented" = true),
    choice!("c2d_delivery_count", strict "abandon_only", lenient "abandon_only",
        limits.c2d_counted_returns:
        "abandon_only" = CountedReturns::AbandonOnly,
        "every_return" = CountedReturns::EveryReturn),
    choice!("c2d_before_first_subscribe", strict "deliver", lenient "deliver",
        limits.c2d_before_first_subscribe:
        "deliver" = BeforeSubscription::Deliver, "reject" = BeforeSubscription::Reject),
    seconds!("feedback_delay", "15", limits.feedback_delay),
    number!("c2d_queue_depth", "50", limits.c2d_queue_depth),
    seconds!("connect_timeout", "30", mqtt.connect_timeout),
    seconds!("keep_alive_ceiling", "1767", mqtt.keep_alive_ceiling),
    seconds!("amqp_open_timeout", "30", amqp.open_timeout),
    seconds!("amqp_proof_timeout", "60", amqp.authentication_timeout),
    seconds!("amqp_idle_timeout", "240", amqp.idle_timeout),
    seconds!("token_skew", "300", limits.token_skew),
    seconds!("session_grace", "600", limits.session_grace),
    number!("methods_in_flight", "10", limits.methods_in_flight),
    number!("modules_per_device", "50", limits.modules_per_device),
    seconds!("upload_ttl", "3600", limits.upload_ttl),
    number!("uploads_in_progress", "10", limits.uploads_in_progress),
    seconds!(
        "file_notification_ttl",
        "3600",
        limits.file_notification_ttl
    ),
    seconds!(
        "file_notification_lock",
        "60",
        limits.file_notification_lock
    ),
    number!(
        "file_notification_deliveries",
        "10",
        limits.file_notification_deliveries
    ),
];

/// A number, and no time that overflows when it is added to the present.
fn bounded(text: &str) -> Option<u64> {
    const LARGEST: u64 = 10_000_000_000;
    text.parse().ok().filter(|&number| number <= LARGEST)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const DOCUMENT: &str = include_str!("../docs/settings.md");

    /// Rows of the table whose first column is headed `heading`: the cells without back quotes.
    fn table(heading: &str) -> Vec<Vec<String>> {
        let lines = DOCUMENT.lines().skip_while(|line| {
            let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
            cells.next() != Some(heading)
        });
        lines
            .skip(2)
            .take_while(|line| line.starts_with('|'))
            .map(|line| {
                let cells = line.trim_matches('|').split(" | ");
                cells.map(|cell| cell.trim().replace('`', "")).collect()
            })
            .collect()
    }

    #[test]
    fn the_document_lists_every_setting_with_its_values() {
        let in_code: Vec<_> = Setting::ALL
            .iter()
            .map(|it| {
                let values = it.values.replace('|', ", ");
                [it.name, &values, it.strict, it.lenient].map(str::to_owned)
            })
            .collect();

        let in_document: Vec<_> = table("setting")
            .into_iter()
            .map(|row| [0, 1, 2, 3].map(|at| row[at].clone()))
            .collect();

        assert_eq!(in_document, in_code);
    }

    #[test]
    fn every_open_question_has_a_row_and_names_a_setting_that_exists() {
        let rows = table("question");
        let numbers: Vec<_> = rows.iter().map(|row| row[0].clone()).collect();
        let wanted: Vec<_> = (1..=28).map(|number| format!("Q{number}")).collect();

        assert_eq!(numbers, wanted);
        for row in rows {
            let setting = &row[3];
            let known = Setting::ALL.iter().any(|it| it.name == setting);
            assert!(setting == "none" || known, "{row:?}");
        }
    }

    #[test]
    fn strict_is_what_a_configuration_is_by_default_and_every_value_is_taken_and_shown() {
        let mut config = Config::default();
        for setting in Setting::ALL {
            assert_eq!(setting.shown(&config), setting.strict, "{}", setting.name);
        }

        Setting::set_lenient(&mut config);
        for setting in Setting::ALL {
            assert_eq!(setting.shown(&config), setting.lenient, "{}", setting.name);
        }

        for setting in Setting::ALL {
            for value in setting.values.split('|') {
                let value = match value {
                    "seconds" | "number" => "7",
                    value => value,
                };
                Setting::set(&mut config, &format!("{} = {value}", setting.name)).unwrap();
                assert_eq!(setting.shown(&config), value, "{}", setting.name);
            }
        }
    }

    #[test]
    fn names_are_distinct() {
        let names: BTreeMap<_, _> = Setting::ALL.iter().map(|it| (it.name, ())).collect();

        assert_eq!(names.len(), Setting::ALL.len());
    }

    #[test]
    fn a_refusal_says_what_there_is() {
        let mut config = Config::default();
        for (text, part) in [
            ("unknown_topic", "NAME=VALUE"),
            ("nope=1", "unknown_topic, unknown_filter"),
            ("unknown_topic=nope", "expected close|drop"),
            ("session_grace=-1", "expected seconds"),
            ("session_grace=99999999999999999999", "expected seconds"),
            ("topic_filters=many", "expected number|any"),
        ] {
            let error = Setting::set(&mut config, text).unwrap_err();

            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
