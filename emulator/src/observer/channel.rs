//! What the router sees: a handful of topics, and parcels in whose heads the rest stands.
//!
//! The router keeps a log for each filter that was ever subscribed and remembers each topic that was
//! ever published to; topics that devices make up by their names would let it grow without end. So
//! it sees only these, and observers' own filters are applied to what comes out.

use bytes::{BufMut, Bytes, BytesMut};

/// A kind of message. Each is one topic and one filter of the router's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Telemetry,
    Connection,
    Desired,
    Reported,
    Methods,
    C2d,
    Log,
}

/// A message as observers see it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    pub(super) topic: Bytes,
    pub(super) payload: Bytes,
}

/// A message on its way through the router.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parcel {
    /// Keeps hubs that share the router apart, whatever their names.
    pub(super) hub: u64,
    /// Counts the parcels of this hub on this channel, so that a gap tells how many are missing.
    pub(super) number: u64,
    pub(super) message: Message,
}

/// Bytes before the topic: hub, number, length of the topic.
const HEAD: usize = 8 + 8 + 2;

impl Channel {
    pub(super) const ALL: [Self; 7] = [
        Self::Telemetry,
        Self::Connection,
        Self::Desired,
        Self::Reported,
        Self::Methods,
        Self::C2d,
        Self::Log,
    ];

    /// The topic within the router, and the end of the topics that observers see.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Telemetry => "telemetry",
            Self::Connection => "connection",
            Self::Desired => "twin/desired",
            Self::Reported => "twin/reported",
            Self::Methods => "methods",
            Self::C2d => "c2d",
            Self::Log => "log",
        }
    }

    /// The channel whose topic within the router this is.
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        let is_it = |channel: &Self| channel.name().as_bytes() == name;
        Self::ALL.into_iter().find(is_it)
    }

    /// What stands in the way of the others in an array of one each.
    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

impl Parcel {
    /// `None`: the topic is longer than any can be.
    pub(super) fn pack(hub: u64, number: u64, message: &Message) -> Option<Bytes> {
        let Message { topic, payload } = message;
        let mut packed = BytesMut::with_capacity(HEAD + topic.len() + payload.len());
        packed.put_u64(hub);
        packed.put_u64(number);
        packed.put_u16(u16::try_from(topic.len()).ok()?);
        packed.put_slice(topic);
        packed.put_slice(payload);
        Some(packed.freeze())
    }

    /// `None`: it is no parcel.
    pub(super) fn unpack(packed: &Bytes) -> Option<Self> {
        let (hub, rest) = packed.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (length, _) = rest.split_first_chunk()?;
        let end = HEAD + usize::from(u16::from_be_bytes(*length));
        if packed.len() < end {
            return None;
        }
        Some(Self {
            hub: u64::from_be_bytes(*hub),
            number: u64::from_be_bytes(*number),
            message: Message {
                topic: packed.slice(HEAD..end),
                payload: packed.slice(end..),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_channel_is_found_by_its_name_and_has_a_place_of_its_own() {
        for (index, channel) in Channel::ALL.into_iter().enumerate() {
            assert_eq!(Channel::of(channel.name().as_bytes()), Some(channel));
            assert_eq!(channel.index(), index);
        }
        assert_eq!(Channel::of(b"nothing"), None);
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out(hub: u64, number: u64, topic in "[ -~]{0,300}", payload: Vec<u8>) {
            let message = Message { topic: topic.into(), payload: payload.into() };

            let packed = Parcel::pack(hub, number, &message).unwrap();

            prop_assert_eq!(Parcel::unpack(&packed), Some(Parcel { hub, number, message }));
        }

        #[test]
        fn what_is_no_parcel_is_taken_for_none_or_some(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            if let Some(parcel) = Parcel::unpack(&bytes) {
                let Parcel { hub, number, message } = parcel;
                prop_assert_eq!(Parcel::pack(hub, number, &message), Some(bytes));
            }
        }
    }
}
