//! A stream of packets of a server: no panic, and what is accepted round-trips.
#![no_main]

use bytes::BytesMut;
use iothub_protocol::mqtt::codec::{decode_server, encode_server};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 300_000;

fuzz_target!(|data: &[u8]| {
    let mut buffer = BytesMut::from(data);
    while let Ok(Some(packet)) = decode_server(&mut buffer, LIMIT) {
        let mut encoded = BytesMut::new();
        encode_server(&packet, &mut encoded);
        assert_eq!(decode_server(&mut encoded, LIMIT), Ok(Some(packet)));
        assert!(encoded.is_empty());
    }
});
