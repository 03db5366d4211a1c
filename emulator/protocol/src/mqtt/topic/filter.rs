//! What a device subscribes to.

use super::{
    DEVICEBOUND, INPUTS, METHOD_REQUESTS, Prefix, TWIN_DESIRED, TWIN_RESPONSES, names,
    split_identity,
};
use crate::ClientId;

/// What a filter subscribes to. The hub knows these filters alone; narrower and wider ones are not
/// supported (`spec/device.md` 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feature {
    /// `$iothub/methods/POST/#` (`spec/device.md` 6.1).
    Methods,
    /// `$iothub/twin/res/#` (`spec/device.md` 7.1).
    TwinResponses,
    /// `$iothub/twin/PATCH/properties/desired/#` (`spec/device.md` 7.1).
    DesiredChanges,
    /// `devices/{d}[/modules/{m}]/messages/devicebound/#` (`spec/device.md` 5.1).
    C2d,
    /// `devices/{d}/modules/{m}/inputs/#` (`spec/device.md` 10).
    Inputs,
    /// `devices/{d}/modules/{m}/#`, which C and C# modules use for both (`spec/device.md` 5.1).
    C2dAndInputs,
}

impl Feature {
    /// Every feature.
    pub const ALL: &'static [Self] = &[
        Self::Methods,
        Self::TwinResponses,
        Self::DesiredChanges,
        Self::C2d,
        Self::Inputs,
        Self::C2dAndInputs,
    ];

    /// What `filter` means when `client` subscribes to it; `None` when it is not one of the hub's,
    /// or another identity's.
    pub fn parse_filter(filter: &str, client: &ClientId) -> Option<Self> {
        // Every filter of the hub ends in a level of its own that is `#`.
        let stem = filter
            .strip_suffix('#')
            .filter(|stem| stem.ends_with('/'))?;
        match stem {
            METHOD_REQUESTS => return Some(Self::Methods),
            TWIN_RESPONSES => return Some(Self::TwinResponses),
            TWIN_DESIRED => return Some(Self::DesiredChanges),
            _ => {}
        }
        let (device, module, tail) = split_identity(stem)?;
        if !names(client, device, module) {
            return None;
        }
        match (tail, module) {
            (DEVICEBOUND, _) => Some(Self::C2d),
            (INPUTS, Some(_)) => Some(Self::Inputs),
            ("", Some(_)) => Some(Self::C2dAndInputs),
            _ => None,
        }
    }

    /// The filter by which `client` subscribes to this. The two that only modules have give a
    /// device a filter that the hub refuses.
    pub fn to_filter(self, client: &ClientId) -> String {
        match self {
            Self::Methods => format!("{METHOD_REQUESTS}#"),
            Self::TwinResponses => format!("{TWIN_RESPONSES}#"),
            Self::DesiredChanges => format!("{TWIN_DESIRED}#"),
            Self::C2d => format!("{}{DEVICEBOUND}#", Prefix(client)),
            Self::Inputs => format!("{}{INPUTS}#", Prefix(client)),
            Self::C2dAndInputs => format!("{}#", Prefix(client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(client: &str, filter: &str) -> Option<Feature> {
        Feature::parse_filter(filter, &ClientId::parse(client).unwrap())
    }

    #[test]
    fn every_feature_round_trips_for_a_module() {
        let client = ClientId::parse("d+1/#").unwrap();
        for feature in Feature::ALL {
            assert_eq!(
                Feature::parse_filter(&feature.to_filter(&client), &client),
                Some(*feature)
            );
        }
    }

    #[test]
    fn filters_of_the_sdks_are_known() {
        for (client, filter, feature) in [
            ("d1", "$iothub/methods/POST/#", Feature::Methods),
            ("d1", "$iothub/twin/res/#", Feature::TwinResponses),
            (
                "d1",
                "$iothub/twin/PATCH/properties/desired/#",
                Feature::DesiredChanges,
            ),
            ("d1", "devices/d1/messages/devicebound/#", Feature::C2d),
            (
                "a#b+?",
                "devices/a#b+?/messages/devicebound/#",
                Feature::C2d,
            ),
            (
                "d1/m1",
                "devices/d1/modules/m1/messages/devicebound/#",
                Feature::C2d,
            ),
            ("d1/m1", "devices/d1/modules/m1/inputs/#", Feature::Inputs),
            ("d1/m1", "devices/d1/modules/m1/#", Feature::C2dAndInputs),
        ] {
            assert_eq!(parse(client, filter), Some(feature), "{client} {filter}");
        }
    }

    #[test]
    fn other_identities_and_other_shapes_are_not() {
        for (client, filter) in [
            ("d1", "#"),
            ("d1", "devices/#"),
            ("d1", "devices/+/messages/devicebound/#"),
            ("d1", "devices/d2/messages/devicebound/#"),
            ("d1", "devices/d1/#"),
            ("d1", "devices/d1/messages/devicebound/"),
            ("d1", "devices/d1/messages/devicebound#"),
            ("d1", "devices/d1/messages/events/#"),
            ("d1", "devices/d1/modules/m1/#"),
            ("d1", "devices/d1/inputs/#"),
            ("d1/m1", "devices/d1/messages/devicebound/#"),
            ("d1/m1", "devices/d1/modules/m2/#"),
            ("d1", "$iothub/#"),
            ("d1", "$iothub/methods/POST/+"),
            ("d1", "$iothub/twin/PATCH/properties/reported/#"),
            ("d1", "$iothub/twin/res/200/#"),
        ] {
            assert_eq!(parse(client, filter), None, "{client} {filter}");
        }
    }
}
