//! `x-ms-request-id`: a new one for every answer (`spec/service.md` 0.4).

use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;

/// Makes request ids: different ones, the same again for the same seed, and cheap, since every
/// answer carries one.
#[derive(Debug)]
pub(super) struct RequestIds {
    seed: u64,
    count: AtomicU64,
}

impl RequestIds {
    /// Everything that follows is determined by `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed: mixed(seed),
            count: AtomicU64::new(0),
        }
    }

    /// The next one, as a UUID.
    pub(super) fn next(&self) -> HeaderValue {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let high = mixed(self.seed.wrapping_add(number));
        let low = mixed(high ^ number);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&high.to_be_bytes());
        bytes[8..].copy_from_slice(&low.to_be_bytes());
        let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = id.hyphenated().encode_lower(&mut text);
        HeaderValue::from_str(text).expect("a UUID is hexadecimal digits and hyphens")
    }
}

/// The finalizer of SplitMix64: one to one, and neighbours end up far apart.
fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_uuids_that_differ_and_repeat_with_the_seed() {
        let ids = |seed| {
            let ids = RequestIds::new(seed);
            (0..100)
                .map(|_| ids.next().to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };

        assert_eq!(ids(1), ids(1));
        assert_eq!(
            ids(1)
                .into_iter()
                .chain(ids(2))
                .collect::<HashSet<_>>()
                .len(),
            200
        );
        assert!(
            ids(1)
                .iter()
                .all(|id| id.len() == 36 && id.as_bytes()[14] == b'4')
        );
    }
}
