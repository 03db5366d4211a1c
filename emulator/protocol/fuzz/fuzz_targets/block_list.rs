//! Block lists of blobs: no panic, and no more blocks than a blob may have.
#![no_main]

use iothub_protocol::storage::{MAX_BLOCKS, parse_block_list};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(blocks) = parse_block_list(data) {
        assert!(blocks.len() <= MAX_BLOCKS);
    }
});
