//! A message between a device and a back end.

use bytes::Bytes;

use crate::property_bag::PropertyBag;

/// Largest device-to-cloud message: body, system property values, application names and values
/// (`spec/device.md` 4.4).
pub const MAX_TELEMETRY_SIZE: usize = 256 * 1024;
/// Largest cloud-to-device message (`spec/device.md` 5.4).
pub const MAX_C2D_SIZE: usize = 64 * 1024;

/// A body with its properties.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Message {
    /// System and application properties.
    pub properties: PropertyBag,
    /// The payload as it was sent.
    pub body: Bytes,
}

impl Message {
    /// The size that the limits count: body, system values, application names and values, decoded
    /// (`spec/device.md` 4.4).
    pub fn size(&self) -> usize {
        self.body.len() + self.properties.size()
    }

    /// Whether the size is over `limit`; decodes the properties only when it could be.
    pub fn is_larger_than(&self, limit: usize) -> bool {
        // Decoding never makes a bag longer, so the encoded length settles nearly every case.
        self.body.len() + self.properties.encoded_len() > limit && self.size() > limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_counts_body_system_values_application_names_and_values() {
        let message = Message {
            properties: PropertyBag::from_encoded("%24.mid=abc&a%20b=c%2Bd").unwrap(),
            body: Bytes::from_static(b"12345"),
        };

        assert_eq!(message.size(), 5 + 3 + 3 + 3);
    }

    #[test]
    fn encoding_does_not_count_against_the_limit() {
        let message = Message {
            properties: PropertyBag::from_encoded("a=%20%20").unwrap(),
            body: Bytes::from_static(b"1234567"),
        };

        assert!(!message.is_larger_than(10));
        assert!(message.is_larger_than(9));
    }
}
