//! Topic filters of observers, and what they can match.

use super::channel::Channel;

/// Bytes of a filter. The longest topic has two names of 128 characters, each of which becomes up
/// to three.
const LIMIT: usize = 1024;

/// A filter that an observer may subscribe to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter(String);

impl Filter {
    /// Checks the grammar of MQTT 3.1.1, 4.7, and that the filter is about `hub/`: other trees,
    /// those that begin with `$` among them, do not exist here. Topics of the bus are ASCII, so a
    /// filter of other characters is refused as well.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (first, rest) = text
            .split_once('/')
            .map_or((text, None), |(a, b)| (a, Some(b)));
        let about_hub = matches!(first, "+" | "#") || (first == "hub" && rest.is_some());
        let printable = text.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        if !about_hub || !printable || text.len() > LIMIT {
            return None;
        }
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            let lawful = match level {
                "+" => true,
                "#" => levels.peek().is_none(),
                level => !level.contains(['+', '#']),
            };
            if !lawful {
                return None;
            }
        }
        Some(Self(text.to_owned()))
    }

    /// Whether a topic of the bus matches.
    pub(super) fn matches(&self, topic: &str) -> bool {
        meets(&self.0, topic, |_| false)
    }

    /// The channels on which there may be messages that match.
    pub(super) fn channels(&self) -> Vec<Channel> {
        let may_match = |shape: &str| meets(&self.0, shape, |level| level == "+");
        let wanted = |channel: &Channel| match channel {
            Channel::Log => may_match("hub/+/log"),
            of_client => {
                let name = of_client.name();
                may_match(&format!("hub/+/devices/+/{name}"))
                    || may_match(&format!("hub/+/devices/+/modules/+/{name}"))
            }
        };
        Channel::ALL.into_iter().filter(wanted).collect()
    }

    /// The level that names the device, if matching topics are one device's and its modules'.
    pub(super) fn device(&self) -> Option<&str> {
        let mut levels = self.0.split('/');
        let before = levels.by_ref().take(3).all(|level| level != "#");
        let level = levels.next()?;
        (before && !matches!(level, "+" | "#")).then_some(level)
    }
}

/// Compares level by level; `open` says which levels of `topic` stand for any.
fn meets(filter: &str, topic: &str, open: impl Fn(&str) -> bool) -> bool {
    let mut topic = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        match topic.next() {
            Some(level) if wanted == "+" || wanted == level || open(level) => {}
            Some(_) | None => return false,
        }
    }
    topic.next().is_none()
}

#[cfg(test)]
mod tests {
    use iothub_protocol::ClientId;
    use proptest::prelude::*;

    use super::super::topics::Topics;
    use super::*;

    fn filter(text: &str) -> Filter {
        Filter::parse(text).unwrap_or_else(|| panic!("{text:?}"))
    }

    #[test]
    fn filters_about_the_hub_and_wildcards_are_taken() {
        for text in [
            "#",
            "+",
            "+/#",
            "+/h/log",
            "hub/#",
            "hub/",
            "hub/h/devices/a b/telemetry",
            "hub/h/devices/+/#",
            "hub//+",
        ] {
            filter(text);
        }
    }

    #[test]
    fn other_trees_and_broken_wildcards_are_refused() {
        let long = format!("hub/{}", "x".repeat(LIMIT));
        for text in [
            "",
            "/",
            "hub",
            "hubs/#",
            "$SYS/#",
            "$share/g/hub/#",
            "$iothub/#",
            "hub/#/log",
            "hub/h#",
            "hub/+x/log",
            "hub/\u{e9}/log",
            "\u{e9}",
            "hub/\u{0}",
            &long,
        ] {
            assert_eq!(Filter::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn matching_follows_the_standard() {
        let topic = "hub/h/devices/d1/twin/desired";
        for text in [
            "#",
            "+/#",
            "hub/#",
            "hub/h/devices/d1/twin/desired",
            "hub/h/devices/d1/twin/desired/#",
            "hub/+/devices/+/twin/+",
            "hub/h/devices/d1/#",
        ] {
            assert!(filter(text).matches(topic), "{text}");
        }
        for text in [
            "+",
            "hub/h",
            "hub/h/devices/d2/#",
            "hub/h/devices/d1/twin/desired/+",
            "hub/h/+",
        ] {
            assert!(!filter(text).matches(topic), "{text}");
        }
    }

    #[test]
    fn a_filter_needs_the_channels_that_it_can_match() {
        use Channel::{C2d, Connection, Desired, Log, Methods, Reported, Telemetry};

        for (text, channels) in [
            ("#", Channel::ALL.to_vec()),
            ("hub/h/log", vec![Log]),
            ("hub/h/log/#", vec![Log]),
            ("hub/+/+", vec![Log]),
            ("hub/h/devices/d1/telemetry", vec![Telemetry]),
            ("hub/h/devices/d1/modules/m/twin/#", vec![Desired, Reported]),
            (
                "hub/h/devices/+/+",
                vec![Telemetry, Connection, Methods, C2d],
            ),
            ("hub/h/devices/d1/nothing", vec![]),
            ("hub/h/log/dropped", vec![]),
            ("+", vec![]),
        ] {
            assert_eq!(filter(text).channels(), channels, "{text}");
        }
    }

    #[test]
    fn a_filter_may_be_about_one_device() {
        for (text, device) in [
            ("hub/h/devices/d1/#", Some("d1")),
            ("+/+/+/d1", Some("d1")),
            ("hub/h/devices/d%2F1/modules/+/telemetry", Some("d%2F1")),
            ("hub/h/devices/+/#", None),
            ("hub/h/#", None),
            ("hub/h/devices/#", None),
            ("#", None),
            ("hub/h/log", None),
        ] {
            assert_eq!(filter(text).device(), device, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_matches_comes_over_a_channel_of_the_filters(
            levels in prop::collection::vec("\\+|#|hub|h|devices|d1|modules|m1|twin|desired|log|c2d", 1..8)
        ) {
            let topics = Topics::new("h");
            let clients = ["d1", "d1/m1", "d2"].map(|text| ClientId::parse(text).unwrap());
            if let Some(filter) = Filter::parse(&levels.join("/")) {
                for channel in Channel::ALL {
                    for client in &clients {
                        let topic = match channel {
                            Channel::Log => topics.log(),
                            _ => topics.of(client, channel),
                        };
                        if filter.matches(std::str::from_utf8(&topic).unwrap()) {
                            prop_assert!(filter.channels().contains(&channel));
                            let device = filter.device();
                            let same = |it: &str| it == client.device.as_str();
                            prop_assert!(channel == Channel::Log || device.is_none_or(same));
                        }
                    }
                }
            }
        }

        #[test]
        fn no_text_makes_it_fail(text in "\\PC{0,60}", topic in "\\PC{0,60}") {
            if let Some(filter) = Filter::parse(&text) {
                filter.matches(&topic);
                filter.channels();
                filter.device();
            }
        }
    }
}
