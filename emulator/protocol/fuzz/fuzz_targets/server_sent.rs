#![no_main]

use iothub_protocol::http::ServerSentReader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut whole = ServerSentReader::new(1024);
    whole.push(bytes);
    while let Ok(Some(_)) = whole.next_event() {}
    let mut parted = ServerSentReader::new(1024);
    for piece in bytes.chunks(3) {
        parted.push(piece);
        while let Ok(Some(event)) = parted.next_event() {
            // A byte that is no UTF-8 becomes a replacement character, which has three.
            assert!(event.data.len() <= 3 * bytes.len());
        }
    }
});
