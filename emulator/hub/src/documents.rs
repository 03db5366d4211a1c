//! What is kept as JSON documents: everything that is neither an identity, a twin, a message nor an
//! event. The feature that a kind belongs to makes and reads them.

use std::sync::Arc;

use serde_json::Value;

/// A JSON document that a feature keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Whose it is, and what it means.
    pub kind: DocumentKind,
    /// Its name, unique within the kind.
    pub key: Arc<str>,
    /// What it says.
    pub value: Arc<Value>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $number:literal,)*) => {
        /// The kinds of documents. The numbers are part of the format of stores: they stay.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DocumentKind {
            $($(#[$doc])* $kind = $number,)*
        }

        impl DocumentKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The kind with this number.
            pub fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$kind),)*
                    _ => None,
                }
            }

            /// Its number, which stores write.
            pub fn number(self) -> u8 {
                self as u8
            }
        }
    };
}

kinds! {
    /// A feedback record or batch that waits for a back end.
    Feedback = 1,
    /// A job of twin updates or method calls.
    Job = 2,
    /// What a job did to one device or module.
    DeviceJob = 3,
    /// A job that imports or exports the registry.
    RegistryJob = 4,
    /// A configuration or edge deployment.
    Configuration = 5,
    /// A certificate authority that devices' certificates may come from.
    Authority = 6,
    /// A file upload that a device has begun.
    Upload = 7,
    /// A file-upload notification that waits for a back end.
    FileNotification = 8,
    /// Routes, endpoints and enrichments.
    Routing = 9,
    /// Meters of quotas.
    Meter = 10,
    /// A group of those who read events.
    ConsumerGroup = 11,
}
