//! The properties that the hub knows by meaning: their names on the wire and in events.

/// Where a system property stands in the stored event (`spec/device.md` 4.3, table; 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventPlace {
    /// Among the message properties that AMQP defines.
    Property(&'static str),
    /// Among the annotations.
    Annotation(&'static str),
    /// Among the application properties.
    ApplicationProperty(&'static str),
    /// Nowhere: the hub keeps it to itself.
    Internal,
}

macro_rules! system_properties {
    ($($(#[$doc:meta])* $name:ident = $wire:literal, $place:expr, $rank:literal;)*) => {
        /// A property that the hub knows by meaning (`spec/device.md` 4.3, table).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum SystemProperty {
            $($(#[$doc])* $name,)*
        }

        impl SystemProperty {
            /// Every system property.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name in a bag, decoded.
            pub const fn wire_name(self) -> &'static str {
                match self { $(Self::$name => $wire,)* }
            }

            /// Where the stored event shows it, and under which name.
            pub const fn event_place(self) -> EventPlace {
                match self { $(Self::$name => $place,)* }
            }

            /// The place among the system properties of a bag that the hub writes: `spec/device.md`
            /// 5.2 for those that travel to a device, the order of the table for the others.
            pub(super) const fn rank(self) -> u8 {
                match self { $(Self::$name => $rank,)* }
            }

            /// The property with this decoded name; names are case-sensitive.
            pub fn from_wire(name: &str) -> Option<Self> {
                // Nearly every name is an application's: one comparison settles it.
                if !name.starts_with("$.") {
                    return None;
                }
                match name {
                    $($wire => Some(Self::$name),)*
                    // The older name of the component (`spec/device.md` 4.3).
                    "$.ifname" => Some(Self::Component),
                    _ => None,
                }
            }
        }
    };
}

use EventPlace::{Annotation, ApplicationProperty, Internal, Property};

system_properties! {
    /// The id that the sender gave the message.
    MessageId = "$.mid", Property("message-id"), 0;
    /// What the message answers or belongs to.
    CorrelationId = "$.cid", Property("correlation-id"), 3;
    /// The user that the sender names.
    UserId = "$.uid", Property("user-id"), 4;
    /// Where the message is going.
    To = "$.to", Property("to"), 2;
    /// The media type of the body.
    ContentType = "$.ct", Property("content-type"), 5;
    /// The encoding of the body.
    ContentEncoding = "$.ce", Property("content-encoding"), 6;
    /// When the message loses its value, ISO 8601.
    Expiry = "$.exp", Property("absolute-expiry-time"), 1;
    /// The module output that the message leaves by.
    OutputName = "$.on", Internal, 7;
    /// When the message was made, ISO 8601.
    CreationTime = "$.ctime", ApplicationProperty("iothub-creation-time-utc"), 8;
    /// The schema of the body.
    MessageSchema = "$.schema", ApplicationProperty("iothub-message-schema"), 9;
    /// The interface that the message belongs to.
    InterfaceId = "$.ifid", Annotation("iothub-interface-id"), 10;
    /// The Plug and Play component that sends.
    Component = "$.sub", Annotation("dt-subject"), 11;
    /// The id of a distributed trace.
    DiagnosticId = "$.diagid", Annotation("Diagnostic-Id"), 12;
    /// The context of a distributed trace.
    DiagnosticContext = "$.diagctx", Annotation("Correlation-Context"), 13;
    /// The device that sent a message to a module's input.
    ConnectionDeviceId = "$.cdid", Internal, 14;
    /// The module that sent a message to a module's input.
    ConnectionModuleId = "$.cmid", Internal, 15;
}

impl SystemProperty {
    /// The name in the stored event, when the event shows it.
    pub const fn event_name(self) -> Option<&'static str> {
        match self.event_place() {
            Property(name) | Annotation(name) | ApplicationProperty(name) => Some(name),
            Internal => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_names_round_trip() {
        for property in SystemProperty::ALL {
            assert_eq!(
                SystemProperty::from_wire(property.wire_name()),
                Some(*property)
            );
        }
    }

    #[test]
    fn the_older_component_name_is_known_and_case_matters() {
        assert_eq!(
            SystemProperty::from_wire("$.ifname"),
            Some(SystemProperty::Component)
        );
        assert_eq!(SystemProperty::from_wire("$.MID"), None);
        assert_eq!(SystemProperty::from_wire("mid"), None);
    }

    #[test]
    fn ranks_are_distinct() {
        let mut ranks: Vec<u8> = SystemProperty::ALL.iter().map(|p| p.rank()).collect();
        ranks.sort_unstable();
        ranks.dedup();

        assert_eq!(ranks.len(), SystemProperty::ALL.len());
    }
}
