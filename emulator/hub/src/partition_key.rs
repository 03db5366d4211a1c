//! Which partition a device's events go to: the hash by which event hubs choose a partition for a
//! partition key, so that a device's partition is the same everywhere (the wire reference of event
//! readers, 6.5).

use crate::telemetry::PartitionId;

/// The partition of this key, out of `count`.
pub(crate) fn partition_of(key: &[u8], count: u16) -> PartitionId {
    let remainder = i32::from(hash(key)) % i32::from(count.max(1));
    remainder.unsigned_abs() as PartitionId
}

/// The low half of both words of Jenkins' lookup3, in its variant of two words with seeds of zero
/// that reads little-endian.
fn hash(key: &[u8]) -> i16 {
    let start = 0xdead_beef_u32.wrapping_add(key.len() as u32);
    let mut words = [start; 3];
    // The last block, even a full one, is not mixed but finished.
    let mut rest = key;
    while rest.len() > BLOCK {
        let (block, after) = rest.split_at(BLOCK);
        add(&mut words, block);
        mix(&mut words);
        rest = after;
    }
    if !rest.is_empty() {
        add(&mut words, rest);
        finish(&mut words);
    }
    let [_, b, c] = words;
    (c ^ b) as i16
}

const BLOCK: usize = 12;

/// Adds a block, as three numbers; what it lacks is zero.
fn add(words: &mut [u32; 3], block: &[u8]) {
    for (at, &byte) in block.iter().enumerate() {
        let word = &mut words[at / 4];
        *word = word.wrapping_add(u32::from(byte) << (8 * (at % 4)));
    }
}

fn mix(words: &mut [u32; 3]) {
    let [mut a, mut b, mut c] = *words;
    for (first, second, third) in [(4, 6, 8), (16, 19, 4)] {
        a = a.wrapping_sub(c) ^ c.rotate_left(first);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(second);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(third);
        b = b.wrapping_add(a);
    }
    *words = [a, b, c];
}

fn finish(words: &mut [u32; 3]) {
    let [mut a, mut b, mut c] = *words;
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    c = (c ^ b).wrapping_sub(b.rotate_left(24));
    *words = [a, b, c];
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hashes_are_those_of_the_event_hubs_clients() {
        for (key, expected) in [
            ("7", -15263),
            ("131", 30562),
            ("7149583486996073602", 12977),
            ("FWfAT", -22341),
            ("sOdeEAsyQoEuEFPGerWO", -6503),
            ("!c*_!I@1^c", 15372),
            ("p4*!jioeO/z-!-;w:dh", -3104),
            ("$0cb", 26269),
            ("-4189260826195535198", 453),
        ] {
            assert_eq!(hash(key.as_bytes()), expected, "{key}");
        }
    }

    #[test]
    fn partitions_are_those_of_the_event_hubs_clients() {
        assert_eq!(partition_of(b"alphabet", 3), 0);
        assert_eq!(partition_of(b"alphabet", 11), 4);
    }

    proptest! {
        #[test]
        fn every_key_has_a_partition_that_is_there(key: Vec<u8>, count in 1_u16..=128) {
            prop_assert!(partition_of(&key, count) < count);
        }
    }
}
