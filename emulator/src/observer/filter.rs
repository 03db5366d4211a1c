//! Topic filters of observers, and the finite set of filters that the router ever sees.

/// Every topic of the bus has one of these shapes, and each is one subscription of the router's.
///
/// The router keeps a log for each filter that was ever subscribed and compares each new topic with
/// all of them; filters that observers made up would let it grow without end. So it sees only
/// these, and an observer's own filter is applied to what comes out.
pub(super) const SHAPES: [&str; 11] = [
    "hub/+/devices/+/telemetry",
    "hub/+/devices/+/connection",
    "hub/+/devices/+/twin/desired",
    "hub/+/devices/+/twin/reported",
    "hub/+/devices/+/methods",
    "hub/+/devices/+/modules/+/telemetry",
    "hub/+/devices/+/modules/+/connection",
    "hub/+/devices/+/modules/+/twin/desired",
    "hub/+/devices/+/modules/+/twin/reported",
    "hub/+/devices/+/modules/+/methods",
    "hub/+/log",
];

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
        meets(&self.0, topic, |_, _| false)
    }

    /// The shapes that topics matching this filter can have.
    pub(super) fn shapes(&self) -> Vec<&'static str> {
        SHAPES
            .into_iter()
            .filter(|shape| meets(&self.0, shape, |_, level| level == "+"))
            .collect()
    }
}

/// Compares level by level; `open` says which levels of `topic` stand for any.
fn meets(filter: &str, topic: &str, open: impl Fn(&str, &str) -> bool) -> bool {
    let mut topic = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        match topic.next() {
            Some(level) if wanted == "+" || wanted == level || open(wanted, level) => {}
            Some(_) | None => return false,
        }
    }
    topic.next().is_none()
}

#[cfg(test)]
mod tests {
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
    fn a_filter_needs_the_shapes_that_it_can_match() {
        for (text, shapes) in [
            ("#", SHAPES.to_vec()),
            ("hub/h/log", vec!["hub/+/log"]),
            ("hub/+/+", vec!["hub/+/log"]),
            (
                "hub/h/devices/d1/telemetry",
                vec!["hub/+/devices/+/telemetry"],
            ),
            ("hub/h/devices/d1/modules/m/twin/#", SHAPES[7..9].to_vec()),
            ("hub/h/devices/d1/nothing", vec![]),
            ("+", vec![]),
        ] {
            assert_eq!(filter(text).shapes(), shapes, "{text}");
        }
    }
}
